"""Queries of metrics, asked of Prometheus now and then and never waited for: the answers lie in the rollout's look."""

import logging
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Final

from proxy.control.rollouts.look import Look
from proxy.rollout.gates import queries_of
from proxy.rollout.rollout import Rollout
from proxy.telemetry.facts import EvidenceFacts

if TYPE_CHECKING:
    from proxy.rollout.prometheus import Prometheus

log = logging.getLogger("tidegate.rollout")

ASK_EVERY: Final = 10.0
"""Seconds between two rounds of queries."""

Spawn = Callable[[str, Coroutine[Any, Any, None]], object]


class Querying:
    """Of all rollouts. `looks` are those that are followed, by route."""

    def __init__(
        self, looks: Mapping[str, Look], facts: EvidenceFacts, spawn: Spawn, monotonic: Callable[[], float]
    ) -> None:
        self._looks: Final = looks
        self._facts: Final = facts
        self._spawn: Final = spawn
        self._monotonic: Final = monotonic
        self._prometheus: Prometheus | None = None  # made when first asked
        self._asked: dict[str, float] = {}

    async def close(self) -> None:
        """Let go of connections."""
        if self._prometheus is not None:
            await self._prometheus.close()

    def ask(self, rollout: Rollout) -> None:
        """Ask all that the rollout's metrics want to know, where it is time to."""
        queries = {name: (query, server) for name, query, server in queries_of(rollout.plan)}
        now = self._monotonic()
        if not queries or now - self._asked.get(rollout.route, -1e9) < ASK_EVERY:
            return
        self._asked[rollout.route] = now
        self._spawn(f"queries of {rollout.route}", self._asking(rollout.route, queries))

    async def _asking(self, route: str, queries: Mapping[str, tuple[str, str]]) -> None:
        if self._prometheus is None:
            from proxy.rollout.prometheus import Prometheus  # noqa: PLC0415 - aiohttp's client, for who asks

            self._prometheus = Prometheus()
        answers = await self._prometheus.ask_all(queries)
        look = self._looks.get(route)
        if look is None:
            return
        for name, problem in answers.problems.items():
            if look.answers.problems.get(name) != problem:
                log.warning("route %s: metric %s has no number: %s", route, name, problem)
        look.answers, look.answered = answers, self._monotonic()
        counted = self._facts.queries
        for name in queries:
            kind = answers.kinds.get(name, "answered")
            counted[route, kind] = counted.get((route, kind), 0) + 1
