"""The checked model of a configuration, by subject. Every field says what it means, default, unit and when it counts."""
