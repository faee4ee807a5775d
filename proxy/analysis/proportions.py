"""Of so many units, how many did it? The difference of two shares, with an interval that holds at all looks (sequence.py).

For what a unit does or does not do: buys, signs in, sees an error. se^2 = p_c (1 - p_c) / n_c + p_b (1 - p_b) / n_b, where
each p has one of each kind added, so that a version of which nothing is seen yet is not taken for certain.
"""

from dataclasses import dataclass
from math import sqrt

from proxy.analysis.sequence import BEST_AT, Interval, effective, half_width


@dataclass(frozen=True, slots=True)
class Share:
    """`hits` of `units`. Raises ValueError for more hits than units, and below 0."""

    hits: int
    units: int

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.units:
            raise ValueError("hits from 0 to the number of units")

    def __add__(self, other: "Share") -> "Share":
        """Both, where no unit is in both."""
        return Share(self.hits + other.hits, self.units + other.units)

    @property
    def value(self) -> float:
        """The share; 0.0 of none."""
        return self.hits / self.units if self.units else 0.0

    @property
    def variance(self) -> float:
        """Of the share. Raises ZeroDivisionError without units."""
        careful = (self.hits + 1.0) / (self.units + 2.0)
        return careful * (1.0 - careful) / self.units


def difference(canary: Share, others: Share, alpha: float, best_at: float = BEST_AT) -> Interval:
    """Share of the canary less that of the others; without limits where one of them has no units.

    `best_at`: units at an even split at which the interval is best. Raises ValueError as half_width.
    """
    estimate = canary.value - others.value
    if not canary.units or not others.units:
        return Interval(estimate)
    width = half_width(sqrt(canary.variance + others.variance), effective(canary.units, others.units), alpha, best_at)
    return Interval(estimate, max(estimate - width, -1.0), min(estimate + width, 1.0))
