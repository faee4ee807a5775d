"""Tidegate: a programmable traffic-shifting reverse proxy for progressive delivery."""
