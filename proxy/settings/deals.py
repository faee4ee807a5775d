"""What a route does with units, in the numbers that movement is computed from; and how movement is told."""

from collections.abc import Mapping
from typing import Any, Final

from proxy.core.hash_families import Family, common_modulus, make_family, ranges_on_line
from proxy.core.movement import Deal, Movement, movement_between

Spec = dict[str, Any]

_SMALLEST: Final = 5e-7
_NOBODY: Final = "none"
"""Who serves where every version is killed."""


def weights_of(route: Spec) -> dict[str, float]:
    """By version."""
    return {one["name"]: one["weight"] for one in route["versions"]}


def lasts(entry: Spec, at: float) -> bool:
    """Whether what may end has not, at `at` in Unix seconds."""
    return not entry["until"] or entry["until"] > at


def deal_of(route: Spec, at: float, family: Family | None, modulus: int | None) -> Deal:
    """What the route does with units that no rule, ring or preview is about.

    `modulus` is that by which the line of its family is cut; absent: the family's own.
    """
    left = [one["name"] for one in route["versions"] if one["kill"] is None or not lasts(one["kill"], at)]
    default = route["default"] if route["default"] in left else next(iter(left), _NOBODY)
    if not route["unit"]:  # nobody is dealt: the default serves, whatever the weights
        return Deal({}, default, killed=True)
    holdout, layer = route["holdout"], route["layer"]
    modulus = family.modulus if family and modulus is None else modulus or 0
    names = [
        name if name in left else "" for name in weights_of(route)
    ]  # who would get what is killed takes part in a race
    return Deal(
        {name: weight for name, weight in weights_of(route).items() if name in left},
        default,
        None
        if holdout is None or not lasts(holdout, at)
        else (f"{holdout['salt']}\0{holdout['name']}", holdout["percent"] / 100),
        None if layer is None else (f"{layer['salt']}\0{layer['name']}", layer["from"] / 100, layer["to"] / 100),
        any(lasts(one, at) for one in route["kill"]),
        None if family is None else (f"{family.line} {modulus}", ranges_on_line(family, names, modulus)),
    )


def family_of(route: Spec) -> Family | None:
    """How another system deals the route's split; None where Tidegate does, and where nobody has a weight."""
    weights = list(weights_of(route).values())
    return make_family(route["hash"], weights) if route["hash"] and any(weights) else None


def movement_of(old: Spec, new: Spec, at: float) -> Movement:
    """The movement between two routes."""
    was, family = family_of(old), family_of(new)
    modulus = common_modulus(was, family) if was and family else None
    return movement_between(
        deal_of(old, at, was, modulus),
        deal_of(new, at, family, modulus),
        anew=old["salt"] != new["salt"] or old["epoch"] != new["epoch"],
        others=old["unit"] != new["unit"],
    )


def named_units(old: list[Spec], new: list[Spec]) -> int:
    """How many units are named by rules that are in one of the lists only."""
    bare = [[{key: value for key, value in rule.items() if key != "label"} for rule in rules] for rules in (old, new)]
    changed = [rule for one, other in (bare, bare[::-1]) for rule in one if rule not in other]
    return len({unit for rule in changed for unit in rule.get("units", ())})


def share_of(share: float) -> float:
    """A share without what rounding left of none, or above all."""
    return 0.0 if share < _SMALLEST else min(1.0, share)


def named(shares: Mapping[str, float]) -> dict[str, float]:
    """The shares that are more than what rounding left."""
    return {name: share for name, share in shares.items() if share >= _SMALLEST}


def percent(share: float) -> str:
    """A share in [0, 1] as people read it: 10 %, 0.05 %, 33.3 %."""
    return f"{share * 100:.3g} %"


def weights_told(weights: Mapping[str, tuple[float | None, float | None]]) -> str:
    """Weights that changed, by name, before and after: `stable 95 -> 90, canary 5 -> 10`."""
    return ", ".join(f"{name} {weight_as_read(old)} -> {weight_as_read(new)}" for name, (old, new) in weights.items())


def weight_as_read(weight: float | None) -> str:
    """A weight as people read it."""
    return "none" if weight is None else f"{weight:g}"
