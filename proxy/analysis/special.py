"""The few special functions that the tests need, in logarithms, so that evidence of any size has a number.

Incomplete beta: the continued fraction of the NIST Handbook (8.17.22), by the modified method of Lentz (Thompson and Barnett,
1986). It converges in a time that grows with the square root of its parameters: a million errors take half a millisecond.
Incomplete gamma: series and continued fraction (8.11.4, 8.9.2). Relative accuracy 1e-12 and better for parameters up to 1e4;
beyond, lgamma's own rounding shows, absolutely: 1e-9 in the logarithm at 1e6.
"""

from collections.abc import Iterable
from math import exp, expm1, inf, lgamma, log, log1p
from typing import Final

_TINY: Final = 1e-300
_ENOUGH: Final = 1e-15
_MOST_STEPS: Final = 1_000_000


def ln_beta(a: float, b: float) -> float:
    """ln B(a, b), for a and b above 0."""
    return lgamma(a) + lgamma(b) - lgamma(a + b)


def ln_incomplete_beta(x: float, a: float, b: float) -> tuple[float, float]:
    """ln I_x(a, b), regularized, and ln of its complement 1 - I_x(a, b): one of them is exact where the other is all but 0.

    Raises ValueError for x outside [0, 1], and for a or b that are not above 0.
    """
    if not 0.0 <= x <= 1.0 or a <= 0.0 or b <= 0.0:
        raise ValueError("x in [0, 1], a and b above 0")
    if x == 0.0:
        return -inf, 0.0
    if x == 1.0:
        return 0.0, -inf
    front = a * log(x) + b * log1p(-x) - ln_beta(a, b)
    if x * (a + b + 2.0) < a + 1.0:  # where the fraction converges quickly
        lower = front + log(_beta_fraction(x, a, b) / a)
        return lower, ln_complement(lower)
    upper = front + log(_beta_fraction(1.0 - x, b, a) / b)
    return ln_complement(upper), upper


def _beta_fraction(x: float, a: float, b: float) -> float:
    whole = 1.0 / _away_from_0(1.0 - (a + b) * x / (a + 1.0))
    numerator, denominator = 1.0, whole
    for step in range(1, _MOST_STEPS):
        twice = a + 2 * step
        even = step * (b - step) * x / ((twice - 1.0) * twice)
        denominator = 1.0 / _away_from_0(1.0 + even * denominator)
        numerator = _away_from_0(1.0 + even / numerator)
        whole *= denominator * numerator
        odd = -(a + step) * (a + b + step) * x / (twice * (twice + 1.0))
        denominator = 1.0 / _away_from_0(1.0 + odd * denominator)
        numerator = _away_from_0(1.0 + odd / numerator)
        factor = denominator * numerator
        whole *= factor
        if abs(factor - 1.0) < _ENOUGH:
            break
    return whole


def _away_from_0(value: float) -> float:
    return value if abs(value) > _TINY else _TINY


def ln_complement(logarithm: float) -> float:
    """ln(1 - exp(logarithm)), for a logarithm of at most 0 (what is above by rounding counts as 0)."""
    if logarithm >= 0.0:
        return -inf
    # Near 0 the difference is what counts, far below it the exponential is: ln 2 parts the two (Maechler, 2012).
    return log(-expm1(logarithm)) if logarithm > -0.6931471805599453 else log1p(-exp(logarithm))


def ln_sum(logarithms: Iterable[float]) -> float:
    """ln of the sum of exp(each). Nothing sums up to 0: -inf."""
    each = list(logarithms)
    highest = max(each, default=-inf)
    if highest in (inf, -inf):
        return highest
    return highest + log(sum(exp(one - highest) for one in each))


def ln_mean(logarithms: Iterable[float]) -> float:
    """ln of the mean of exp(each): the mean of e-values, which is an e-value. Raises ValueError for none."""
    each = list(logarithms)
    if not each:
        raise ValueError("the mean of nothing")
    return ln_sum(each) - log(len(each))


def chi_square_tail(value: float, freedom: float) -> float:
    """The chance that chi-square with so many degrees of freedom is at least `value`.

    Raises ValueError for a value below 0 and for degrees that are not above 0.
    """
    if value < 0.0 or freedom <= 0.0:
        raise ValueError("a value of 0 or more, degrees of freedom above 0")
    if value == 0.0:
        return 1.0
    a, x = freedom / 2.0, value / 2.0
    front = exp(a * log(x) - x - lgamma(a))
    if x < a + 1.0:
        term = total = 1.0 / a
        at = a
        while term > total * _ENOUGH:
            at += 1.0
            term *= x / at
            total += term
        return max(0.0, 1.0 - front * total)
    b = x + 1.0 - a
    numerator, denominator = 1.0 / _TINY, 1.0 / b
    whole = denominator
    for step in range(1, _MOST_STEPS):
        turn = -step * (step - a)
        b += 2.0
        denominator = 1.0 / _away_from_0(turn * denominator + b)
        numerator = _away_from_0(b + turn / numerator)
        factor = denominator * numerator
        whole *= factor
        if abs(factor - 1.0) < _ENOUGH:
            break
    return front * whole
