"""The demonstration behind `tidegate demo`: upstreams, traffic, a story told by editing weights, and the screen
that shows it.
"""
