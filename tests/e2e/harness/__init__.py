"""What the end-to-end tests stand on: a scriptable origin, a raw client, and a running proxy."""
