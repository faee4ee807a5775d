"""The admin port: metrics, health, and the JSON API."""
