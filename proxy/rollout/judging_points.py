"""One metric, one judge of requests or points: latency as a whole, ranks, limits, burn rates. Pure, as judging.py is, whose judges
go by units.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import isfinite, isnan, nan
from statistics import median
from typing import Any, Final

from proxy.analysis.budget import Allowance
from proxy.analysis.burn_rate import Window, burning
from proxy.analysis.kayenta import Rule, interval, judge_metric
from proxy.analysis.latency import slower
from proxy.analysis.rank import rank_test
from proxy.analysis.threshold import Limits, hold
from proxy.analysis.verdict import Outcome, Verdict
from proxy.rollout.evidence import Evidence
from proxy.rollout.judging import lacking
from proxy.telemetry.counters import FINE_EDGES

Metric = Mapping[str, Any]

LEAST_SLOWER: Final = 0.001
"""Seconds that a version may take longer whatever `tolerate` says: cold connections alone cost a service that answers at once as
much, and nobody feels it."""
BAND: Final = 0.1
"""How far two distributions of latency may lie apart, as a share of the answers, to be called the same."""
SHIFTED: Final = 0.1
"""`tolerate` of a rank test that was frozen before there was the key: a share of the other's median."""
LEAST_POINTS: Final = 20
"""Points of each version that a rank test wants."""


def band(metric: Metric, evidence: Evidence, allowance: Allowance) -> Verdict:
    """The whole distribution of latency, over requests."""
    name = metric["name"]
    new, other = evidence.version(evidence.new).counts, evidence.version(evidence.reference).counts
    samples = (new.requests, other.requests)
    if not min(samples):
        return lacking(metric, "no requests yet", allowance, samples, "requests")
    factor = max(1.0, float(metric["tolerate"]))
    found = slower(new.durations, other.durations, FINE_EDGES, allowance.alpha, factor, LEAST_SLOWER)
    said = f"{max(found.by, 0.0):.1%} fewer answers within {found.edge * 1000:.3g} ms, of which chance explains {found.band:.1%}"
    low, high = found.by - found.band, found.by + found.band
    numbers = ("share", found.by, low, high, None, samples, "requests")
    if found.proven:
        return Verdict(name, "fail", f"{name}: slower: {said}", *numbers, 0.0, allowance.alpha)
    if high <= BAND:
        return Verdict(name, "pass", f"{name}: not slower: {said}", *numbers, 0.0, allowance.alpha)
    apart = max(0.0, found.by)
    seconds: float | None = None
    if apart < BAND and evidence.seconds > 0.0:
        times = (found.band / (BAND - apart)) ** 2
        seconds = (times - 1.0) * evidence.seconds
    return Verdict(name, "insufficient", f"{name}: too few answers: {said}", *numbers, seconds, allowance.alpha)


def may_be_ranked(evidence: Evidence) -> bool:
    """Whether both versions have as many points as a rank test wants."""
    return all(
        len(evidence.series.get(name, {}).get("latency_mean", ())) >= LEAST_POINTS
        for name in (evidence.new, evidence.reference)
    )


def mann_whitney(metric: Metric, evidence: Evidence, allowance: Allowance, beta: float, look: int) -> Verdict:
    """Ranks of points, one an interval; for one look each, so each look has its own part of the budgets.

    That no shift is seen is no pass: for that, the interval of the shift must lie within `tolerate` times the other's median."""
    name, wanted = metric["name"], "latency_mean" if metric["of"] == "latency" else metric["of"]
    ours, theirs = (_points(evidence, version, wanted) for version in (evidence.new, evidence.reference))
    samples = (len(ours), len(theirs))
    if metric["compat"] == "kayenta":
        directions = {"lower": "increase", "higher": "decrease", "same": "either"}
        found = judge_metric(ours, theirs, Rule(direction=directions[metric["direction"]]))  # type: ignore[arg-type]
        said = f"{name}: Kayenta's judge says {found.label}"
        if found.label == "Nodata" or min(samples) < LEAST_POINTS:
            return Verdict(
                name, "insufficient", f"{said}, of {samples[0]} and {samples[1]} points", samples=samples, unit="points"
            )
        outcome: Outcome = "pass" if found.label == "Pass" else "fail"
        return Verdict(
            name, outcome, said, "ratio", found.effect if isfinite(found.effect) else 0.0, None, None, None, samples, "points", 0.0
        )  # fmt: skip
    if min(samples) < LEAST_POINTS:
        return lacking(metric, f"{min(samples)} of {LEAST_POINTS} points", allowance, samples, "points")
    alpha = allowance.at_look(max(look, 1))
    ranked = rank_test(ours, theirs)
    bad = {"lower": ranked.p_higher, "higher": ranked.p_lower, "same": ranked.p}[metric["direction"]]
    still = replace(allowance, alpha=beta).at_look(max(look, 1))
    low, high, shift = interval(ours, theirs, 1.0 - 2.0 * still)
    if isnan(shift):  # all points are the same
        low = high = shift = 0.0
    margin = float(metric.get("tolerate", SHIFTED)) * abs(median(theirs))
    said = f"{name}: shifted by {shift:.4g} (p = {bad:.2g})"
    numbers = ("shift", shift, low, high, None, samples, "points")
    if bad <= alpha:
        return Verdict(name, "fail", f"{said}, limit {alpha:.2g}", *numbers, 0.0, alpha)
    up, down = metric["direction"] in {"lower", "same"}, metric["direction"] in {"higher", "same"}
    said += f", from {low:.4g} to {high:.4g}, tolerated {margin:.4g}"
    if (not up or high <= margin) and (not down or low >= -margin):
        return Verdict(name, "pass", said, *numbers, 0.0, alpha)
    return Verdict(name, "insufficient", f"{said}: too few points to tell", *numbers, None, alpha)


def threshold(metric: Metric, evidence: Evidence, answers: Sequence[float]) -> Verdict:
    """A number against limits: of the counters by interval, or what a query gave. `answers` are the query's, the newest last."""
    name = metric["name"]
    limits = Limits(metric["at_least"], metric["at_most"], metric.get("intervals", 1), metric.get("failures", 1))
    if metric["query"] is not None:
        values, why = list(answers), evidence.problems.get(name, "")
    else:
        version = metric["version"] or evidence.new
        values = list(evidence.series.get(version, {}).get(metric["of"], ()))
        why = "" if values else f"nothing of `{version}` yet"
    newest = values[-1] if values else nan
    outcome = hold(values, limits)
    bounds = " and ".join(
        f"at {word} {limit:g}" for word, limit in (("least", limits.least), ("most", limits.most)) if limit is not None
    )
    recent = [value for value in values[-limits.intervals :] if isfinite(value)]
    said = f"{name}: {newest:.4g}, allowed {bounds}"
    if limits.intervals > 1:
        beyond = sum(1 for value in recent if not limits.within(value))
        said += f" ({beyond} of the last {limits.intervals} beyond, {limits.failures} fail)"
    if outcome == "insufficient":
        some = f"{len(recent)} of {limits.intervals} intervals" if recent else "no number"
        said = f"{name}: {why or some}"
    return Verdict(
        name, outcome, said, "value", newest if isfinite(newest) else None, None, None, None, (len(values), 0), "points",
        0.0 if outcome != "insufficient" else None,
    )  # fmt: skip


def burn_rate(metric: Metric, evidence: Evidence) -> Verdict:
    """How fast the budget of an objective is used up, since the step began: the last hour and its last five minutes."""
    name = metric["name"]
    version = metric["version"] or evidence.new
    if version != evidence.new:
        return Verdict(name, "insufficient", f"{name}: only `{evidence.new}` has its points kept")
    period = float(metric["window"]) / (30 * 86_400.0)
    windows = [Window(3600.0 * period, 300.0 * period, float(metric["at_most"]))]
    last = evidence.points[-1][0] if evidence.points else 0.0

    def counts(seconds: float) -> tuple[int, int]:
        recent = [one for one in evidence.points if one[0] > last - seconds]
        return sum(one[2] for one in recent), sum(one[1] for one in recent)

    found = burning(counts, float(metric["objective"]) / 100.0, windows)
    said = f"{name}: the budget burns {found.rate:.3g} times as fast as allowed, at most {found.window.rate:g}"
    if found.outcome == "insufficient":
        said = f"{name}: {found.requests} requests, too few for a burn rate"
    return Verdict(
        name, found.outcome, said, "burn rate", found.rate, None, None, None, (found.requests, 0), "requests",
        0.0 if found.outcome != "insufficient" else None,
    )  # fmt: skip


def _points(evidence: Evidence, version: str, name: str) -> list[float]:
    return [value for value in evidence.series.get(version, {}).get(name, ()) if isfinite(value)]
