"""What is different between two configurations' flags: which one, what of it, and how many units another variant is given to."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxy.core.hash_families import common_modulus
from proxy.core.movement import Deal, Movement, movement_between
from proxy.settings.deals import (
    deal_of,
    family_of,
    lasts,
    movement_of,
    named,
    named_units,
    percent,
    share_of,
    weights_told,
)

Spec = dict[str, Any]

_TOLD_OTHERWISE: Final = ("split", "variants")
"""Keys that are told one by one."""
_WHO_COMES: Final = ("rules", "prerequisites")
"""Keys that are about some of the units only, of whom nobody knows how many there are."""
_OF_ROUTE: Final = ("rules", "choice", "rings", "preview")
"""Those of a route that a flag follows."""
_DERIVED: Final = ("default", "off")
"""Keys that a flag which follows a route has from there."""


@dataclass(frozen=True, slots=True)
class FlagChange:
    """What changed in a flag. `moved` is the share of units that are given another variant, in [0, 1], and `entering` and
    `leaving` are the shares by variant; of those that no rule is about, and whose prerequisites are met where there are any.

    `weights` maps a variant to its old and new weight (None: it is not there), `values` names the variants whose value is
    another. `redealt` says that the salt changed, or the flag follows another route. `keys` are all that did. `beyond` are
    those among them that move units who are not in the shares, because how many they are depends on who comes; `named` is how
    many units the rules that changed name. `route` is the one it follows; empty for a flag of its own.
    """

    flag: str
    moved: float
    entering: dict[str, float]
    leaving: dict[str, float]
    weights: dict[str, tuple[float | None, float | None]]
    values: list[str]
    redealt: bool
    keys: list[str]
    beyond: list[str]
    named: int
    route: str
    needs: list[str]

    def as_dict(self) -> Spec:
        """For JSON."""
        return {
            "flag": self.flag,
            "moved": self.moved,
            "entering": self.entering,
            "leaving": self.leaving,
            "weights": {name: {"old": old, "new": new} for name, (old, new) in self.weights.items()},
            "values": self.values,
            "redealt": self.redealt,
            "keys": self.keys,
            "beyond": self.beyond,
            "named": self.named,
            "route": self.route,
        }

    def line(self) -> str:
        """For people."""
        pieces = []
        if self.weights:
            pieces.append(f"split {weights_told(self.weights)}")
        if self.keys:
            pieces.append(f"changed {', '.join(self.keys)}")
        if self.values:
            pieces.append(f"another value of {', '.join(self.values)}")
        if self.route:
            pieces.append(f"follows route {self.route}")
        if self.redealt:
            pieces.append("the cards are dealt anew")
        whose = "units that have what it needs" if self.needs else "units"
        line = f"flag {self.flag}: {'; '.join(pieces)}; {percent(self.moved)} of {whose} move"
        if self.moved:
            sides = [f"{percent(share)} into {name}" for name, share in self.entering.items()]
            sides += [f"{percent(share)} out of {name}" for name, share in self.leaving.items()]
            line += f" ({', '.join(sides)})"
        if self.beyond:
            people = f" ({self.named} named)" if self.named else ""
            line += f", and those whom {' and '.join(self.beyond)} are about{people}: how many depends on who comes"
        return line


def compare_flags(old: Spec, new: Spec, at: float) -> Iterator[FlagChange]:
    """The flags that are in both specs and differ, or follow a route that does. `at` is the time in Unix seconds."""
    before = {one["name"]: one for one in old["flags"]}
    routes = [{one["name"]: one for one in spec["routes"]} for spec in (old, new)]
    for one in new["flags"]:
        was = before.get(one["name"])
        if was is not None:
            change = _flag(was, one, routes[0].get(was["route"]), routes[1].get(one["route"]), at)
            if was != one or change.moved or change.beyond:
                yield change


def depend_on(flags: Iterable[Spec], changed: set[str]) -> Iterator[tuple[str, list[str]]]:
    """The flags that need one of these, each with those it needs. Flags stand after those they need."""
    moved = set(changed)
    for flag in flags:
        needed = sorted(moved & set(flag["prerequisites"]))
        if needed:
            moved.add(flag["name"])
            if flag["on"]:
                yield flag["name"], needed


def _flag(old: Spec, new: Spec, was: Spec | None, now: Spec | None, at: float) -> FlagChange:
    before, after = old["split"] or {}, new["split"] or {}
    movement, redealt = _movement(old, new, was, now, at)
    derived = _DERIVED if was is not None and now is not None else ()
    keys = [key for key in new if key not in _TOLD_OTHERWISE and key not in derived and old[key] != new[key]]
    if list(old["variants"]) != list(new["variants"]):
        keys.append("variants")
    # A flag that says nothing is as one without rules, and one of its own as one without a route.
    one, other = (flag if _speaks(flag, at) else {} for flag in (old, new))
    followed, follows = (was or {} if one else {}), (now or {} if other else {})
    beyond = [key for key in _WHO_COMES if one.get(key, []) != other.get(key, []) and (one.get(key) or other.get(key))]
    beyond += [
        f"{key} of route {(follows or followed)['name']}"
        for key in _OF_ROUTE
        if followed.get(key, []) != follows.get(key, []) and (followed.get(key) or follows.get(key))
    ]
    people = named_units(one.get("rules", []), other.get("rules", []))
    people += named_units(followed.get("rules", []), follows.get("rules", []))
    return FlagChange(
        flag=new["name"],
        moved=share_of(movement.moved),
        entering=named(movement.entering),
        leaving=named(movement.leaving),
        weights={
            name: (before.get(name), after.get(name))
            for name in dict.fromkeys((*before, *after))
            if before.get(name) != after.get(name)
        },
        values=[name for name, value in new["variants"].items() if old["variants"].get(name, value) != value],
        redealt=redealt,
        keys=keys,
        beyond=beyond,
        named=people,
        route="" if now is None else now["name"],
        needs=list(new["prerequisites"]) if old["prerequisites"] == new["prerequisites"] else [],
    )


def _movement(old: Spec, new: Spec, was: Spec | None, now: Spec | None, at: float) -> tuple[Movement, bool]:
    """The movement, and whether the cards are dealt anew."""
    speak = _speaks(old, at) and _speaks(new, at)
    if was is not None and now is not None and was["name"] == now["name"] and speak:
        return movement_of(was, now, at), was["salt"] != now["salt"] or was["epoch"] != now["epoch"]
    modulus = None
    if was is not None and now is not None:
        one_family, other_family = family_of(was), family_of(now)
        modulus = common_modulus(one_family, other_family) if one_family and other_family else None
    one, other = _deal(old, was, at, modulus), _deal(new, now, at, modulus)
    anew = old["salt"] != new["salt"] or was is not now
    dealt = not one.killed and not other.killed
    return movement_between(one, other, anew=anew, others=(was is None) != (now is None)), anew and dealt


def _speaks(flag: Spec, at: float) -> bool:
    """Whether it is on, and not over."""
    return bool(flag["on"]) and lasts(flag, at)


def _deal(flag: Spec, route: Spec | None, at: float, modulus: int | None) -> Deal:
    """What the flag gives to units that no rule is about, and that have what it needs."""
    if not _speaks(flag, at):
        return Deal({}, flag["off"], killed=True)
    if route is not None:
        return deal_of(route, at, family_of(route), modulus)
    split: Mapping[str, float] = flag["split"] or {}
    return Deal(split, flag["default"], killed=not any(split.values()))
