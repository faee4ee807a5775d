"""Weights that somebody set by hand: whose, which, why, who and until when. Kept in the journal, over restarts.

They hold over a rollout's and under the file's: when the file's weights of the route change, they are forgotten.
"""

from collections.abc import Callable, Mapping
from typing import Final

from proxy.rollout.journal import Journal, Override

Weights = dict[str, float]


class HandWeights:
    """All of them by route. What the journal refuses has not happened. One change at a time."""

    def __init__(self, journal: Journal, clock: Callable[[], float], shown: set[str]) -> None:
        """`clock` gives Unix seconds. `shown` has the routes that have some, kept up to date."""
        self._journal: Final = journal
        self._clock: Final = clock
        self._shown: Final = shown
        self._overrides: Final[dict[str, Override]] = {}

    def take(self, kept: Mapping[str, Override]) -> None:
        """Go on from what the journal has."""
        self._overrides.update(kept)
        self._shown.update(kept)

    def of(self, route: str) -> Override | None:
        """Those of a route."""
        return self._overrides.get(route)

    def holding(self, route: str, file: Weights) -> Override | None:
        """Those of a route that hold over these weights of the file."""
        override = self._overrides.get(route)
        return override if override is not None and override.bound == file else None

    async def put(
        self, route: str, weights: Weights, file: Weights, by: str, reason: str, until: float | None
    ) -> Override:
        """Set those of a route, in place of earlier ones, over these of the file. Raises JournalError."""
        override = Override(weights, dict(file), by, reason, self._clock(), until)
        await self._journal.put_override(route, override)
        self._overrides[route] = override
        self._shown.add(route)
        return override

    async def remove(self, route: str) -> Override | None:
        """Forget those of a route; answers them, None where there were none. Raises JournalError."""
        if route not in self._overrides:
            return None
        await self._journal.remove_override(route)
        self._shown.discard(route)
        return self._overrides.pop(route, None)

    def ended(self, files: Mapping[str, Weights]) -> dict[str, str]:
        """Routes whose weights by hand hold no more, and why, where the file's weights by route are `files`."""
        now = self._clock()
        ended = {}
        for route, override in self._overrides.items():
            if route not in files:
                ended[route] = "the file has no such route any more"
            elif files[route] != override.bound:
                ended[route] = "the file's weights were changed"
            elif override.until is not None and override.until <= now:
                ended[route] = "their time is up"
        return ended
