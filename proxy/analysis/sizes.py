"""How much, how long: samples and errors that a decision needs, and the time until there are so many.

For a plan that is made before the rollout, and for the "expected in 40 min" of a verdict. Estimates, to a factor of two: what
is really needed depends on what really happens.
"""

from collections.abc import Callable
from math import ceil, inf, log, log1p
from statistics import NormalDist
from typing import Final

from proxy.analysis.error_rate import share_under

_NORMAL: Final = NormalDist()
_FARTHEST: Final = 1024.0
CAREFUL: Final = 1.5
"""The test of error_rate needs 1 to 1.5 times what the best test for a known ratio would (bench/RESULTS-judges.md)."""


def units_needed(baseline: float, canary: float, share: float, alpha: float = 0.05, power: float = 0.8) -> int:
    """Units in all, both versions, for one look that finds such a difference of shares with chance `power` (two-sided alpha).

    Raises ValueError for shares outside (0, 1) and equal ones: nothing tells those apart.
    """
    if not (0.0 < share < 1.0 and 0.0 < baseline < 1.0 and 0.0 < canary < 1.0) or baseline == canary:
        raise ValueError("shares between 0 and 1, and two that differ")
    quantiles = _NORMAL.inv_cdf(1.0 - alpha / 2.0) + _NORMAL.inv_cdf(power)
    spread = baseline * (1.0 - baseline) / (1.0 - share) + canary * (1.0 - canary) / share
    return ceil(quantiles * quantiles * spread / (canary - baseline) ** 2)


def gain_per_error(share: float, ratio: float, tolerated: float = 1.0) -> float:
    """What an error adds to ln E at best, where the canary has `ratio` times the errors: the divergence KL(theta, w).

    0.0 for a ratio that is tolerated. Raises ValueError as share_under.
    """
    expected, true = share_under(share, tolerated), share_under(share, ratio)
    if true <= expected:
        return 0.0
    return true * log(true / expected) + (1.0 - true) * (log1p(-true) - log1p(-expected))


def errors_needed(share: float, ratio: float, alpha: float = 0.01, tolerated: float = 1.0) -> float:
    """Errors of both versions until E reaches 1 / alpha, for the best test of that ratio; ours takes 1 to 1.5 times as many,
    one with a single k up to 4 times.

    inf for a ratio that is tolerated. Raises ValueError as share_under.
    """
    gain = gain_per_error(share, ratio, tolerated)
    return -log(alpha) / gain if gain > 0.0 else inf


def share_at_most(units: int, alpha: float = 0.05) -> float:
    """None of so many units did it: an upper bound of the share that do, about 3 / n. 1.0 without units."""
    return 1.0 - alpha ** (1.0 / units) if units > 0 else 1.0


def seconds_to_abort(
    evidence: float, alpha: float, share: float, ratio: float, errors_per_second: float, tolerated: float = 1.0
) -> float:
    """Until E reaches 1 / alpha, from ln E `evidence`, if the canary goes on with `ratio` times the errors. inf: never.

    `errors_per_second`: of all versions, of the unit that is counted. Raises ValueError as share_under.
    """
    missing = -log(alpha) - evidence
    if missing <= 0.0:
        return 0.0
    gain = gain_per_error(share, ratio, tolerated) * errors_per_second
    return CAREFUL * missing / gain if gain > 0.0 else inf


def seconds_to_narrow(width: Callable[[float], float], wanted: float, seconds: float) -> float:
    """Until an interval is narrow enough, if information goes on coming as it has in the `seconds` so far.

    `width(times)` is its half-width after so many times the time, which falls with it. Right to one in a hundred; inf where it
    will not be a thousand times on.
    """
    if wanted <= 0.0 or seconds <= 0.0 or width(_FARTHEST) > wanted:
        return inf
    low, high = 1.0, 1.0
    while width(high) > wanted and high < _FARTHEST:
        low, high = high, high * 2.0
    for _ in range(8):  # to half of one in a hundred
        middle = (low + high) / 2.0
        low, high = (middle, high) if width(middle) > wanted else (low, middle)
    return (high - 1.0) * seconds
