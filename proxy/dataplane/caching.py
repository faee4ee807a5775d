"""The cache's gate, and what the cache does for one exchange: answer from what is stored, ask on terms, keep what comes.

A version's answers are its own: a request finds what the version it belongs to has stored, and what another version of the
chain answers is stored as that one's. Where every version fails, an old answer may stand in: first the assigned version's, then
those of its fallbacks, as they would have been asked.

Each request on a route with a cache has one outcome: hit, stale, revalidated, miss or bypass (core/route_cache.py).
"""

from typing import Final

from proxy.core.arm import RouteLife
from proxy.core.cache_control import CacheControl, read_request
from proxy.core.cache_store import Stored
from proxy.core.fields import overrides, public_origin, taken_by_connection, upstream_target
from proxy.core.freshness import HIT as FRESH
from proxy.core.freshness import STALE as REFRESHING
from proxy.core.freshness import CachePolicy, judge, may_have, serves_for_error
from proxy.core.plan import Route, Version
from proxy.core.request import Response
from proxy.core.route_cache import (
    BYPASS,
    CACHE_OUTCOMES,
    EVICTED,
    HIT,
    MISS,
    REVALIDATED,
    STALE,
    RouteCache,
    Source,
)
from proxy.core.validators import CONDITIONS, FOR_THE_ORIGIN, condition_lines, name_of, not_modified, not_modified_lines
from proxy.dataplane.filling import Filling
from proxy.dataplane.passage import Keeping, Passage
from proxy.dataplane.refresh import Refresh
from proxy.dataplane.runtime import Runtime
from proxy.errors import LS, NC, UC, UF, UH, UO, UPE, UR, URX, UT, Flag
from proxy.telemetry.counters import V_CACHE_OUTCOMES

_SAFE: Final = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE"))
_STANDS_IN_FOR: Final = frozenset((UF, UT, UC, UR, UPE, UH, UO, URX, LS))


def not_cached(passage: Passage) -> bool:
    """The gate: False when the client has got a stored answer."""
    route = passage.route
    policy = route.cache
    life = route.life
    if policy is None or life is None:
        return True
    cache = life.cache
    if cache is None:
        return True
    use = CacheUse(passage, policy, cache)
    passage.keeping = use
    return use.look()


def provide_cache(runtime: Runtime, route: Route, life: RouteLife) -> None:
    """Give a route of a new plan the cache that the one of its name had, or its first; or take it away."""
    policy = route.cache
    if policy is None:
        life.cache = None
        return
    cache = life.cache
    if cache is None:
        cache = life.cache = RouteCache(policy.size)
    elif cache.store.size != policy.size:
        for slot in cache.resize(policy.size, runtime.now()):
            runtime.view[slot + V_CACHE_OUTCOMES + EVICTED] += 1
    rewrite = route.rewrite
    stamp = "" if rewrite is None else repr((rewrite.strip_prefix, rewrite.set_lines, sorted(rewrite.dropped)))
    for version in route.versions:
        upstream = version.upstream
        endpoints = frozenset(endpoint.label for endpoint in upstream.endpoints)
        version.cache_prefix = cache.prefix(version.name, Source(upstream.name, endpoints, stamp), version.slot)
    cache.leave(frozenset(route.by_name))


class CacheUse(Keeping):
    """What the cache does for one exchange."""

    def __init__(self, passage: Passage, policy: CachePolicy, cache: RouteCache) -> None:
        runtime = passage.runtime
        self._passage: Final = passage
        self._runtime: Final[Runtime] = runtime
        self._policy: Final = policy
        self._cache: Final = cache
        self._since: Final[float] = runtime.now()
        self._place: bytes = b""  # of the key, what comes after a version's prefix
        self._outcome: int = MISS
        self._forward: str = "uri-miss"  # why it goes on, in the words of RFC 9211
        self._stored: Stored | None = None  # of the assigned version, where the upstream is to be asked first
        self._conditional: bool = False  # the upstream was asked whether that is still current
        self._filling: Filling | None = None

    # Before the upstream.

    def look(self) -> bool:
        """Answer from the store, or False where that cannot be: True lets the exchange go on."""
        passage = self._passage
        request = passage.request
        fields = request.fields
        route = passage.route
        self._place = b"%b %b %b%b" % (
            public_origin(passage.client.forwarding(request)),
            request.authority.lower(),
            upstream_target(request, route.rewrite, route.raw_paths),
            overrides(fields) + passage.altered,
        )
        method = passage.method
        if method not in (b"GET", b"HEAD"):
            return self._pass_by("method")
        if request.upgrade or request.chunked or request.content_length > 0 or not FOR_THE_ORIGIN.isdisjoint(fields):
            return self._pass_by("bypass")
        if taken_by_connection(request):  # `Vary` would be read by a field that the upstream did not see
            return self._pass_by("bypass")
        asked = read_request(fields)
        store = self._cache.store
        version = passage.version
        key = version.cache_prefix + self._place
        stored = store.find(key, fields, passage.unit_hash)
        if stored is None:
            if store.knows(key):
                self._forward = "vary-miss"
        elif not may_have(self._policy, stored.terms, fields):
            self._forward = "request"
        elif self._give_or_ask(stored, version, asked):
            return False
        if asked.only_if_cached:
            passage.refuse(NC, 0, "", self._status_line("detail=only-if-cached"))
            return False
        passage.cache_state = CACHE_OUTCOMES[MISS]
        return True

    def _pass_by(self, why: str) -> bool:
        self._outcome = BYPASS
        self._forward = why
        self._passage.cache_state = CACHE_OUTCOMES[BYPASS]
        return True

    def _give_or_ask(self, stored: Stored, version: Version, asked: CacheControl) -> bool:
        now = self._runtime.now()
        age = stored.age(now)
        verdict = judge(stored.terms, age, asked)
        if verdict in (FRESH, REFRESHING):
            self._cache.store.used_again(stored)
            if age < stored.terms.lifetime:
                self._give(stored, 0, HIT, "hit", None, False)
            else:
                refresh = self._refresh(stored, version, now) if verdict == REFRESHING else None
                self._give(stored, 0, STALE, "hit", None, True)
                if refresh is not None:
                    refresh.start()
            return True
        self._stored = stored
        self._forward = "request" if age < stored.terms.lifetime and not stored.terms.always_ask else "stale"
        return False

    def _refresh(self, stored: Stored, version: Version, now: float) -> Refresh | None:
        if stored.refreshing or now < stored.rest_until or self._runtime.draining:
            return None
        arm = version.arm
        if arm is not None and arm.breaker is not None and arm.breaker.shut:
            return None
        passage = self._passage
        head = passage.head_for(version, CONDITIONS, condition_lines(stored.tag, stored.modified))
        if passage.method == b"HEAD":
            head = b"GET" + head[4:]
        stored.refreshing = True
        upstreams = passage.client.door.upstreams
        filling = self._new_filling(version)
        unit_hash = passage.unit_hash.decode()
        return Refresh(upstreams, passage.plan.generation, version, stored, filling, head, unit_hash)

    def _new_filling(self, version: Version) -> Filling:
        passage = self._passage
        return Filling(
            self._runtime,
            self._policy,
            self._cache,
            version.name,
            version.cache_prefix,
            self._place,
            passage.request.fields,
            passage.unit_hash,
            self._since,
        )

    # On the way to the upstream and back.

    def lines_for(self, served: int, kept: list[bytes]) -> list[bytes]:
        self._conditional = False
        stored = self._stored
        if stored is None or served != 0 or not (stored.tag or stored.modified):
            return kept
        self._conditional = True
        return [line for line in kept if name_of(line) not in CONDITIONS] + condition_lines(stored.tag, stored.modified)

    def on_answer(self, served: int, response: Response) -> bool:
        status = response.status
        stored = self._stored
        passage = self._passage
        if self._conditional and stored is not None and status == 304:
            fresh = self._new_filling(passage.version).freshen(stored, response)
            if not self._policy.shared_cookies:
                for line in response.lines:
                    if name_of(line) == b"set-cookie":
                        passage.added += line + b"\r\n"
            self._give(fresh, served, REVALIDATED, f"fwd={self._forward}; fwd-status=304", None, False)
            return True
        if status >= 500 and self._stand_in(None, status):
            return True
        reason = ""
        if self._outcome == BYPASS:
            if passage.method not in _SAFE and 200 <= status < 400:
                prefixes = [version.cache_prefix for version in passage.route.versions]
                self._cache.invalidate(prefixes, self._place, self._runtime.now())
        else:
            filling = self._new_filling(passage.chain[served])
            reason = filling.begin(passage.method, response)
            if not reason:
                self._filling = filling
            elif served == 0:
                filling.outdated(stored, status, reason)
        passage.added += self._status_line(
            f"fwd={self._forward}"
            + ("; stored" if self._filling is not None else f"; detail={reason}" if reason else "")
        )
        return False

    def on_body(self, data: bytes, complete: bool) -> None:
        filling = self._filling
        if filling is not None:
            if data and not filling.body(data):
                self._filling = None
                if self._stored is not None and self._passage.served_by == 0:
                    filling.outdated(self._stored, 200, "too_large")
            elif complete:
                self._filling = None
                filling.finish()

    def on_failure(self, flag: Flag) -> bool:
        return flag in _STANDS_IN_FOR and self._stand_in(flag, 0)

    def _stand_in(self, flag: Flag | None, status: int) -> bool:
        """Answer with something old in the place of a failure, where there is something that may be used so."""
        if self._outcome == BYPASS:
            return False
        passage = self._passage
        fields = passage.request.fields
        now = self._runtime.now()
        for served in range(len(passage.chain)):
            if served and not passage.may_have(passage.chain[served]):
                continue
            key = passage.chain[served].cache_prefix + self._place
            stored = self._cache.store.find(key, fields, passage.unit_hash)
            if stored is None or not may_have(self._policy, stored.terms, fields):
                continue
            if not serves_for_error(stored.terms, stored.age(now)):
                continue
            passage.replaced = status
            self._cache.store.used_again(stored)
            why = f"fwd-status={status}" if flag is None else f"detail={flag.code}"
            self._give(stored, served, STALE, f"fwd=stale; {why}", flag, True)
            return True
        return False

    def ended(self) -> None:
        filling = self._filling
        if filling is not None:
            self._filling = None
            filling.drop()
        self._runtime.view[self._passage.version.slot + V_CACHE_OUTCOMES + self._outcome] += 1

    # The answer.

    def _give(self, stored: Stored, served: int, outcome: int, said: str, flag: Flag | None, stale: bool) -> None:
        passage = self._passage
        self._outcome = outcome
        passage.cache_state = CACHE_OUTCOMES[outcome]
        age = max(int(stored.age(self._runtime.now())), 0)
        passage.added += b"age: %d\r\n" % age + self._status_line(f"{said}; ttl={int(stored.terms.lifetime) - age}")
        fields = passage.request.fields
        if (
            stored.status == 200
            and not CONDITIONS.isdisjoint(fields)
            and not_modified(fields, stored.tag, stored.modified_at, self._runtime.wall())
        ):
            lines = not_modified_lines(stored.lines())
            head = b"HTTP/1.1 304 Not Modified\r\n" + b"".join([line + b"\r\n" for line in lines])
            passage.answer(304, head, b"", served, flag, stale)
        else:
            body = b"" if passage.method == b"HEAD" else stored.body
            passage.answer(stored.status, stored.head, body, served, flag, stale)

    def _status_line(self, said: str) -> bytes:
        """Cache-Status (RFC 9211)."""
        return f"cache-status: tidegate; {said}\r\n".encode()
