"""The course of each rollout under way, noted every few seconds for the report of an incident: counters, share, evidence.

Kept in memory and bounded: one Track a route (rollout/track.py), gone when its rollout is over. A control process that starts anew
notes from there on, and the report says since when.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from proxy.control.rollouts.runner import Rollouts
from proxy.rollout.report import Latency
from proxy.rollout.rollout import Judged, Rollout
from proxy.rollout.telling import verdicts_of
from proxy.rollout.track import Track
from proxy.telemetry.counters import FINE_EDGES
from proxy.telemetry.measures import Counts

EVERY: Final = 5.0
"""Seconds between two notes."""

Measure = Callable[[Collection[str]], Mapping[tuple[str, str], Counts]]


@dataclass(slots=True)
class Course:
    """Of one rollout: its revision, points, and the counters when it began to be noted and when it was last."""

    revision: str
    track: Track = field(default_factory=Track)
    first: dict[str, Counts] = field(default_factory=dict)
    last: dict[str, Counts] = field(default_factory=dict)


class Courses:
    """Of all routes."""

    def __init__(self, measure: Measure, clock: Callable[[], float]) -> None:
        """`measure` gives counts by (route, version) for some routes; `clock` gives Unix seconds."""
        self._measure: Final = measure
        self._clock: Final = clock
        self._courses: Final[dict[str, Course]] = {}

    async def run(self, rollouts: Rollouts) -> None:
        """Note all that are under way, for ever."""
        while True:
            await asyncio.sleep(EVERY)
            self.look(rollouts.book.rollouts, lambda rollout: rollouts.seen(rollout).verdict)

    def look(self, rollouts: Mapping[str, Rollout], verdict: Callable[[Rollout], Judged | None]) -> None:
        """Note those that are under way now."""
        under_way = [one for one in rollouts.values() if not one.final]
        if not under_way:
            return
        counts = self._measure([one.route for one in under_way])
        for rollout in under_way:
            judged = verdict(rollout)
            self._note(rollout, counts, {} if judged is None else judged.numbers, must=False)

    def moved(self, rollout: Rollout) -> None:
        """A transition has taken effect: a point that must not be missing."""
        if not rollout.final or rollout.route in self._courses:
            self._note(rollout, self._measure([rollout.route]), rollout.numbers, must=True)

    def of(self, rollout: Rollout) -> tuple[Track, Latency | None]:
        """What was noted of it; latencies of the compared versions over that time."""
        course = self._courses.get(rollout.route)
        if course is None or course.revision != rollout.revision:
            return Track(), None
        counts: dict[str, list[int]] = {}
        for name in dict.fromkeys(one for one in rollout.arms if one is not None):
            last, first = course.last.get(name), course.first.get(name)
            more = None if last is None or first is None else last.since(first)
            if more is not None and more.requests:
                counts[name] = list(more.durations)
        return course.track, Latency(FINE_EDGES, dict(counts)) if counts else None

    def forget(self, route: str) -> None:
        """Its rollout is over. What was given of it stays with who has it."""
        self._courses.pop(route, None)

    def _note(
        self, rollout: Rollout, counts: Mapping[tuple[str, str], Counts], numbers: Mapping[str, Any], *, must: bool
    ) -> None:
        course = self._courses.get(rollout.route)
        if course is None or course.revision != rollout.revision:
            course = self._courses[rollout.route] = Course(rollout.revision)
        mine = {version: one for (route, version), one in counts.items() if route == rollout.route}
        if not course.first:
            course.first = mine
        course.last = mine
        evidence = {
            str(one["metric"]): float(one["evidence"])
            for one in verdicts_of(numbers)
            if one.get("evidence") is not None
        }
        points = {version: (one.requests, one.errors) for version, one in mine.items()}
        course.track.note(self._clock(), rollout.percent, points, evidence, must=must)
