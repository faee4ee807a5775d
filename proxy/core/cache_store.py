"""Stored answers, bounded in bytes: what to find under a key, and what to give up when there is no room.

Two queues decide what stays (S3-FIFO: Yang et al., "FIFO queues are all you need for cache eviction", SOSP 2023). A new answer
enters the small one, a tenth of the room; only what is asked for again before it gets to the front moves to the main one. So a
crawler that asks for everything once cannot drive out what everybody asks for. In the main queue an answer that was asked
for goes round again, at most three times. A key given up a short while ago is remembered and enters the main queue at once.

Everything is counted: body, head, key, and what Python's objects around them take.
"""

from collections import OrderedDict
from typing import Final

from proxy.core.freshness import Terms, useful_for, variant_of

OVERHEAD: Final = 1400
"""Bytes of an answer's objects and its places in the tables, beside the bytes it holds (tests/unit/core/test_cache_store.py)."""
VARIANTS: Final = 16
"""Variants of one URI; the oldest goes. nginx has no bound, Varnish none; a client that invents languages must meet one."""

_SMALL_SHARE: Final = 10
_MOST_ROUNDS: Final = 3
_GHOSTS: Final = 1 << 16


class Stored:
    """An answer as it is kept. `head` is status line and field lines, each with CRLF, without age and framing of the hop.

    `born` is when its age was 0 (monotonic seconds), `modified_at` Last-Modified or else Date in seconds since the epoch;
    `version` is who made it.
    """

    rounds: int = 0
    settled: bool = False  # in the main queue
    held: bool = False  # in a queue at all
    refreshing: bool = False
    rest_until: float = 0.0  # after a refresh that failed

    def __init__(
        self,
        key: bytes,
        variant: bytes,
        version: str,
        status: int,
        head: bytes,
        body: bytes,
        tag: bytes,
        modified: bytes,
        modified_at: float,
        terms: Terms,
        born: float,
    ) -> None:
        self.key: Final = key
        self.variant: Final = variant
        self.version: Final = version
        self.status: Final = status
        self.head: Final = head
        self.body: Final = body
        self.tag: Final = tag
        self.modified: Final = modified
        self.modified_at: Final = modified_at
        self.terms: Final = terms
        self.born: Final = born
        self.size: Final = (
            len(key) + len(variant) + len(head) + len(body) + len(tag) + len(modified) + 64 * len(terms.vary) + OVERHEAD
        )

    def age(self, now: float) -> float:
        """Seconds."""
        return now - self.born

    def lines(self) -> list[bytes]:
        """The field lines, without the status line."""
        return self.head.split(b"\r\n")[1:-1]


class CacheStore:
    """The answers of one route in one worker. `size` is in bytes."""

    def __init__(self, size: int) -> None:
        self.size: int = size
        self.used: int = 0
        self.recording: int = 0  # bytes of answers on their way in, which are not used yet
        self._small_used: int = 0
        self._found: Final[dict[bytes, list[Stored]]] = {}
        self._small: Final[OrderedDict[Stored, None]] = OrderedDict()
        self._main: Final[OrderedDict[Stored, None]] = OrderedDict()
        self._ghosts: Final[OrderedDict[int, None]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._small) + len(self._main)

    def find(self, key: bytes, fields: dict[bytes, bytes], unit_hash: bytes) -> Stored | None:
        """The newest answer under `key` whose variant fits a request with these fields."""
        variants = self._found.get(key)
        if variants is None:
            return None
        told: list[bytes] = []
        variant = b""
        for at in range(len(variants) - 1, -1, -1):
            stored = variants[at]
            vary = stored.terms.vary
            if not vary:
                return stored
            if vary != told:  # nearly always the same for all
                told = vary
                variant = variant_of(vary, fields, unit_hash)
            if variant == stored.variant:
                return stored
        return None

    def knows(self, key: bytes) -> bool:
        """Whether any variant is held under `key`."""
        return key in self._found

    def used_again(self, stored: Stored) -> None:
        """Somebody got it: it is worth more than what nobody asks for."""
        if stored.rounds < _MOST_ROUNDS:
            stored.rounds += 1

    def put(self, stored: Stored, now: float) -> list[Stored]:
        """Take an answer in, in the place of the same variant; answers what was given up for it (monotonic seconds).

        One that is larger than the whole store is not taken.
        """
        variants = self._found.get(stored.key)
        settled = hash(stored.key) in self._ghosts
        if variants is not None:
            for known in variants.copy():
                if known.variant == stored.variant and known.terms.vary == stored.terms.vary:
                    settled |= known.settled
                    stored.rounds = known.rounds
                    self.remove(known)
        evicted: list[Stored] = []
        if stored.size > self.size:
            return evicted
        variants = self._found.get(stored.key)
        if variants is not None and len(variants) >= VARIANTS:
            evicted.append(variants[0])
            self.remove(variants[0])
        self._make_room(self.size - stored.size, now, evicted)
        stored.settled = settled
        stored.held = True
        self.used += stored.size
        if settled:
            self._main[stored] = None
            self._ghosts.pop(hash(stored.key), None)
        else:
            self._small[stored] = None
            self._small_used += stored.size
        self._found.setdefault(stored.key, []).append(stored)
        return evicted

    def resize(self, size: int, now: float) -> list[Stored]:
        """Have room for `size` bytes from now on; answers what was given up."""
        self.size = size
        evicted: list[Stored] = []
        self._make_room(size, now, evicted)
        return evicted

    def remove(self, stored: Stored) -> None:
        """Forget an answer. Who still sends it has its bytes."""
        if not stored.held:
            return
        if stored.settled:
            del self._main[stored]
        else:
            del self._small[stored]
            self._small_used -= stored.size
        self._forget(stored)

    def remove_uri(self, key: bytes) -> None:
        """Forget all variants under `key`."""
        for stored in self._found.get(key, _NONE).copy():
            self.remove(stored)

    def _forget(self, stored: Stored) -> None:
        stored.held = False
        self.used -= stored.size
        variants = self._found[stored.key]
        if len(variants) == 1:
            del self._found[stored.key]
        else:
            variants.remove(stored)

    def _make_room(self, limit: int, now: float, evicted: list[Stored]) -> None:
        while self.used > limit:
            if self._small and (self._small_used * _SMALL_SHARE > self.size or not self._main):
                self._pop_small(now, evicted)
            else:
                self._pop_main(now, evicted)

    def _pop_small(self, now: float, evicted: list[Stored]) -> None:
        stored, _ = self._small.popitem(last=False)
        self._small_used -= stored.size
        if stored.rounds > 1 and _useful(stored, now):
            stored.rounds = 0
            stored.settled = True
            self._main[stored] = None
            return
        self._forget(stored)
        evicted.append(stored)
        ghosts = self._ghosts
        ghosts[hash(stored.key)] = None
        if len(ghosts) > min(len(self._main) + 1, _GHOSTS):
            ghosts.popitem(last=False)

    def _pop_main(self, now: float, evicted: list[Stored]) -> None:
        stored, _ = self._main.popitem(last=False)
        if stored.rounds > 0 and _useful(stored, now):
            stored.rounds -= 1
            self._main[stored] = None
            return
        self._forget(stored)
        evicted.append(stored)


_NONE: Final[list[Stored]] = []


def _useful(stored: Stored, now: float) -> bool:
    return bool(stored.tag or stored.modified) or stored.age(now) < useful_for(stored.terms)
