"""The connections of one worker to one upstream: which connection, how many, and who waits.

A request takes the connection that was used last, so that the ones nobody needs grow old and close. Where none is idle
one is opened; where none may be opened the request waits its turn, and the wait is bounded in number and time. Limits are
totals over all workers: each worker adds its own exact count to what the others have written down.

Which endpoint it is says choosing.py, who is ejected ejecting.py; dialling.py opens connections.
"""

import ssl
from collections import deque
from typing import Final

from proxy.core.balance import Member
from proxy.core.plan import Endpoint, Upstream
from proxy.dataplane.choosing import Chooser
from proxy.dataplane.dialling import Claim, ClaimKeeper, Dialler
from proxy.dataplane.ejecting import Ejector
from proxy.dataplane.endpoint_state import EndpointState
from proxy.dataplane.runtime import Runtime, log
from proxy.dataplane.upstream import IDLE, UpstreamConnection, UpstreamUser
from proxy.errors import UF, UH, UO, Flag
from proxy.telemetry.counters import E_FAILURES, U_ACTIVE, U_CONNECTING, U_IDLE, U_PANIC, U_PENDING, U_REQUESTS

_YIELDED: Final = 2
"""Ticks after giving a place to other workers in which none is taken back: they look once a tick."""
_PRESENT: Final = (U_CONNECTING, U_ACTIVE, U_IDLE, U_PENDING, U_REQUESTS, U_PANIC)

_NOBODY: Final[frozenset[str]] = frozenset()


class Pool(ClaimKeeper):
    """Connections to one upstream. It outlives plans: what a new plan does not change stays open."""

    def __init__(self, runtime: Runtime, upstream: Upstream, tls: ssl.SSLContext | None, shadow: bool = False) -> None:
        """`shadow`: as mirrors use the upstream, which has a pool for its versions, too."""
        self.runtime: Final = runtime
        self.upstream: Upstream = upstream
        self.tls: ssl.SSLContext | None = tls
        self.states: list[EndpointState] = []
        self.requests: int = 0
        self.stirred: bool = (
            False  # something is open, opening, waiting or under way, or was when it was last written down
        )
        self.hashed: bool = False  # whether the choice of an endpoint goes by the unit
        self.watched: bool = False  # whether anybody wants to hear `report`
        # Whether each change is written down at once: others count on the numbers, or nobody will come round for them.
        self._prompt: bool = not runtime.cells.alone
        self._shadow: Final = shadow
        self._chooser: Final = Chooser(upstream)
        self._ejector: Ejector | None = None
        self._dialler: Final = Dialler(runtime, self)
        self._waiting: Final[deque[Claim]] = deque()
        self._connections: Final[dict[UpstreamConnection, EndpointState]] = {}
        self._starved: int = 0  # connections in a row that this process had no means to open
        self._yielding: int = 0  # ticks for which what was given up is left to others
        self._unhealthy: frozenset[str] = _NOBODY  # what control said last, by the endpoints' keys
        self._drained: frozenset[str] = _NOBODY
        self._written: Final[list[int]] = [0] * len(_PRESENT)
        self._take(upstream, upstream.endpoints, tls, runtime.plan is not None)

    # What is configured.

    def update(self, upstream: Upstream, endpoints: list[Endpoint], tls: ssl.SSLContext | None) -> None:
        """Take a new policy and set of endpoints; endpoints that stay keep connections and state.

        `build` must be called until it says True.
        """
        # The first endpoints of a name that had not resolved are not newcomers among others.
        self._take(upstream, endpoints, tls, bool(self.states))

    def _take(self, upstream: Upstream, endpoints: list[Endpoint], tls: ssl.SSLContext | None, newcomers: bool) -> None:
        if upstream.slot != self.upstream.slot:
            self.write_down(gone=True)
        changed_tls = tls is not self.tls
        self.upstream = upstream
        self.tls = tls
        view = self.runtime.view
        now = self.runtime.now()
        known = {state.endpoint.key: state for state in self.states}
        fresh: list[EndpointState] = []
        for endpoint in endpoints:
            state = known.get(endpoint.key)
            if state is None:
                state = EndpointState(endpoint, self._shadow)
                state.unhealthy = endpoint.key in self._unhealthy
                state.drained = endpoint.key in self._drained
                if newcomers:
                    state.usable_since = now
            elif changed_tls:
                before = state
                state = EndpointState(endpoint, self._shadow)
                state.inherit(before)
            else:
                del known[endpoint.key]
                state.move(endpoint, view)
            fresh.append(state)
        self.states = fresh
        for state in known.values():
            state.retire(view)
        for state in fresh:
            state.show(view)
        self._chooser.take(upstream, fresh)
        self.hashed = self._chooser.hashed
        self._take_ejector(upstream)
        self.stirred = True
        self._serve_waiting()  # a limit may be higher now, and what they waited for may be gone

    def _take_ejector(self, upstream: Upstream) -> None:
        ejector = self._ejector
        policy = upstream.outlier
        if policy is None:
            if ejector is not None:
                ejector.dissolve("not_configured")
                self._ejector = None
        elif ejector is None:
            self._ejector = Ejector(self.runtime, self._chooser, upstream.name, policy)
        else:
            ejector.take(policy)
        self.watched = self._ejector is not None

    def build(self) -> bool:
        """Go on, for a millisecond or so, with what the balance needs; True when there is nothing left to do."""
        return self._chooser.build()

    def mark(self, unhealthy: frozenset[str], drained: frozenset[str]) -> None:
        """What control knows of the endpoints, by their keys: all that the probes find unhealthy, all that are drained.

        One that comes out of either starts slowly; one that is healthy again is not ejected any more.
        """
        self._unhealthy = unhealthy
        self._drained = drained
        now = self.runtime.now()
        view = self.runtime.view
        for state in self.states:
            key = state.endpoint.key
            was_out = state.unhealthy or state.drained
            recovered = state.unhealthy and key not in unhealthy
            state.unhealthy = key in unhealthy
            state.drained = key in drained
            if state.drained:
                state.close_idle()
            if recovered and self._ejector is not None:
                self._ejector.release(state, now, "healthy")
            if was_out and not (state.unhealthy or state.drained):
                self._chooser.start_slowly(state, now)
            state.show(view)
        self._chooser.look(now)
        self.stirred = True
        self._serve_waiting()

    def close(self) -> None:
        """The upstream left the plan: idle connections close, busy ones with their exchange."""
        self._prompt = True
        states = self.states
        self.states = []
        if self._ejector is not None:
            self._ejector.sleep()
            self._ejector = None
        for state in states:
            state.retire(self.runtime.view)
        self._chooser.take(self.upstream, [])
        self._serve_waiting()
        self.write_down()

    @property
    def empty(self) -> bool:
        """Whether nothing is open, opening or waiting."""
        return not self._connections and self._dialler.connecting == 0 and not self._waiting

    # Taking and giving back.

    def acquire(
        self,
        user: UpstreamUser,
        fresh: bool,
        last_resort: bool,
        unit: int | None = None,
        avoid: list[Member] | None = None,
    ) -> Claim | Flag | None:
        """A connection for `user`: at once (None; `on_connected` has been called), or later (a claim), or not at all (a flag).

        `fresh` passes over pooled connections. `last_resort` tries an endpoint that refused a moment ago where all did, or
        one that is not well where none is: nobody else would answer. `unit` is the hash by which ring and maglev choose
        (hashing.unit_number; asked for where `hashed` is true). An endpoint in `avoid` is taken only where there is no
        other. Unless the answer is a flag, `finished` must be called once when the request is over.
        """
        self.stirred = True
        upstream = self.upstream
        taken = self._total(U_REQUESTS, self.requests) if self._prompt else self.requests
        if taken >= upstream.max_requests:
            return UO
        chooser = self._chooser
        state = chooser.only
        if state is None:
            draw = self.runtime.rng.random() if chooser.draws else 0.0
            state = chooser.pick(self.runtime.now(), draw, unit, avoid, last_resort)
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
        claim = Claim(self, self.runtime, user, unit, avoid)
        if self._room() or self._steal_idle():
            self._begun()
            self._dialler.start(state, claim, self.tls, now + upstream.connect)
            return claim
        if self._total(U_PENDING, len(self._waiting)) >= upstream.max_pending:
            return UO
        self._begun()
        self._waiting.append(claim)
        self.runtime.wheel.arm(claim, now + upstream.connect)
        return claim

    def spare(self) -> bool:
        """Whether less than half of what there may be at once is taken, so that something may go on that nobody waits for."""
        upstream = self.upstream
        own = len(self._connections) + self._dialler.connecting
        return (
            2 * self._total(U_REQUESTS, self.requests) < upstream.max_requests
            and 2 * self._total(U_ACTIVE, own, U_IDLE, U_CONNECTING) < upstream.max_connections
        )

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

    def _share(self) -> int:
        """How many of the connections that all workers may have together are this one's."""
        return -(-self.upstream.max_connections // self.runtime.cells.workers)

    def _room(self) -> bool:
        """Whether a connection may be opened: within the limit, and beyond this worker's share only while no other waits."""
        limit = self.upstream.max_connections
        own = len(self._connections) + self._dialler.connecting
        cells = self.runtime.cells
        if cells.alone:
            return own < limit
        if self._yielding or self._total(U_ACTIVE, own, U_IDLE, U_CONNECTING) >= limit:
            return False
        return own < self._share() or self._total(U_PENDING, 0) == 0

    def _owes(self) -> bool:
        """Whether another worker waits for a connection while this one has more than its share of all there may be."""
        workers = self.runtime.cells.workers
        if workers == 1 or self._total(U_PENDING, 0) == 0:
            return False
        limit = self.upstream.max_connections
        own = len(self._connections) + self._dialler.connecting
        share = self._share() if limit >= workers else 0  # what is too little for all goes round
        return own > share and self._total(U_ACTIVE, own, U_IDLE, U_CONNECTING) >= limit

    def not_alone(self) -> None:
        """Others have come who count on this worker's numbers."""
        if not self._prompt:
            self._prompt = True
            self.write_down()

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

    def release(self, connection: UpstreamConnection, now: float) -> None:
        """An exchange is over, at `now`, and its connection can carry another."""
        state = self._connections[connection]
        if self._owes():
            self._yielding = _YIELDED
            connection.close()
            return
        waiting = self._waiting
        if state.barred and (waiting or state.retired or state.drained):
            connection.close()  # who waits needs the place, and not this endpoint
            return
        transport = connection.transport
        if waiting and (transport is None or transport.is_closing()):
            connection.close()
            return
        while waiting:
            claim = waiting.popleft()
            user = claim.user
            self.runtime.wheel.forget(claim)
            if user is not None:
                claim.user = None
                connection.attach(user)
                user.on_connected(connection)
                return
        kept = len(state.idle)
        # Beyond the share another worker could not open what is its own, while these grow old here.
        if kept >= self.upstream.max_idle or kept >= self._share() or self.runtime.draining:
            connection.close()
            return
        state.idle.append(connection)
        connection.deadline_in(now, self.upstream.keepalive)

    def forget(self, claim: Claim) -> None:
        """A claim that waited is given up."""
        if claim in self._waiting:
            self._waiting.remove(claim)

    def connection_gone(self, connection: UpstreamConnection) -> None:
        """A connection closed: its place is free."""
        state = self._connections.pop(connection, None)
        if state is not None:
            state.open -= 1
            if connection in state.idle:
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
            state = self._chooser.pick(now, self.runtime.rng.random(), claim.unit, claim.avoid, True)
            if state is None:
                claim.user = None
                user.on_unreachable(UH)
                continue
            self._dialler.start(state, claim, self.tls, now + self.upstream.connect)

    def dialled(self, state: EndpointState, claim: Claim, connection: UpstreamConnection, failure: str) -> None:
        """A dial is over: `connection` is open, or `failure` says why not."""
        if self._prompt:
            self.write_down()
        if failure:
            self._failed(state, claim, failure)
        else:
            self._opened(state, claim, connection)

    def _opened(self, state: EndpointState, claim: Claim, connection: UpstreamConnection) -> None:
        if self._starved:
            self._starved = 0
        if state.failures:
            self._reachable(state)
        transport = connection.transport
        user = claim.user
        claim.user = None
        if transport is None or transport.is_closing():
            if user is not None:
                user.on_unreachable(UF)
            self._serve_waiting()
            return
        self._connections[connection] = state
        state.open += 1
        connection.silence = self.upstream.idle
        if user is None:
            connection.phase = IDLE
            connection.reused = True
            self.release(connection, self.runtime.now())
            return
        connection.attach(user)
        user.on_connected(connection)

    def _reachable(self, state: EndpointState) -> None:
        if state.reached():
            self._chooser.start_slowly(state, self.runtime.now())
        self._chooser.stir()
        state.show(self.runtime.view)
        log.info("endpoint reachable again", extra={"upstream": self.upstream.name, "endpoint": state.endpoint.label})

    def _starve(self, state: EndpointState, claim: Claim, failure: str) -> None:
        """This process has no descriptor left, say, as when clients took them all: the endpoint is not to suffer for it."""
        self.runtime.view[state.endpoint.slot + E_FAILURES] += 1
        self._starved += 1
        if self._starved & (self._starved - 1) == 0:
            log.error(
                "no connection can be opened",
                extra={"upstream": self.upstream.name, "error": failure, "failures": self._starved},
            )
        user = claim.user
        claim.user = None
        if user is not None:
            user.on_unreachable(UO)
        self._serve_waiting()

    def _failed(self, state: EndpointState, claim: Claim, failure: str) -> None:
        if claim.starved:
            self._starve(state, claim, failure)
            return
        now = self.runtime.now()
        state.refused(now)
        self._chooser.stir()
        view = self.runtime.view
        state.show(view)
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
        if self._ejector is not None:
            self._ejector.report(state.standing, UF.status, -1.0, now)
        user = claim.user
        claim.user = None
        if user is not None:
            user.on_unreachable(UF if state.failures == 1 else UH)
        self._serve_waiting()

    # How endpoints do.

    def report(self, connection: UpstreamConnection, status: int, seconds: float, now: float) -> None:
        """What came of a request on `connection`, for outlier detection: the answer's status, or the status of the flag where
        there was no (whole) answer: UC, UR, UT, UPE. `seconds` from the request sent to the answer's head; negative
        where unknown. A client that left says nothing of the endpoint: it is not reported. Connects that fail the pool
        reports itself.
        """
        ejector = self._ejector
        if ejector is not None:
            state = connection.endpoint
            if isinstance(state, EndpointState):
                ejector.report(state.standing, status, seconds, now)

    # Numbers.

    def _total(self, slot: int, own: int, second: int = -1, third: int = -1) -> int:
        """`own` of this worker plus what the other workers wrote down in the slots."""
        cells = self.runtime.cells
        if cells.alone:
            return own
        place = self.upstream.slot
        view = self.runtime.view
        for which in (slot, second, third):
            if which >= 0:
                own += cells.total(place + which) - view[place + which]
        return own

    def write_down(self, gone: bool = False) -> None:
        """Put the numbers of the present into shared memory. As differences: a shadow's pool may share the slots."""
        numbers = [0] * len(_PRESENT)
        if not gone:
            idle = sum([len(state.idle) for state in self.states])
            numbers = [
                self._dialler.connecting,
                len(self._connections) - idle,
                idle,
                len(self._waiting),
                self.requests,
                int(self._chooser.panic),
            ]
        view = self.runtime.view
        place = self.upstream.slot
        written = self._written
        for offset in _PRESENT:  # which are their own places
            if written[offset] != numbers[offset]:
                view[place + offset] += numbers[offset] - written[offset]
                written[offset] = numbers[offset]

    def show(self) -> None:
        """Write down what nobody needs at once, the endpoints too; called by the clock while `stirred`."""
        self._chooser.look_again(self.runtime.now())
        self.write_down()
        for state in self.states:
            state.show(self.runtime.view)
        self.stirred = bool(self._connections or self._dialler.connecting or self._waiting or self.requests)
