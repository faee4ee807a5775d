"""The names a route uses that something else must define.

Found in the values as written and not in the model: a route with a mistake of another kind has its wrong names told, too.
"""

from collections.abc import Iterator
from typing import Any

from proxy.settings.problems import KeyPath

Reference = tuple[KeyPath, str, str]
"""Where, what kind (upstream, version, segment, holdout, layer, plugin, route, flag), which name."""


def route_references(route: Any) -> Iterator[Reference]:
    """Every name that the route uses."""
    if not isinstance(route, dict):
        return
    for name, version in _entries(route.get("versions")):
        yield from _one(version, ("versions", name), "upstream", "upstream")
        yield from _one(version, ("versions", name), "fallback", "version")
    yield from _one(route, (), "active", "version")
    yield from _one(route, (), "default", "version")
    for index, rule in _items(route.get("rules")):
        path: KeyPath = ("rules", index)
        yield from _one(rule, path, "segment", "segment")
        yield from _one(rule, path, "deny", "version")
        yield from _one(rule, path, "version", "version")
        for name, _ in _entries(rule.get("split") if isinstance(rule, dict) else None):
            yield (*path, "split", name), "version", name
        if isinstance(rule, dict):
            yield from matcher_references(rule.get("when"), (*path, "when"))
    yield from _one(route, (), "holdout", "holdout")
    yield from _one(route.get("layer"), ("layer",), "name", "layer")
    for index, rings in _items(route.get("rings")):
        yield from _one(rings, ("rings", index), "version", "version")
        for place, name in _items(rings.get("order") if isinstance(rings, dict) else None):
            if isinstance(name, str):
                yield ("rings", index, "order", place), "segment", name
    rollout = route.get("rollout")
    for key in ("from", "to", "baseline"):
        yield from _one(rollout, ("rollout",), key, "version")
    for index, metric in _items(rollout.get("metrics") if isinstance(rollout, dict) else None):
        yield from _one(metric, ("rollout", "metrics", index), "version", "version")
    for place, name in _items(route.get("plugins")):
        if isinstance(name, str):
            yield ("plugins", place), "plugin", name
    yield from _versions(route.get("choice"), ("choice",), "versions")
    yield from _one(route.get("choice"), ("choice",), "segment", "segment")
    for index, mirror in _items(route.get("mirror")):
        yield from _one(mirror, ("mirror", index), "upstream", "upstream")
    yield from _versions(route.get("concurrency"), ("concurrency",), "shed_first")
    for key in ("rate_limits", "faults"):
        for index, one in _items(route.get(key)):
            yield from _versions(one, (key, index), "versions")
            yield from _one(one, (key, index), "segment", "segment")
            if isinstance(one, dict):
                yield from matcher_references(one.get("when"), (key, index, "when"))


def flag_references(flags: Any) -> Iterator[Reference]:
    """Every name that flags use."""
    for name, flag in _entries(flags):
        path: KeyPath = ("flags", name)
        yield from _one(flag, path, "route", "route")
        if not isinstance(flag, dict):
            continue
        for other, _ in _entries(flag.get("prerequisites")):
            yield (*path, "prerequisites", other), "flag", other
        for index, rule in _items(flag.get("rules")):
            yield from _one(rule, (*path, "rules", index), "segment", "segment")
            if isinstance(rule, dict):
                yield from matcher_references(rule.get("when"), (*path, "rules", index, "when"))


def matcher_references(matcher: Any, path: KeyPath) -> Iterator[Reference]:
    """The segments that a matcher names."""
    if not isinstance(matcher, dict):
        return
    yield from _one(matcher, path, "segment", "segment")
    yield from matcher_references(matcher.get("not"), (*path, "not"))
    for word in ("all", "any"):
        for index, one in _items(matcher.get(word)):
            yield from matcher_references(one, (*path, word, index))


def matchers_of(segments: Any, routes: Any, flags: Any = None) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    """Every matcher of the file, those within others too: where it stands, and as it is written."""
    for name, segment in _entries(segments):
        yield from _leaves(segment, ("segments", name))
    for name, flag in _entries(flags):
        for index, one in _items(flag.get("rules") if isinstance(flag, dict) else None):
            if isinstance(one, dict):
                yield from _leaves(one.get("when"), ("flags", name, "rules", index, "when"))
    for number, route in _items(routes):
        for key in ("rules", "rate_limits", "faults"):
            for index, one in _items(route.get(key) if isinstance(route, dict) else None):
                if isinstance(one, dict):
                    yield from _leaves(one.get("when"), ("routes", number, key, index, "when"))


def _leaves(matcher: Any, path: KeyPath) -> Iterator[tuple[KeyPath, dict[str, Any]]]:
    if not isinstance(matcher, dict):
        return
    yield path, matcher
    yield from _leaves(matcher.get("not"), (*path, "not"))
    for word in ("all", "any"):
        for index, one in _items(matcher.get(word)):
            yield from _leaves(one, (*path, word, index))


def _one(value: Any, path: KeyPath, key: str, what: str) -> Iterator[Reference]:
    name = value.get(key) if isinstance(value, dict) else None
    if isinstance(name, str):
        yield (*path, key), what, name


def _versions(value: Any, path: KeyPath, key: str) -> Iterator[Reference]:
    for index, name in _items(value.get(key) if isinstance(value, dict) else None):
        if isinstance(name, str):
            yield (*path, key, index), "version", name


def _entries(value: Any) -> list[tuple[str, Any]]:
    return list(value.items()) if isinstance(value, dict) else []


def _items(value: Any) -> list[tuple[int, Any]]:
    return list(enumerate(value)) if isinstance(value, list) else []
