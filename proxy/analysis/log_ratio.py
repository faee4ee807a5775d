"""How many times the errors of the others does the canary have? An interval for the ratio, clustered by unit, to promote on.

The estimate is ln(R_c / R_b), R a version's errors per request. Its variance is var R_c / R_c^2 + var R_b / R_b^2, each over
units (clusters), and the interval is the confidence sequence of sequence.py. A canary may be promoted when the upper end lies
below ln r1, r1 the ratio that would be harmful; where the lower end lies above ln r0, it is worse than tolerated.

Unlike first errors (error_rate) this does not saturate: a user who errs twice as often errs twice as often for good.

All sums are of one stretch of constant weights. Were they added up over several, a canary that got its traffic in a bad hour
would look bad, and one that got it at night would look good: a new stretch begins anew, and is charged as such (Allowance,
`anew`).

A version without any error has no logarithm. The canary is therefore given one error more than it has, from a unit of its
own, before it may be promoted: with few errors the estimate is too high, and the interval is wide.
"""

from math import inf, log, sqrt
from typing import Final

from proxy.analysis.clusters import Clusters
from proxy.analysis.sequence import Interval, around

HARMFUL: Final = 2.0
"""r1: a canary with so many times the errors must not be promoted."""
LEAST_AFFECTED: Final = 20
"""Units with errors that a version needs before its variance is believed."""
LEAST_SPREAD: Final = 30.0
"""Units of equal weight (Clusters.spread) that each version needs."""


def log_ratio(canary: Clusters, others: Clusters, alpha: float, harmful: float = HARMFUL) -> Interval:
    """ln of the ratio of error rates, with its interval; without limits where too few units have erred.

    Raises ValueError for alpha outside (0, 1) and a harmful ratio that is not above 1.
    """
    if harmful <= 1.0:
        raise ValueError("a harmful ratio is above 1")
    if (
        min(canary.affected, others.affected) < LEAST_AFFECTED
        or min(canary.spread, others.spread) < LEAST_SPREAD
        or canary.total <= 0.0
        or others.total <= 0.0
    ):
        return Interval(log(canary.ratio / others.ratio) if canary.ratio > 0.0 and others.ratio > 0.0 else 0.0)
    estimate = log(canary.ratio / others.ratio)
    error = sqrt(canary.variance / canary.ratio**2 + others.variance / others.ratio**2)
    return around(estimate, error, alpha, log(harmful))


def upper_log_ratio(canary: Clusters, others: Clusters, alpha: float, harmful: float = HARMFUL) -> float:
    """The upper end, with the one error more: what promotion rests on. inf where too little is known; a canary without errors
    has one.

    Raises ValueError as log_ratio.
    """
    if harmful <= 1.0:
        raise ValueError("a harmful ratio is above 1")
    if others.affected < LEAST_AFFECTED or min(canary.spread, others.spread) < LEAST_SPREAD or others.total <= 0.0:
        return inf
    more = canary + Clusters(1, 1.0, 0.0, 1.0, 0.0, 0.0, 1)
    error = sqrt(more.variance / more.ratio**2 + others.variance / others.ratio**2)
    return around(log(more.ratio / others.ratio), error, alpha, log(harmful)).high
