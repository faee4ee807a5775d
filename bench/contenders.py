"""When each judge would stop a simulated day: parts of ours (proxy/analysis, as it is), thresholds as Flagger and Argo run them,
Kayenta's judge. The gates, which put our parts together, are in gated.py.

Ours are only called at looks where it could possibly fire: the likelihood ratio of the best alternative bounds every e-value,
and 2.5 standard errors bound every confidence sequence. What is skipped could not have fired, so nothing is changed by that
but the time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import exp, inf, log, log1p

import numpy as np

from bench.simulated import LOOKS, LOOKS_PER_MINUTE, TAILS_FROM, WINDOWS, Day, Sums
from proxy.analysis.clusters import Clusters
from proxy.analysis.error_rate import ErrorRateTest, Stretch, ln_evidence
from proxy.analysis.log_ratio import log_ratio, upper_log_ratio
from proxy.analysis.means import clustered_difference
from proxy.core.brake import Brake, Odds

LATENCY = ("exceedance", "mean", "mean, 10 %", "band", "ln latency")
"""What alone judges latency; the last is no judge of a rollout."""
MATTERS = log(1.2)
"""A difference of ln latency that a judge of latency is tuned to."""
_SURE = 2.5
NEVER = LOOKS * 10.0 + 1.0
"""Seconds: not within the day."""


def seconds(look: float) -> float:
    """From the start to the end of look number `look`, from 0."""
    return (look + 1) * 10.0


def clusters(sums: Sums, look: int, arm: int) -> Clusters:
    """What the proxy would hold at that look."""
    return Clusters(
        int(sums.units[look, arm]),
        *(
            float(getattr(sums, name)[look, arm])
            for name in ("total", "weight", "total_squared", "crossed", "weight_squared")
        ),
        int(sums.affected[look, arm]),
    )


def changed(counts: np.ndarray) -> np.ndarray:
    return np.concatenate([[True], (counts[1:] != counts[:-1]).any(axis=1)])


def best_alternative(counts: np.ndarray, share: float) -> np.ndarray:
    """ln of the highest likelihood ratio against `share`, of canaries that are worse: no mixture of them can be higher."""
    total = np.maximum(counts.sum(axis=1), 1.0)
    theta = np.clip(counts[:, 1] / total, 1e-12, 1 - 1e-12)
    divergence = theta * np.log(theta / share) + (1.0 - theta) * np.log((1.0 - theta) / (1.0 - share))
    return np.where(theta > share, total * divergence, 0.0)


def by_first_errors(firsts: np.ndarray, share: float, alpha: float) -> float:
    """Seconds until the sequential test over users' first errors."""
    test = ErrorRateTest()
    for look in np.flatnonzero((best_alternative(firsts, share) >= -log(alpha)) & changed(firsts)):
        test.observe(Stretch(share, int(firsts[look, 1]), int(firsts[look, 0])))
        if test.worse(alpha):
            return seconds(look)
    return NEVER


def standing(sums: Sums, *, logarithm: bool) -> tuple[np.ndarray, np.ndarray]:
    with np.errstate(all="ignore"):
        ratio = sums.total / sums.weight
        squares = sums.total_squared - 2 * ratio * sums.crossed + ratio**2 * sums.weight_squared
        variance = squares / sums.weight**2
        if logarithm:
            return np.log(ratio[:, 1] / ratio[:, 0]), np.sqrt((variance / ratio**2).sum(axis=1))
        return ratio[:, 1] - ratio[:, 0], np.sqrt(variance.sum(axis=1))


def by_log_ratio(sums: Sums, alpha: float) -> float:
    """Seconds until the interval of the clustered log error ratio lies above 0."""
    estimate, error = standing(sums, logarithm=True)
    with np.errstate(all="ignore"):
        possible = np.flatnonzero(estimate / error >= _SURE)
    for look in possible:
        if log_ratio(clusters(sums, look, 1), clusters(sums, look, 0), alpha).low > 0.0:
            return seconds(look)
    return NEVER


def by_ln_latency(sums: Sums, alpha: float) -> float:
    """Seconds until the interval of the clustered difference of ln latency lies above 0: what no rollout has, for workers do not
    gather it."""
    estimate, error = standing(sums, logarithm=False)
    with np.errstate(all="ignore"):
        possible = np.flatnonzero(estimate / error >= _SURE)
    for look in possible:
        if clustered_difference(clusters(sums, look, 1), clusters(sums, look, 0), alpha, MATTERS).low > 0.0:
            return seconds(look)
    return NEVER


def promoted(sums: Sums, harmful: float, beta: float) -> float:
    """Seconds until the upper end of the clustered log error ratio lies below ln `harmful`."""
    estimate, error = standing(sums, logarithm=True)
    with np.errstate(all="ignore"):
        # One error more shifts and widens: below 2.5 plain standard errors it cannot pass. No errors: looked at each minute.
        bare = (sums.total[:, 1] == 0) & (np.arange(LOOKS) % LOOKS_PER_MINUTE == 0)
        possible = np.flatnonzero(((log(harmful) - estimate) / error >= _SURE) | bare)
    for look in possible:
        if upper_log_ratio(clusters(sums, look, 1), clusters(sums, look, 0), beta, harmful) < log(harmful):
            return seconds(look)
    return NEVER


def promoted_by_first_errors(firsts: np.ndarray, share: float, harmful: float, beta: float) -> float:
    """What promotion must not rest on: the mirrored test, "better than harmful", over first errors."""
    mirrored = firsts[:, ::-1]
    expected = harmful * share / (harmful * share + 1 - share)
    possible = np.flatnonzero((best_alternative(mirrored, 1.0 - expected) >= -log(beta)) & changed(firsts))
    for look in possible:
        if ln_evidence(int(firsts[look, 0]), int(firsts[look, 1]), 1.0 - share, tolerated=1.0 / harmful) >= -log(beta):
            return seconds(look)
    return NEVER


def braked(firsts: np.ndarray, share: float, alpha: float) -> float:
    """Seconds until the early brake is pulled, over first errors."""
    brake, odds = Brake(alpha), Odds(share)
    more = np.diff(firsts, axis=0, prepend=0.0)
    for look in np.flatnonzero(more.any(axis=1)):
        if brake.add(odds, int(more[look, 1]), int(more[look, 0])):
            return seconds(look)
    return NEVER


# Thresholds, as Flagger and Argo Rollouts check them.

FAILURES = (1, 2, 3, 5)


@dataclass(frozen=True)
class Setting:
    """A check every `minutes` over that window: `failures` of them, in a row or in all, stop the rollout."""

    measure: str
    minutes: int
    failures: int
    in_row: bool

    def __str__(self) -> str:
        times = "once" if self.failures == 1 else f"{self.failures} times {'in a row' if self.in_row else 'in all'}"
        return f"{self.measure} over {self.minutes} min, {times}"


def settings(measures: tuple[str, ...]) -> Iterator[Setting]:
    """All of them."""
    for measure in measures:
        for minutes in WINDOWS:
            if minutes < TAILS_FROM and measure.endswith(("p95", "p99")):
                continue
            for failures in FAILURES:
                for in_row in (True, False)[: 1 if failures == 1 else 2]:
                    yield Setting(measure, minutes, failures, in_row)


ERROR_MEASURES = ("canary's error share", "canary's less stable's", "canary's by stable's")
LATENCY_MEASURES = tuple(
    f"{how} {what}" for what in ("mean ln latency", "p95", "p99") for how in ("canary's", "canary's by stable's")
)


def error_series(one: Day, minutes: int) -> dict[str, np.ndarray]:
    """Each measure by window; NaN where it has no value."""
    requests = one.requests.reshape(-1, minutes, 2).sum(axis=1)
    failed = one.failed.reshape(-1, minutes, 2).sum(axis=1)
    with np.errstate(all="ignore"):
        share = failed / requests
        return dict(
            zip(
                ERROR_MEASURES,
                (share[:, 1], share[:, 1] - share[:, 0], _finite(share[:, 1] / share[:, 0])),
                strict=True,
            )
        )


def latency_series(one: Day, minutes: int) -> dict[str, np.ndarray]:
    """Each measure by window, in ln seconds around the median."""
    found = one.percentiles[minutes]
    series = {}
    for place, what in enumerate(("mean ln latency", "p95", "p99")):
        series[f"canary's {what}"] = found[:, 1, place]
        series[f"canary's by stable's {what}"] = found[:, 1, place] - found[:, 0, place]
    return series


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.nan)


def level_reached(series: np.ndarray, setting: Setting) -> float:
    """The highest threshold that this day would still have failed."""
    values = np.where(np.isnan(series), -inf, series)
    if not setting.in_row:
        return float(np.partition(values, -setting.failures)[-setting.failures])
    lowest = np.lib.stride_tricks.sliding_window_view(values, setting.failures).min(axis=1)
    return float(lowest.max())


def stopped(series: np.ndarray, setting: Setting, threshold: float) -> float:
    """Seconds until values above the threshold stop the rollout."""
    with np.errstate(invalid="ignore"):
        above = series > threshold
    if setting.in_row:
        runs = np.lib.stride_tricks.sliding_window_view(above, setting.failures).all(axis=1)
        at = np.flatnonzero(runs) + setting.failures - 1
    else:
        at = np.flatnonzero(above)[setting.failures - 1 :]
    return float((at[0] + 1) * setting.minutes * 60) if len(at) else NEVER


# Kayenta's judge: a Mann-Whitney interval over series of points, every half hour.

KAYENTA = {
    "1 min points, last hour": (1, 60),
    "2 min points, last 4 hours": (2, 120),
    "10 min points, all so far": (10, 0),
}
_EVERY = 30
TOLERANCE = 0.25


def kayenta_levels(points: Callable[[int], tuple[np.ndarray, np.ndarray]], kind: str) -> list[tuple[float, float]]:
    """At each look, seconds and the highest z at which the metric would still be High.

    Lower end above the bound is the same as: the rank test, at a shift of the bound, still objects at z. `points(minutes)`
    gives canary and others. That this is proxy/analysis/kayenta's own answer is checked against it in
    tests/unit/test_bench_judges.py.
    """
    minutes, lookback = KAYENTA[kind]
    canary, others = points(minutes)
    levels = []
    for end in range(_EVERY, 1441, _EVERY):
        last = end // minutes
        first = max(0, last - lookback) if lookback else 0
        x, y = canary[first:last], others[first:last]
        levels.append((end * 60.0, level_of(x[~np.isnan(x)], y[~np.isnan(y)])))
    return levels


def level_of(x: np.ndarray, y: np.ndarray) -> float:
    """The highest z at which the metric is High; -inf where there is nothing to judge."""
    m, n = len(x), len(y)
    if not m or not n:
        return -inf
    apart = (x[:, None] - y[None, :]).ravel()
    middle = m * n // 2
    if m * n % 2:
        shift = float(np.partition(apart, middle)[middle])
    else:
        shift = float(np.partition(apart, (middle - 1, middle))[middle - 1 : middle + 1].mean())
    bound = TOLERANCE * abs(shift)
    off = float((apart > bound).sum() + 0.5 * (apart == bound).sum() - m * n / 2)
    both = np.sort(np.concatenate([x - bound, y]))
    ends = np.flatnonzero(np.concatenate([both[1:] != both[:-1], [True]]))
    sizes = np.diff(np.concatenate([[-1], ends])).astype(float)
    variance = m * n / 12 * ((m + n + 1) - (sizes**3 - sizes).sum() / ((m + n) * (m + n - 1)))
    return (off - np.sign(off) / 2) / variance**0.5 if variance > 0 else -inf


# Plain streams of errors, for the table of statistics.


def errors_until(
    rng: np.random.Generator, share: float, ratio: float, concentrations: tuple[float, ...], most: int
) -> float:
    """How many errors in all until E is 1 / .01; inf where `most` are not enough. No users, no clock: the test alone."""
    theta = ratio * share / (ratio * share + 1 - share)
    from_canary = rng.random(most) < theta
    counts = np.stack([np.cumsum(~from_canary), np.cumsum(from_canary)], axis=1).astype(float)
    for at in np.flatnonzero(best_alternative(counts, share) >= -log(0.01)):
        canary, others = int(counts[at, 1]), int(counts[at, 0])
        parts = [ln_evidence(canary, others, share, concentration=one) for one in concentrations]
        highest = max(parts)
        if highest + log(sum(exp(one - highest) for one in parts) / len(parts)) >= -log(0.01):
            return float(at + 1)
    return inf


def least_errors(share: float, ratio: float) -> float:
    """What the best test of that very ratio would need on average."""
    theta = ratio * share / (ratio * share + 1 - share)
    return -log(0.01) / (theta * log(theta / share) + (1 - theta) * (log1p(-theta) - log1p(-share)))
