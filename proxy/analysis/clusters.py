"""Ratios of sums over units: errors per request, bytes per answer, the mean of ln latency. Their variance is that between units.

A user who errs errs again, and one who is far away is always slow. Requests are therefore not independent, units are, and the
variance of R = sum x_i / sum n_i over units i is, by the delta method (Deng, Knoblich and Lu, "Applying the delta method in metric
analytics", 2018),

    var R = m / (m - 1) sum (x_i - R n_i)^2 / (sum n_i)^2

which needs six sums over the units and no unit. They add up over workers that share no unit, and are kept up as a unit's own two
numbers grow.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from operator import mul
from typing import Self


@dataclass(frozen=True, slots=True)
class Clusters:
    """One version: units, sums of x and n over them, of x^2, x n and n^2. `affected`: units whose x is not 0."""

    units: int = 0
    total: float = 0.0
    weight: float = 0.0
    total_squared: float = 0.0
    crossed: float = 0.0
    weight_squared: float = 0.0
    affected: int = 0

    @classmethod
    def of(cls, totals: Iterable[float], weights: Iterable[float]) -> Self:
        """From the two numbers of each unit. A unit of weight 0 is none. Raises ValueError where there
        are more of the one than of the other."""
        x, n = list(totals), list(weights)
        if len(x) != len(n):
            raise ValueError("two numbers for each unit")
        if n and min(n) <= 0.0:
            kept = [place for place, weight in enumerate(n) if weight > 0.0]
            x, n = [x[place] for place in kept], [n[place] for place in kept]
        return cls(
            len(n), sum(x), sum(n), sum(map(mul, x, x)), sum(map(mul, x, n)), sum(map(mul, n, n)), len(x) - x.count(0.0)
        )

    def __add__(self, other: "Clusters") -> "Clusters":
        """Both, where no unit is in both."""
        return Clusters(
            self.units + other.units,
            self.total + other.total,
            self.weight + other.weight,
            self.total_squared + other.total_squared,
            self.crossed + other.crossed,
            self.weight_squared + other.weight_squared,
            self.affected + other.affected,
        )

    def grown(self, total: float, weight: float, more_total: float, more_weight: float) -> "Clusters":
        """One unit, which stood at `total` and `weight`, has grown by `more_...`. New is who stood at weight 0."""
        return Clusters(
            self.units + (not weight),
            self.total + more_total,
            self.weight + more_weight,
            self.total_squared + more_total * (2.0 * total + more_total),
            self.crossed + total * more_weight + more_total * (weight + more_weight),
            self.weight_squared + more_weight * (2.0 * weight + more_weight),
            self.affected + (not total and more_total != 0.0),
        )

    @property
    def ratio(self) -> float:
        """sum x / sum n; 0.0 without any n."""
        return self.total / self.weight if self.weight > 0.0 else 0.0

    @property
    def variance(self) -> float:
        """Of the ratio, between units; inf below two units."""
        if self.units < 2 or self.weight <= 0.0:
            return inf
        ratio = self.ratio
        squares = self.total_squared - 2.0 * ratio * self.crossed + ratio * ratio * self.weight_squared
        return max(squares, 0.0) / (self.weight * self.weight) * self.units / (self.units - 1)

    @property
    def spread(self) -> float:
        """How many units of equal weight would be as many (Kish): (sum n)^2 / sum n^2. Few, where a few carry the traffic."""
        return self.weight * self.weight / self.weight_squared if self.weight_squared > 0.0 else 0.0
