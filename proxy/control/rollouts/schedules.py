"""Whether a rollout's schedule lets a step be taken now, with the rate of its route where that matters."""

from collections import deque
from collections.abc import Callable
from typing import Any, Final

from proxy.rollout.rollout import Rollout
from proxy.rollout.schedule import Schedule

WINDOW: Final = 10.0
"""Seconds over which a route's rate is taken."""
_POINTS: Final = 64

Spec = dict[str, Any]


class Schedules:
    """Those of all routes; compiled once a revision."""

    def __init__(self, requests: Callable[[str], int], monotonic: Callable[[], float]) -> None:
        """`requests` gives how many a route has had so far."""
        self._requests: Final = requests
        self._monotonic: Final = monotonic
        self._schedules: Final[dict[str, tuple[Spec | None, Schedule]]] = {}
        self._points: Final[dict[str, deque[tuple[float, int]]]] = {}

    def closed(self, rollout: Rollout, now: float) -> str:
        """Why no step may be taken at `now` (Unix seconds); "" where one may."""
        spec: Spec | None = rollout.plan["schedule"]
        if spec is None:
            self._schedules.pop(rollout.route, None)
            self._points.pop(rollout.route, None)
            return ""
        known = self._schedules.get(rollout.route)
        if known is None or known[0] is not spec:
            known = self._schedules[rollout.route] = (spec, Schedule(spec))
        schedule = known[1]
        return schedule.why_closed(now, self._rate(rollout.route) if schedule.below_rate else None)

    def _rate(self, route: str) -> float | None:
        """Requests per second of the last seconds; None before they have been watched, or where the counters are others."""
        points = self._points.setdefault(route, deque(maxlen=_POINTS))
        at, count = self._monotonic(), self._requests(route)
        if points and count < points[-1][1]:
            points.clear()
        points.append((at, count))
        while len(points) > 2 and at - points[1][0] >= WINDOW:
            points.popleft()
        first_at, first = points[0]
        return (count - first) / (at - first_at) if at - first_at >= WINDOW / 2 else None
