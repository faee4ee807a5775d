"""The judges of errors and latency: from what was counted of a canary and the others to a verdict with its numbers and a
reason in words.

Each takes an Allowance (budget): what it may spend of the rollout's error budget. Those that rest on two tests give half to
each; of a two-sided interval only the lower end stops a canary, and half of what it was made for is what that end may err.
None passes for lack of evidence: a pass is an interval that lies below what would be harmful.
"""

from math import exp, inf, isfinite, log, sqrt

from proxy.analysis import means
from proxy.analysis.budget import BETA, Allowance
from proxy.analysis.clusters import Clusters
from proxy.analysis.error_rate import ErrorRateTest
from proxy.analysis.latency import ExceedanceTest, Slower
from proxy.analysis.log_ratio import HARMFUL, LEAST_AFFECTED, log_ratio, upper_log_ratio
from proxy.analysis.sequence import information_wanted
from proxy.analysis.sizes import seconds_to_abort, seconds_to_narrow
from proxy.analysis.verdict import Outcome, Verdict
from proxy.analysis.words import expected, middle, percent, times_in_words


def judge_errors(
    metric: str,
    first: ErrorRateTest,
    canary: Clusters,
    others: Clusters,
    allowance: Allowance,
    *,
    seconds: float,
    harmful: float = HARMFUL,
    beta: float = BETA,
    unit: str = "users",
) -> Verdict:
    """Errors: fail by first errors (error_rate) or by the clustered ratio (log_ratio), pass by the ratio alone.

    `canary` and `others` are errors and requests by unit, over the `seconds` so far. Raises ValueError for a harmful ratio
    that is not above the tolerated one.
    """
    if harmful <= first.tolerated:
        raise ValueError("the harmful ratio is above the tolerated one")
    half = allowance.alpha / 2.0
    found = log_ratio(canary, others, allowance.alpha, harmful)
    high = upper_log_ratio(canary, others, beta, harmful)
    evidence = first.ln_evidence
    effect = canary.ratio / others.ratio if canary.ratio > 0.0 and others.ratio > 0.0 else None
    rates = f"{percent(canary.ratio)} of the canary's requests failed, {percent(others.ratio)} of the others'"
    samples = (canary.units, others.units)

    def verdict(outcome: Outcome, why: str, seconds_left: float | None) -> Verdict:
        return Verdict(
            metric,
            outcome,
            f"{metric}: {rates}; {why} ({allowance.words})",
            "times the errors",
            effect,
            exp(found.low) if isfinite(found.low) else None,
            exp(high) if isfinite(high) else None,
            evidence,
            samples,
            unit,
            seconds_left,
            allowance.alpha,
        )

    if first.worse(half):
        return verdict("fail", f"chance alone would do that once in {times_in_words(first.p)}", 0.0)
    if found.low > log(first.tolerated):
        return verdict("fail", f"that is at least {exp(found.low):.2f} times the errors", 0.0)
    if high < log(harmful):
        return verdict("pass", f"at most {exp(high):.2f} times the errors, {harmful:g} would be harmful", 0.0)
    if not canary.units or not others.units:
        return verdict("insufficient", "a version has had no traffic", None)
    left = _left(canary, others, allowance.alpha, beta, (first.tolerated, harmful), seconds)
    if isfinite(high):
        why = f"up to {exp(high):.2f} times the errors is possible, {harmful:g} would be harmful"
    else:
        why = f"too few {unit} have met an error yet"
    return verdict("insufficient", f"{why}{expected(left)}", left)


def _left(
    canary: Clusters,
    others: Clusters,
    alpha: float,
    beta: float,
    limits: tuple[float, float],
    seconds: float,
) -> float | None:
    """Seconds until the interval lies above the tolerated ratio or below the harmful one, if all goes on as it has.

    None where nobody can say: where a version has no errors yet, or the ratio lies where it will take a thousand times as long.
    """
    if canary.total <= 0.0 or others.total <= 0.0 or seconds <= 0.0:
        return None
    estimate = log(canary.ratio / others.ratio)
    error = sqrt(canary.variance / canary.ratio**2 + others.variance / others.ratio**2)
    if not isfinite(error) or error <= 0.0:
        return None

    def until(level: float, distance: float) -> float:
        # The half-width at its best, which falls nearly with the root of the time.
        width = sqrt(information_wanted(1.0, level)) * error
        return seconds_to_narrow(lambda times: width / sqrt(times), distance, seconds)

    least = min(until(beta, log(limits[1]) - estimate), until(alpha, estimate - log(limits[0])))
    believed = seconds * (LEAST_AFFECTED / others.affected - 1.0)  # before that there is no interval
    return max(least, believed) if isfinite(least) else None


def judge_latency(
    metric: str,
    over: ExceedanceTest,
    canary: Clusters,
    others: Clusters,
    allowance: Allowance,
    *,
    seconds: float,
    tolerated: float = 1.0,
    harmful: float = 1.2,
    beta: float = BETA,
    unit: str = "users",
) -> Verdict:
    """Latency: `canary` and `others` are sums of ln seconds by unit. Fails by exceedance, or by the factor between the two means.

    Passes where that factor lies below `harmful`. Raises ValueError for a harmful factor that is not above the tolerated one.
    """
    if not 0.0 < tolerated < harmful:
        raise ValueError("the harmful factor is above the tolerated one")
    half, matters = allowance.alpha / 2.0, log(harmful)
    found = means.clustered_difference(canary, others, allowance.alpha, matters)
    careful = means.clustered_difference(canary, others, beta, matters)
    outcome: Outcome
    middles = f"the canary takes {middle(canary)} in the (geometric) mean, the others {middle(others)}"
    left = None
    if over.slower(half):
        chance = times_in_words(exp(-over.ln_highest))
        outcome, why = "fail", f"more of its {unit} wait long than chance alone would make of it once in {chance}"
    elif found.low > log(tolerated):
        outcome, why = "fail", f"it is at least {exp(found.low):.2f} times as slow"
    elif careful.high < log(harmful):
        outcome, why = "pass", f"it is at most {exp(careful.high):.2f} times as slow, {harmful:g} would be harmful"
    elif not careful.known:
        outcome, why = "insufficient", f"too few {unit} yet"
    else:
        outcome = "insufficient"
        error = sqrt(canary.variance + others.variance)
        need = sqrt(information_wanted(1.0, beta)) * error
        least = min(
            seconds_to_narrow(lambda times: need / sqrt(times), log(harmful) - found.estimate, seconds),
            seconds_to_narrow(lambda times: need / sqrt(times), found.estimate - log(tolerated), seconds),
        )
        left = least if isfinite(least) else None
        why = f"up to {exp(careful.high):.2f} times as slow is possible, {harmful:g} would be harmful{expected(left)}"
    return Verdict(
        metric,
        outcome,
        f"{metric}: {middles}; {why} ({allowance.words})",
        "times as slow",
        exp(found.estimate) if canary.units and others.units else None,
        exp(found.low) if found.known else None,
        exp(careful.high) if careful.known else None,
        over.ln_evidence,
        (canary.units, others.units),
        unit,
        left if outcome == "insufficient" else 0.0,
        allowance.alpha,
    )


def judge_band(metric: str, found: Slower, samples: tuple[int, int], allowance: Allowance) -> Verdict:
    """The whole distribution. A band can show that a canary is slower; that it is not, nobody can show without a tolerance:
    insufficient.
    """
    share = (
        f"{percent(max(found.by, 0.0))} more of the others' requests than of the canary's are within {found.edge:.3g} s"
    )
    proven = found.proven
    why = f"chance may account for {percent(min(found.band, 1.0))}"
    return Verdict(
        metric,
        "fail" if proven else "insufficient",
        f"{metric}: {share}; {why} ({allowance.words})",
        "share that is slower",
        found.by,
        found.by - found.band,
        found.by + found.band,
        None,
        samples,
        "requests",
        0.0 if proven else None,
        allowance.alpha,
    )


def seconds_until_abort(
    first: ErrorRateTest, allowance: Allowance, share: float, ratio: float, errors_per_second: float
) -> float:
    """When the test over first errors would stop a canary with `ratio` times the errors. inf: never. Raises as seconds_to_abort."""
    if ratio <= first.tolerated:
        return inf
    return seconds_to_abort(first.ln_evidence, allowance.alpha / 2.0, share, ratio, errors_per_second, first.tolerated)
