"""YAML to checked model to plan spec; differences between specs; the JSON Schema."""

from proxy.settings.loader import Loaded, Loader, load
from proxy.settings.problems import Problem, SettingsError

__all__ = ["Loaded", "Loader", "Problem", "SettingsError", "load"]
