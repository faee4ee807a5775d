"""One metric, one judge of units: what the numbers of a step say of it. Pure; the tests themselves are in analysis/, and the judges
that go by requests and points in judging_points.py.

Every function takes the metric as the plan has it, the evidence, and what the metric may use of the error budget, and makes a
verdict with its numbers. What is lacking, misspelt or not a number is insufficient, and never a pass.
"""

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from math import exp, inf, isfinite, log, nan, sqrt
from typing import Any, Final

from proxy.analysis.budget import Allowance
from proxy.analysis.clusters import Clusters
from proxy.analysis.error_rate import ErrorRateTest, Stretch
from proxy.analysis.log_ratio import LEAST_AFFECTED, log_ratio, upper_log_ratio
from proxy.analysis.means import Moments, clustered_difference
from proxy.analysis.means import difference as mean_difference
from proxy.analysis.proportions import Share, difference
from proxy.analysis.sample_ratio import sample_ratio
from proxy.analysis.sequence import Interval
from proxy.analysis.sizes import seconds_to_abort, seconds_to_narrow
from proxy.analysis.special import ln_mean
from proxy.analysis.verdict import Outcome, Verdict
from proxy.rollout.evidence import Evidence
from proxy.telemetry.counters import FINE_EDGES

Metric = Mapping[str, Any]

NEGLIGIBLE: Final = 0.01
"""`negligible` of a plan that was frozen before there was the key. So many more units with an error (or a slow answer), as a share
of all, harm nobody: where the old version has next to none, a ratio says nothing, and this is what the new one is let through on.
Not where the ratio can be told and is a harmful one, and not while first errors speak against it, with what `beta` may err."""
FEW: Final = 1000.0
"""Units at which the interval for that is best."""
FOUND: Final = 0.1
"""A share of the other's mean: about a difference of so much the interval that fails is best, where less is tolerated."""
LEAST_REQUESTS: Final = 100
"""Requests of the new version for a plain comparison."""
FEWEST: Final = 3
"""Units with an error that make a plain comparison fail, where units are known: one client that tries again and again is
no fault of a version."""
CLEARLY: Final = 4.0
"""Standard errors by which a plain comparison must be beyond its limit to fail: it is looked at again and again, and errors of one
user come together."""
MISMATCH: Final = log(1000.0)
LEAST_FOR_RATIO: Final = 100
"""Units before a split is called right."""


def error_rate(
    metric: Metric, evidence: Evidence, allowance: Allowance, beta: float, highest: float, steps: int = 1
) -> Verdict:
    """Has the new version more units with errors? Abort on first errors or on the clustered ratio of all, with half of the metric's
    alpha each; promote on the ratio alone.

    `highest`: the highest that ln E has been at earlier looks. `steps`: how many there are, for the ratio is of one step's traffic
    and begins anew with each.
    """
    return _ratio(metric, evidence, allowance, beta, highest, steps, [(0, "errors")], "errors")


def exceedance(
    metric: Metric, evidence: Evidence, allowance: Allowance, beta: float, highest: float, steps: int = 1
) -> Verdict:
    """Has it more units with slow answers? The evidence of several times is averaged, their ratios share their half of alpha, and
    each must let it through."""
    places = [(1 + place, f"slow:{edge!r}") for place, edge in enumerate(evidence.slow) if edge in metric["above"]]
    if len(places) < len(metric["above"]):
        return lacking(metric, "its times are not counted yet", allowance)
    return _ratio(metric, evidence, allowance, beta, highest, steps, places, "slow answers")


def _ratio(
    metric: Metric,
    evidence: Evidence,
    allowance: Allowance,
    beta: float,
    highest: float,
    steps: int,
    places: Sequence[tuple[int, str]],
    what: str,
) -> Verdict:
    new, other = evidence.version(evidence.new), evidence.version(evidence.reference)
    name, harmful, tolerated = metric["name"], float(metric["harmful"]), float(metric["tolerate"])
    if not evidence.randomised:
        return _as_it_is(metric, evidence, [place for place, _ in places], what)
    tests, firsts, share = [], (0, 0), 0.0
    for place, _ in places:
        test = ErrorRateTest(tolerated=tolerated)
        ours = theirs = 0
        for stretch in evidence.stretches:
            share_then = stretch.share(evidence.new, [evidence.reference])
            if not 0.0 < share_then < 1.0:
                continue
            share = share_then
            more, less = stretch.first(evidence.new, place), stretch.first(evidence.reference, place)
            test.observe(Stretch(share_then, more, less))
            test.turn()
            ours, theirs = ours + more, theirs + less
        tests.append(test)
        firsts = max(firsts, (ours, theirs), key=sum)
    ln_e = ln_mean([test.ln_evidence for test in tests])
    reached = max(highest, ln_e)
    samples = (new.units << new.level, other.units << other.level)
    pairs = [(new.sums.get(column, Clusters()), other.sums.get(column, Clusters())) for _, column in places]
    effect = max((_times(ours, theirs) for ours, theirs in pairs), default=nan)
    shown = effect if isfinite(effect) else None  # where nobody has any, there is no ratio
    counted = f"{what} of {firsts[0]} units at `{evidence.new}` and {firsts[1]} at `{evidence.reference}`"
    half = allowance.alpha / 2.0
    lowest = _lower(pairs, charged(half / steps, evidence.level), harmful)
    narrow = charged(beta, evidence.level)
    low = exp(lowest) if lowest > -inf else None
    if reached >= -log(half):
        return Verdict(
            name, "fail",
            f"{name}: more {what} than tolerated: {counted} by first events{_words(effect)}"
            f" (E = {_big(reached)}, limit {_big(-log(half))})",
            "ratio", shown, low, None, reached, samples, "units", 0.0, allowance.alpha,
        )  # fmt: skip
    if share and lowest > log(tolerated):
        return Verdict(
            name, "fail",
            f"{name}: more {what} than tolerated: at least {exp(lowest):.2f} times, by users{_words(effect)}"
            f" ({counted} by first events)",
            "ratio", shown, low, None, reached, samples, "units", 0.0, allowance.alpha,
        )  # fmt: skip
    negligible = float(metric.get("negligible", NEGLIGIBLE))
    highs = [_upper(ours, theirs, narrow, harmful, negligible) for ours, theirs in pairs]
    high = max((one for one, _ in highs), default=inf)
    by_ratio = high < log(harmful)
    if share and all(passes for _, passes in highs) and highs and (by_ratio or ln_e < -log(beta)):
        told = (
            f"at most {exp(high):.2f} times the {what}"
            if by_ratio
            else f"{what} of at most {negligible * 100.0:g}% more units"
        )
        return Verdict(
            name, "pass", f"{name}: {told} ({counted})", "ratio", shown,
            low, exp(high) if high < inf else None, reached, samples, "units", 0.0, allowance.alpha,
        )  # fmt: skip
    why = (
        "no units yet" if not min(samples) else f"not enough to tell {harmful:g} times the {what} from none ({counted})"
    )
    seconds = _until_ratio(evidence, pairs, narrow, harmful, negligible)
    if firsts[0] and share and evidence.seconds > 0 and effect > tolerated:
        rate = sum(firsts) / evidence.seconds
        soon = seconds_to_abort(reached, half, share, max(effect, tolerated * 1.01), rate, tolerated)
        seconds = min(soon, inf if seconds is None else seconds)
    return Verdict(
        name, "insufficient", f"{name}: {why}", "ratio", shown, low, exp(high) if high < inf else None,
        reached, samples, "units", seconds, allowance.alpha,
    )  # fmt: skip


def _as_it_is(metric: Metric, evidence: Evidence, places: Sequence[int], what: str) -> Verdict:
    """Shares of requests side by side, where nobody was dealt by chance: no test, and no promise."""
    name, harmful = metric["name"], float(metric["harmful"])
    new, other = evidence.version(evidence.new).counts, evidence.version(evidence.reference).counts
    samples = (new.requests, other.requests)
    for version, requests in zip((evidence.new, evidence.reference), samples, strict=True):
        if requests < LEAST_REQUESTS:  # after the last step the old version has none: nothing to compare with
            return Verdict(
                name, "insufficient", f"{name}: {requests} of {LEAST_REQUESTS} requests at `{version}` (not randomised)",
                samples=samples, unit="requests",
            )  # fmt: skip
    ours, theirs = 0.0, 0.0
    for place in places:
        bad = [
            one.errors if place == 0 else _slower_than(evidence.slow[place - 1], one.durations) for one in (new, other)
        ]
        ours = max(ours, bad[0] / new.requests)
        theirs = max(theirs, bad[1] / other.requests)
    limit = max(harmful * theirs, theirs + float(metric.get("negligible", NEGLIGIBLE)))
    before = " in the step before" if evidence.earlier else ""
    beside = f"{theirs:.2%} at `{evidence.reference}`{before}, allowed {limit:.2%} (not randomised)"
    said = f"{name}: {what} in {ours:.2%} of the requests, {beside}"
    outcome: Outcome = "pass"
    if ours > limit:  # a hundred requests of a few users may be anything, and it is looked at every second
        outcome = "fail" if ours - CLEARLY * sqrt(ours * (1.0 - ours) / new.requests) > limit else "insufficient"
        said += "" if outcome == "fail" else f", {new.requests} requests are too few to say so"
        affected = _affected(evidence, places)
        if outcome == "fail" and affected is not None and affected < FEWEST:
            outcome = "insufficient"
            said += f", all of {affected} units" if affected > 1 else ", all of one unit"
    return Verdict(
        name, outcome, said, "share", ours, None, None, None, samples, "requests", None if outcome == "insufficient" else 0.0
    )  # fmt: skip


def _affected(evidence: Evidence, places: Sequence[int]) -> int | None:
    """Units of the new version with these events in this stretch, all of them where its share is whole; None: not known."""
    new = evidence.version(evidence.new)
    if not new.units or new.level:
        return None
    columns = ["errors" if place == 0 else f"slow:{evidence.slow[place - 1]!r}" for place in places]
    return max((new.sums.get(column, Clusters()).affected for column in columns), default=0)


def _slower_than(edge: float, durations: Sequence[int]) -> int:
    """Answers in the buckets above `edge`; the bucket that it lies in counts as slow."""
    return sum(durations[bisect_right(FINE_EDGES, edge) :])


def _lower(pairs: Sequence[tuple[Clusters, Clusters]], alpha: float, harmful: float) -> float:
    """ln of the lower end of the ratio, the highest of all pairs, which share `alpha`; -inf where none is known.

    An interval errs as often on either side: with twice as much for both, its lower end has what it may have.
    """
    most = max(len(pairs), 1)
    return max((log_ratio(ours, theirs, 2.0 * alpha / most, harmful).low for ours, theirs in pairs), default=-inf)


def _upper(ours: Clusters, theirs: Clusters, beta: float, harmful: float, negligible: float) -> tuple[float, bool]:
    """ln of the upper end of the ratio, and whether the new version may pass by it or by the difference (`negligible`, 0: not)."""
    high = upper_log_ratio(ours, theirs, beta, harmful)
    if high < log(harmful):
        return high, True
    if negligible <= 0.0:
        return high, False
    if min(ours.affected, theirs.affected) >= LEAST_AFFECTED and ours.ratio >= harmful * theirs.ratio:
        return high, False
    more = difference(Share(ours.affected, ours.units), Share(theirs.affected, theirs.units), beta, FEW)
    return high, more.high <= negligible


def _times(ours: Clusters, theirs: Clusters) -> float:
    return ours.ratio / theirs.ratio if theirs.ratio > 0.0 else nan


def _until_ratio(
    evidence: Evidence, pairs: Sequence[tuple[Clusters, Clusters]], beta: float, harmful: float, negligible: float
) -> float | None:
    """Seconds until the promotion's interval is narrow enough, if all goes on as it does."""
    longest = 0.0
    for ours, theirs in pairs:
        if not ours.units or not theirs.units:
            return None

        def width(times: float, ours: Clusters = ours, theirs: Clusters = theirs) -> float:
            grown = [_grown(one, times) for one in (ours, theirs)]
            high, passes = _upper(grown[0], grown[1], beta, harmful, negligible)
            return 0.0 if passes else max(high, log(harmful))

        longest = max(longest, seconds_to_narrow(width, log(harmful) * 0.999, max(evidence.seconds, 1.0)))
    return longest if isfinite(longest) else None


def _grown(sums: Clusters, times: float) -> Clusters:
    return Clusters(
        round(sums.units * times), sums.total * times, sums.weight * times, sums.total_squared * times,
        sums.crossed * times, sums.weight_squared * times, round(sums.affected * times),
    )  # fmt: skip


def mean(metric: Metric, evidence: Evidence, allowance: Allowance, beta: float) -> Verdict:
    """The mean of bytes or latency per answer, or of an event's values per unit; tolerated is a share of the other's mean."""
    if not evidence.randomised:
        return lacking(metric, "nobody was dealt by chance in this step (not randomised)", allowance)
    new, other = evidence.version(evidence.new), evidence.version(evidence.reference)
    if metric.get("event"):
        ours, theirs = (_moments(evidence, name, metric["event"]) for name in (evidence.new, evidence.reference))
        if ours is None or theirs is None:
            return lacking(metric, f"no event `{metric['event']}` was heard of", allowance)
        reference, samples = theirs.mean, (ours.units << evidence.level, theirs.units << evidence.level)
        both = [
            mean_difference(ours, theirs, level)
            for level in (_one_end(metric, allowance, evidence), charged(beta, evidence.level))
        ]
    else:
        column, scale = ("bytes", 1.0) if metric["of"] == "response_bytes" else ("microseconds", 1e-6)
        sums = [_scaled(one.sums.get(column, Clusters()), scale) for one in (new, other)]
        reference, samples = sums[1].ratio, (sums[0].units << new.level, sums[1].units << other.level)
        matters = abs(reference) * max(float(metric["tolerate"]), 0.01)
        if matters <= 0.0:
            return lacking(metric, "no units yet", allowance, samples)
        found = abs(reference) * max(float(metric["tolerate"]), FOUND)
        both = [
            clustered_difference(sums[0], sums[1], _one_end(metric, allowance, evidence), found),
            clustered_difference(sums[0], sums[1], charged(beta, evidence.level), matters),
        ]
    margin = abs(reference) * float(metric["tolerate"])
    return _compared(metric, evidence, allowance, both, margin, samples, f"mean, other's {reference:.4g}")


def proportion(metric: Metric, evidence: Evidence, allowance: Allowance, beta: float) -> Verdict:
    """The share of units with an event; tolerated is a difference of shares."""
    if not evidence.randomised:
        return lacking(metric, "nobody was dealt by chance in this step (not randomised)", allowance)
    shares = [_share(evidence, name, metric["event"]) for name in (evidence.new, evidence.reference)]
    ours, theirs = shares
    if ours is None or theirs is None or ours.hits + theirs.hits == 0:
        return lacking(metric, f"no event `{metric['event']}` was heard of", allowance)
    both = [
        difference(ours, theirs, level)
        for level in (_one_end(metric, allowance, evidence), charged(beta, evidence.level))
    ]
    said = f"{ours.value:.2%} of the units at `{evidence.new}`, {theirs.value:.2%} at `{evidence.reference}`"
    samples = (ours.units << evidence.level, theirs.units << evidence.level)
    return _compared(metric, evidence, allowance, both, float(metric["tolerate"]), samples, said)


def _one_end(metric: Metric, allowance: Allowance, evidence: Evidence) -> float:
    """The level of an interval that fails. It errs as often on either side: where one end alone fails, twice as often may be."""
    alpha = charged(allowance.alpha, evidence.level)
    return alpha if metric["direction"] == "same" else min(2.0 * alpha, 0.5)


def charged(chance: float, level: int) -> float:
    """What an interval over a share of 2^-k of the units may use of the chance. Where the share is halved the interval is another
    one, which could err anew. Divided by 1 + k they err together about as often as one over all units would: simulated to k = 7."""
    return chance / (1.0 + level)


def _compared(
    metric: Metric,
    evidence: Evidence,
    allowance: Allowance,
    both: Sequence[Interval],
    margin: float,
    samples: tuple[int, int],
    said: str,
) -> Verdict:
    """By an interval of the difference: beyond the margin on the bad side fails, within it passes."""
    name, direction = metric["name"], metric["direction"]
    fails, passes = both
    bad_up, bad_down = direction in {"lower", "same"}, direction in {"higher", "same"}
    numbers = ("difference", passes.estimate, passes.low, passes.high, None, samples, "units")
    told = f"difference {passes.estimate:+.4g}, from {passes.low:.4g} to {passes.high:.4g} ({said})"
    if (bad_up and fails.low > margin) or (bad_down and fails.high < -margin):
        return Verdict(name, "fail", f"{name}: {told}, tolerated {margin:.4g}", *numbers, 0.0, allowance.alpha)
    if passes.known and (not bad_up or passes.high <= margin) and (not bad_down or passes.low >= -margin):
        return Verdict(name, "pass", f"{name}: {told}, tolerated {margin:.4g}", *numbers, 0.0, allowance.alpha)
    seconds: float | None = None
    half = (passes.high - passes.low) / 2.0
    room = margin - abs(passes.estimate)
    if isfinite(half) and room > 0.0 and evidence.seconds > 0.0:
        seconds = seconds_to_narrow(lambda times: half / sqrt(times), room, evidence.seconds)
    return Verdict(name, "insufficient", f"{name}: not enough units: {told}", *numbers, seconds, allowance.alpha)


def ratio_of_samples(metric: Metric, evidence: Evidence, highest: float) -> Verdict:
    """Whether the split of units is the one that was asked for, in this stretch."""
    name = metric["name"]
    arms = [one for one in (evidence.old, evidence.new, evidence.baseline) if one is not None]
    weights = evidence.stretches[-1].weights if evidence.stretches else {}
    pairs = [  # of each the share that is kept of it: so many are to be expected
        (evidence.version(one).units, weights[one] / (1 << evidence.version(one).level))
        for one in arms
        if weights.get(one, 0.0) > 0.0
    ]
    total = sum(count for count, _ in pairs)
    if not evidence.randomised or len(pairs) < 2:
        return Verdict(name, "insufficient", f"{name}: there is no split to look at")
    whole = sum(weight for _, weight in pairs)
    ln_bf = max(highest, sample_ratio([count for count, _ in pairs], [weight / whole for _, weight in pairs]))
    said = f"{name}: units {', '.join(str(count) for count, _ in pairs)}, ln Bayes factor {ln_bf:.2f}"
    outcome: Outcome = "fail" if ln_bf > MISMATCH else "pass" if total >= LEAST_FOR_RATIO else "insufficient"
    return Verdict(
        name, outcome, said, "ln Bayes factor", ln_bf, None, None, ln_bf, (pairs[1][0], pairs[0][0]), "units",
        0.0 if outcome != "insufficient" else None,
    )  # fmt: skip


def _share(evidence: Evidence, version: str, event: str) -> Share | None:
    known = evidence.version(version)
    hits = known.sums.get(f"event:{event}")
    if hits is None:
        return None
    return Share(hits.affected, hits.units)


def _moments(evidence: Evidence, version: str, event: str) -> Moments | None:
    values = evidence.version(version).sums.get(f"value:{event}")
    if values is None or not values.units:
        return None
    average = values.total / values.units / 1000.0
    return Moments(values.units, average, max(0.0, values.total_squared / 1e6 - values.units * average * average))


def _scaled(sums: Clusters, by: float) -> Clusters:
    return Clusters(
        sums.units, sums.total * by, sums.weight, sums.total_squared * by * by, sums.crossed * by,
        sums.weight_squared, sums.affected,
    )  # fmt: skip


def lacking(
    metric: Metric, why: str, allowance: Allowance, samples: tuple[int, int] = (0, 0), unit: str = "units"
) -> Verdict:
    """Insufficient, for want of what `why` says."""
    return Verdict(
        metric["name"], "insufficient", f"{metric['name']}: {why}", samples=samples, unit=unit, alpha=allowance.alpha
    )


def _words(times: float) -> str:
    return f", {times:.2f} times the share" if isfinite(times) else ""


def _big(ln_value: float) -> str:
    return f"{exp(ln_value):.3g}" if ln_value < 30 else f"e^{ln_value:.1f}"
