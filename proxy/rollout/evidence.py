"""What is known of the versions of a rollout in the step that it is in: by the counters, by units, by events. Values, and pure.

Three kinds of number, which never replace one another: `Counts` of all requests (telemetry/measures.py), sums over the units that
were dealt by chance (units.py), and units' first events, which go on through all steps because who has erred once is no news in
the next.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf, nan
from typing import Any, Final

from proxy.analysis.clusters import Clusters
from proxy.rollout.units import Run, Sums
from proxy.telemetry.counters import FINE_EDGES
from proxy.telemetry.measures import NOTHING, Counts

INTERVAL: Final = 10.0
"""Seconds of one point of a series."""
POINTS: Final = 2160
"""Points that are kept: six hours."""
PEOPLE: Final = frozenset({"header", "cookie", "claim", "query"})
"""Kinds of unit that are said to be somebody; an address may be many, and a minted cookie may be thrown away."""

SERIES: Final = (
    "requests_per_second", "error_percent", "latency_mean", "latency_p50", "latency_p90", "latency_p99", "response_bytes",
    "in_flight", "saturation_percent",
)  # fmt: skip
"""What a threshold or a rank test may be `of`: per interval and version. Latencies are in seconds."""


@dataclass(slots=True)
class Answers:
    """What came of queries of Prometheus, by metric: a number, or NaN and why; and a word for why, to count by."""

    values: dict[str, float] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    kinds: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class VersionEvidence:
    """One version. `sums` are by column (units.py), over units in a share of all; `units` how many those are."""

    counts: Counts = NOTHING
    units: int = 0
    sums: Mapping[str, Clusters] = field(default_factory=dict)
    listened: int = 0
    """Units that were active while events were listened for."""
    level: int = 0
    """The share is 2^-level."""


@dataclass(frozen=True, slots=True)
class StretchEvidence:
    """Units by their first events while the weights stood still: by version, an error, and slower than each threshold."""

    weights: Mapping[str, float]
    firsts: Mapping[str, Sequence[int]]

    def share(self, version: str, others: Sequence[str]) -> float:
        """The share of the version among itself and the others; 0.0 where nothing is known of the weights."""
        total = sum(self.weights.get(name, 0.0) for name in (version, *others))
        return self.weights.get(version, 0.0) / total if total > 0.0 else 0.0

    def first(self, version: str, place: int) -> int:
        """Units of this version with the event of this place."""
        counts = self.firsts.get(version, ())
        return counts[place] if place < len(counts) else 0


@dataclass(frozen=True, slots=True)
class Evidence:
    """All of it. `seconds` since it began; `slow` the thresholds, ascending; `series` points by version and name, the newest last.

    `identity` says what a unit is, "" where it is somebody. `randomised`: units were dealt by chance between the versions compared.
    `earlier`: what the old version has had is of the step before, for it has no units any more.
    """

    route: str
    old: str
    new: str
    baseline: str | None
    began: float
    seconds: float
    versions: Mapping[str, VersionEvidence]
    stretches: Sequence[StretchEvidence] = ()
    slow: Sequence[float] = ()
    level: int = 0
    series: Mapping[str, Mapping[str, Sequence[float]]] = field(default_factory=dict)
    made: int = 0
    """Points of the series that were ever made: where old ones go, the newest is another one all the same."""
    points: Sequence[tuple[float, int, int]] = ()
    """Of the new version: unix seconds, requests and errors of each interval."""
    answers: Mapping[str, float] = field(default_factory=dict)
    """Of queries, by metric: NaN where there was none."""
    answered: float = 0.0
    """When they came, by any clock: the same again is no news."""
    problems: Mapping[str, str] = field(default_factory=dict)
    """Why a query had none, by metric."""
    identity: str = ""
    randomised: bool = True
    earlier: bool = False
    dropped: Mapping[str, int] = field(default_factory=dict)
    events_since: float = 0.0
    """Unix seconds since when posted events are counted; 0.0 where none are asked for."""

    @property
    def reference(self) -> str:
        """What the new version is compared with: the baseline where there is one."""
        return self.baseline or self.old

    def version(self, name: str) -> VersionEvidence:
        """What is known of it."""
        return self.versions.get(name, VersionEvidence())

    def samples(self) -> dict[str, tuple[int, int]]:
        """Requests and units (scaled up from the share that is kept) by version."""
        return {name: (one.counts.requests, one.units << one.level) for name, one in self.versions.items()}


def identity_of(kinds: Sequence[str]) -> str:
    """What must be said of units from these sources; "" where they are somebody."""
    if not kinds:
        return "there are no units on this route: nobody is dealt by chance"
    if "client_ip" in kinds:
        return "a unit may be an address here, which may be many users or change hands"
    if any(kind not in PEOPLE for kind in kinds):
        return "a unit may be a minted cookie here: who keeps none is a new one with every request"
    return ""


def clusters_of(sums: Sums) -> Clusters:
    """The same sums, for the judges."""
    units, total, weight, total_squared, crossed, weight_squared, affected = sums.values()
    return Clusters(
        units, float(total), float(weight), float(total_squared), float(crossed), float(weight_squared), affected
    )


def versions_of(counts: Mapping[str, Counts], run: Run | None) -> dict[str, VersionEvidence]:
    """By version; `counts` are those since the step began."""
    stretch = None if run is None else run.units()
    every = {} if stretch is None else stretch.sums
    found: dict[str, VersionEvidence] = {}
    for name, one in counts.items():
        sums = every.get(name, {})
        found[name] = VersionEvidence(
            one,
            0 if stretch is None else stretch.units(name),
            {column: clusters_of(each) for column, each in sums.items()},
            0 if stretch is None else stretch.counted.get(name, 0),
            0 if stretch is None else stretch.level_of(name),
        )
    return found


def stretches_of(run: Run | None) -> list[StretchEvidence]:
    """In the order in which they were heard of."""
    if run is None:
        return []
    return [StretchEvidence(weights, run.counts.get(number, {})) for number, weights in run.weights.items()]


class Series:
    """Points of one route's versions, every INTERVAL seconds, the last POINTS of them."""

    def __init__(self) -> None:
        self._at = -inf
        self._before: dict[str, Counts] = {}
        self.values: dict[str, dict[str, list[float]]] = {}
        self.points: list[tuple[float, int, int]] = []
        self.made: int = 0
        """Points that were ever made."""

    def add(
        self, counts: Mapping[str, Counts], new: str, now: float, saturation: Callable[[], Mapping[str, float]] = dict
    ) -> None:
        """Counts as they stand at `now`, seconds of a clock that does not go back. Called more often than a point is made.
        `saturation`: by version how full its upstream is, in percent; asked when a point is made."""
        seconds = now - self._at
        if seconds < INTERVAL:
            return
        if self._before and seconds < 3 * INTERVAL:
            self.made += 1
            full = saturation()
            for name, one in counts.items():
                more = one.since(self._before.get(name, one))
                values = point(more, seconds, full.get(name, nan))
                mine = self.values.setdefault(name, {})
                for key, value in values.items():
                    mine.setdefault(key, []).append(value)
                    del mine[key][:-POINTS]
                if name == new and more is not None:
                    self.points.append((now, more.requests, more.errors))
                    del self.points[:-POINTS]
        self._at = now
        self._before = dict(counts)

    def clear(self) -> None:
        """A new step: its points are its own."""
        self._at = -inf
        self._before = {}
        self.values = {}
        self.points = []


def point(counts: Counts | None, seconds: float, saturation: float = nan) -> dict[str, float]:
    """What SERIES names, of so many seconds; NaN where there was nothing to measure. `saturation`: how full the version's upstream
    is, in percent."""
    if counts is None:
        return dict.fromkeys(SERIES, nan)
    requests = counts.requests
    values: dict[str, float] = {
        "requests_per_second": requests / seconds,
        "in_flight": float(counts.in_flight),
        "error_percent": 100.0 * counts.errors / requests if requests else nan,
        "latency_mean": counts.seconds / requests if requests else nan,
        "response_bytes": counts.response_bytes / requests if requests else nan,
        "saturation_percent": saturation,
    }
    for name in ("p50", "p90", "p99"):
        values[f"latency_{name}"] = percentile(counts.durations, float(name[1:]) / 100.0) if requests else nan
    return values


def percentile(durations: Sequence[int], share: float) -> float:
    """The upper edge of the bucket that holds it, in seconds; inf beyond the last."""
    wanted, reached = share * sum(durations), 0
    for place, count in enumerate(durations):
        reached += count
        if count and reached >= wanted:
            return FINE_EDGES[place] if place < len(FINE_EDGES) else inf
    return nan


def total_of(counts: Mapping[str, Counts], before: Mapping[str, Counts]) -> dict[str, Counts] | None:
    """What is new since `before`; None where any counter went back. A version that had none before began at nothing."""
    found: dict[str, Counts] = {}
    for name, one in counts.items():
        more = one.since(before.get(name, NOTHING))
        if more is None:
            return None
        found[name] = more
    return found


def plain(value: Any) -> Any:
    """For JSON, which knows neither NaN nor infinity: None in their place."""
    if isinstance(value, float) and not -inf < value < inf:
        return None
    return value
