"""What share of units a new split moves, told beforehand and exactly.

With E_v independent exponentials, the old split gives a unit to the version with the smallest E_v / w_v and the new
one to the smallest E_v / w'_v. For a != b, put t = E_b / E_a. The unit goes from a to b when t lies between w_b / w_a
and w'_b / w'_a and every other E_v is above max(E_a w_v / w_a, E_b w'_v / w'_b); integrating over E_a leaves

    P(a -> b) = integral from w_b / w_a to w'_b / w'_a of dt / (1 + t + sum over v of max(w_v / w_a, t w'_v / w'_b))^2

whose denominator is linear between the points where a max changes sides, so each piece has a closed form. Summed up
this is one minus the probability Jaccard index (Moulton and Jiang, 2018), never above 2d / (1 + d) with d the total
variation.

Who is held out, and who is where in a layer, is hashed for itself and so is independent of the draw: units are then of four
kinds (dealt before and after, before only, after only, never), and each kind's share is known.

Hash families of other systems cut a line into ranges instead. There a unit goes from a to b where the old range of a lies
over the new one of b; two that do not cut the same line are independent. Who is in the range of a version that is killed takes
part in a race among the others, which is independent of the line.
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


Range = tuple[str, float, float]
"""A version and the part of a line it has: from, and up to but without, as shares in [0, 1]. "" stands for a race."""


@dataclass(frozen=True, slots=True)
class Deal:
    """What a route does with units that no rule, ring or preview is about.

    `weights` by version, without those that are killed; `default` is who serves where nothing is dealt. A holdout is
    (what it hashes with, share held out), a layer's part (what it hashes with, from, to); shares are in [0, 1]. `killed`
    says that everybody gets the default. A cut is another system's: (what it hashes with, ranges in the line's order).
    """

    weights: Mapping[str, float]
    default: str
    holdout: tuple[str, float] | None = None
    layer: tuple[str, float, float] | None = None
    killed: bool = False
    cut: tuple[str, Sequence[Range]] | None = None


def movement_between(old: Deal, new: Deal, *, anew: bool = False, others: bool = False) -> Movement:
    """The expected movement from one deal to another.

    `anew` means that the race is run anew, `others` that units are others altogether, so that nothing of theirs is as
    before. Raises ValueError for a deal with nobody to get anything.
    """
    drawn = _drawn(old, new, anew=anew, others=others)
    before: dict[str, float] = {}
    after: dict[str, float] = {}
    for (a, b), share in drawn.items():
        before[a] = before.get(a, 0.0) + share
        after[b] = after.get(b, 0.0) + share
    was, now, both = _dealt_shares(old, new, others=others)
    pairs: dict[tuple[str, str], float] = {}

    def move(a: str, b: str, share: float) -> None:
        if a != b and share > 0.0:
            pairs[a, b] = pairs.get((a, b), 0.0) + share

    for (a, b), share in drawn.items():
        move(a, b, share * both)
    for a, share in before.items():
        move(a, new.default, share * (was - both))
    for b, share in after.items():
        move(old.default, b, share * (now - both))
    move(old.default, new.default, 1.0 - was - now + both)
    return _movement(pairs, list(dict.fromkeys((*before, old.default, *after, new.default))))


def _drawn(old: Deal, new: Deal, *, anew: bool, others: bool) -> dict[tuple[str, str], float]:
    """The shares of those who are dealt, by old and new version. Who stays is among them."""
    before = _shares(_dealt(old.weights, old.default))
    after = _shares(_dealt(new.weights, new.default))
    raced = dict(
        moved_share(
            old.weights, new.weights, old_default=old.default, new_default=new.default, anew=anew or others
        ).pairs
    )
    for a, share in before.items():
        raced[a, a] = max(0.0, share - sum(moved for (left, _), moved in raced.items() if left == a))
    if old.cut is None and new.cut is None:
        return raced
    drawn: dict[tuple[str, str], float] = {}
    for (a, b), share in _overlaps(old, new, others=others).items():
        if a and b:
            both = {(a, b): 1.0}
        elif a:
            both = {(a, name): part for name, part in after.items()}
        elif b:
            both = {(name, b): part for name, part in before.items()}
        else:
            both = raced
        for pair, part in both.items():
            drawn[pair] = drawn.get(pair, 0.0) + share * part
    return drawn


def _overlaps(old: Deal, new: Deal, *, others: bool) -> dict[tuple[str, str], float]:
    """How much of the line is whose before and after; "" stands for a race."""
    before: Sequence[Range] = old.cut[1] if old.cut else [("", 0.0, 1.0)]
    after: Sequence[Range] = new.cut[1] if new.cut else [("", 0.0, 1.0)]
    found: dict[tuple[str, str], float] = {}
    if not (old.cut and new.cut and old.cut[0] == new.cut[0]) or others:
        for a, low, high in before:
            for b, start, end in after:
                found[a, b] = found.get((a, b), 0.0) + (high - low) * (end - start)
        return found
    place = 0
    for a, low, high in before:
        while place < len(after) and after[place][2] <= low:
            place += 1
        following = place
        while following < len(after) and after[following][1] < high:
            b, start, end = after[following]
            share = min(high, end) - max(low, start)
            found[a, b] = found.get((a, b), 0.0) + max(0.0, share)
            following += 1
    return found


def _dealt_shares(old: Deal, new: Deal, *, others: bool) -> tuple[float, float, float]:
    """The shares of units that are dealt before, after, and both before and after."""
    out_before = old.holdout[1] if old.holdout else 0.0
    out_after = new.holdout[1] if new.holdout else 0.0
    free = (1.0 - out_before) * (1.0 - out_after)
    if old.holdout and new.holdout and old.holdout[0] == new.holdout[0] and not others:
        free = 1.0 - max(out_before, out_after)  # the smaller holdout is within the larger
    in_before = old.layer[2] - old.layer[1] if old.layer else 1.0
    in_after = new.layer[2] - new.layer[1] if new.layer else 1.0
    inside = in_before * in_after
    if old.layer and new.layer and old.layer[0] == new.layer[0] and not others:
        inside = max(0.0, min(old.layer[2], new.layer[2]) - max(old.layer[1], new.layer[1]))
    was = 0.0 if old.killed else (1.0 - out_before) * in_before
    now = 0.0 if new.killed else (1.0 - out_after) * in_after
    return was, now, 0.0 if old.killed or new.killed else free * inside


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
