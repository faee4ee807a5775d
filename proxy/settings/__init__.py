"""YAML to checked model to plan spec; differences between specs; the JSON Schema."""
