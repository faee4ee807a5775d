"""Mann-Whitney: are the canary's points higher than the others'? By ranks alone, so that the unit of measure cannot matter.

For points that come one an interval, such as the mean latency of ten seconds. U counts the pairs in which the canary is higher,
ties half. Where few points are there, its distribution is counted out, ties included; beyond, the normal approximation is used,
corrected for ties and continuity (Mann and Whitney, 1947; Lehmann, "Nonparametrics", 1975). The effect is U / (m n): the
chance that a point of the canary is higher than one of the others, .5 where there is no difference.

It is a test for one look. Who looks more often shares alpha among the looks (budget), and points that follow each other closely are
not independent: the intervals should be long beside what makes the metric drift.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from math import comb, isnan, sqrt
from statistics import NormalDist
from typing import Final

LEAST_POINTS: Final = 5
"""Of each version, for a verdict: of 4 and 4, no order at all would be rare enough for alpha .01."""
_MOST_WORK: Final = 60_000
"""Steps of counting out: about 5 ms."""
_NORMAL: Final = NormalDist()


@dataclass(frozen=True, slots=True)
class Ranked:
    """U of the canary, and how often chance would make it as large (`p_higher`), as small (`p_lower`), or as far off (`p`)."""

    u: float
    p_higher: float
    p_lower: float
    p: float
    effect: float
    exact: bool


def rank_test(canary: Sequence[float], others: Sequence[float], *, exact: bool | None = None) -> Ranked:
    """Compare. `exact` None: where it is cheap. Points that are not a number are left out.

    Raises ValueError where a version has no points.
    """
    ours = [value for value in canary if not isnan(value)]
    theirs = [value for value in others if not isnan(value)]
    if not ours or not theirs:
        raise ValueError("at least one point of each version")
    m, n = len(ours), len(theirs)
    ranked = average_ranks([*ours, *theirs])
    u = sum(ranked[:m]) - m * (m + 1) / 2.0
    ties = [sum(1 for _ in same) for _, same in groupby(sorted(ranked))]
    if exact is None:
        exact = len(ties) * min(m, n) * (m + n) * (m + n + 1) <= _MOST_WORK
    higher, lower = _counted_out(u, m, n, ties) if exact else _approximated(u, m, n, ties)
    return Ranked(u, higher, lower, min(1.0, 2.0 * min(higher, lower)), u / (m * n), exact)


def average_ranks(values: Sequence[float]) -> list[float]:
    """The rank of each, from 1; equal ones share the mean of theirs."""
    order = sorted(range(len(values)), key=values.__getitem__)
    ranks = [0.0] * len(values)
    first = 0
    while first < len(order):
        end = first + 1
        while end < len(order) and values[order[end]] == values[order[first]]:
            end += 1
        for place in range(first, end):
            ranks[order[place]] = (first + 1 + end) / 2.0
        first = end
    return ranks


def _counted_out(u: float, m: int, n: int, ties: Sequence[int]) -> tuple[float, float]:
    """Over all ways to draw m of the ranks: how often U is at least, and at most, what it is. Twice the rank sum is whole."""
    small = min(m, n)
    ways: list[dict[int, int]] = [{0: 1}] + [{} for _ in range(small)]
    below = 0
    for size in ties:
        twice = 2 * below + size + 1  # the shared rank of the group
        for drawn in range(small, 0, -1):
            into = ways[drawn]
            for more in range(1, min(size, drawn) + 1):
                times, further = comb(size, more), more * twice
                for total, count in ways[drawn - more].items():
                    into[total + further] = into.get(total + further, 0) + count * times
        below += size
    of_small = u if m <= n else m * n - u
    reached = round(2.0 * of_small) + small * (small + 1)
    everything = comb(m + n, small)
    high = sum(count for total, count in ways[small].items() if total >= reached) / everything
    low = sum(count for total, count in ways[small].items() if total <= reached) / everything
    return (high, low) if m <= n else (low, high)


def _approximated(u: float, m: int, n: int, ties: Sequence[int]) -> tuple[float, float]:
    everybody = m + n
    tied = sum(size**3 - size for size in ties)
    variance = m * n / 12.0 * (everybody + 1 - tied / (everybody * (everybody - 1)))
    if variance <= 0.0:
        return 1.0, 1.0  # all points are equal
    off, sigma = u - m * n / 2.0, sqrt(variance)
    return _NORMAL.cdf(-(off - 0.5) / sigma), _NORMAL.cdf((off + 0.5) / sigma)
