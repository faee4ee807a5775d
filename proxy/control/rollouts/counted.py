"""What the proxy has counted of versions that are compared, and what the plan in force says of their routes."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from proxy.rollout.evidence import identity_of
from proxy.telemetry.measures import Counts, Measures

Spec = dict[str, Any]

FRESH: Final = 0.5
"""Seconds that counters are good for: they are read for all routes at once, about once a second."""


class Counted:
    """The counters of routes by version. A version that only gets copies has what came of these."""

    def __init__(self, measures: Measures, spec: Callable[[], Spec], monotonic: Callable[[], float]) -> None:
        """`spec` gives that of the plan in force."""
        self._measures: Final = measures
        self._spec: Final = spec
        self._monotonic: Final = monotonic
        self._counts: dict[tuple[str, str], Counts] = {}
        self._counted_at: float = -1.0
        self._shadows: dict[str, str] = {}  # by route, the version that gets copies and no users
        self._identities: dict[str, str] = {}
        self._limits: dict[str, int] = {}  # by upstream, where it has one
        self._upstreams: dict[str, dict[str, str]] = {}  # by route and version
        self._read_of: Spec | None = None

    def memory(self) -> str:
        """The name of the memory that the counters are in: counters of another one are no earlier state of these."""
        return self._measures.memory()

    def copy_to(self, route: str, version: str | None) -> None:
        """From now on this version of the route gets copies and no users; None: there is none such."""
        if version is None:
            self._shadows.pop(route, None)
        else:
            self._shadows[route] = version

    def of(self, route: str, followed: Iterable[str], *, fresh: bool = False) -> dict[str, Counts]:
        """Of a route's versions. `followed` are the routes that are asked for as well, and read at the same time."""
        now = self._monotonic()
        known = any(one == route for one, _ in self._counts)
        if fresh or not known or now - self._counted_at > FRESH:
            self._counts = self._measures.of({route, *followed})
            self._counted_at = now
        counts = {version: counts for (name, version), counts in self._counts.items() if name == route}
        shadow = self._shadows.get(route)
        if shadow is not None:  # it has no users yet: what it has had are copies
            self._read_spec()
            upstream = self._upstreams.get(route, {}).get(shadow, "")
            counts[shadow] = self._measures.copied(route, upstream)
        return counts

    def saturation(self, route: str) -> dict[str, float]:
        """By version, how full its upstream is: percent of the requests that it takes at once, whoever's they are. Without those
        whose upstream takes any number."""
        self._read_spec()
        return {
            version: 100.0 * self._measures.under_way(upstream) / self._limits[upstream]
            for version, upstream in self._upstreams.get(route, {}).items()
            if upstream in self._limits
        }

    def identity(self, route: str) -> str:
        """Why units of the route are nobody in particular; "" where they are somebody."""
        self._read_spec()
        return self._identities.get(route, "")

    def events_of_answers(self, route: str) -> Sequence[str]:
        """The events that come in fields of the route's answers."""
        for one in self._spec()["routes"]:
            if one["name"] == route:
                return [event["name"] for event in (one.get("evidence") or {}).get("events", []) if event.get("field")]
        return []

    def _read_spec(self) -> None:
        spec = self._spec()
        if spec is self._read_of:
            return
        self._read_of = spec
        limits = {one["name"]: int(one["limits"]["requests"]) for one in spec["upstreams"]}
        self._limits = {name: limit for name, limit in limits.items() if limit}
        self._identities = {one["name"]: identity_of([unit["kind"] for unit in one["unit"]]) for one in spec["routes"]}
        self._upstreams = {
            one["name"]: {version["name"]: version["upstream"] for version in one["versions"]} for one in spec["routes"]
        }
