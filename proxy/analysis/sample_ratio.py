"""Is the split what was asked for? A test that may be looked at after every unit.

Under the weights asked for, the counts of units by version are multinomial with shares theta. Against that stands a Dirichlet prior
around theta with concentration c, and the Bayes factor of the two is (Lindon and Malek, "Anytime-Valid Inference for Multinomial
Count Data", 2022)

    ln BF = lnG(A) - sum lnG(a_i) + sum lnG(a_i + x_i) - lnG(A + n) - sum x_i ln theta_i,    a = c theta, A = sum a_i

Where the split is right, BF is a martingale that starts at 1: the chance that it ever reaches b, however often one looks, is at
most 1 / b (Ville). A chi-square looked at again and again has no such bound.

One c sees one size of deviation: a large one needs many units before it believes anything, a small one needs large deviations. A
mean of martingales is a martingale, so the test averages several.
"""

from collections.abc import Sequence
from math import exp, inf, lgamma, log
from typing import Final

from proxy.analysis.special import chi_square_tail

CONCENTRATIONS: Final[tuple[float, ...]] = (10.0, 100.0, 1000.0, 10_000.0, 100_000.0)
"""What the prior is averaged over: from deviations of tens of percent in dozens of units to those of a percent in millions."""

ALARM: Final = log(1000.0)
"""ln BF from which on the split is held to be wrong: a false alarm once in a thousand splits, over their whole lives."""


def log_bayes_factor(counts: Sequence[int], shares: Sequence[float], concentration: float) -> float:
    """ln BF of one prior. `shares` sum to 1 and are above 0, one for each count.

    Raises ValueError where they do not fit together.
    """
    if len(counts) != len(shares) or not shares or min(shares) <= 0.0 or concentration <= 0.0:
        raise ValueError("a share above 0 for each count, and a concentration above 0")
    prior = [concentration * share for share in shares]
    total = sum(prior)
    units = sum(counts)
    return (
        lgamma(total)
        - lgamma(total + units)
        + sum(
            lgamma(a + count) - lgamma(a) - count * log(share)
            for a, count, share in zip(prior, counts, shares, strict=True)
        )
    )


def sample_ratio(counts: Sequence[int], weights: Sequence[float]) -> float:
    """ln BF against the split by `weights`, averaged over CONCENTRATIONS; 0.0 before the first unit.

    Weights are relative. A unit at a version of weight 0 cannot come of that split: infinite. Raises ValueError where there is
    not a weight for each count, or none above 0.
    """
    if len(counts) != len(weights) or min(weights, default=-1.0) < 0.0 or not any(weights):
        raise ValueError("a weight for each count, none below 0 and one above")
    if any(count and not weight for count, weight in zip(counts, weights, strict=True)):
        return inf
    total = sum(weights)
    dealt = [(count, weight / total) for count, weight in zip(counts, weights, strict=True) if weight]
    if len(dealt) == 1 or not any(count for count, _ in dealt):
        return 0.0
    by_version, shares = [count for count, _ in dealt], [share for _, share in dealt]
    factors = [log_bayes_factor(by_version, shares, one) for one in CONCENTRATIONS]
    highest = max(factors)
    return highest + log(sum(exp(one - highest) for one in factors) / len(factors))


def single_look(counts: Sequence[int], weights: Sequence[float]) -> float:
    """p of Pearson's chi-square, for one look at a split that is over. Looked at again and again it is wrong far more often
    than it says.

    Raises ValueError as sample_ratio.
    """
    if len(counts) != len(weights) or min(weights, default=-1.0) < 0.0 or not any(weights):
        raise ValueError("a weight for each count, none below 0 and one above")
    if any(count and not weight for count, weight in zip(counts, weights, strict=True)):
        return 0.0
    dealt = [(count, weight) for count, weight in zip(counts, weights, strict=True) if weight]
    units, total = sum(count for count, _ in dealt), sum(weight for _, weight in dealt)
    if len(dealt) == 1 or not units:
        return 1.0
    apart = sum((count - units * weight / total) ** 2 / (units * weight / total) for count, weight in dealt)
    return chi_square_tail(apart, len(dealt) - 1)
