"""What is different between two configurations, in words for the log, `tidegate diff` and the API.

Also says how many units a change of weights moves, before it moves them.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.core.hash_families import common_modulus
from proxy.core.movement import Movement
from proxy.settings.deals import (
    family_of,
    lasts,
    movement_of,
    named,
    named_units,
    percent,
    share_of,
    weights_of,
    weights_told,
)
from proxy.settings.flag_changes import FlagChange, compare_flags, depend_on
from proxy.settings.list_changes import ListChange, compare_lists, lists_in
from proxy.settings.models.part import RESTART, Part
from proxy.settings.models.top import Settings
from proxy.settings.rollout_changes import rollout_lines
from proxy.settings.unit_files import UnitFile

Spec = dict[str, Any]

_SHARED_KEY: Final = "own_zone"
"""The file's `zone`, which stands in every upstream's spec; told once."""
_VERSION_KEYS: Final = ("upstream", "fallback", "warm_up", "breaker", "kill", "cap")
_SAID_OTHERWISE: Final = ("versions", "claimed")
"""Keys of a route's spec that are no keys of the file, or told one by one."""
_WHO_COMES: Final = ("rules", "choice", "rings", "preview", "plugins")
"""Keys that are about some of the units only, of whom nobody knows how many there are."""


@dataclass(frozen=True, slots=True)
class RouteChange:
    """What changed in a route. `moved` is the share of units that change version, in [0, 1].

    `entering` and `leaving` are the shares by version.
    `weights` maps a version to its old and new weight (None: it is not there). `redealt` says that the salt or the
    epoch changed; `keys` are all that did. `beyond` are those among them that move units who are not in the shares,
    because how many they are depends on who comes: of rules, choices, rings, previews and plugins. `named` is how many units
    the rules that changed name. `stay` are the versions whose units keep them by a record (`stickiness`), whatever the new
    weights: where there are any, the shares are of the units without a record, and of those whose record is of none of these.
    `caps` are the versions that only so many units may ever have: a share into one of them is at most so many, and the rest
    stays.
    """

    route: str
    moved: float
    entering: dict[str, float]
    leaving: dict[str, float]
    weights: dict[str, tuple[float | None, float | None]]
    redealt: bool
    keys: list[str]
    beyond: list[str]
    named: int
    stay: list[str]
    caps: dict[str, int]


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
    flags: dict[str, list[str]] = field(default_factory=_sorts)
    changed_flags: list[FlagChange] = field(default_factory=list)
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
                    "beyond": one.beyond,
                    "named": one.named,
                    "stay": one.stay,
                    "caps": one.caps,
                }
                for one in self.changed_routes
            ],
            "flags": self.flags,
            "flag_splits": [one.as_dict() for one in self.changed_flags],
            "keys": self.keys,
            "restart": self.restart,
        }


def compare(
    old: Spec,
    new: Spec,
    old_settings: Settings | None = None,
    new_settings: Settings | None = None,
    lists: tuple[Mapping[str, UnitFile], Mapping[str, UnitFile]] | None = None,
    *,
    at: float | None = None,
) -> Changes:
    """What changes from one spec to the other; with the settings, also the keys outside of the plan; with the `lists` of
    units of both, also who enters and leaves those, which takes about a second a million.

    `at` is the time in Unix seconds, absent: now. What has ended by then moves nobody.
    """
    changes = Changes()
    at = time.time() if at is None else at
    _parts(changes.upstreams, "upstream", old["upstreams"], new["upstreams"], changes.lines)
    _parts(changes.segments, "segment", old["segments"], new["segments"], changes.lines)
    _plugins(changes, old["plugins"], new)
    if lists is not None:
        changes.lists.extend(compare_lists(old, new, *lists))
        changes.lines.extend(one.line() for one in changes.lists)
    _routes(changes, old["routes"], new["routes"], at)
    _flags(changes, old, new, at)
    _by_segment(changes, new)
    if old_settings is not None and new_settings is not None:
        _keys(changes, old_settings, new_settings)
    else:
        for name in (
            "listeners",
            "client",
            "trusted_proxies",
            "access_log",
            "exposure",
            "faults",
            "zone",
            "jwt",
        ):
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


def _flags(changes: Changes, old: Spec, new: Spec, at: float) -> None:
    before, after = ([one["name"] for one in spec["flags"]] for spec in (old, new))
    for name in before:
        if name not in after:
            changes.flags["removed"].append(name)
            changes.lines.append(f"flag {name} removed")
    for name in after:
        if name not in before:
            changes.flags["added"].append(name)
            changes.lines.append(f"flag {name} added")
    for change in compare_flags(old, new, at):
        changes.flags["changed"].append(change.flag)
        changes.changed_flags.append(change)
        changes.lines.append(change.line())
    for name, needed in depend_on(new["flags"], set(changes.flags["changed"])):
        changes.lines.append(f"flag {name} needs {', '.join(needed)}: how many units move depends on who comes")


def _plugins(changes: Changes, old: list[Spec], new: Spec) -> None:
    """Tell what changed of plugins, and which routes ask one that is another now."""
    if old == new["plugins"]:
        return
    changes.keys.append("plugins")
    found = _sorts()
    _parts(found, "plugin", old, new["plugins"], changes.lines)
    for route in new["routes"]:
        names = ", ".join(name for name in route["plugins"] if name in found["changed"])
        if names:
            changes.lines.append(f"route {route['name']} asks {names}: how many units move depends on who comes")


def _by_segment(changes: Changes, new: Spec) -> None:
    """Tell which routes and flags decide by a segment that changed: that moves units, too."""
    changed = set(changes.segments["changed"])
    lists = {change.name for change in changes.lists}
    changed |= {one["name"] for one in new["segments"] if lists & lists_in(one["where"])}
    for one in new["segments"]:  # each stands after those it needs
        if changed & set(segments_in(one["where"])):
            changed.add(one["name"])
    for route in new["routes"] if changed else ():
        used = {name for rings in route["rings"] for name in rings["order"]}
        used |= {route["choice"]["segment"]} if route["choice"] else set()
        used |= {name for rule in route["rules"] if "where" in rule for name in segments_in(rule["where"])}
        if used & changed:
            names = ", ".join(sorted(used & changed))
            changes.lines.append(f"route {route['name']} decides by {names}: how many units move depends on who comes")
    for flag in new["flags"] if changed else ():
        used = {name for rule in flag["rules"] if "where" in rule for name in segments_in(rule["where"])}
        if used & changed:
            names = ", ".join(sorted(used & changed))
            changes.lines.append(f"flag {flag['name']} decides by {names}: how many units move depends on who comes")


def segments_in(where: Spec) -> Iterator[str]:
    """The names of the segments in a matcher's spec."""
    if "segment" in where:
        yield where["segment"]
    for part in (*where.get("all", ()), *where.get("any", ()), *([where["not"]] if "not" in where else [])):
        yield from segments_in(part)


def _routes(changes: Changes, old: list[Spec], new: list[Spec], at: float) -> None:
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
            change = _route(before[name], one, at)
            changes.changed_routes.append(change)
            changes.lines.append(_route_line(change))
            changes.lines.extend(rollout_lines(before[name], one))
    if [name for name in before if name in after] != [name for name in after if name in before]:
        changes.keys.append("routes")
        changes.lines.append("the order of the routes changed: the first that matches takes a request")


def _route(old: Spec, new: Spec, at: float) -> RouteChange:
    before, after = weights_of(old), weights_of(new)
    names = list(dict.fromkeys((*before, *after)))
    redealt = old["salt"] != new["salt"] or old["epoch"] != new["epoch"]
    was_family, family = family_of(old), family_of(new)
    modulus = common_modulus(was_family, family) if was_family and family else None
    movement = movement_of(old, new, at)
    if old["hash"] or new["hash"]:
        redealt = modulus is None and old["hash"] != new["hash"]
    keys = [key for key in new if key not in _SAID_OTHERWISE and old.get(key) != new[key]]
    if family is not None and list(before) != list(after) and set(before) == set(after):
        keys.append("the order of versions")
    was = {one["name"]: one for one in old["versions"]}
    for version in new["versions"]:
        known = was.get(version["name"])
        if known is not None:
            keys.extend(f"versions.{version['name']}.{key}" for key in _VERSION_KEYS if known[key] != version[key])
    return RouteChange(
        route=new["name"],
        moved=share_of(movement.moved),
        entering=named(movement.entering),
        leaving=named(movement.leaving),
        weights={name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)},
        redealt=redealt,
        keys=keys,
        beyond=[key for key in _WHO_COMES if key in keys],
        named=named_units(old["rules"], new["rules"]),
        stay=_staying(old, new, at),
        caps={one["name"]: one["cap"]["limit"] for one in new["versions"] if one["cap"]},
    )


def _staying(old: Spec, new: Spec, at: float) -> list[str]:
    """The versions whose units keep them by the records they have: those that are still there for them."""
    was, sticky = old["stickiness"], new["stickiness"]
    if not was or not sticky or any(old[key] != new[key] for key in ("salt", "epoch", "unit", "holdout", "layer")):
        return []
    if was["mode"] != sticky["mode"] or was["cookie"] != sticky["cookie"] or any(lasts(one, at) for one in new["kill"]):
        return []
    names = [one["name"] for one in old["versions"] if one["weight"] > 0 or was["drain"] > 0]
    return [
        one["name"]
        for one in new["versions"]
        if one["name"] in names
        and (one["weight"] > 0 or sticky["drain"] > 0)
        and (one["kill"] is None or not lasts(one["kill"], at))
    ]


def _route_line(change: RouteChange) -> str:
    pieces = []
    if change.weights:
        pieces.append(f"weights {weights_told(change.weights)}")
    if change.keys:
        pieces.append(f"changed {', '.join(change.keys)}")
    if change.redealt:
        pieces.append("the cards are dealt anew")
    elif "unit" in change.keys and change.moved:
        pieces.append("units are found elsewhere, so that the cards are dealt anew")
    whose = "units without a record" if change.stay else "units"
    line = f"route {change.route}: {'; '.join(pieces)}; {percent(change.moved)} of {whose} move"
    if change.moved:
        sides = [f"{percent(share)} into {name}" for name, share in change.entering.items()]
        sides += [f"{percent(share)} out of {name}" for name, share in change.leaving.items()]
        line += f" ({', '.join(sides)})"
    if change.stay and change.moved:
        line += f"; who has a record of {' or '.join(change.stay)} stays"
    if change.beyond:
        named = f" ({change.named} named)" if change.named else ""
        line += f", and those whom {' and '.join(change.beyond)} are about{named}: how many depends on who comes"
    told_of = [name for name in change.caps if name in change.entering or f"versions.{name}.cap" in change.keys]
    if told_of:
        line += f"; at most {' and '.join(f'{change.caps[name]} units ever get {name}' for name in told_of)}"
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
        if not prefix and name in ("include", "upstreams", "segments", "routes", "flags", "plugins"):
            continue
        before, after = getattr(old, name), getattr(new, name)
        if before == after:
            continue
        extra = info.json_schema_extra
        fixed = restart or (isinstance(extra, dict) and extra.get("x-change") == RESTART)
        path = f"{prefix}{info.alias or name}"
        if isinstance(before, Part) and isinstance(after, Part):
            yield from _differences(before, after, f"{path}.", restart=fixed)
        elif path == "listen":
            yield path, [one.address for one in before] != [one.address for one in after]
        else:
            yield path, fixed


__all__ = ["Changes", "Movement", "RouteChange", "compare", "percent"]
