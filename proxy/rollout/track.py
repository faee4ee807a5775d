"""The course of a rollout in numbers: counters of its versions and evidence over time, for the plots of a report. Bounded and pure.

Counters are cumulative, so that a point may go without a loss but of resolution: when there are too many every second one goes, and
from then on points are taken half as often. An hour or a month takes the same room.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

POINTS: Final = 512
"""Points kept at most."""
SERIES: Final = 32
"""Versions, and metrics, of a point."""

Spec = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Moment:
    """A point: seconds (Unix), the share of `to` in percent, (requests, errors) by version since some start, and ln E by metric."""

    at: float
    percent: float
    counts: dict[str, tuple[int, int]]
    evidence: dict[str, float]


class Track:
    """Points of one rollout, in the order of time."""

    def __init__(self) -> None:
        self._moments: list[Moment] = []
        self._apart = 0.0  # seconds between two points at least

    @property
    def moments(self) -> list[Moment]:
        """The points, oldest first."""
        return list(self._moments)

    def note(
        self,
        at: float,
        percent: float,
        counts: Mapping[str, tuple[int, int]],
        evidence: Mapping[str, float] | None = None,
        *,
        must: bool = False,
    ) -> None:
        """Add a point, unless the last is too near; `must` adds it nevertheless (a step, an abort). A clock set back adds none."""
        moments = self._moments
        if moments and (at < moments[-1].at or (at - moments[-1].at < self._apart and not must)):
            return
        moment = Moment(
            at,
            percent,
            {name: counts[name] for name in list(counts)[:SERIES]},
            {name: evidence[name] for name in list(evidence)[:SERIES]} if evidence else {},
        )
        if moments and at == moments[-1].at:
            moments[-1] = moment
        else:
            moments.append(moment)
        if len(moments) > POINTS:
            last = moments[-1]
            self._moments = [*moments[:-1:2], last]
            self._apart = 1.5 * (last.at - moments[0].at) / len(self._moments)

    def values(self) -> list[Spec]:
        """The points as plain JSON."""
        return [
            {
                "at": one.at,
                "percent": one.percent,
                "counts": {name: list(two) for name, two in one.counts.items()},
                "evidence": one.evidence,
            }
            for one in self._moments
        ]

    @classmethod
    def of(cls, values: list[Spec]) -> Self:
        """What `values` gave. Raises KeyError and TypeError for anything else."""
        track = cls()
        for one in values:
            counts = {name: (requests, errors) for name, (requests, errors) in one["counts"].items()}
            track.note(one["at"], one["percent"], counts, one["evidence"], must=True)
        return track
