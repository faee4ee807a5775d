"""The checked model of a configuration, by subject; every field says its meaning, default, unit and when it counts."""
