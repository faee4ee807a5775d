"""What the gates of a rollout say of a simulated day: proxy/rollout/gates.py itself, look by look, with the day's evidence.

A fail is looked for every ten seconds (of latency's judges alone, of the band, and of first slow answers after the first two hours,
once a minute, which can only make them later). A look at which nothing could
have failed is left out: the likelihood ratio of the best alternative bounds every e-value, the interval without the correction for
few units bounds every interval, and what the band takes for chance is its own. A pass is looked for once a minute, from the first
on: no step's time is waited for, which is the worst case for a harmful version.
"""

from collections.abc import Callable, Iterable
from math import log
from typing import Any, Final

import numpy as np

from bench.contenders import NEVER, best_alternative, changed, clusters, seconds, standing
from bench.simulated import LOOKS, LOOKS_PER_MINUTE, MEDIAN, Day, Population, Sums
from proxy.analysis.budget import ALPHA, BETA
from proxy.analysis.latency import band
from proxy.analysis.log_ratio import HARMFUL, LEAST_AFFECTED, LEAST_SPREAD
from proxy.analysis.sequence import half_width
from proxy.rollout.evidence import Evidence, StretchEvidence, VersionEvidence
from proxy.rollout.gates import Gates
from proxy.rollout.judging import FOUND
from proxy.telemetry.measures import Counts

Spec = dict[str, Any]

NAMES: Final = ("stable", "canary")
_SLACK: Final = 0.98
"""Of an interval's width, for what is rounded."""
_FEW: Final = 50.0
"""Errors below which the one error more that promotion adds may matter much: each minute is looked at."""
_EACH_MINUTE: Final = np.arange(LOOKS) % LOOKS_PER_MINUTE == LOOKS_PER_MINUTE - 1
_OFTEN: Final = _EACH_MINUTE | (np.arange(LOOKS) < 120 * LOOKS_PER_MINUTE)
ERRORS: Final[Spec] = {
    "name": "errors", "judge": "error_rate", "weight": "critical", "tolerate": 1.0, "harmful": HARMFUL, "negligible": 0.01,
}  # fmt: skip
BAND: Final[Spec] = {"name": "latency", "judge": "band", "weight": "critical", "tolerate": 1.2}
MEAN: Final[Spec] = {
    "name": "mean", "judge": "mean", "weight": "critical", "of": "latency", "event": None, "field": None, "direction": "lower",
    "tolerate": 0.0,
}  # fmt: skip


def exceedance(times: Iterable[float]) -> Spec:
    """The metric, of these times (ln seconds around the median)."""
    return {
        "name": "slow", "judge": "exceedance", "weight": "critical", "above": [edge(one) for one in times], "tolerate": 1.0,
        "harmful": HARMFUL, "negligible": 0.01,
    }  # fmt: skip


def edge(time: float) -> float:
    """Seconds of a time in ln seconds around the median."""
    return float(np.exp(time) * MEDIAN)


def plan(*metrics: Spec) -> Spec:
    """A rollout of one step, with the whole budget for these metrics."""
    return {"metrics": list(metrics), "steps": [{"judged": True}], "alpha": ALPHA, "beta": BETA}


def evidence(one: Day, who: Population, look: int) -> Evidence:
    """What control would have at that look."""
    versions: dict[str, VersionEvidence] = {}
    firsts: dict[str, list[int]] = {name: [] for name in NAMES}
    minute = (look + 1) // LOOKS_PER_MINUTE - 1
    for arm, name in enumerate(NAMES):
        sums = {}
        counts = Counts()
        if one.errors is not None and one.firsts is not None:
            sums["errors"] = clusters(one.errors, look, arm)
            firsts[name].append(int(one.firsts[look, arm]))
            counts = Counts(int(sums["errors"].weight), int(sums["errors"].total))
        else:
            firsts[name].append(0)
        if one.latency is not None and one.durations is not None:
            sums["microseconds"] = clusters(one.latency, look, arm)
            durations = tuple(one.durations[minute, arm].tolist()) if minute >= 0 else ()
            counts = Counts(sum(durations), counts.errors, durations=durations)
            for time, slow in zip(one.times, one.slow, strict=True):
                sums[f"slow:{edge(time)!r}"] = clusters(slow, look, arm)
                firsts[name].append(int(slow.affected[look, arm]))
        units = next(iter(sums.values())).units if sums else 0
        versions[name] = VersionEvidence(counts, units, sums, units)
    weights = {"stable": 100.0 * (1.0 - who.share), "canary": 100.0 * who.share}
    return Evidence(
        "shop", "stable", "canary", None, 0.0, seconds(look), versions, [StretchEvidence(weights, firsts)],
        [edge(time) for time in one.times],
    )  # fmt: skip


def walk(spec: Spec, seen: Callable[[int], Evidence], fails: np.ndarray, passes: np.ndarray) -> tuple[float, float]:
    """Seconds until the gates first say fail, and until they first say pass. `fails` and `passes`: looks at which they may."""
    gates, passed = Gates(spec), NEVER
    for look in np.flatnonzero(fails | passes).tolist():
        if passed < NEVER and not fails[look]:
            continue
        found = gates.judge(seen(look), gate=True).result
        if found == "fail":
            return seconds(look), passed
        if found == "pass" and passed == NEVER:
            passed = seconds(look)
    return NEVER, passed


def _stopped(one: Day, who: Population, spec: Spec, fails: np.ndarray) -> float:
    return walk(spec, lambda look: evidence(one, who, look), fails, np.zeros(LOOKS, dtype=bool))[0]


def by_errors(one: Day, who: Population) -> tuple[float, float]:
    """Seconds until `error_rate` stops the day's canary, and until it would promote it."""
    assert one.errors is not None
    fails = changed(one.errors.affected) & _bets(one.errors.affected, who.share, ALPHA / 2) | _above(one.errors, ALPHA)
    estimate, error = standing(one.errors, logarithm=True)
    units = np.maximum(one.errors.units, 1.0)
    share = one.errors.affected / units
    spread = np.sqrt((share * (1.0 - share) / units).sum(axis=1))
    with np.errstate(all="ignore"):
        passes = estimate + 0.9 * _width(error, BETA, log(HARMFUL)) < log(HARMFUL)
        passes |= share[:, 1] - share[:, 0] + 3.0 * spread <= ERRORS["negligible"]  # 3.035 at the least, at beta .05
    passes |= one.errors.total[:, 1] < _FEW
    return walk(plan(ERRORS), lambda look: evidence(one, who, look), fails, passes & _EACH_MINUTE)


def by_latency(one: Day, who: Population) -> float:
    """Seconds until `exceedance` and `mean` of one plan stop it, half of the budget each."""
    assert one.latency is not None
    fails = _higher(one.latency, ALPHA, 0.0)
    for slow in one.slow:
        fails = fails | _above(slow, ALPHA / 2 / len(one.slow)) | _bets(slow.affected, who.share, ALPHA / 4) & _OFTEN
    return _stopped(one, who, plan(exceedance(one.times), MEAN), fails)


def by_exceedance(one: Day, who: Population) -> float:
    """The same of `exceedance` alone."""
    fails = np.zeros(LOOKS, dtype=bool)
    for slow in one.slow:
        fails |= _above(slow, ALPHA / len(one.slow)) | _bets(slow.affected, who.share, ALPHA / 2)
    return _stopped(one, who, plan(exceedance(one.times)), fails & _EACH_MINUTE)


def by_mean(one: Day, who: Population, tolerate: float = 0.0) -> float:
    """The same of `mean` of latency alone."""
    assert one.latency is not None
    return _stopped(
        one, who, plan(MEAN | {"tolerate": tolerate}), _higher(one.latency, 2 * ALPHA, tolerate) & _EACH_MINUTE
    )


def by_band(one: Day, who: Population) -> float:
    """The same of `band` with what it tolerates by default, once a minute: it is what a plan without `metrics` has."""
    assert one.durations is not None
    sums = one.durations.cumsum(axis=2)
    totals = sums[:, :, -1]
    with np.errstate(all="ignore"):
        apart = (sums[:, 0] / totals[:, :1] - sums[:, 1] / totals[:, 1:]).max(axis=1)
    fails = np.zeros(LOOKS, dtype=bool)
    for minute in np.flatnonzero(apart > 0.0).tolist():
        width = sum(band(int(totals[minute, arm]), ALPHA / 2) for arm in (0, 1))
        fails[(minute + 1) * LOOKS_PER_MINUTE - 1] = apart[minute] > width
    return _stopped(one, who, plan(BAND), fails)


def _bets(firsts: np.ndarray, share: float, alpha: float) -> np.ndarray:
    return best_alternative(firsts, share) >= -log(alpha)


def _above(sums: Sums, alpha: float) -> np.ndarray:
    estimate, error = standing(sums, logarithm=True)
    with np.errstate(all="ignore"):
        enough = (sums.affected.min(axis=1) >= LEAST_AFFECTED) & _spread(sums)
        return enough & (estimate > _SLACK * _width(error, alpha, log(HARMFUL)))


def _higher(sums: Sums, alpha: float, tolerate: float) -> np.ndarray:
    estimate, error = standing(sums, logarithm=False)
    with np.errstate(all="ignore"):
        mean = sums.total[:, 0] / sums.weight[:, 0]
        return _spread(sums) & (estimate - tolerate * mean > _SLACK * _width(error, alpha, mean * max(tolerate, FOUND)))


def _spread(sums: Sums) -> np.ndarray:
    with np.errstate(all="ignore"):
        return (sums.weight**2 / sums.weight_squared).min(axis=1) >= LEAST_SPREAD


def _width(error: np.ndarray, alpha: float, matters: np.ndarray | float) -> np.ndarray:
    """Half the width of the interval `around` an estimate (proxy/analysis/sequence.py), of many at once."""
    twice = -2.0 * log(alpha)
    x = (twice + log(1.0 + twice)) * (matters / (half_width(1.0, 1.0, alpha, 1.0) * error)) ** 2
    return error * np.sqrt((1.0 + 1.0 / x) * (np.log1p(x) + twice))
