"""How long to wait before trying again: doubling, bounded, and spread so that many do not try at the same instant."""

from collections.abc import Callable
from typing import Final

Rng = Callable[[], float]
"""A number in [0, 1)."""


class Backoff:
    """Delays in seconds: `first`, then twice as long each time up to `ceiling`, each shortened by up to half at random."""

    def __init__(self, first: float, ceiling: float, rng: Rng) -> None:
        self._first: Final = first
        self._ceiling: Final = ceiling
        self._rng: Final = rng
        self._failures = 0

    def next(self) -> float:
        """The delay before the next try; each call counts one failure."""
        delay = min(self._ceiling, self._first * 2.0 ** min(self._failures, 32))
        self._failures += 1
        return delay * (1.0 - self._rng() / 2)

    def reset(self) -> None:
        """Forget the failures: what was tried has worked for a while."""
        self._failures = 0
