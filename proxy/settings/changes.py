"""What is different between two configurations, in words for the log, `tidegate diff` and the API.

Also says how many units a change of weights moves, before it moves them.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.core.hash_families import Family, common_modulus, make_family, ranges_on_line
from proxy.core.movement import Deal, Movement, movement_between
from proxy.settings.list_changes import ListChange, compare_lists, lists_in
from proxy.settings.models.part import RESTART, Part
from proxy.settings.models.top import Settings
from proxy.settings.unit_files import UnitFile

Spec = dict[str, Any]

_SHARED_KEY: Final = "own_zone"
"""The file's `zone`, which stands in every upstream's spec; told once."""
_SMALLEST: Final = 5e-7
_VERSION_KEYS: Final = ("upstream", "fallback", "warm_up", "breaker", "kill")
_SAID_OTHERWISE: Final = ("versions", "claimed")
"""Keys of a route's spec that are no keys of the file, or told one by one."""
_WHO_COMES: Final = ("rules", "choice", "rings", "preview", "plugins")
"""Keys that are about some of the units only, of whom nobody knows how many there are."""
_NOBODY: Final = "none"
"""Who serves where every version is killed."""


@dataclass(frozen=True, slots=True)
class RouteChange:
    """What changed in a route. `moved` is the share of units that change version, in [0, 1].

    `entering` and `leaving` are the shares by version.
    `weights` maps a version to its old and new weight (None: it is not there). `redealt` says that the salt or the
    epoch changed; `keys` are all that did. `beyond` are those among them that move units who are not in the shares,
    because how many they are depends on who comes: of rules, choices, rings, previews and plugins. `named` is how many units
    the rules that changed name. `stay` are the versions whose units keep them by a record (`stickiness`), whatever the new
    weights: where there are any, the shares are of the units without a record, and of those whose record is of none of these.
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
                    "beyond": one.beyond,
                    "named": one.named,
                    "stay": one.stay,
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
            "flags",
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
    """Tell which routes decide by a segment that changed: that moves units, too."""
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
    if [name for name in before if name in after] != [name for name in after if name in before]:
        changes.keys.append("routes")
        changes.lines.append("the order of the routes changed: the first that matches takes a request")


def _weights(route: Spec) -> dict[str, float]:
    return {one["name"]: one["weight"] for one in route["versions"]}


def _lasts(entry: Spec, at: float) -> bool:
    return not entry["until"] or entry["until"] > at


def _deal(route: Spec, at: float, family: Family | None, modulus: int | None) -> Deal:
    """What the route does with units that no rule, ring or preview is about.

    `modulus` is that by which the line of its family is cut; absent: the family's own.
    """
    left = [one["name"] for one in route["versions"] if one["kill"] is None or not _lasts(one["kill"], at)]
    default = route["default"] if route["default"] in left else next(iter(left), _NOBODY)
    if not route["unit"]:  # nobody is dealt: the default serves, whatever the weights
        return Deal({}, default, killed=True)
    holdout, layer = route["holdout"], route["layer"]
    modulus = family.modulus if family and modulus is None else modulus or 0
    names = [
        name if name in left else "" for name in _weights(route)
    ]  # who would get what is killed takes part in a race
    return Deal(
        {name: weight for name, weight in _weights(route).items() if name in left},
        default,
        None
        if holdout is None or not _lasts(holdout, at)
        else (f"{holdout['salt']}\0{holdout['name']}", holdout["percent"] / 100),
        None if layer is None else (f"{layer['salt']}\0{layer['name']}", layer["from"] / 100, layer["to"] / 100),
        any(_lasts(one, at) for one in route["kill"]),
        None if family is None else (f"{family.line} {modulus}", ranges_on_line(family, names, modulus)),
    )


def _named_units(old: list[Spec], new: list[Spec]) -> int:
    """How many units are named by rules that are in one of the lists only."""
    bare = [[{key: value for key, value in rule.items() if key != "label"} for rule in rules] for rules in (old, new)]
    changed = [rule for one, other in (bare, bare[::-1]) for rule in one if rule not in other]
    return len({unit for rule in changed for unit in rule.get("units", ())})


def _route(old: Spec, new: Spec, at: float) -> RouteChange:
    before, after = _weights(old), _weights(new)
    names = list(dict.fromkeys((*before, *after)))
    redealt = old["salt"] != new["salt"] or old["epoch"] != new["epoch"]
    was_family, family = _family(old), _family(new)
    modulus = common_modulus(was_family, family) if was_family and family else None
    movement = movement_between(
        _deal(old, at, was_family, modulus),
        _deal(new, at, family, modulus),
        anew=redealt,
        others=old["unit"] != new["unit"],
    )
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
        moved=_share(movement.moved),
        entering=_named(movement.entering),
        leaving=_named(movement.leaving),
        weights={name: (before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name)},
        redealt=redealt,
        keys=keys,
        beyond=[key for key in _WHO_COMES if key in keys],
        named=_named_units(old["rules"], new["rules"]),
        stay=_staying(old, new, at),
    )


def _staying(old: Spec, new: Spec, at: float) -> list[str]:
    """The versions whose units keep them by the records they have: those that are still there for them."""
    was, sticky = old["stickiness"], new["stickiness"]
    if not was or not sticky or any(old[key] != new[key] for key in ("salt", "epoch", "unit", "holdout", "layer")):
        return []
    if (
        was["mode"] != sticky["mode"]
        or was["cookie"] != sticky["cookie"]
        or any(_lasts(one, at) for one in new["kill"])
    ):
        return []
    names = [one["name"] for one in old["versions"] if one["weight"] > 0 or was["drain"] > 0]
    return [
        one["name"]
        for one in new["versions"]
        if one["name"] in names
        and (one["weight"] > 0 or sticky["drain"] > 0)
        and (one["kill"] is None or not _lasts(one["kill"], at))
    ]


def _family(route: Spec) -> Family | None:
    """How another system deals the route's split; None where Tidegate does, and where nobody has a weight."""
    weights = list(_weights(route).values())
    return make_family(route["hash"], weights) if route["hash"] and any(weights) else None


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
        if not prefix and name in ("include", "upstreams", "segments", "routes", "plugins"):
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
