"""Copies of requests for shadows: sent beside the exchange, never waited for, never allowed to hold it up.

A copy has its own connection from the shadow's own pool, its own deadline, and bounds on number and bytes that hold over all
workers. Its answer is read, counted and forgotten. Whatever stands in the way of a copy ends the copy, with a reason that
is counted; each request that a mirror rule looked at has exactly one outcome.
"""

from typing import Final

from proxy.core.fields import MARKER, request_head, shadow_lines
from proxy.core.framing import encode_chunk, last_chunk
from proxy.core.hashing import sampled, unit_number
from proxy.core.plan import Mirror, Route
from proxy.core.request import Request, Response
from proxy.dataplane.aside import Aside
from proxy.dataplane.pool import Pool
from proxy.dataplane.runtime import Runtime
from proxy.dataplane.upstream import UpstreamConnection
from proxy.dataplane.upstreams import Upstreams
from proxy.errors import UO, UT, Flag
from proxy.telemetry.counters import (
    M_BUFFERED,
    M_CODES,
    M_DURATION,
    M_FAILURES,
    M_IN_FLIGHT,
    M_OUTCOMES,
    M_TIMEOUTS,
    MIRROR_OUTCOMES,
    observe,
)

(
    _SENT,
    _SAMPLED_OUT,
    _METHOD,
    _LOOP,
    _UPGRADE,
    _IN_FLIGHT,
    _BUFFER,
    _BODY_LIMIT,
    _UNREACHABLE,
    _CONNECTIONS,
    _ABORTED,
) = range(len(MIRROR_OUTCOMES))

_ALL: Final = 1 << 32


def start_copies(
    upstreams: Upstreams,
    route: Route,
    request: Request,
    unit: bytes | None,
    kept: list[bytes],
    forwarding: bytes,
    identity: bytes,
) -> "list[Copy] | None":
    """Send a request to every shadow whose rule takes it; answers the copies that still want its body."""
    runtime = upstreams.runtime
    wanting: list[Copy] | None = None
    for mirror in route.mirrors:
        outcome = _refusal(runtime, mirror, request, unit)
        if outcome >= 0:
            runtime.view[mirror.slot + M_OUTCOMES + outcome] += 1
            continue
        marked = identity + MARKER + b": 1\r\nx-tidegate-route: " + route.name.encode() + b"\r\n"
        lines = shadow_lines(kept, mirror.strip_credentials)
        head = request_head(request, lines, forwarding, marked, route.rewrite, route.raw_paths, b"")
        copy = Copy(upstreams, mirror, request, head)
        copy.start(unit)
        if not copy.request_done:
            if wanting is None:
                wanting = []
            wanting.append(copy)
    return wanting


def _refusal(runtime: Runtime, mirror: Mirror, request: Request, unit: bytes | None) -> int:
    """Why this request is not copied, as an index of MIRROR_OUTCOMES; -1 when it is."""
    if mirror.methods is not None and request.method not in mirror.methods:
        return _METHOD
    if MARKER in request.fields:
        return _LOOP
    if request.upgrade:
        return _UPGRADE
    if mirror.threshold < _ALL:
        if mirror.by_unit and unit is not None:
            if not sampled(mirror.prefix, unit, mirror.threshold):
                return _SAMPLED_OUT
        elif runtime.rng.getrandbits(32) >= mirror.threshold:
            return _SAMPLED_OUT
    if request.content_length > mirror.body_limit:
        return _BODY_LIMIT
    cells = runtime.cells
    if cells.total(mirror.slot + M_IN_FLIGHT) >= mirror.in_flight:
        return _IN_FLIGHT
    if cells.total(mirror.slot + M_BUFFERED) >= mirror.buffer:
        return _BUFFER
    return -1


class Copy(Aside):
    """One request on its way to one shadow."""

    def __init__(self, upstreams: Upstreams, mirror: Mirror, request: Request, head: bytes) -> None:
        runtime = upstreams.runtime
        self.upstreams: Final = upstreams
        self.runtime: Final = runtime
        self.mirror: Final = mirror
        self.generation = 0 if runtime.plan is None else runtime.plan.generation
        self.method = request.method
        self.request_done = not request.chunked and request.content_length <= 0
        self._chunked: Final = request.chunked
        self._waiting: list[bytes] = [head]
        self._body_bytes: int = 0
        self._buffered: int = 0
        self._answer_bytes: int = 0
        self._status: int = 0
        self._outcome: int = -1
        self._started: float = runtime.now()
        self._whole: bytes = b""  # what went out on a pooled connection, while it may have to go out again
        self._resent: bool = False
        self._over: bool = False
        self._unit: int | None = None

    def start(self, unit: bytes | None) -> None:
        """Ask for a connection and set the deadline. `unit` may decide on the endpoint."""
        runtime = self.runtime
        view = runtime.view
        view[self.mirror.slot + M_IN_FLIGHT] += 1
        self.upstreams.copies.add(self)
        pool = self.upstreams.shadows.get(self.mirror.upstream.name)
        if pool is None:
            self._end(_UNREACHABLE)
            return
        runtime.wheel.arm(self, self._started + self.mirror.timeout)
        if pool.hashed and unit is not None:
            self._unit = unit_number(runtime.hasher(unit))
        self._acquire(pool, False)

    def _acquire(self, pool: Pool, fresh: bool) -> None:
        self._pool = pool
        outcome = pool.acquire(self, fresh, False, self._unit)
        if isinstance(outcome, Flag):
            self._pool = None
            self._end(_CONNECTIONS if outcome is UO else _UNREACHABLE)
        elif outcome is not None:
            self._claim = outcome
            self._measure()

    # The way up.

    def on_connected(self, connection: UpstreamConnection) -> None:
        self._claim = None
        self._connection = connection
        connection.no_deadline()
        waiting = self._waiting
        self._waiting = []
        whole = waiting[0] if len(waiting) == 1 else b"".join(waiting)
        connection.write(whole)
        if self.request_done:
            self._count(_SENT)
            if connection.reused and not self._resent:
                self._whole = whole
        if connection.paused or self._buffered:
            self._measure()

    def on_unreachable(self, flag: Flag) -> None:
        self._leave_pool()
        self._claim = None
        self._end(_CONNECTIONS if flag is UO else _UNREACHABLE)

    def body(self, data: bytes) -> None:
        """A piece of the request's body, decoded."""
        if not self._over:
            self._send(data, encode_chunk(data) if self._chunked else data)

    def last_body(self, data: bytes, trailers: list[bytes]) -> None:
        """The rest of the request's body."""
        if self._over:
            return
        self.request_done = True
        self._send(data, encode_chunk(data) + last_chunk(trailers) if self._chunked else data)
        if not self._over and self._connection is not None:
            self._count(_SENT)

    def _send(self, data: bytes, encoded: bytes) -> None:
        mirror = self.mirror
        self._body_bytes += len(data)
        if self._body_bytes > mirror.body_limit:
            self._end(_BODY_LIMIT)
            return
        connection = self._connection
        if connection is None:
            self._waiting.append(encoded)
        else:
            connection.write(encoded)
            if not connection.paused and not self._buffered:
                return
        self._measure()
        if self.runtime.cells.total(mirror.slot + M_BUFFERED) > mirror.buffer:
            self._end(_BUFFER)

    def _measure(self) -> None:
        """Write down how many bytes wait for this shadow."""
        size = sum(len(piece) for piece in self._waiting)
        connection = self._connection
        if connection is not None and connection.transport is not None:
            size += connection.transport.get_write_buffer_size()
        if size != self._buffered:
            self.runtime.view[self.mirror.slot + M_BUFFERED] += size - self._buffered
            self._buffered = size

    def abandon(self) -> None:
        """The original will never be whole, and so neither will the copy."""
        if not self._over and not self.request_done:
            self._end(_ABORTED)

    def on_upstream_pause(self, paused: bool) -> None:  # a copy presses back on nobody
        self._measure()

    # The way down: read, counted, forgotten.

    def on_head(self, response: Response, body: bytes, complete: bool, trailers: list[bytes], now: float) -> None:
        view = self.runtime.view
        view[self.mirror.slot + M_CODES + response.status] += 1
        self._status = response.status
        if response.status >= 500:
            self._judge(response.status)
        self.on_body(body, complete, trailers)

    def on_body(self, data: bytes, complete: bool, trailers: list[bytes]) -> None:
        self._answer_bytes += len(data)
        if not complete and self._answer_bytes <= self.mirror.response_limit:
            return
        self._judge(self._status)
        if complete:
            self._connection = None
        observe(self.runtime.view, self.mirror.slot + M_DURATION, self.runtime.now() - self._started)
        self._end(_SENT if self.request_done else _ABORTED)

    def _judge(self, status: int) -> None:
        """Without a time: copies wait for their bodies, which come when they come."""
        self._report(status, -1.0, self.runtime.now())

    def on_broken(self, flag: Flag, untouched: bool) -> None:
        if not untouched:
            self._judge(flag.status)
        self._connection = None
        pool = self._pool
        if untouched and self._whole and pool is not None:
            # The pooled connection had been closed by the shadow: once more on a fresh one. A shadow's answer hurts nobody.
            self._waiting = [self._whole]
            self._whole = b""
            self._resent = True
            self._leave_pool()
            self._acquire(pool, True)
            return
        self.runtime.view[self.mirror.slot + M_FAILURES] += 1
        self._end(_SENT if self.request_done else _ABORTED)

    def expired(self, now: float) -> None:
        self.runtime.view[self.mirror.slot + M_TIMEOUTS] += 1
        self._judge(UT.status)
        connected = self._connection is not None
        self._end(_SENT if connected and self.request_done else _ABORTED if connected else _UNREACHABLE)

    def _count(self, outcome: int) -> None:
        if self._outcome < 0:
            self._outcome = outcome
            self.runtime.view[self.mirror.slot + M_OUTCOMES + outcome] += 1

    def _end(self, outcome: int) -> None:
        if self._over:
            return
        self._over = True
        self._count(outcome)
        self._waiting = []
        runtime = self.runtime
        view = runtime.view
        view[self.mirror.slot + M_IN_FLIGHT] -= 1
        if self._buffered:
            view[self.mirror.slot + M_BUFFERED] -= self._buffered
            self._buffered = 0
        runtime.wheel.forget(self)
        self.upstreams.copies.discard(self)
        self._let_go()
