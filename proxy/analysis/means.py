"""The difference of two means, with an interval that holds at all looks (sequence.py): revenue per unit, bytes per answer, ln
latency.

Two kinds of mean: over units, each with one number (Moments), and per request, summed by unit (clusters.Clusters), whose
variance is that between units. The mean of ln latency is of the second kind: a difference of .18 is a canary that is 1.2
times as slow.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf, sqrt
from typing import Final, Self

from proxy.analysis.clusters import Clusters
from proxy.analysis.sequence import BEST_AT, Interval, around, effective, half_width

LEAST_UNITS: Final = 30.0
"""Units of each version before its variance is believed; of equal weight, where they differ (Clusters.spread)."""


@dataclass(frozen=True, slots=True)
class Moments:
    """One version: units, their mean, and the sum of squares around it (Welford, 1962), which does not cancel out."""

    units: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        """From each unit's number."""
        units, mean, squares = 0, 0.0, 0.0
        for value in values:
            units += 1
            off = value - mean
            mean += off / units
            squares += off * (value - mean)
        return cls(units, mean, squares)

    def __add__(self, other: "Moments") -> "Moments":
        """Both, where no unit is in both (Chan, Golub and LeVeque, 1979)."""
        units = self.units + other.units
        if not units:
            return self
        off = other.mean - self.mean
        return Moments(
            units,
            self.mean + off * other.units / units,
            self.squares + other.squares + off * off * self.units * other.units / units,
        )

    @property
    def variance(self) -> float:
        """Of the mean; inf below two units."""
        return self.squares / (self.units - 1) / self.units if self.units > 1 else inf


def difference(canary: Moments, others: Moments, alpha: float, best_at: float = BEST_AT) -> Interval:
    """Mean of the canary less that of the others; without limits below LEAST_UNITS, or where all numbers are the same.

    `best_at`: units at an even split at which the interval is best. Raises ValueError as half_width.
    """
    estimate = canary.mean - others.mean
    error = sqrt(canary.variance + others.variance)
    if min(canary.units, others.units) < LEAST_UNITS or not 0.0 < error < inf:
        return Interval(estimate)
    width = half_width(error, effective(canary.units, others.units), alpha, best_at)
    return Interval(estimate, estimate - width, estimate + width)


def clustered_difference(canary: Clusters, others: Clusters, alpha: float, matters: float) -> Interval:
    """The same of two ratios of sums over units; users who carry much of the traffic count as few (Clusters.spread).

    `matters`: the difference about which the interval is best. Raises ValueError as around.
    """
    estimate = canary.ratio - others.ratio
    if min(canary.spread, others.spread) < LEAST_UNITS:
        return Interval(estimate)
    return around(estimate, sqrt(canary.variance + others.variance), alpha, matters)
