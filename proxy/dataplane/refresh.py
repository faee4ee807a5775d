"""A stored answer is asked for anew while a client gets the old one: nobody waits for it, and nobody sees it fail.

One at a time for each answer, with the deadlines of the upstream, and after a failure not again for a while.
"""

from typing import Final

from proxy.core.cache_store import Stored
from proxy.core.hashing import unit_number
from proxy.core.plan import Version
from proxy.core.request import Response
from proxy.core.route_cache import REFRESHED
from proxy.dataplane.aside import Aside
from proxy.dataplane.filling import Filling
from proxy.dataplane.runtime import Runtime
from proxy.dataplane.upstream import UpstreamConnection
from proxy.dataplane.upstreams import Upstreams
from proxy.errors import UT, Flag
from proxy.telemetry.counters import V_CACHE_OUTCOMES

_REST: Final = 1.0
"""Seconds after a refresh that failed in which the next is not tried: what fails at once would be tried by every request."""


class Refresh(Aside):
    """One request for one stored answer."""

    def __init__(
        self,
        upstreams: Upstreams,
        generation: int,
        version: Version,
        stored: Stored,
        filling: Filling,
        head: bytes,
        unit_hash: str,
    ) -> None:
        """`head` is what to send, with its empty line; `unit_hash` may decide on the endpoint.

        The whole must be over in the upstream's time for a connection, a head and a silence.
        """
        self.method = b"GET"
        self.request_done = True
        self.generation = generation
        self._upstreams: Final = upstreams
        self._runtime: Final[Runtime] = upstreams.runtime
        self._version: Final = version
        self._stored: Final = stored
        self._filling: Final = filling
        self._head: Final = head
        self._unit_hash: Final = unit_hash
        self._sent_at: float = 0.0
        self._status: int = 0
        self._took: float = -1.0  # seconds to the head
        self._again: bool = False
        self._over: bool = False

    def start(self) -> None:
        """Ask for a connection and set the deadline."""
        upstream = self._version.upstream
        self._stored.refreshing = True
        self._upstreams.copies.add(self)
        runtime = self._runtime
        runtime.wheel.arm(self, runtime.now() + upstream.connect + upstream.response + upstream.idle)
        self._acquire(False)

    def _acquire(self, fresh: bool) -> None:
        pool = self._upstreams.pools.get(self._version.upstream.name)
        if pool is None:
            self._end(False)
            return
        self._pool = pool
        unit = unit_number(self._unit_hash) if pool.hashed and self._unit_hash else None
        outcome = pool.acquire(self, fresh, False, unit)
        if isinstance(outcome, Flag):
            self._pool = None
            self._end(False)
        elif outcome is not None:
            self._claim = outcome

    def on_connected(self, connection: UpstreamConnection) -> None:
        self._claim = None
        self._connection = connection
        self._sent_at = self._runtime.now()
        connection.write(self._head)
        connection.deadline_in(self._sent_at, self._version.upstream.response)

    def on_unreachable(self, flag: Flag) -> None:
        self._leave_pool()
        self._claim = None
        self._end(False)

    def on_upstream_pause(self, paused: bool) -> None:
        """All there is to send is a head."""

    def on_head(self, response: Response, body: bytes, complete: bool, trailers: list[bytes], now: float) -> None:
        self._status = response.status
        self._took = now - self._sent_at
        if complete or response.status >= 500:
            self._judge(response.status)
        if complete:
            self._connection = None
        filling = self._filling
        stored = self._stored
        if response.status == 304 and (stored.tag or stored.modified):
            filling.freshen(stored, response)
            self._end(True)
            return
        reason = filling.begin(self.method, response)
        if reason:
            filling.outdated(stored, response.status, reason)
            self._end(response.status < 500)
            return
        self.on_body(body, complete, trailers)

    def on_body(self, data: bytes, complete: bool, trailers: list[bytes]) -> None:
        if complete:
            self._judge(self._status)
            self._connection = None
        if data and not self._filling.body(data):
            self._filling.outdated(self._stored, 200, "too_large")
            self._end(True)
        elif complete:
            self._filling.finish()
            self._end(True)

    def _judge(self, status: int) -> None:
        """By the time to its head, or by the time it has had for one."""
        now = self._runtime.now()
        self._report(status, now - self._sent_at if self._took < 0.0 else self._took, now)

    def on_broken(self, flag: Flag, untouched: bool) -> None:
        if not untouched:
            self._judge(flag.status)
        self._connection = None
        self._leave_pool()
        if untouched and not self._again:
            self._again = True
            self._acquire(True)
            return
        self._end(False)

    def expired(self, now: float) -> None:
        self._judge(UT.status)
        self._end(False)

    def _end(self, refreshed: bool) -> None:
        if self._over:
            return
        self._over = True
        if self._status:
            self._judge(self._status)  # nobody waits for the rest
        runtime = self._runtime
        stored = self._stored
        stored.refreshing = False
        if refreshed:
            runtime.view[self._version.slot + V_CACHE_OUTCOMES + REFRESHED] += 1
        else:
            stored.rest_until = runtime.now() + _REST
        self._filling.drop()
        runtime.wheel.forget(self)
        self._upstreams.copies.discard(self)
        self._let_go()
