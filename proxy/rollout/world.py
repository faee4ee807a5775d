"""A described world, for playing a rollout in it: users, what they do, and how the versions serve them. Draws come in; no clock.

Users come in visits of several requests, some far more often than others, and errors keep to certain users: that is what makes a
test over requests wrong, and why the gates count units. A user keeps its place in the split, so that a version that grows takes
users and gives none back, as the proxy deals them. Latency is lognormal around a median, with some users farther away.

What is made is what the proxy would have counted: the same counters and the same messages of units, for the same code to judge.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from math import erfc, exp, log, log1p, sqrt
from random import Random
from statistics import NormalDist
from typing import Any, Final

from proxy.rollout.units import Run
from proxy.telemetry.counters import BUCKETS, FINE_EDGES
from proxy.telemetry.measures import NOTHING, Counts

Spec = dict[str, Any]

VISITS: Final = 20_000
"""Visits of one run at most, about; where there would be more, each has more requests."""
REQUESTS_OF_A_VISIT: Final = 8.0
_HEAVY: Final = 1.0  # spread of ln of how often a user comes
_PRONE: Final = 0.7  # of ln of how often a user meets an error
_FAR: Final = 0.3  # of ln of a user's latency
_SPREAD: Final = 0.7  # of ln of one request's latency
_MOST_LIKELY: Final = 0.95  # an error is never more likely

_ROOT: Final = sqrt(2.0)
BYTES: Final = 10_000.0
"""Of an answer of the old version."""

_TABLE: Final = 1024  # normal draws come from tables: a run makes some hundred thousand
_QUANTILES: Final = [NormalDist().inv_cdf((place + 0.5) / _TABLE) for place in range(_TABLE)]
_PRONENESS: Final = [exp(_PRONE * one - _PRONE * _PRONE / 2) for one in _QUANTILES]
_DISTANCES: Final = [exp(_FAR * one - _FAR * _FAR / 2) for one in _QUANTILES]
# Of users in the order of how often they come: up to which share of them this share of the visits is by.
_WHO: Final = [
    0.0,
    *(NormalDist().cdf(NormalDist().inv_cdf(n / _TABLE) + _HEAVY) for n in range(1, _TABLE)),
    1.0 - 1e-9,
]

_GRID: Final = tuple(-1.8 + 0.4 * step for step in range(10))  # of users' distance, in standard deviations


@dataclass(frozen=True, slots=True)
class Assumed:
    """What is assumed of the traffic, and of the new version beside the old.

    `rate`: requests per second of the route. `users`: how many come again and again. `error_share`: of the old version's requests,
    in [0, 1]. `errors`, `latency`, `size`: how many times those of the old version the new one has. `median`: the old version's,
    seconds. `events`: by name the share of users it happens to, and how many times as often with the new version. `ring`: share of
    the requests that are of a ring's members.
    """

    rate: float
    users: int
    errors: float = 1.0
    latency: float = 1.0
    size: float = 1.0
    error_share: float = 0.005
    median: float = 0.05
    events: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    ring: float = 0.01


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was counted for a while: requests per second of the route, and the share of errors by version."""

    rate: float
    errors: Mapping[str, float]


@dataclass(slots=True)
class Harm:
    """Users, by number: those who were given the new version, who met an error there, and who met one because of it."""

    given: set[int] = field(default_factory=set)
    erred: set[int] = field(default_factory=set)
    hurt: set[int] = field(default_factory=set)


class User:
    """Made when it comes for the first time: its place in the split, how often it meets errors, how far away it is."""

    __slots__ = ("active", "far", "in_ring", "news", "place", "prone")

    def __init__(self, rng: Random, ring: float) -> None:
        self.place: Final = rng.random()
        self.prone: Final = _PRONENESS[int(rng.random() * _TABLE)]
        self.far: Final = _DISTANCES[int(rng.random() * _TABLE)]
        self.in_ring: Final = rng.random() < ring
        self.news = 0  # what it has had
        self.active = 0  # the last stretch in which it came


class World:
    """One run's. `columns` are those that workers would be asked for (core/evidence.py)."""

    def __init__(
        self,
        assumed: Assumed,
        arms: tuple[str, str, str | None],
        slow: Sequence[float],
        rng: Random,
        *,
        wanted: frozenset[str] = frozenset(),
        planned: float = 3600.0,
    ) -> None:
        """`arms`: from, to, baseline. `slow`: thresholds, ascending. `wanted`: what else is looked at, of `bytes`,
        `microseconds` and `durations`. `planned`: seconds that a run takes, about."""
        self.assumed: Final = assumed
        self.old, self.new, self.baseline = arms
        self.versions: Final = [name for name in arms if name is not None]
        self.slow: Final = list(slow)
        self.harm: Final = Harm()
        self.counts: Final[dict[str, Counts]] = dict.fromkeys(self.versions, NOTHING)
        self.recorded: Recorded | None = None
        """What was really counted at this time, in place of what is assumed."""
        self._extra: Final[list[str]] = [name for name in ("bytes", "microseconds") if name in wanted]
        self.columns: Final = ["requests", "errors", *self._extra, *(f"slow:{edge!r}" for edge in slow)]
        self._rng: Final = rng
        self._users: Final[dict[int, User]] = {}
        self._visit: Final = max(REQUESTS_OF_A_VISIT, assumed.rate * planned / VISITS)
        self._length_scale: Final = 1.0 / log1p(-1.0 / self._visit)
        self._told: dict[tuple[int, int], list[int]] = {}
        self._unshaped: Final = dict.fromkeys(self.versions, 0)  # requests whose durations are not drawn yet
        self._buckets: Final = (
            {name: latency_shares(assumed.median * self._times(name)) for name in self.versions}
            if "durations" in wanted
            else {}
        )

    def _times(self, name: str) -> float:
        return self.assumed.latency if name == self.new else 1.0

    def _error_share(self, name: str) -> float:
        if self.recorded is not None:
            return self.recorded.errors.get(name, 0.0)
        return self.assumed.error_share * (self.assumed.errors if name == self.new else 1.0)

    def pass_on(
        self,
        seconds: float,
        at: float,
        weights: Mapping[str, float],
        run: Run,
        stretch: int,
        *,
        ring: bool,
        copied: float = 0.0,
    ) -> None:
        """Let so many seconds pass under these weights, and tell `run` of first events.

        `ring`: whether one is open for the new version. `copied`: the share of requests that it gets copies of, before any user.
        `stretch` counts from 1, up when the step or the weights change.
        """
        assumed, rng, versions = self.assumed, self._rng, self.versions
        rate = assumed.rate if self.recorded is None else self.recorded.rate
        first, second = self._dealt(weights)
        shares = [self._error_share(name) for name in versions]
        medians = [assumed.median * self._times(name) for name in versions]
        requests, errors = [0] * len(versions), [0] * len(versions)
        firsts: list[tuple[int, float, int, int, int]] = []
        happened: list[tuple[int, str]] = []
        for _ in range(poisson(rng, rate * seconds / self._visit)):
            number = self._whose()
            user = self._users.get(number)
            if user is None:
                user = self._users[number] = User(rng, assumed.ring)
            called = ring and user.in_ring
            version = 1 if called or user.place < first else 2 if user.place < second else 0
            count = 1 + int(log1p(-rng.random()) * self._length_scale)
            failed = binomial(rng, count, min(_MOST_LIKELY, shares[version] * user.prone))
            requests[version] += count
            errors[version] += failed
            if version == 1:
                self._note(number, failed)
            if called:  # nobody dealt them: they are not counted as units
                continue
            news = 1 if failed else 0
            mine = self._told.setdefault((version, number), [0] * len(self.columns))
            mine[0] += count
            mine[1] += failed
            place = 2
            if self._extra:
                for extra in self._extra:
                    mine[place] += self._sum_of(extra, count, version, medians[version] * user.far)
                    place += 1
            for level, edge in enumerate(self.slow):
                slow = binomial(rng, count, slower_than(edge, medians[version] * user.far))
                if slow:
                    mine[place + level] += slow
                    news |= 2 << level
            news &= ~user.news
            if news:
                user.news |= news
                firsts.append((number, at, stretch, version, news))
            if user.active != stretch:
                user.active = stretch
                happened += [
                    (number, event)
                    for event, (likely, factor) in assumed.events.items()
                    if rng.random() < likely * (factor if version == 1 else 1.0)
                ]
        if firsts or happened:
            self._tell(run, stretch, weights, firsts)
            for whose, event in happened:
                run.happen(whose, event, 1, 1000)
        if copied > 0.0:  # they are answered, and nobody sees the answers
            requests[1] = poisson(rng, rate * seconds * copied)
            errors[1] = binomial(rng, requests[1], min(_MOST_LIKELY, shares[1]))
        for index, served in enumerate(versions):
            self._count(served, requests[index], errors[index], seconds)

    def tell_units(self, run: Run, stretch: int, weights: Mapping[str, float]) -> None:
        """Tell `run` of all that units have had since the last time, and draw how long it took."""
        self._tell(run, stretch, weights, [])
        for name, buckets in self._buckets.items():
            more, self._unshaped[name] = self._unshaped[name], 0
            if more:
                before = self.counts[name]
                drawn = [
                    had + poisson(self._rng, more * share) for had, share in zip(before.durations, buckets, strict=True)
                ]
                self.counts[name] = replace(before, durations=tuple(drawn))

    def _tell(
        self, run: Run, stretch: int, weights: Mapping[str, float], firsts: list[tuple[int, float, int, int, int]]
    ) -> None:
        head = {
            "stretch": stretch, "weights": dict(weights), "versions": self.versions, "columns": self.columns, "level": 0,
            "again": False, "first_versions": self.versions, "samples": [], "brake": None,
        }  # fmt: skip
        units, self._told = self._told, {}
        run.take(head, [(number, version, *sums) for (version, number), sums in units.items()], firsts)

    def _whose(self) -> int:
        """Who comes: of lognormal frequencies, the more frequent so much more often."""
        drawn = self._rng.random() * _TABLE
        below = int(drawn)
        share = _WHO[below] + (drawn - below) * (_WHO[below + 1] - _WHO[below])
        return int(share * self.assumed.users)

    def _sum_of(self, name: str, count: int, version: int, median: float) -> int:
        if name == "bytes":
            size = BYTES * (self.assumed.size if version == 1 else 1.0)
            return int(count * size * self._rng.uniform(0.5, 1.5))
        return int(count * median * 1e6 * self._rng.uniform(0.8, 1.7))

    def _dealt(self, weights: Mapping[str, float]) -> tuple[float, float]:
        """Where in [0, 1) the new version's users end, and the baseline's; the others are the old version's."""
        total = sum(weights.get(name, 0.0) for name in self.versions) or 1.0
        first = weights.get(self.new, 0.0) / total
        return first, first + (0.0 if self.baseline is None else weights.get(self.baseline, 0.0) / total)

    def _note(self, user: int, failed: int) -> None:
        """Of a user whom the new version served."""
        harm, assumed = self.harm, self.assumed
        harm.given.add(user)
        if not failed:
            return
        harm.erred.add(user)
        because = 1.0 - 1.0 / max(assumed.errors, 1.0)
        if self.recorded is not None:
            ours, theirs = self._error_share(self.new), self._error_share(self.old)
            because = max(0.0, 1.0 - theirs / ours) if ours > 0.0 else 0.0
        if user not in harm.hurt and self._rng.random() < 1.0 - (1.0 - because) ** failed:
            harm.hurt.add(user)

    def _count(self, name: str, requests: int, errors: int, seconds: float) -> None:
        before = self.counts[name]
        mean = self.assumed.median * self._times(name) * exp(_SPREAD * _SPREAD / 2)
        self._unshaped[name] += requests
        self.counts[name] = Counts(
            before.requests + requests,
            before.errors + errors,
            0,
            before.response_bytes + int(requests * BYTES * (self.assumed.size if name == self.new else 1.0)),
            0,
            before.seconds + requests * mean,
            before.durations,
            round(requests / seconds * mean),
            0,
        )


def binomial(rng: Random, count: int, share: float) -> int:
    """How many of `count` happen, each with chance `share`: leaps from one to the next, so that rare ones cost nothing."""
    if share <= 0.0:
        return 0
    if count > 200 and count * share > 20.0:
        return min(count, max(0, round(rng.gauss(count * share, sqrt(count * share * (1.0 - share))))))
    found, left, miss = 0, float(count), log1p(-share)
    while True:
        left -= 1.0 + log1p(-rng.random()) / miss // 1.0
        if left < 0.0:
            return found
        found += 1


def poisson(rng: Random, mean: float) -> int:
    """A number of events of which `mean` are expected."""
    if mean <= 0.0:
        return 0
    if mean > 50.0:
        return max(0, round(rng.gauss(mean, sqrt(mean))))
    left, chance, found = rng.random(), exp(-mean), 0
    while left > chance:
        left -= chance
        found += 1
        chance *= mean / found
        if chance < 1e-18 and found > mean:
            break
    return found


def slower_than(edge: float, median: float) -> float:
    """The share of requests slower than `edge`, of one user's median."""
    return 0.5 * erfc(log(edge / median) / (_SPREAD * _ROOT))


@lru_cache(maxsize=64)
def latency_shares(median: float) -> tuple[float, ...]:
    """The share of all requests in each bucket of FINE_EDGES, over users near and far."""
    masses = [exp(-place * place / 2.0) for place in _GRID]
    below = [0.0]
    for edge in FINE_EDGES:
        shares = [1.0 - slower_than(edge, median * exp(_FAR * place - _FAR * _FAR / 2)) for place in _GRID]
        below.append(sum(mass * one for mass, one in zip(masses, shares, strict=True)) / sum(masses))
    below.append(1.0)
    shares = [max(0.0, after - before) for before, after in pairwise(below)]
    assert len(shares) == BUCKETS  # noqa: S101 - one more than there are edges
    return tuple(shares)


def allowed_value(metric: Spec) -> float:
    """What a query of Prometheus is assumed to find: the limit, which is still allowed."""
    limit = metric["at_most"] if metric["at_most"] is not None else metric["at_least"]
    return float(limit if limit is not None else 0.0)
