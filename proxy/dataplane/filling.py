"""An answer on its way into the cache: judged at its head, taken piece by piece, kept when it is whole.

Both who can bring one do it here: an exchange that asked for a client, and a refresh that nobody waits for. An answer that is
cut short, grows beyond the limit, or was overtaken by a change of what it shows, is not kept.
"""

from typing import Final

from proxy.core.cache_store import Stored
from proxy.core.dates import format_date, parse_date
from proxy.core.field_lines import parse_fields
from proxy.core.fields import response_head
from proxy.core.freshness import CachePolicy, Terms, terms_of, variant_of
from proxy.core.request import Response
from proxy.core.route_cache import EVICTED, STORED, RouteCache
from proxy.core.validators import freshened, name_of, same_answer
from proxy.dataplane.runtime import Runtime
from proxy.telemetry.counters import V_CACHE_OUTCOMES

PASSING: Final = frozenset(("method", "request_no_store", "authorization", "cookie"))
"""Why an answer is not stored although what is stored in its place is as good as before."""

_NOT_KEPT: Final = frozenset((b"age", b"content-length"))


class Filling:
    """One answer, from its head to its last byte. `version` is who made it; `prefix` and `place` are its key."""

    def __init__(
        self,
        runtime: Runtime,
        policy: CachePolicy,
        cache: RouteCache,
        version: str,
        prefix: bytes,
        place: bytes,
        fields: dict[bytes, bytes],
        unit_hash: bytes,
        asked_at: float,
    ) -> None:
        self.runtime: Final = runtime
        self._policy: Final = policy
        self._cache: Final = cache
        self._version: Final = version
        self._prefix: Final = prefix
        self._place: Final = place
        self._fields: Final = fields
        self._unit_hash: Final = unit_hash
        self._asked_at: Final = asked_at
        self._received_at: float = 0.0
        self._terms: Terms | None = None
        self._status: int = 0
        self._start: bytes = b""
        self._lines: list[bytes] = []
        self._pieces: list[bytes] = []
        self._size: int = 0

    def begin(self, method: bytes, response: Response) -> str:
        """An answer's head has come. Answers why it is not kept, empty when it is being recorded."""
        now = self.runtime.now()
        terms = terms_of(
            self._policy,
            method,
            self._fields,
            response.status,
            response.fields,
            self.runtime.wall(),
            now - self._asked_at,
        )
        if isinstance(terms, str):
            return terms
        if response.content_length > self._policy.object_limit:
            return "too_large"
        self._received_at = now
        self._status = response.status
        self._start, self._lines = self._kept(response, terms)
        if b"date" not in response.fields:
            self._lines.append(b"date: " + format_date(self.runtime.wall()))
        self._terms = terms
        return ""

    def _kept(self, response: Response, terms: Terms | None) -> tuple[bytes, list[bytes]]:
        """The status line and the field lines that are stored."""
        dropped = _NOT_KEPT if terms is None else _NOT_KEPT | terms.withheld
        lines = response_head(response, b"")[:-4].split(b"\r\n")
        return lines[0], [line for line in lines[1:] if name_of(line) not in dropped]

    def body(self, data: bytes) -> bool:
        """More of it. False: it has become too large, and is given up."""
        store = self._cache.store
        size = len(data)
        if self._size + size > self._policy.object_limit or store.recording + size > max(
            store.size // 4, self._policy.object_limit
        ):
            self.drop()
            return False
        self._pieces.append(data)
        self._size += size
        store.recording += size
        return True

    def drop(self) -> None:
        """It will not be whole."""
        self._terms = None
        self._pieces = []
        self._cache.store.recording -= self._size
        self._size = 0

    def finish(self) -> None:
        """It is whole."""
        terms = self._terms
        pieces = self._pieces
        self.drop()
        if terms is not None:
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            if self._status != 204:
                self._lines.append(b"content-length: %d" % len(body))
            stored = self._stored(self._start, self._status, self._lines, body, terms, self._received_at)
            self._keep(stored)

    def freshen(self, old: Stored, response: Response) -> Stored:
        """The origin said that `old` is still current (304). Answers it with what the origin said anew, kept if it may be."""
        now = self.runtime.now()
        wall = self.runtime.wall()
        newer = self._kept(response, None)[1]
        if not self._policy.shared_cookies:  # it is the client's own, and no reason to forget what it may see
            newer = [line for line in newer if name_of(line) != b"set-cookie"]
        if b"date" not in response.fields:
            newer.append(b"date: " + format_date(wall))
        lines = freshened(old.lines(), newer)
        fields = parse_fields(lines)
        age = response.fields.get(b"age")
        if age is not None:
            fields[b"age"] = age
        store = self._cache.store
        terms = terms_of(self._policy, b"GET", self._fields, old.status, fields, wall, now - self._asked_at)
        if isinstance(terms, str):
            if terms not in PASSING:
                store.remove(old)
            return old
        lines = [line for line in lines if name_of(line) not in terms.withheld]
        fresh = self._stored(old.head.partition(b"\r\n")[0], old.status, lines, old.body, terms, now)
        if not same_answer(old.tag, response.fields.get(b"etag", b"")):
            store.remove(old)
            return fresh
        if fresh.variant != old.variant or terms.vary != old.terms.vary:
            store.remove(old)
        self._keep(fresh)
        return fresh

    def _stored(
        self, start: bytes, status: int, lines: list[bytes], body: bytes, terms: Terms, received_at: float
    ) -> Stored:
        fields = parse_fields(lines)
        modified = fields.get(b"last-modified", b"")
        wall = self.runtime.wall()
        return Stored(
            self._prefix + self._place,
            variant_of(terms.vary, self._fields, self._unit_hash),
            self._version,
            status,
            start + b"\r\n" + b"\r\n".join(lines) + b"\r\n",
            body,
            fields.get(b"etag", b""),
            modified,
            parse_date(modified or fields.get(b"date", b""), wall),
            terms,
            received_at - terms.initial_age,
        )

    def _keep(self, stored: Stored) -> None:
        cache = self._cache
        if cache.changed_since(self._place, self._asked_at):
            return
        runtime = self.runtime
        view = runtime.view
        for slot in cache.put(stored, runtime.now()):
            view[slot + V_CACHE_OUTCOMES + EVICTED] += 1
        slot = cache.slots.get(self._version, -1)
        if stored.held and slot >= 0:
            view[slot + V_CACHE_OUTCOMES + STORED] += 1

    def outdated(self, old: Stored | None, status: int, reason: str) -> None:
        """Another answer came than the one stored, and it is not kept (`reason`): neither is the old one."""
        if old is not None and status < 500 and status != 304 and reason not in PASSING:
            self._cache.store.remove(old)
