"""The other judges: differences of shares and means, ranks, thresholds, burn rates, the sample ratio. As judging.py, for more
is worse.
"""

from collections.abc import Sequence
from math import isfinite, sqrt
from statistics import NormalDist
from typing import Final

from proxy.analysis import means, proportions
from proxy.analysis.budget import BETA, Allowance
from proxy.analysis.burn_rate import Burning
from proxy.analysis.rank import LEAST_POINTS, rank_test
from proxy.analysis.sample_ratio import ALARM
from proxy.analysis.sequence import Interval
from proxy.analysis.threshold import Limits, hold
from proxy.analysis.verdict import Outcome, Verdict
from proxy.analysis.words import percent, times_in_words

_QUANTILES: Final = NormalDist()
NOT_RANDOMISED: Final = "the units were not dealt by chance"


def judge_interval(
    metric: str,
    at_alpha: Interval,
    at_beta: Interval,
    samples: tuple[int, int],
    allowance: Allowance,
    *,
    tolerated: float,
    harmful: float,
    unit: str = "users",
    measure: str = "difference",
) -> Verdict:
    """A difference for which more is worse (negate where less is): fails where it lies above `tolerated`, passes where below
    `harmful`.

    Raises ValueError for a harmful difference that is not above the tolerated one.
    """
    if harmful <= tolerated:
        raise ValueError("the harmful difference is above the tolerated one")
    outcome: Outcome
    if at_alpha.low > tolerated:
        outcome, why = "fail", f"the difference is at least {at_alpha.low:.4g}, {tolerated:g} is tolerated"
    elif at_beta.high < harmful:
        outcome, why = "pass", f"the difference is at most {at_beta.high:.4g}, {harmful:g} would be harmful"
    elif at_beta.known:
        outcome, why = "insufficient", f"up to {at_beta.high:.4g} is possible, {harmful:g} would be harmful"
    else:
        outcome, why = "insufficient", f"too few {unit} yet"
    return Verdict(
        metric,
        outcome,
        f"{metric}: {at_alpha.estimate:+.4g}; {why} ({allowance.words})",
        measure,
        at_alpha.estimate,
        at_alpha.low if at_alpha.known else None,
        at_beta.high if at_beta.known else None,
        None,
        samples,
        unit,
        None if outcome == "insufficient" else 0.0,
        allowance.alpha,
    )


def judge_proportions(
    metric: str,
    canary: proportions.Share,
    others: proportions.Share,
    allowance: Allowance,
    *,
    tolerated: float = 0.0,
    harmful: float,
    beta: float = BETA,
    unit: str = "users",
) -> Verdict:
    """A share of units for which more is worse, as judge_interval."""
    return judge_interval(
        metric,
        proportions.difference(canary, others, allowance.alpha),
        proportions.difference(canary, others, beta),
        (canary.units, others.units),
        allowance,
        tolerated=tolerated,
        harmful=harmful,
        unit=unit,
        measure="difference of shares",
    )


def judge_means(
    metric: str,
    canary: means.Moments,
    others: means.Moments,
    allowance: Allowance,
    *,
    tolerated: float = 0.0,
    harmful: float,
    beta: float = BETA,
    unit: str = "users",
) -> Verdict:
    """A mean over units for which more is worse, as judge_interval."""
    return judge_interval(
        metric,
        means.difference(canary, others, allowance.alpha),
        means.difference(canary, others, beta),
        (canary.units, others.units),
        allowance,
        tolerated=tolerated,
        harmful=harmful,
        unit=unit,
        measure="difference of means",
    )


def judge_ranks(
    metric: str,
    canary: Sequence[float],
    others: Sequence[float],
    allowance: Allowance,
    *,
    look: int,
    harmful: float = 0.6,
    beta: float = BETA,
) -> Verdict:
    """Points by interval, more is worse; look number `look`, from 1. `harmful`: the chance that a canary's point is the higher.

    Passes where the effect lies below `harmful` by 1.6 standard errors, of the widest that a rank test can have. Raises
    ValueError for a harmful effect of .5 or less.
    """
    if harmful <= 0.5:
        raise ValueError("a harmful effect is above .5")
    ours, theirs = ([one for one in points if isfinite(one)] for points in (canary, others))
    samples = (len(ours), len(theirs))
    if min(samples) < LEAST_POINTS:
        why = f"{metric}: {samples[0]} and {samples[1]} points, {LEAST_POINTS} of each are the least"
        return Verdict(metric, "insufficient", why, samples=samples, unit="points", alpha=allowance.alpha)
    found, alpha = rank_test(ours, theirs), allowance.at_look(look)
    error = sqrt((samples[0] + samples[1] + 1) / (12.0 * samples[0] * samples[1]))
    high = min(1.0, found.effect + _QUANTILES.inv_cdf(1.0 - beta) * error)
    outcome: Outcome = "insufficient"
    why = "that may be chance"
    if found.p_higher <= alpha:
        outcome, why = "fail", f"chance alone would do that once in {times_in_words(found.p_higher)}"
    elif high < harmful:
        outcome, why = "pass", f"{percent(harmful)} would be harmful"
    pairs = f"the canary's point is the higher in {percent(found.effect)} of all pairs"
    return Verdict(
        metric,
        outcome,
        f"{metric}: {pairs}; {why} (look {look}: alpha {alpha:.2g}; {allowance.words})",
        "chance to be higher",
        found.effect,
        None,
        high,
        None,
        samples,
        "points",
        None if outcome == "insufficient" else 0.0,
        alpha,
    )


def judge_threshold(metric: str, values: Sequence[float], limits: Limits, *, randomised: bool = True) -> Verdict:
    """The last intervals against limits. There is no error budget in it. `randomised`: whether units were dealt by chance;
    not in rings.
    """
    outcome = hold(values, limits)
    newest = values[-limits.intervals :]
    there = [one for one in newest if isfinite(one)]
    bounds = " and ".join(
        f"{words} {limit:g}"
        for words, limit in (("at least", limits.least), ("at most", limits.most))
        if limit is not None
    )
    beyond = sum(1 for one in there if not limits.within(one))
    shown = f"{beyond} of {limits.intervals} intervals beyond {bounds}"
    lack = "" if len(there) == limits.intervals else f", {limits.intervals - len(there)} missing"
    return Verdict(
        metric,
        outcome,
        f"{metric}: {shown}{lack}; a plain threshold, of false alarms it says nothing"
        + ("" if randomised else f"; {NOT_RANDOMISED}"),
        "newest value",
        there[-1] if there else None,
        samples=(len(there), 0),
        unit="intervals",
        seconds=None if outcome == "insufficient" else 0.0,
    )


def judge_burning(metric: str, found: Burning) -> Verdict:
    """The burn rate against an objective."""
    window = found.window
    windows = f"over {window.long / 60:g} and {window.short / 60:g} min"
    return Verdict(
        metric,
        found.outcome,
        f"{metric}: the objective's budget burns {found.rate:.1f} times as fast as it may {windows}, {window.rate:g} fails",
        "times the objective's rate",
        found.rate if found.requests else None,
        samples=(found.requests, 0),
        unit="requests",
        seconds=None if found.outcome == "insufficient" else 0.0,
    )


def judge_sample_ratio(
    metric: str, log_bayes_factor: float, counts: tuple[int, int], least_units: int = 100
) -> Verdict:
    """Is the split what was asked for (sample_ratio)? If not, nothing else that was measured can be believed."""
    outcome: Outcome = "pass"
    why = "as it was asked for"
    if log_bayes_factor > ALARM:
        outcome, why = "fail", "not what was asked for: whatever else was measured may come of who was let in"
    elif sum(counts) < least_units:
        outcome, why = "insufficient", f"{least_units} units are the least"
    factor = min(log_bayes_factor, 700.0)
    return Verdict(
        metric,
        outcome,
        f"{metric}: {counts[0]} units at the canary, {counts[1]} at the others, {why}",
        "ln Bayes factor",
        factor,
        evidence=factor,
        samples=counts,
        seconds=None if outcome == "insufficient" else 0.0,
    )
