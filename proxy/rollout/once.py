"""Ids that were seen lately: what is sent twice counts once. Pure, and bounded in number and in time."""

from collections import OrderedDict
from hashlib import blake2b
from typing import Final

IDS: Final = 100_000
"""Ids that are remembered; of more the oldest go. Some 17 MB."""
WINDOW: Final = 3600.0
"""Seconds for which one is remembered."""


class Once:
    """Of the ids of events. An id is known by 64 bits of a hash."""

    def __init__(self, limit: int = IDS, window: float = WINDOW) -> None:
        self._limit: Final = limit
        self._window: Final = window
        self._seen: Final[OrderedDict[bytes, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def seen(self, parts: tuple[str, ...], now: float) -> bool:
        """Whether these texts were added within the window that ends at `now`, seconds of a clock that only goes forward."""
        at = self._seen.get(_key(parts))
        return at is not None and now - at < self._window

    def add(self, parts: tuple[str, ...], now: float) -> None:
        """Remember them from `now` on."""
        key = _key(parts)
        self._seen.pop(key, None)
        self._seen[key] = now
        while self._seen:
            oldest = next(iter(self._seen))
            if len(self._seen) <= self._limit and now - self._seen[oldest] < self._window:
                return
            del self._seen[oldest]


def _key(parts: tuple[str, ...]) -> bytes:
    return blake2b("\0".join(parts).encode("utf-8", "surrogateescape"), digest_size=8).digest()
