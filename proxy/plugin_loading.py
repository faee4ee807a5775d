"""Makes plugins of what a plan says of them: the class out of a file's text or an entry point, an object of it, its hooks.

Never compiled. Runs in workers, and in the child process in which a configuration's plugins are tried (plugin_check.py);
nowhere else is code of a user's imported.
"""

import importlib
import inspect
import sys
import traceback
from collections.abc import Mapping
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, Final

from proxy.plugin import Plugin

GROUP: Final = "tidegate.plugins"
"""The group of entry points in which packages announce plugins."""
HOOKS: Final = ("unit", "decide", "on_request", "on_response")


class PluginError(ValueError):
    """A plugin that cannot be used; the message is for who wrote it, `line` its place in the file, 0 for none."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line: Final = line


def make_plugin(spec: Mapping[str, Any]) -> Plugin:
    """The plugin of a spec (`name`, `file` and `source` or `entry_point`, `config`), not started.

    Raises PluginError, whatever the user's code raises.
    """
    file: str = spec["file"]
    found = _class_in(spec["name"], file, spec["source"]) if file else _entry_point(spec["entry_point"])
    if found.__init__ is not Plugin.__init__ and not inspect.signature(found).parameters:
        raise PluginError(f"{found.__name__} must take the configuration: def __init__(self, config)")
    try:
        plugin = found(spec["config"])
    except (Exception, SystemExit) as error:
        raise _blamed(error, file, f"{found.__name__} cannot be made") from error
    if not hooks_of(plugin):
        raise PluginError(f"{found.__name__} has none of the hooks {', '.join(HOOKS)}")
    return plugin


def hooks_of(plugin: Plugin) -> dict[str, bool]:
    """The hooks that a plugin has, and whether each is `async`."""
    found = {}
    for name in HOOKS:
        if getattr(type(plugin), name) is not getattr(Plugin, name):
            found[name] = inspect.iscoroutinefunction(getattr(plugin, name))
    return found


def _class_in(name: str, file: str, source: str) -> type[Plugin]:
    module = ModuleType(f"tidegate_plugin_{name}")
    module.__file__ = file
    # Where pickle, dataclasses and typing look a class's module up; the newest of a name is the one that is found.
    sys.modules[module.__name__] = module
    try:
        exec(compile(source, file, "exec", dont_inherit=True), module.__dict__)  # noqa: S102 - that is what a plugin is
    except (Exception, SystemExit) as error:
        raise _blamed(error, file, "cannot be loaded") from error
    found = [
        one
        for one in vars(module).values()
        if isinstance(one, type) and issubclass(one, Plugin) and one.__module__ == module.__name__
    ]
    # A class that others in the file stand on is not the one that is meant.
    found = [
        one for one in dict.fromkeys(found) if not any(other is not one and issubclass(other, one) for other in found)
    ]
    if len(found) != 1:
        names = ", ".join(one.__name__ for one in found)
        raise PluginError(
            "has no class that stands on proxy.plugin.Plugin"
            if not found
            else f"has several plugins, give each a file: {names}"
        )
    return found[0]


def _entry_point(place: str) -> type[Plugin]:
    try:
        if ":" in place:
            module, _, attribute = place.partition(":")
            found: Any = importlib.import_module(module)
            for part in attribute.split("."):
                found = getattr(found, part)
        else:
            found = next(iter(entry_points(group=GROUP, name=place))).load()
    except StopIteration:
        raise PluginError(f"no installed package announces {place} in the group {GROUP}") from None
    except (Exception, SystemExit) as error:
        raise _blamed(error, "", f"{place} cannot be loaded") from error
    if not isinstance(found, type) or not issubclass(found, Plugin):
        raise PluginError(f"{place} is no class that stands on proxy.plugin.Plugin")
    return found


def _blamed(error: BaseException, file: str, what: str) -> PluginError:
    """The words for an exception of a user's code, with the last line of the user's own file in its trace."""
    line = 0
    if isinstance(error, SyntaxError) and error.filename == file:
        line = error.lineno or 0
        said = error.msg
    else:
        for frame in traceback.extract_tb(error.__traceback__):
            if file and frame.filename == file:
                line = frame.lineno or line
        said = str(error)
    kind = type(error).__name__
    return PluginError(f"{what}: {kind}: {said}" if said else f"{what}: {kind}", line)
