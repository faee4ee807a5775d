"""What no single key of `plugins` shows: names, files that are there and can be used, and routes that name them."""

from typing import Any

from proxy.settings.draft import Draft
from proxy.settings.models.plugins import PluginEntry
from proxy.settings.plugin_files import PluginFiles
from proxy.settings.problems import WARNING, KeyPath

Spec = dict[str, Any]


def made_of(entry: PluginEntry, files: PluginFiles) -> Spec:
    """Of what a plugin is made (proxy/plugin_loading.py). Raises ValueError where its file cannot be read."""
    return {
        "name": entry.name,
        "file": "" if entry.file is None else files.path(entry.file),
        "source": "" if entry.file is None else files.source(entry.file),
        "entry_point": entry.entry_point or "",
        "config": entry.config,
    }


def check_plugins(draft: Draft) -> None:
    """Report what is wrong with `plugins`."""
    if draft.general is None:
        return
    entries = draft.general.plugins
    first: dict[str, int] = {}
    specs: list[Spec] = []
    places: list[KeyPath] = []
    path: KeyPath
    for index, entry in enumerate(entries):
        path = ("plugins", index)
        if first.setdefault(entry.name, index) != index:
            there = draft.where(("plugins", first[entry.name], "name"))
            draft.report((*path, "name"), f"`{entry.name}` is the name of another plugin, at {there}")
        source = (*path, "file" if entry.file is not None else "entry_point")
        try:
            specs.append(made_of(entry, draft.plugin_files))
        except ValueError as error:
            draft.report(source, str(error))
        else:
            places.append(source)
        if entry.claims and not draft.values.get("jwt"):
            draft.report((*path, "claims"), "nobody has any: claims are read from tokens, and there is no `jwt`")
    verdicts = draft.plugin_files.try_all(specs) if specs else []
    for path, spec, (problem, line) in zip(places, specs, verdicts, strict=True):
        if problem:
            where = f"{spec['file']}:{line}" if line else spec["file"]
            draft.report(path, f"{where}: {problem}" if where else problem)
    if None not in draft.routes:
        used = {name for route in draft.routes if route is not None for name in route.plugins}
        for name, index in first.items():
            if name not in used:
                draft.report(("plugins", index), f"no route names `{name}`, so it is never asked", WARNING)
    for index, route in enumerate(draft.routes):
        names = [] if route is None else route.plugins
        for place, name in enumerate(names):
            if name in names[:place]:
                draft.report(("routes", index, "plugins", place), f"`{name}` is named twice")
