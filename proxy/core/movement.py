"""What share of units a new split moves, told beforehand and exactly.

With E_v independent exponentials, the old split gives a unit to the version with the smallest E_v / w_v and the new
one to the smallest E_v / w'_v. For a != b, put t = E_b / E_a. The unit goes from a to b when t lies between w_b / w_a
and w'_b / w'_a and every other E_v is above max(E_a w_v / w_a, E_b w'_v / w'_b); integrating over E_a leaves

    P(a -> b) = integral from w_b / w_a to w'_b / w'_a of dt / (1 + t + sum over v of max(w_v / w_a, t w'_v / w'_b))^2

whose denominator is linear between the points where a max changes sides, so each piece has a closed form. Summed up
this is one minus the probability Jaccard index (Moulton and Jiang, 2018), never above 2d / (1 + d) with d the total
variation.

Hash families of other systems cut a line into ranges instead. There a unit goes from a to b where the old range of a lies
over the new one of b.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf


@dataclass(frozen=True, slots=True)
class Movement:
    """Shares of all units, in [0, 1]. `pairs` maps (old version, new version) to the share that goes that way."""

    moved: float
    entering: dict[str, float]
    leaving: dict[str, float]
    pairs: dict[tuple[str, str], float]


def moved_share(
    old: Mapping[str, float],
    new: Mapping[str, float],
    *,
    old_default: str = "",
    new_default: str = "",
    anew: bool = False,
) -> Movement:
    """The expected movement between two splits, given as weights by version; a version that is not there has weight 0.

    Where all weights are 0 everybody is with the default (when not given: the first listed). `anew` means that the
    cards are dealt anew because the salt changed: old and new version are then independent. Raises ValueError for an
    empty split.
    """
    before = _dealt(old, old_default)
    after = _dealt(new, new_default)
    names = list(dict.fromkeys((*before, *after)))
    share_before = _shares(before)
    share_after = _shares(after)
    pairs: dict[tuple[str, str], float] = {}
    for a in before:
        for b in after:
            if a == b:
                continue
            share = share_before[a] * share_after[b] if anew else _pair(a, b, before, after, names)
            if share > 0.0:
                pairs[a, b] = share
    return _movement(pairs, names)


def moved_range_share(old: Sequence[tuple[str, float, float]], new: Sequence[tuple[str, float, float]]) -> Movement:
    """The movement between two ways to cut the same line: (version, from, up to but without), in the line's order.

    The ends are shares in [0, 1]. What one side gives to nobody moves nobody.
    """
    names = list(dict.fromkeys(name for name, _, _ in (*old, *new)))
    pairs: dict[tuple[str, str], float] = {}
    place = 0
    for a, low, high in old:
        # The last one looked at may reach into the next range of `old`.
        while place < len(new) and new[place][2] <= low:
            place += 1
        following = place
        while following < len(new) and new[following][1] < high:
            b, start, end = new[following]
            share = min(high, end) - max(low, start)
            if a != b and share > 0.0:
                pairs[a, b] = pairs.get((a, b), 0.0) + share
            following += 1
    return _movement(pairs, names)


def _movement(pairs: dict[tuple[str, str], float], names: list[str]) -> Movement:
    return Movement(
        moved=sum(pairs.values()),
        entering={name: sum(share for (_, b), share in pairs.items() if b == name) for name in names},
        leaving={name: sum(share for (a, _), share in pairs.items() if a == name) for name in names},
        pairs=pairs,
    )


def _dealt(split: Mapping[str, float], default: str) -> dict[str, float]:
    """The versions that get anybody, with weights scaled so that the largest is 1."""
    top = max(split.values(), default=0.0)
    if top > 0:
        # What is too small to be a number beside the largest weight gets nobody.
        return {name: weight / top for name, weight in split.items() if weight / top > 0}
    name = default or next(iter(split), "")
    if not name:
        raise ValueError("a split without versions has nobody to move")
    return {name: 1.0}


def _shares(split: Mapping[str, float]) -> dict[str, float]:
    total = sum(split.values())
    return {name: weight / total for name, weight in split.items()}


def _pair(a: str, b: str, old: Mapping[str, float], new: Mapping[str, float], names: list[str]) -> float:
    """P(a -> b). `a` has an old weight and `b` a new one."""
    low = old.get(b, 0.0) / old[a]
    high = new[b] / new[a] if new.get(a, 0.0) > 0 else inf
    if low >= high:
        return 0.0
    # max(alpha, t beta) of every other version: constant up to the point alpha / beta, rising after it.
    others = [(old.get(v, 0.0) / old[a], new.get(v, 0.0) / new[b]) for v in names if v not in {a, b}]
    points = sorted({alpha / beta for alpha, beta in others if beta > 0 and low < alpha / beta < high})
    edges = [low, *points, high]
    total = 0.0
    for left, right in pairwise(edges):
        middle = left + 1.0 if right == inf else (left + right) / 2
        constant = 1.0
        slope = 1.0
        for alpha, beta in others:
            if middle * beta > alpha:
                slope += beta
            else:
                constant += alpha
        if right == inf:
            total += 1.0 / (slope * (constant + slope * left))
        else:
            total += (right - left) / ((constant + slope * left) * (constant + slope * right))
    return total
