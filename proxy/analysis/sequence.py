"""Confidence sequences: an interval that holds at all looks at once, not at one.

An estimate with standard error se lies within

    se sqrt((1 + 1 / x) ln((1 + x) / alpha^2)),    x = c n / n*,    c = 2 ln(1 / alpha) + ln(1 + 2 ln(1 / alpha))

of the truth, for all n at once with a chance of at least 1 - alpha (normal mixture: Robbins, 1970; Howard, Ramdas, McAuliffe
and Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", 2021; with an estimated se: Waudby-Smith et
al., "Time-uniform central limit theory", 2023). It is narrowest, in standard errors, about n = n*, where it is 3.04 of them
for alpha = .05; an interval for one look would be 1.96. That is the price of looking whenever one likes.

What makes it hold is that x goes with the information, 1 / se^2. With a constant split the number of units does; over weights that
change, `effective` does. Where units are few and their requests many, neither does, and `around` takes 1 / se^2 itself.
"""

from dataclasses import dataclass
from math import inf, isfinite, log, sqrt
from typing import Final

BEST_AT: Final = 5000.0
"""n*: the number of units at which the interval is to be at its best."""


@dataclass(frozen=True, slots=True)
class Interval:
    """What is estimated, and where it lies with a confidence that was asked for, at all looks at once. Without data: anywhere."""

    estimate: float
    low: float = -inf
    high: float = inf

    @property
    def known(self) -> bool:
        """Whether it says anything."""
        return isfinite(self.low) or isfinite(self.high)


def half_width(error: float, units: float, alpha: float, best_at: float = BEST_AT) -> float:
    """Half the width of the interval with confidence 1 - alpha, for a standard error after so many units; inf before the first.

    Raises ValueError for a negative error or number of units, alpha outside (0, 1) and `best_at` that is not above 0.
    """
    if error < 0.0 or units < 0.0 or not 0.0 < alpha < 1.0 or best_at <= 0.0:
        raise ValueError("an error and units of 0 and more, alpha between 0 and 1, best_at above 0")
    twice = -2.0 * log(alpha)
    x = (twice + log(1.0 + twice)) * units / best_at
    if x <= 0.0:
        return inf
    return error * sqrt((1.0 + 1.0 / x) * (log(1.0 + x) + twice))


def effective(canary: float, others: float) -> float:
    """As many units, split evenly, would tell as much as so many at the canary and at the others: 4 / (1/n_c + 1/n_b)."""
    return 4.0 * canary * others / (canary + others) if canary > 0.0 and others > 0.0 else 0.0


def around(estimate: float, error: float, alpha: float, matters: float) -> Interval:
    """The interval around an estimate with this standard error, at its best where a difference of `matters` is just told from none.

    Without limits for an error that is 0 or not finite. Raises ValueError as half_width, and for `matters` that is not above 0.
    """
    if matters <= 0.0:
        raise ValueError("a difference that matters is above 0")
    if not 0.0 < error < inf:
        return Interval(estimate)
    width = half_width(error, 1.0 / (error * error), alpha, information_wanted(matters, alpha))
    return Interval(estimate, estimate - width, estimate + width)


def information_wanted(matters: float, alpha: float) -> float:
    """1 / se^2 at which the half-width of the interval is `matters`, at its best. For ln 2 and alpha .05 that is 19."""
    return (half_width(1.0, 1.0, alpha, 1.0) / matters) ** 2
