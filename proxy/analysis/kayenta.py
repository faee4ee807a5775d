"""`compat: kayenta`: one metric and a whole canary as Kayenta's judge NetflixACAJudge-v1.0 finds them, faults included.

For those who move over and want the same answers. An interval for the shift between the two versions is found as R's
wilcox.test does, by solving for the shift at which the rank test would just not object (with Brent's method, 1973, to 1e-4),
and the metric is High where its lower end lies above a quarter of the estimated shift. What is wrong with that, and better in
`rank`:

- the answer depends on the unit of measure: the same points times 1e-5 pass, since the roots are found to 1e-4 of whatever unit;
- two to four points can fail;
- nothing is corrected for many metrics, or for looking often.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import copysign, floor, isnan, nan, sqrt
from statistics import NormalDist, fmean
from typing import Final, Literal

from proxy.analysis.rank import average_ranks

Label = Literal["Pass", "High", "Low", "Nodata", "NodataFail"]
Direction = Literal["increase", "decrease", "either"]
TOLERANCE: Final = 0.25
"""Of the estimated shift: how far beyond 0 the interval must lie."""
CONFIDENCE: Final = 0.98
_PRECISE: Final = 1e-4
_NOISE: Final = 1e-5
_MOST_STEPS: Final = 1000
_EPSILON: Final = 2.220446049250313e-16


@dataclass(frozen=True, slots=True)
class Rule:
    """How a metric is judged. `allowed` and `critical` are the effects (decrease, increase) from which on it counts; None: any."""

    direction: Direction = "either"
    nan: Literal["remove", "replace"] = "remove"
    outliers: bool = False
    outlier_factor: float = 3.0
    effect: Literal["mean_ratio", "cles"] = "mean_ratio"
    allowed: tuple[float, float] | None = None
    critical: tuple[float, float] | None = None
    tolerance: float = TOLERANCE
    confidence: float = CONFIDENCE


@dataclass(frozen=True, slots=True)
class Found:
    """What became of a metric: the effect (NaN where there is none), the interval of the shift and its Hodges-Lehmann estimate.

    `critical`: it lies beyond the critical effect too, where there is one."""

    label: Label
    effect: float = nan
    low: float = nan
    high: float = nan
    shift: float = nan
    critical: bool = False


def judge_metric(
    canary: Sequence[float],
    baseline: Sequence[float],
    rule: Rule | None = None,
    draw: Callable[[], float] | None = None,
) -> Found:
    """One metric: a list of points for each version.

    Where each version is constant, a noise of 1e-5 of the value is added to each point. `draw` gives standard normal numbers
    for it; without, they are the quantiles of that distribution in order, and the answer is always the same.
    """
    rule = rule or Rule()
    x, y = _prepared(canary, rule), _prepared(baseline, rule)
    if not x or not y:
        return Found("Pass" if rule.nan == "replace" else "Nodata")
    if sorted(x) == sorted(y) or len({*x, *y}) == 1:
        return Found("Pass", 1.0)
    if len(set(x)) == 1 and len(set(y)) == 1:
        x, y = _noisy(x, draw), _noisy(y, draw)
    effect = _effect(x, y, rule)
    low, high, shift = interval(x, y, rule.confidence)
    bound = abs(rule.tolerance * shift)
    label: Label = "Pass"
    if rule.direction != "decrease" and low > bound and _beyond(effect, rule.allowed, increase=True):
        label = "High"
    elif rule.direction != "increase" and high < -bound and _beyond(effect, rule.allowed, increase=False):
        label = "Low"
    critical = label != "Pass" and _beyond(effect, rule.critical, increase=label == "High")
    return Found(label, effect, low, high, shift, critical)


def _noisy(points: Sequence[float], draw: Callable[[], float] | None) -> list[float]:
    if draw is not None:
        return [value + draw() * _NOISE * value for value in points]
    normal = NormalDist()
    return [value + normal.inv_cdf((at + 0.5) / len(points)) * _NOISE * value for at, value in enumerate(points)]


def _beyond(effect: float, limits: tuple[float, float] | None, *, increase: bool) -> bool:
    if limits is None or isnan(effect):
        return True
    return effect >= limits[1] if increase else effect <= limits[0]


def _effect(x: Sequence[float], y: Sequence[float], rule: Rule) -> float:
    if rule.effect == "mean_ratio":
        return fmean(x) / fmean(y) if fmean(y) else nan
    m, n = len(x), len(y)
    return (2.0 * sum(average_ranks([*x, *y])[:m]) - m * (m + 1)) / (2.0 * m * n)


def _prepared(points: Sequence[float], rule: Rule) -> list[float]:
    if rule.nan == "replace":
        kept = [0.0 if isnan(value) else value for value in points]
    else:
        kept = [value for value in points if not isnan(value)]
    if not rule.outliers or not kept:
        return kept
    ordered = sorted(kept)
    first, third = percentile(ordered, 0.25), percentile(ordered, 0.75)
    away = rule.outlier_factor * (third - first)
    low, high = min(percentile(ordered, 0.01), first - away), max(percentile(ordered, 0.99), third + away)
    return [value for value in kept if low <= value <= high]


def percentile(ordered: Sequence[float], share: float) -> float:
    """R's type 7, of values in ascending order."""
    place = (len(ordered) - 1) * share
    below = floor(place)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (place - below) * (ordered[above] - ordered[below])


def interval(x: Sequence[float], y: Sequence[float], confidence: float) -> tuple[float, float, float]:
    """Lower and upper end of the shift from y to x, and its Hodges-Lehmann estimate. NaN where all points are tied."""
    m, n = len(x), len(y)
    quantile = NormalDist().inv_cdf((1.0 + confidence) / 2.0)
    least, most = min(x) - max(y), max(x) - min(y)

    def standing(shift: float) -> float:
        ranks = average_ranks([*(value - shift for value in x), *y])
        off = sum(ranks[:m]) - m * (m + 1) / 2.0 - m * n / 2.0
        tied = sum(size**3 - size for size in (sum(1 for _ in same) for _, same in groupby(sorted(ranks))))
        variance = m * n / 12.0 * ((m + n + 1) - tied / ((m + n) * (m + n - 1)))
        return (off - (copysign(0.5, off) if off else 0.0)) / sqrt(variance) if variance > 0.0 else nan

    at_least, at_most = standing(least), standing(most)
    if isnan(at_least) or isnan(at_most):
        return nan, nan, nan

    def solved(wanted: float) -> float:
        if at_least - wanted <= 0.0:
            return least
        if at_most - wanted >= 0.0:
            return most
        return root(lambda shift: standing(shift) - wanted, least, most, _PRECISE)

    return solved(quantile), solved(-quantile), solved(0.0)


def root(function: Callable[[float], float], a: float, b: float, tolerance: float) -> float:
    """Where a function that has opposite signs at a and b is 0: Brent, "Algorithms for minimization without derivatives",
    chapter 4.

    Where it leaps over 0, the side of the leap that was found last, to within `tolerance`.
    """
    at_a, at_b = function(a), function(b)
    c, at_c = a, at_a
    for _ in range(_MOST_STEPS):
        step_before = b - a
        if abs(at_c) < abs(at_b):
            a, b, c = b, c, b
            at_a, at_b, at_c = at_b, at_c, at_b
        near = 2.0 * _EPSILON * abs(b) + tolerance / 2.0
        half = (c - b) / 2.0
        if abs(half) <= near or at_b == 0.0:
            return b
        step = half
        if abs(step_before) >= near and abs(at_a) > abs(at_b):
            slope = at_b / at_a
            if a == c:
                p, q = 2.0 * half * slope, 1.0 - slope
            else:
                r, s = at_a / at_c, at_b / at_c
                p = slope * (2.0 * half * r * (r - s) - (b - a) * (s - 1.0))
                q = (r - 1.0) * (s - 1.0) * (slope - 1.0)
            q = -q if p > 0.0 else q
            p = abs(p)
            if p < 0.75 * 2.0 * half * q - abs(near * q) / 2.0 and p < abs(step_before * q / 2.0):
                step = p / q
        if abs(step) < near:
            step = near if half > 0.0 else -near
        a, at_a = b, at_b
        b += step
        at_b = function(b)
        if (at_b > 0.0) == (at_c > 0.0):
            c, at_c = a, at_a
    return b


@dataclass(frozen=True, slots=True)
class Judged:
    """One metric's result, and what it counts for."""

    group: str
    label: Label
    critical: bool = False


@dataclass(frozen=True, slots=True)
class Score:
    """0..100 for all, rounded to two places; by group; and what that is called."""

    value: float
    groups: dict[str, float]
    label: Literal["Pass", "Marginal", "Fail"]
    reason: str = ""


def score(
    results: Sequence[Judged], weights: Mapping[str, float] | None = None, passing: float = 95.0, marginal: float = 75.0
) -> Score:
    """The canary as a whole. `weights`: percent by group; those without one share the rest evenly.

    A group without data counts 100. A critical metric that does not pass makes it 0, and so does a lack of data for half of
    the metrics.
    """
    by_group: dict[str, list[Label]] = {}
    for one in results:
        by_group.setdefault(one.group, []).append(one.label)
    groups = {name: _group_score(labels) for name, labels in by_group.items()}
    weights = weights or {}
    unlisted = [name for name in groups if name not in weights]
    rest = (100.0 - sum(weights.values())) / len(unlisted) if unlisted else 0.0
    total = round(sum(value * weights.get(name, rest) / 100.0 for name, value in groups.items()), 2)
    reason = ""
    if any(one.critical and one.label != "Pass" for one in results):
        total, reason = 0.0, "a critical metric did not pass"
    elif 2 * sum(1 for one in results if one.label == "Nodata") >= len(results):
        total, reason = 0.0, "no data for half of the metrics"
    label: Literal["Pass", "Marginal", "Fail"] = (
        "Pass" if total >= passing else "Marginal" if total >= marginal else "Fail"
    )
    return Score(total, groups, label, reason)


def _group_score(labels: Sequence[Label]) -> float:
    passed = sum(1 for one in labels if one == "Pass")
    counted = sum(1 for one in labels if one != "Nodata")
    return 100.0 * passed / counted if counted else 100.0
