"""The bench: Tidegate and its peers on the same core, under the same load, one after another."""
