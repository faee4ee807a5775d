"""The connections of one worker to one upstream: which endpoint, which connection, how many, and who waits.

A request takes the connection that was used last, so that the ones nobody needs grow old and close. Where none is idle
one is opened; where none may be opened the request waits its turn, and the wait is bounded in number and time. Limits are
totals over all workers: each worker adds its own exact count to what the others have written down.
"""

import asyncio
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final

from proxy.core.plan import Endpoint, Upstream
from proxy.dataplane.runtime import Runtime, log
from proxy.dataplane.timers import Timed
from proxy.dataplane.upstream import IDLE, ConnectionKeeper, UpstreamConnection, UpstreamUser
from proxy.errors import UF, UH, UO, Flag
from proxy.telemetry.counters import E_DOWN, E_FAILURES, U_ACTIVE, U_CONNECTING, U_IDLE, U_PENDING, U_REQUESTS

_REST_AFTER_FAILURE: Final = 0.25
"""Seconds an endpoint that refused is left alone; doubles with each failure in a row, so that a dead one costs little."""
_LONGEST_REST: Final = 5.0
_YIELDED: Final = 2
"""Ticks after giving a place to other workers in which none is taken back: they look once a tick."""


class EndpointState:
    """What this worker knows of one endpoint."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint: Endpoint = endpoint
        self.idle: Final[list[UpstreamConnection]] = []
        self.retired: bool = False  # no longer in the plan: what is open ends with its exchange
        self.down_until: float = 0.0
        self.failures: int = 0
        self.current: int = 0  # of smooth weighted round robin


class Claim(Timed):
    """A wish for a connection: waiting for its turn, or for a connection to open. Give it up with `cancel`."""

    def __init__(self, pool: "Pool", user: UpstreamUser) -> None:
        self._pool: Final = pool
        self.user: UpstreamUser | None = user
        self.task: asyncio.Task[None] | None = None
        self.dialling: bool = False

    def cancel(self) -> None:
        """The user wants it no more. A connection that opens all the same is kept for others."""
        self.user = None
        if self.task is None:
            self._pool.runtime.wheel.forget(self)
            self._pool.forget(self)

    def expired(self, now: float) -> None:
        if self.dialling:
            if self.task is not None:
                self.task.cancel()  # the dial reports it
            return
        if self.task is not None:  # not begun, so it could not report
            self._pool.runtime.wheel.arm(self, now)
            return
        user = self.user
        self._pool.forget(self)
        self.user = None
        if user is not None:
            user.on_unreachable(UO)


class Pool(ConnectionKeeper):
    """Connections to one upstream. It outlives plans: what a new plan does not change stays open."""

    def __init__(self, runtime: Runtime, upstream: Upstream, tls: ssl.SSLContext | None) -> None:
        self.runtime: Final = runtime
        self.upstream: Upstream = upstream
        self.tls: ssl.SSLContext | None = tls
        self.states: list[EndpointState] = []
        self.requests: int = 0
        self.stirred: bool = (
            False  # something is open, opening, waiting or under way, or was when it was last written down
        )
        # Whether each change is written down at once: others count on the numbers, or nobody will come round for them.
        self._prompt: bool = runtime.cells.workers > 1
        self._waiting: Final[deque[Claim]] = deque()
        self._connections: Final[dict[UpstreamConnection, EndpointState]] = {}
        self._connecting: int = 0
        self._yielding: int = 0  # ticks for which what was given up is left to others
        self._written: Final[list[int]] = [0, 0, 0, 0, 0]
        self.update(upstream, upstream.endpoints, tls)

    def update(self, upstream: Upstream, endpoints: list[Endpoint], tls: ssl.SSLContext | None) -> None:
        """Take a new policy and set of endpoints; endpoints that stay keep connections and state."""
        if upstream.slot != self.upstream.slot:
            self.write_down(gone=True)
        changed_tls = tls is not self.tls
        self.upstream = upstream
        self.tls = tls
        known = {state.endpoint.key: state for state in self.states}
        fresh: list[EndpointState] = []
        for endpoint in endpoints:
            before = known.get(endpoint.key)
            if before is None or changed_tls:
                fresh.append(EndpointState(endpoint))
                continue
            del known[endpoint.key]
            self._move(before, endpoint)
            fresh.append(before)
        self.states = fresh
        for state in known.values():
            self._retire(state)
        self._serve_waiting()  # a limit may be higher now, and what they waited for may be gone

    def _move(self, state: EndpointState, endpoint: Endpoint) -> None:
        """The same endpoint in other words: a weight, a label, a place for its counters."""
        before = state.endpoint
        state.endpoint = endpoint
        if endpoint.slot != before.slot:
            view = self.runtime.view
            view[endpoint.slot + E_DOWN] = view[before.slot + E_DOWN]
            view[before.slot + E_DOWN] = 0

    def _retire(self, state: EndpointState) -> None:
        state.retired = True
        self.runtime.view[state.endpoint.slot + E_DOWN] = 0
        for connection in state.idle.copy():
            connection.close()

    def close(self) -> None:
        """The upstream left the plan: idle connections close, busy ones with their exchange."""
        self._prompt = True
        states = self.states
        self.states = []
        for state in states:
            self._retire(state)
        self._serve_waiting()
        self.write_down()

    @property
    def empty(self) -> bool:
        """Whether nothing is open, opening or waiting."""
        return not self._connections and self._connecting == 0 and not self._waiting

    # Taking and giving back.

    def acquire(self, user: UpstreamUser, fresh: bool, last_resort: bool) -> Claim | Flag | None:
        """A connection for `user`: at once (None; `on_connected` has been called), or later (a claim), or not at all (a flag).

        `fresh` passes over pooled connections. `last_resort` tries an endpoint that refused a moment ago where all did:
        nobody else would answer. Unless the answer is a flag, `finished` must be called once when the request is over.
        """
        self.stirred = True
        upstream = self.upstream
        taken = self._total(U_REQUESTS, self.requests) if self._prompt else self.requests
        if taken >= upstream.max_requests:
            return UO
        states = self.states
        state: EndpointState | None
        if len(states) == 1 and states[0].down_until == 0.0:
            state = states[0]
        else:
            state = self._pick(self.runtime.now(), last_resort)
            if state is None:
                return UH
        idle = state.idle
        while idle and not fresh:
            connection = idle.pop()
            transport = connection.transport
            if connection.phase == IDLE and transport is not None and not transport.is_closing():
                self.requests += 1
                if self._prompt:
                    self.write_down()
                connection.attach(user)
                user.on_connected(connection)
                return None
            connection.close()
        now = self.runtime.now()
        claim = Claim(self, user)
        if self._room() or self._steal_idle():
            self._begun()
            self._start(state, claim, now)
            return claim
        if self._total(U_PENDING, len(self._waiting)) >= upstream.max_pending:
            return UO
        self._begun()
        self._waiting.append(claim)
        self.runtime.wheel.arm(claim, now + upstream.connect)
        return claim

    def _begun(self) -> None:
        self.requests += 1
        if self._prompt:
            self.write_down()

    def _steal_idle(self) -> bool:
        """Close an idle connection to make room, where the limit is reached by idleness."""
        for state in self.states:
            if state.idle:
                state.idle[0].close()
                return True
        return False

    def _room(self) -> bool:
        """Whether a connection may be opened: within the limit, and beyond this worker's share only while no other waits."""
        limit = self.upstream.max_connections
        own = len(self._connections) + self._connecting
        workers = self.runtime.cells.workers
        if workers == 1:
            return own < limit
        if self._yielding or self._total(U_ACTIVE, own, U_IDLE, U_CONNECTING) >= limit:
            return False
        return own < -(-limit // workers) or self._total(U_PENDING, 0) == 0

    def _owes(self) -> bool:
        """Whether another worker waits for a connection while this one has more than its share of all there may be."""
        workers = self.runtime.cells.workers
        if workers == 1 or self._total(U_PENDING, 0) == 0:
            return False
        limit = self.upstream.max_connections
        own = len(self._connections) + self._connecting
        share = -(-limit // workers) if limit >= workers else 0  # what is too little for all goes round
        return own > share and self._total(U_ACTIVE, own, U_IDLE, U_CONNECTING) >= limit

    def balance(self) -> None:
        """Look what the other workers left or need: nothing tells of it. Called by the clock, where there are others."""
        if self._yielding:
            self._yielding -= 1
        if self._waiting:
            self._serve_waiting()
        while self._owes() and self._steal_idle():
            self._yielding = _YIELDED
            self.write_down()

    def finished(self) -> None:
        """A request that `acquire` took on is over, however it ended."""
        self.requests -= 1
        if self._prompt:
            self.write_down()

    def release(self, connection: UpstreamConnection) -> None:
        """An exchange is over and its connection can carry another."""
        state = self._connections[connection]
        if self._owes():
            self._yielding = _YIELDED
            connection.close()
            return
        waiting = self._waiting
        while waiting and not state.retired:
            claim = waiting.popleft()
            user = claim.user
            self.runtime.wheel.forget(claim)
            if user is not None:
                claim.user = None
                connection.attach(user)
                user.on_connected(connection)
                return
        if state.retired or len(state.idle) >= self.upstream.max_idle or self.runtime.draining:
            connection.close()
            return
        state.idle.append(connection)
        connection.deadline_in(self.runtime.now(), self.upstream.keepalive)

    def forget(self, claim: Claim) -> None:
        """A claim that waited is given up."""
        if claim in self._waiting:
            self._waiting.remove(claim)

    def connection_gone(self, connection: UpstreamConnection) -> None:
        """A connection closed: its place is free."""
        state = self._connections.pop(connection, None)
        if state is not None and connection in state.idle:
            state.idle.remove(connection)
        self._serve_waiting()
        if self._prompt:
            self.write_down()

    def _serve_waiting(self) -> None:
        while self._waiting and self._room():
            claim = self._waiting.popleft()
            user = claim.user
            self.runtime.wheel.forget(claim)
            if user is None:
                continue
            now = self.runtime.now()
            state = self._pick(now, True)
            if state is None:
                claim.user = None
                user.on_unreachable(UH)
                continue
            self._start(state, claim, now)

    # Choosing an endpoint.

    def _pick(self, now: float, last_resort: bool) -> EndpointState | None:
        """Smooth weighted round robin (as nginx deals) over the endpoints that are not resting.

        Where all are resting: None, or as a last resort the one whose rest ends first.
        """
        best: EndpointState | None = None
        total = 0
        for state in self.states:
            if state.down_until > now:
                continue
            weight = state.endpoint.weight
            state.current += weight
            total += weight
            if best is None or state.current > best.current:
                best = state
        if best is not None:
            best.current -= total
        elif last_resort:
            for state in self.states:
                if best is None or state.down_until < best.down_until:
                    best = state
        return best

    # Opening.

    def _start(self, state: EndpointState, claim: Claim, now: float) -> None:
        self._connecting += 1
        claim.task = self.runtime.spawn("dial", self._open(state, claim))
        self.runtime.wheel.arm(claim, now + self.upstream.connect)

    async def _open(self, state: EndpointState, claim: Claim) -> None:
        claim.dialling = True
        endpoint = state.endpoint
        loop = self.runtime.loop
        connection = UpstreamConnection(self.runtime, self)
        factory: Callable[[], UpstreamConnection] = lambda: connection  # noqa: E731
        context = self.tls if endpoint.tls else None
        name = endpoint.server_name if endpoint.tls else None
        failure = ""
        try:
            if endpoint.unix:
                await loop.create_unix_connection(factory, endpoint.unix, ssl=context, server_hostname=name)  # type: ignore[type-var]
            else:
                await loop.create_connection(factory, endpoint.host, endpoint.port, ssl=context, server_hostname=name)  # type: ignore[type-var]
        except OSError as error:  # ssl.SSLError is one
            failure = f"{type(error).__name__}: {error.strerror or error}"
        except asyncio.CancelledError:
            failure = "timed out"
        except (RuntimeError, ValueError) as error:  # whatever it is, whoever waits must be told
            failure = str(error)
        finally:
            claim.dialling = False
            self._connecting -= 1
            if self._prompt:
                self.write_down()
            self.runtime.wheel.forget(claim)
        if failure:
            self._failed(state, claim, failure)
        else:
            self._opened(state, claim, connection)

    def _opened(self, state: EndpointState, claim: Claim, connection: UpstreamConnection) -> None:
        if state.failures:
            state.failures = 0
            state.down_until = 0.0
            self.runtime.view[state.endpoint.slot + E_DOWN] = 0
            log.info(
                "endpoint reachable again", extra={"upstream": self.upstream.name, "endpoint": state.endpoint.label}
            )
        transport = connection.transport
        user = claim.user
        claim.user = None
        if transport is None or transport.is_closing():
            if user is not None:
                user.on_unreachable(UF)
            self._serve_waiting()
            return
        self._connections[connection] = state
        connection.silence = self.upstream.idle
        if user is None:
            connection.phase = IDLE
            connection.reused = True
            self.release(connection)
            return
        connection.attach(user)
        user.on_connected(connection)

    def _failed(self, state: EndpointState, claim: Claim, failure: str) -> None:
        state.failures += 1
        rest = min(_REST_AFTER_FAILURE * 2 ** min(state.failures - 1, 8), _LONGEST_REST)
        state.down_until = self.runtime.now() + rest
        view = self.runtime.view
        if not state.retired:
            view[state.endpoint.slot + E_DOWN] = 1
        view[state.endpoint.slot + E_FAILURES] += 1
        if state.failures & (state.failures - 1) == 0:  # the 1st, 2nd, 4th, ...: a dead endpoint is dialled often
            log.warning(
                "could not connect",
                extra={
                    "upstream": self.upstream.name,
                    "endpoint": state.endpoint.label,
                    "error": failure,
                    "failures": state.failures,
                },
            )
        user = claim.user
        claim.user = None
        if user is not None:
            user.on_unreachable(UF if state.failures == 1 else UH)
        self._serve_waiting()

    # Numbers.

    def _total(self, slot: int, own: int, second: int = -1, third: int = -1) -> int:
        """`own` of this worker plus what the other workers wrote down in the slots."""
        cells = self.runtime.cells
        if cells.workers == 1:
            return own
        place = self.upstream.slot
        view = self.runtime.view
        for which in (slot, second, third):
            if which >= 0:
                own += cells.total(place + which) - view[place + which]
        return own

    def write_down(self, gone: bool = False) -> None:
        """Put the numbers of the present into shared memory. As differences: a shadow's pool may share the slots."""
        idle = sum(len(state.idle) for state in self.states)
        numbers = (
            (0, 0, 0, 0, 0)
            if gone
            else (self._connecting, len(self._connections) - idle, idle, len(self._waiting), self.requests)
        )
        view = self.runtime.view
        place = self.upstream.slot
        written = self._written
        for offset, number in zip((U_CONNECTING, U_ACTIVE, U_IDLE, U_PENDING, U_REQUESTS), numbers, strict=True):
            if written[offset] != number:
                view[place + offset] += number - written[offset]
                written[offset] = number
        self.stirred = bool(self._connections or self._connecting or self._waiting or self.requests)
