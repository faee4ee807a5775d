"""What is different between two configurations, in words for the log, `tidegate diff` and the API.

Also says how many units a change of weights moves, before it moves them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.core.movement import Movement, moved_share
from proxy.settings.list_changes import ListChange, compare_lists
from proxy.settings.models.part import RESTART, Part
from proxy.settings.models.top import Settings
from proxy.settings.unit_files import UnitFile

Spec = dict[str, Any]

_SHARED_KEY: Final = "own_zone"
"""The file's `zone`, which stands in every upstream's spec; told once."""
_SMALLEST: Final = 5e-7
_VERSION_KEYS: Final = ("upstream", "fallback", "warm_up", "breaker")


@dataclass(frozen=True, slots=True)
class RouteChange:
    """What changed in a route. `moved` is the share of units that change version, in [0, 1].

    `entering` and `leaving` are the shares by version.
    `weights` maps a version to its old and new weight (None: it is not there). `redealt` says that the salt changed;
    `keys` are the others that did. What rules move depends on who comes, and is not in the shares.
    """

    route: str
    moved: float
    entering: dict[str, float]
    leaving: dict[str, float]
    weights: dict[str, tuple[float | None, float | None]]
    redealt: bool
    keys: list[str]


def _sorts() -> dict[str, list[str]]:
    return {"added": [], "removed": [], "changed": []}


@dataclass(frozen=True, slots=True)
class Changes:
    """The difference between two configurations. `lines` say all of it, one thing a line."""

    lines: list[str] = field(default_factory=list)
    upstreams: dict[str, list[str]] = field(default_factory=_sorts)
    routes: dict[str, list[str]] = field(default_factory=_sorts)
    segments: dict[str, list[str]] = field(default_factory=_sorts)
    lists: list[ListChange] = field(default_factory=list)
    changed_routes: list[RouteChange] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    restart: list[str] = field(default_factory=list)

    def __bool__(self) -> bool:
        return bool(self.lines)

    def as_dict(self) -> Spec:
        """For JSON."""
        return {
            "changed": bool(self),
            "lines": list(self.lines),
            "upstreams": self.upstreams,
            "segments": self.segments,
            "lists": [one.as_dict() for one in self.lists],
            "routes": self.routes,
            "splits": [
                {
                    "route": one.route,
                    "moved": one.moved,
                    "entering": one.entering,
                    "leaving": one.leaving,
                    "weights": {name: {"old": old, "new": new} for name, (old, new) in one.weights.items()},
                    "redealt": one.redealt,
                    "keys": one.keys,
                }
                for one in self.changed_routes
            ],
            "keys": self.keys,
            "restart": self.restart,
        }


def compare(
    old: Spec,
    new: Spec,
    old_settings: Settings | None = None,
    new_settings: Settings | None = None,
    lists: tuple[Mapping[str, UnitFile], Mapping[str, UnitFile]] | None = None,
) -> Changes:
    """What changes from one spec to the other; with the settings, also the keys outside of the plan; with the `lists` of
    units of both, also who enters and leaves those, which takes about a second a million."""
    changes = Changes()
    _parts(changes.upstreams, "upstream", old["upstreams"], new["upstreams"], changes.lines)
    _parts(changes.segments, "segment", old["segments"], new["segments"], changes.lines)
    if lists is not None:
        changes.lists.extend(compare_lists(old, new, *lists))
        changes.lines.extend(one.line() for one in changes.lists)
    _routes(changes, old["routes"], new["routes"])
    if old_settings is not None and new_settings is not None:
        _keys(changes, old_settings, new_settings)
    else:
        for name in ("listeners", "client", "trusted_proxies", "access_log", "faults", "zone"):
            if old[name] != new[name]:
                changes.keys.append(name)
                changes.lines.append(f"{name} changed")
    return changes


def _parts(found: dict[str, list[str]], what: str, old: Iterable[Spec], new: Iterable[Spec], lines: list[str]) -> None:
    before = {one["name"]: one for one in old}
    after = {one["name"]: one for one in new}
    for name in before:
        if name not in after:
            found["removed"].append(name)
            lines.append(f"{what} {name} removed")
    for name, one in after.items():
        if name not in before:
            found["added"].append(name)
            lines.append(f"{what} {name} added")
        elif keys := [key for key in one if key != _SHARED_KEY and one[key] != before[name].get(key)]:
            found["changed"].append(name)
            lines.append(f"{what} {name} changed: {', '.join(keys)}")


def _routes(changes: Changes, old: list[Spec], new: list[Spec]) -> None:
    before = {one["name"]: one for one in old}
    after = {one["name"]: one for one in new}
    for name in before:
        if name not in after:
            changes.routes["removed"].append(name)
            changes.lines.append(f"route {name} removed")
    for name, one in after.items():
        if name not in before:
            changes.routes["added"].append(name)
            changes.lines.append(f"route {name} added")
        elif one != before[name]:
            changes.routes["changed"].append(name)
            change = _route(before[name], one)
            changes.changed_routes.append(change)
            changes.lines.append(_route_line(change))
    if [name for name in before if name in after] != [name for name in after if name in before]:
        changes.keys.append("routes")
        changes.lines.append("the order of the routes changed: the first that matches takes a request")


def _weights(route: Spec) -> dict[str, float]:
    return {one["name"]: one["weight"] for one in route["versions"]}


def _route(old: Spec, new: Spec) -> RouteChange:
    before, after = _weights(old), _weights(new)
    names = list(dict.fromkeys((*before, *after)))
    redealt = old["salt"] != new["salt"]
    # Without a unit nobody is dealt: the default serves, whatever the weights.
    movement = moved_share(
        before if old["unit"] else {old["default"]: 1.0},
        after if new["unit"] else {new["default"]: 1.0},
        old_default=old["default"],
        new_default=new["default"],
        anew=redealt or old["unit"] != new["unit"],
    )
    keys = [key for key in new if key != "versions" and old.get(key) != new[key]]
    was = {one["name"]: one for one in old["versions"]}
    for version in new["versions"]:
        known = was.get(version["name"])
        if known is not None:
            keys.extend(f"versions.{version['name']}.{key}" for key in _VERSION_KEYS if known[key] != version[key])
    return RouteChange(
        route=new["name"],
        moved=_share(movement.moved),
        entering=_named(movement.entering),
        leaving=_named(movement.leaving),
        weights={name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)},
        redealt=redealt,
        keys=keys,
    )


def _share(share: float) -> float:
    return 0.0 if share < _SMALLEST else min(1.0, share)


def _named(shares: Mapping[str, float]) -> dict[str, float]:
    return {name: share for name, share in shares.items() if share >= _SMALLEST}


def percent(share: float) -> str:
    """A share in [0, 1] as people read it: 10 %, 0.05 %, 33.3 %."""
    return f"{share * 100:.3g} %"


def _weight(weight: float | None) -> str:
    return "none" if weight is None else f"{weight:g}"


def _route_line(change: RouteChange) -> str:
    pieces = []
    if change.weights:
        told = ", ".join(f"{name} {_weight(old)} -> {_weight(new)}" for name, (old, new) in change.weights.items())
        pieces.append(f"weights {told}")
    if change.keys:
        pieces.append(f"changed {', '.join(change.keys)}")
    if change.redealt:
        pieces.append("the cards are dealt anew")
    elif "unit" in change.keys and change.moved:
        pieces.append("units are found elsewhere, so that the cards are dealt anew")
    line = f"route {change.route}: {'; '.join(pieces)}; {percent(change.moved)} of units move"
    if change.moved:
        sides = [f"{percent(share)} into {name}" for name, share in change.entering.items()]
        sides += [f"{percent(share)} out of {name}" for name, share in change.leaving.items()]
        line += f" ({', '.join(sides)})"
    return line


def _keys(changes: Changes, old: Settings, new: Settings) -> None:
    for path, restart in _differences(old, new, ""):
        changes.keys.append(path)
        if restart:
            changes.restart.append(path)
            changes.lines.append(f"{path} changed: takes a restart, the running value stays until then")
        else:
            changes.lines.append(f"{path} changed")


def _differences(old: Part, new: Part, prefix: str, *, restart: bool = False) -> Iterable[tuple[str, bool]]:
    """The keys that differ, each with whether it needs a restart."""
    for name, info in type(new).model_fields.items():
        if not prefix and name in ("include", "upstreams", "segments", "routes"):
            continue
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        extra = info.json_schema_extra
        fixed = restart or (isinstance(extra, dict) and extra.get("x-change") == RESTART)
        path = f"{prefix}{info.alias or name}"
        if isinstance(before, Part) and isinstance(after, Part):
            yield from _differences(before, after, f"{path}.", restart=fixed)
        elif name == "listen":
            yield path, [one.address for one in before] != [one.address for one in after]
        else:
            yield path, fixed


__all__ = ["Changes", "Movement", "RouteChange", "compare", "percent"]
