"""What one route keeps of its answers in one worker, over plans: the store, and whose answers in it still count.

Answers belong to the version that made them. A version's keys begin with its prefix, and a version that is somebody else from
one plan to the next gets another prefix: what was stored before is found no more and is given up in its turn.
"""

from collections import OrderedDict
from typing import Final

from proxy.core.cache_store import CacheStore, Stored

CACHE_OUTCOMES: Final[tuple[str, ...]] = (
    "hit",
    "miss",
    "stale",
    "revalidated",
    "bypass",
    "stored",
    "evicted",
    "refreshed",
)
"""What became of a request at the cache (each has one of the first five), and of stored answers (the last three)."""
HIT, MISS, STALE, REVALIDATED, BYPASS, STORED, EVICTED, REFRESHED = range(8)

_CHANGES: Final = 4096


class Source:
    """Where a version's answers come from."""

    def __init__(self, upstream: str, endpoints: frozenset[str], rewrite: str) -> None:
        self.upstream: Final = upstream
        self.endpoints: Final = endpoints
        self.rewrite: Final = rewrite

    def continues(self, before: "Source") -> bool:
        """Whether this is still the same service: one that grew or shrank is, one with other endpoints altogether is not."""
        return (
            self.upstream == before.upstream
            and self.rewrite == before.rewrite
            and (self.endpoints == before.endpoints or not self.endpoints.isdisjoint(before.endpoints))
        )


class RouteCache:
    """The answers of one route, by version."""

    def __init__(self, size: int) -> None:
        self.store: Final = CacheStore(size)
        self.slots: Final[dict[str, int]] = {}  # of the counters of a version
        self._sources: Final[dict[str, Source]] = {}
        self._epochs: Final[dict[str, int]] = {}
        self._changed: Final[OrderedDict[bytes, float]] = OrderedDict()
        self._forgotten: float = -1.0  # until when changes are no longer remembered one by one

    def prefix(self, version: str, source: Source, slot: int) -> bytes:
        """What the keys of this version begin with, now that its answers come from `source`."""
        before = self._sources.get(version)
        if before is not None and not source.continues(before):
            self._epochs[version] = self._epochs.get(version, 0) + 1
        self._sources[version] = source
        self.slots[version] = slot
        return f"{version} {self._epochs.get(version, 0)} ".encode()

    def leave(self, versions: frozenset[str]) -> None:
        """Only these versions are left. One that returns begins anew."""
        for version in [version for version in self._sources if version not in versions]:
            del self._sources[version]
            del self.slots[version]
            self._epochs[version] = self._epochs.get(version, 0) + 1

    # What was stored may be wrong now.

    def invalidate(self, prefixes: list[bytes], place: bytes, now: float) -> None:
        """Somebody changed what is at `place`: what all versions have stored of it goes, and what is on its way is not kept."""
        for prefix in prefixes:
            self.store.remove_uri(prefix + place)
        changed = self._changed
        changed[place] = now
        changed.move_to_end(place)
        if len(changed) > _CHANGES:
            _, self._forgotten = changed.popitem(last=False)

    def changed_since(self, place: bytes, since: float) -> bool:
        """Whether what is at `place` may have changed since then (monotonic seconds)."""
        return since <= self._forgotten or self._changed.get(place, -1.0) >= since

    def put(self, stored: Stored, now: float) -> list[int]:
        """Keep an answer; answers the counter slots of the versions that lost one."""
        slots = self.slots
        return [slots[lost.version] for lost in self.store.put(stored, now) if lost.version in slots]

    def resize(self, size: int, now: float) -> list[int]:
        """Have room for `size` bytes; answers as `put` does."""
        slots = self.slots
        return [slots[lost.version] for lost in self.store.resize(size, now) if lost.version in slots]
