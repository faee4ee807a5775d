"""Simulated rollouts: a day of requests by users, summed up for judges that look every ten seconds. Wants numpy.

Users differ in how much they ask (heavy-tailed), in how often they meet errors, and in how far away they are. Traffic, the share of
errors and latency drift with the hour. A user is the canary's or the others' for the whole day. Nothing here judges.
"""

from dataclasses import dataclass

import numpy as np

from proxy.telemetry.counters import BUCKETS, FINE_EDGES

LOOKS = 8640
"""A look every 10 s."""
LOOKS_PER_MINUTE = 6
_TABLE = 1 << 16
_EDGES = np.array(FINE_EDGES)
_LOWEST, _NARROW, _WIDTH = -3.0, 150, 0.05
"""Of ln latency, around the median: buckets 5 % wide, for the percentiles of others."""
MEDIAN = 0.1
"""Seconds."""
RATIOS = (1.5, 2.0, 3.0, 5.0, 10.0)
"""How many times the errors of stable the canaries have that are worse."""
SHIFTS = (1.1, 1.2, 1.5)
"""How many times its latency."""
WINDOWS = (1, 2, 5, 10, 15, 60)
"""Minutes over which others look."""
TAILS_FROM = 5
"""Minutes of the shortest window that has percentiles: in a minute the canary has some fifteen requests."""


@dataclass(frozen=True)
class Population:
    """Who there is: users, requests a day, the canary's share of the users, and whether all of them ask much."""

    name: str
    users: int
    requests: float
    share: float
    steady: bool
    errors: float = 0.01
    prone: float = 1.0
    far: float = 0.15
    within: float = 0.6


HEAVY = Population("heavy-tailed", 2000, 200_000.0, 0.1, steady=False)
SATURATING = Population("saturating", 400, 110_000.0, 0.25, steady=True)


@dataclass(frozen=True)
class Sums:
    """What two versions (0 others, 1 canary) have summed up by each look: arrays of LOOKS x 2, of floats."""

    units: np.ndarray
    total: np.ndarray
    weight: np.ndarray
    total_squared: np.ndarray
    crossed: np.ndarray
    weight_squared: np.ndarray
    affected: np.ndarray


@dataclass(frozen=True)
class Day:
    """One rollout's day. `firsts`: errors that are a user's first, by look (LOOKS x 2, summed up). `slow`: answers slower than
    each of `times`, as errors are summed up. `latency` is of microseconds, `ln_latency` of ln seconds around the median.
    `durations`: by minute (1440 x 2 x BUCKETS), summed up, as the proxy counts them.

    `requests` and `failed`: by minute (1440 x 2), not summed up. `percentiles`: by minutes of the window, an array windows x
    2 x 3 of the mean of ln latency and its 95th and 99th percentile.
    """

    errors: Sums | None
    firsts: np.ndarray | None
    requests: np.ndarray
    failed: np.ndarray
    latency: Sums | None
    ln_latency: Sums | None
    times: tuple[float, ...]
    slow: list[Sums]
    durations: np.ndarray | None
    percentiles: dict[int, np.ndarray]


def day(
    rng: np.random.Generator,
    who: Population,
    *,
    ratio: float = 1.0,
    shift: float = 1.0,
    errors: bool = True,
    times: tuple[float, ...] | None = None,
) -> Day:
    """Simulate. The canary has `ratio` times the errors and is `shift` times as slow. `times`: T in ln seconds around the median;
    None leaves latency out.
    """
    phase, peak = rng.random(2)
    clock = np.arange(LOOKS) / LOOKS
    traffic = 1.0 + 0.6 * np.sin(2 * np.pi * (clock + phase))
    per_look = rng.poisson(who.requests / LOOKS * traffic)
    look = np.repeat(np.arange(LOOKS, dtype=np.int32), per_look)
    count = len(look)
    activity = rng.uniform(50.0, 500.0, who.users) if who.steady else rng.pareto(1.6, who.users) + 0.1
    activity = np.minimum(activity, activity.sum() / 100)  # nobody is more than a hundredth of all
    canary = rng.random(who.users) < who.share
    shares = np.diff(np.floor(np.concatenate([[0.0], np.cumsum(activity)]) / activity.sum() * _TABLE)).astype(int)
    table = np.repeat(np.arange(who.users, dtype=np.int16), shares)
    user = table[rng.integers(0, len(table), count)]
    order = np.argsort(user, kind="stable")
    user, look = user[order], look[order]
    arm = canary[user]
    key = look.astype(np.int64) * 2 + arm
    starts = np.flatnonzero(np.concatenate([[True], user[1:] != user[:-1]]))
    sizes = np.diff(np.concatenate([starts, [count]]))
    before = np.arange(count) - np.repeat(starts, sizes)  # requests of this user before this one
    minute = key // (2 * LOOKS_PER_MINUTE) * 2 + arm
    requests = np.bincount(minute, minlength=2880).reshape(1440, 2)

    def summed(weights: np.ndarray | None, where: np.ndarray = key) -> np.ndarray:
        return np.cumsum(np.bincount(where, weights, 2 * LOOKS).reshape(LOOKS, 2), axis=0, dtype=float)

    weight, weight_squared = summed(None), summed(2.0 * before + 1.0)
    units = summed(None, key[before == 0])

    def events(happened: np.ndarray) -> Sums:
        """Of requests to which something happened. Of a user's, only those and what follows them add to the sum of x n."""
        flags = np.zeros(count)
        flags[happened] = 1.0
        running = np.cumsum(flags)
        had = running - flags - np.repeat((running - flags)[starts], sizes)
        at, at_had, at_before = key[happened], had[happened], before[happened]
        return Sums(
            units, summed(None, at), weight, summed(2.0 * at_had + 1.0, at),
            summed(had) + summed(at_before + 1.0, at), weight_squared, summed(None, at[at_had == 0]),
        )  # fmt: skip

    def values(value: np.ndarray) -> Sums:
        running = np.cumsum(value)
        had = running - value - np.repeat((running - value)[starts], sizes)
        return Sums(
            units, summed(value), weight, summed(value * (2.0 * had + value)), summed(had + value * (before + 1.0)),
            weight_squared, units,
        )  # fmt: skip

    failed = np.zeros((1440, 2))
    error_sums = firsts = None
    if errors:
        drift = 1.0 + 0.5 * np.sin(2 * np.pi * (clock + peak))
        prone = rng.lognormal(-0.5 * who.prone**2, who.prone, who.users)
        chance = np.minimum(who.errors * drift[look] * (prone * np.where(canary, ratio, 1.0))[user], 0.9)
        erred = np.flatnonzero(rng.random(count) < chance)
        failed = np.bincount(minute[erred], minlength=2880).reshape(1440, 2)
        error_sums = events(erred)
        firsts = error_sums.affected
    latency_sums = ln_sums = durations = None
    slow = []
    percentiles = {}
    if times is not None:
        drift_of_latency = 0.2 * np.sin(2 * np.pi * (clock + peak))
        far = rng.normal(0.0, who.far, who.users) + np.where(canary, np.log(shift), 0.0)
        value = far[user] + drift_of_latency[look] + who.within * rng.standard_normal(count)
        taken = np.exp(value) * MEDIAN
        ln_sums, latency_sums = values(value), values(np.floor(taken * 1e6))
        slow = [events(np.flatnonzero(value > one)) for one in times]
        bucket = np.searchsorted(_EDGES, taken)
        durations = (
            np.bincount(minute * BUCKETS + bucket, minlength=2880 * BUCKETS).reshape(1440, 2, BUCKETS).cumsum(axis=0)
        )
        bucket = np.clip((value - _LOWEST) / _WIDTH, 0, _NARROW - 1).astype(np.int64)
        fine = (
            np.bincount(minute * _NARROW + bucket, minlength=2880 * _NARROW).reshape(1440, 2, _NARROW).astype(np.int32)
        )
        totals = np.bincount(minute, value, 2880).reshape(1440, 2)
        for minutes in WINDOWS:
            counts = fine.reshape(-1, minutes, 2, _NARROW).sum(axis=1)
            summed_up = totals.reshape(-1, minutes, 2).sum(axis=1)
            percentiles[minutes] = _percentiles(counts, summed_up, tails=minutes >= TAILS_FROM)
    return Day(
        error_sums, firsts, requests, failed, latency_sums, ln_sums, times or (), slow, durations, percentiles
    )  # fmt: skip


def _percentiles(counts: np.ndarray, totals: np.ndarray, *, tails: bool) -> np.ndarray:
    """Mean, 95th and 99th percentile by window and version; NaN where there were no requests, and for tails not wanted."""
    every = counts.sum(axis=2)
    found = np.full((*every.shape, 3), np.nan, dtype=np.float32)
    there = every > 0
    found[:, :, 0][there] = (totals / np.maximum(every, 1))[there]
    if tails:
        sums = counts.cumsum(axis=2, dtype=np.int32)
        for place, share in ((1, 0.95), (2, 0.99)):
            at = (sums >= np.ceil(share * every)[:, :, None]).argmax(axis=2)
            found[:, :, place] = np.where(there, _LOWEST + _WIDTH * (at + 1), np.nan)
    return found


def usual_times(rng: np.random.Generator, who: Population, shares: tuple[float, ...]) -> tuple[float, ...]:
    """T from the day before, with no canary: what such shares of the requests were within, in ln seconds around the median."""
    clock = rng.random(400_000)
    value = (
        rng.normal(0.0, who.far, len(clock))
        + 0.2 * np.sin(2 * np.pi * clock)
        + who.within * rng.standard_normal(len(clock))
    )
    return tuple(float(one) for one in np.quantile(value, shares))
