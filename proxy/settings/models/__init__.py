"""The checked model of a configuration, by subject. Every field says what it means, its default, its unit and when a change counts."""
