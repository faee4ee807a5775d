"""Is one version slower? Over histograms whose edges all versions share (those of telemetry/counters, 5 % apart).

The band. The empirical distribution of n samples stays within u(n, alpha) of the true one, everywhere and for all n at once, with a
chance of at least 1 - alpha (Howard and Ramdas, "Sequential estimation of quantiles with applications to A/B testing and best-arm
identification", 2022):

    u(n, alpha) = .85 sqrt((ln ln(e n) + .8 ln(1612 / alpha)) / n)

It says how the whole distribution lies, and needs many samples for that: 78,000 before it says anything of a 99th percentile.

The exceedance. "Slower than T" is counted as an error is (error_rate): with units, the first time of each. T are fixed before the
rollout, from what the old version has shown (`thresholds`), and the evidence of several T is averaged: a mean of e-values is one.

Samples of one user hang together. The band and `quantile` take samples as independent: feed them where that holds, or read
them as a description. The exceedance over units needs no such thing.
"""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import inf, log, sqrt
from typing import Final

from proxy.analysis.error_rate import CONCENTRATIONS, ErrorRateTest, Stretch
from proxy.analysis.sequence import Interval
from proxy.analysis.special import ln_mean

EXCEEDED: Final[tuple[float, ...]] = (0.95, 0.99, 0.999)
"""Shares of the old version's samples that are quicker than each T."""


def band(samples: int, alpha: float) -> float:
    """u(n, alpha), a share; 1.0 where that says nothing, as before the first sample. Raises ValueError for alpha outside (0, 1)."""
    if not 0.0 < alpha < 1.0:
        raise ValueError("alpha between 0 and 1")
    if samples < 1:
        return 1.0
    return min(1.0, 0.85 * sqrt((log(1.0 + log(samples)) + 0.8 * log(1612.0 / alpha)) / samples))


@dataclass(frozen=True, slots=True)
class Slower:
    """Where the two distributions lie farthest apart: `by` is how much larger a share of the others is within `edge` seconds;
    `band`, how much of that chance may account for.
    """

    edge: float
    by: float
    band: float

    @property
    def proven(self) -> bool:
        """Whether it is more than chance may account for."""
        return self.by > self.band


def slower(
    canary: Sequence[int], others: Sequence[int], edges: Sequence[float], alpha: float, tolerated: float = 1.0
) -> Slower:
    """Whether the canary takes more than `tolerated` times as long, somewhere: F_b(x) - F_c(tolerated x), at every edge x.

    `canary` and `others` are counts by bucket, one more than there are edges: bucket i ends at edge i, the last is open. An edge
    between two others counts as the next, in favour of the canary. Raises ValueError where the numbers do not fit, and for a factor
    below 1.
    """
    _fitting(canary, edges)
    _fitting(others, edges)
    if tolerated < 1.0:
        raise ValueError("a tolerated factor of 1 or more")
    ours, theirs = list(accumulate(canary)), list(accumulate(others))
    width = band(theirs[-1], alpha / 2.0) + band(ours[-1], alpha / 2.0)
    if not ours[-1] or not theirs[-1]:
        return Slower(edges[0], 0.0, max(width, 1.0))
    apart = [
        theirs[at] / theirs[-1] - ours[min(bisect_left(edges, edge * tolerated * (1.0 - 1e-9)), len(edges))] / ours[-1]
        for at, edge in enumerate(edges)
    ]
    farthest = max(range(len(edges)), key=apart.__getitem__)
    return Slower(edges[farthest], apart[farthest], width)


def quantile(counts: Sequence[int], edges: Sequence[float], share: float, alpha: float) -> Interval:
    """The percentile at `share` in seconds, with an interval from the band. Values are edges: right to the width of a bucket.

    Beyond what is known the interval has no limit. Raises ValueError as slower, and for a share outside (0, 1).
    """
    _fitting(counts, edges)
    if not 0.0 < share < 1.0:
        raise ValueError("a share between 0 and 1")
    sums = list(accumulate(counts))
    if not sums[-1]:
        return Interval(0.0)
    width = band(sums[-1], alpha)
    low = 0.0 if share <= width else _edge_at(sums, edges, share - width, lower=True)
    high = inf if share + width > 1.0 else _edge_at(sums, edges, share + width, lower=False)
    return Interval(_edge_at(sums, edges, share, lower=False), low, high)


def _edge_at(sums: Sequence[int], edges: Sequence[float], share: float, *, lower: bool) -> float:
    bucket = bisect_left(sums, share * sums[-1])
    if lower:
        return edges[bucket - 1] if bucket else 0.0
    return edges[bucket] if bucket < len(edges) else inf


def _fitting(counts: Sequence[int], edges: Sequence[float]) -> None:
    if not edges or len(counts) != len(edges) + 1:
        raise ValueError("one count more than there are edges")


def thresholds(counts: Sequence[int], edges: Sequence[float], shares: Sequence[float] = EXCEEDED) -> list[float]:
    """The T to count by, seconds: the edges that such shares of the old version's samples are within. None twice, none beyond
    the edges.

    Taken before the rollout, and kept: T chosen by what the canary showed would be no test. Raises ValueError as slower.
    """
    _fitting(counts, edges)
    sums = list(accumulate(counts))
    if not sums[-1]:
        return []
    found = [_edge_at(sums, edges, share, lower=False) for share in shares]
    return [edge for edge in dict.fromkeys(found) if edge < inf]


class ExceedanceTest:
    """Several T at once. The evidence is the mean of theirs."""

    def __init__(
        self,
        times: Sequence[float],
        *,
        tolerated: float = 1.0,
        concentrations: Sequence[float] = CONCENTRATIONS,
    ) -> None:
        """`times` in seconds; `tolerated`, how many times as often the canary may exceed them.

        Raises ValueError for no time at all, and as ErrorRateTest.
        """
        if not times:
            raise ValueError("at least one time to exceed")
        self.times: Final = tuple(times)
        self._tests: Final = [ErrorRateTest(tolerated=tolerated, concentrations=concentrations) for _ in times]
        self._highest = 0.0

    def observe(self, stretches: Sequence[Stretch]) -> None:
        """For each T, what has exceeded it since the weights became what they are. Raises ValueError as ErrorRateTest.observe."""
        for test, stretch in zip(self._tests, stretches, strict=True):
            test.observe(stretch)
        self._highest = max(self._highest, self.ln_evidence)

    @property
    def ln_evidence(self) -> float:
        """ln of the mean E, as of now."""
        return ln_mean(test.ln_evidence for test in self._tests)

    @property
    def ln_highest(self) -> float:
        """ln of the highest that it has been: 1 / alpha there is a canary that is slower."""
        return self._highest

    def slower(self, alpha: float) -> bool:
        """Whether the mean E has ever reached 1 / alpha."""
        return self._highest >= -log(alpha)
