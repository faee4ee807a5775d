"""A connection from a client: cuts what arrives into requests, one at a time and in order, and carries the answers back.

It knows heads and body framing; how the connection ends is in parting.py, and what becomes of a request is its `Exchange`'s
business. Bytes
that come while an exchange is under way belong to the next request: they wait here, bounded, and reading stops.
"""

import asyncio
from math import inf
from typing import Final

from proxy.core import proxy_protocol
from proxy.core.address import normalise, resolve_client
from proxy.core.fields import Origin
from proxy.core.framing import ChunkedDecoder
from proxy.core.http1 import cut_head, parse_request
from proxy.core.plan import Plan
from proxy.core.request import Request
from proxy.dataplane.downstream import Carrier, Door
from proxy.dataplane.exchange import Exchange
from proxy.dataplane.parting import BODY, BUSY, CLOSED, HEAD, LINGER, PREFACE, TUNNEL, Parting
from proxy.dataplane.refusals import count_refusal, refuse
from proxy.dataplane.timers import TICK
from proxy.errors import DPE, NR, SI, Flag, ProtocolError
from proxy.telemetry.counters import W_ACCEPTED, W_CONNECTIONS, W_REFUSED, W_REQUESTS, add

_HELD: Final = 64 << 10
"""Bytes of pipelined requests that wait for their turn before reading stops."""
_LINGER_BYTES: Final = 1 << 20
"""Bytes of such a request that are read and forgotten; the rest may wait in the client, which reads meanwhile."""


class ClientConnection(Parting):
    """An asyncio protocol towards a client."""

    def __init__(self, door: Door, address: str | None = None) -> None:
        """`address` is what a preface told that was read already (preface.py), empty where it told none."""
        super().__init__(door, PREFACE if door.proxy_protocol and address is None else HEAD)
        self.peer: str = address or ""
        self._searched: int = 0
        self._taking: bool = False
        self._reading: bool = True
        self._remaining: int = 0
        self._lingered: int = 0
        self._plan: Plan | None = None
        self._authority: bytes = b"\0"
        self._forwarding: bytes = b""
        self._origin: Origin | None = None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        runtime = self.runtime
        peer = transport.get_extra_info("peername")
        if isinstance(peer, tuple) and not self.peer:
            self.peer = normalise(peer[0]) or peer[0]
        plan = runtime.plan
        view = runtime.view
        clients = self.door.clients
        clients.add(self)
        view[runtime.base + W_ACCEPTED] += 1
        view[runtime.base + W_CONNECTIONS] += 1
        if plan is None or runtime.cells.total(W_CONNECTIONS) > plan.client.max_connections:
            view[runtime.base + W_REFUSED] += 1
            self.abort()
            return
        runtime.wheel.arm(self, runtime.now() + plan.client.head)

    def connection_lost(self, error: Exception | None) -> None:
        self._closed()

    def eof_received(self) -> bool:
        if self.carrier is not None:
            self.carrier.end()
        elif self.exchange is not None:
            self.abort()  # an orderly end would make a cut-off answer look whole to an old client
        else:
            self.close()
        return False

    def pause_writing(self) -> None:
        self.paused = True
        if self.exchange is not None:
            self.exchange.on_client_pause(True)
        elif self.carrier is not None:
            self.carrier.on_client_pause(True)

    def resume_writing(self) -> None:
        self.paused = False
        if self.exchange is not None:
            self.exchange.on_client_pause(False)
        elif self.carrier is not None:
            self.carrier.on_client_pause(False)
        elif self.phase == HEAD and self._pending and not self._taking:
            self.set_reading(True)
            self._take(self._pending)

    def data_received(self, data: bytes) -> None:
        phase = self.phase
        if phase == HEAD:
            self._take(self._pending + data if self._pending else data)
        elif phase == BODY:
            self._body(data)
        elif phase == BUSY:
            self._pending += data
            if len(self._pending) > _HELD:
                self.set_reading(False)
        elif phase == TUNNEL:
            if self.carrier is not None:
                self.carrier.from_client(data)
        elif phase == LINGER:
            self._lingered += len(data)
            if self._lingered > _LINGER_BYTES:
                self.set_reading(False)
        elif phase == PREFACE:
            self._take_preface(self._pending + data)

    def expired(self, now: float) -> None:
        phase = self.phase
        if phase in (HEAD, PREFACE):
            if not self._pending:
                self.close()
            elif phase == HEAD and not self.paused:
                self._refuse(408, SI, "the request's head did not come in time")
            else:
                self.abort()
        elif phase in (BODY, BUSY) and self.exchange is not None:
            self.exchange.client_silent(phase == BODY)
        else:
            self._await_flush(now)

    # Reading requests.

    def _take_preface(self, data: bytes) -> None:
        """The PROXY protocol's preface, which a listener that wants it gets before anything else."""
        try:
            preface = proxy_protocol.parse(data)
        except ProtocolError:
            count_refusal(self.runtime, 400, DPE)
            self.abort()
            return
        if preface is None:
            self._pending = data
            return
        if preface.address:
            self.peer = preface.address
        self._pending = b""
        self.phase = HEAD
        if len(data) > preface.consumed:
            self._take(data[preface.consumed :])

    def _take(self, data: bytes) -> None:
        """Take requests off `data` until one is under way or more bytes are needed; what is left waits."""
        self._taking = True
        while self.phase == HEAD and data and not self.paused:
            plan = self.runtime.plan
            assert plan is not None  # noqa: S101 - nothing is accepted before
            cut = cut_head(data, self._searched)
            if cut is None:
                self._await_head(len(data), plan)
                if len(data) > plan.client.max_head:
                    self._refuse_long(data, plan)
                break
            head, rest = cut
            self._searched = 0
            if len(head) > plan.client.max_head:
                self._refuse_long(head, plan)
                break
            try:
                request = parse_request(head, plan.client.max_fields, plan.client.max_target)
            except ProtocolError as error:
                self._refuse(error.status, DPE, error.detail)
                break
            data = rest
            self._pending = b""
            self._begin(plan, request)
            if self.phase == BODY and data:
                data = b""
                self._body(rest)
                if self.phase == HEAD:  # answered already
                    data = self._pending
        if data and self.phase in (HEAD, BUSY):
            self._pending = data
            if self.paused and len(data) > _HELD:
                self.set_reading(False)
        elif self.phase == HEAD:
            self._pending = b""
        self._taking = False

    def _await_head(self, size: int, plan: Plan) -> None:
        """A head has begun and is not whole: from its first byte it has its time."""
        if not self._pending:
            deadline = self.runtime.now() + plan.client.head
            if deadline < self.deadline:
                self.runtime.wheel.arm(self, deadline)
        self._searched = max(size - 3, 0)

    def _refuse_long(self, data: bytes, plan: Plan) -> None:
        line = data.find(b"\r\n")
        target = (line if line >= 0 else len(data)) > plan.client.max_target + 32
        self._refuse(414 if target else 431, DPE, "request target too long" if target else "request head too long")

    def _begin(self, plan: Plan, request: Request) -> None:
        runtime = self.runtime
        add(runtime.view, runtime.base + W_REQUESTS, 1)
        self.deadline = inf
        fields = request.fields
        if plan is not self._plan:
            self._plan = plan
            self.trusted = plan.trusted.contains(self.peer)
            self._authority = b"\0"
        request.trusted = self.trusted
        request.client = (
            resolve_client(self.peer, fields.get(b"x-forwarded-for", b""), plan.trusted) if self.trusted else self.peer
        )
        route = plan.find(request)
        if route is None:
            clean = request.clean
            status, flag, detail = (404, NR, "") if clean else (400, DPE, "this path could be read in two ways")
            self._answer_without_route(request, status, flag, detail)
            return
        if request.content_length > 0:
            self._remaining = request.content_length
            self._decoder = None
            self.phase = BODY
            self._await_body(plan)
        elif request.chunked:
            self._decoder = ChunkedDecoder()
            self.phase = BODY
            self._await_body(plan)
        else:
            self.phase = BUSY
        exchange = Exchange(self, plan, route, request)
        self.exchange = exchange
        exchange.begin()

    def _await_body(self, plan: Plan) -> None:
        self._late_in(plan.client.body, self.runtime.now())

    def _late_in(self, seconds: float, now: float) -> None:
        deadline = now + seconds
        if deadline < self.due - TICK:
            self.runtime.wheel.arm(self, deadline)
        else:
            self.deadline = deadline

    def _body(self, data: bytes) -> None:
        exchange = self.exchange
        plan = self._plan
        if exchange is None or plan is None:
            return
        decoder = self._decoder
        if decoder is None:
            remaining = self._remaining - len(data)
            if remaining > 0:
                self._remaining = remaining
                self._still_coming(plan)
                exchange.body(data)
            else:
                self._body_done(data[remaining:] if remaining < 0 else b"")
                exchange.last_body(data[:remaining] if remaining < 0 else data, [])
            return
        try:
            pieces = decoder.feed(data)
        except ProtocolError as error:
            exchange.client_broke(error.status, error.detail)
            return
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if decoder.done:
            self._decoder = None
            self._body_done(decoder.rest)
            exchange.last_body(body, decoder.trailers)
        else:
            self._still_coming(plan)
            if body:
                exchange.body(body)

    def _still_coming(self, plan: Plan) -> None:
        if self._reading:
            self._await_body(plan)

    def _body_done(self, rest: bytes) -> None:
        self.phase = BUSY
        self.deadline = inf
        if rest:
            self._pending = rest

    # What an exchange calls.

    def set_reading(self, reading: bool) -> None:
        """Take more from the client, or no more for now. Whoever stops reading also stops the client's clock."""
        transport = self.transport
        if reading == self._reading or transport is None or self.phase == CLOSED or transport.is_closing():
            return
        self._reading = reading
        if reading:
            transport.resume_reading()
            if self.phase == BODY and self._plan is not None:
                self._await_body(self._plan)
        else:
            transport.pause_reading()
            if self.phase == BODY:
                self.deadline = inf

    def write_deadline(self, seconds: float) -> None:
        """The client must take what was written within `seconds`; infinite: no matter when."""
        if seconds == inf:
            self.deadline = inf
        else:
            self._late_in(seconds, self.runtime.now())

    def forwarding(self, request: Request) -> bytes:
        """The forwarding lines for the upstream; made once for a client that asks for the same authority again."""
        origin = self._origin
        if origin is None:
            origin = Origin(self.peer, b"https" if self.secure else b"http")
            self._origin = origin
        if self.trusted:
            return origin.lines_beside(request)
        if request.authority != self._authority:
            self._forwarding = origin.lines(request.authority)
            self._authority = request.authority
        return self._forwarding

    def exchange_done(self, keep: bool) -> None:
        """The answer is written. `keep`: the connection may carry another request."""
        exchange = self.exchange
        self.exchange = None
        phase = self.phase
        if phase == CLOSED:
            return
        if phase == BODY or not keep:
            self._finish(phase == BODY or bool(self._pending))
            return
        self.phase = HEAD
        plan = self._plan
        if not self._reading:
            self.set_reading(True)
        if plan is not None:
            # An exchange was counted a moment ago: no need to look at the clock again.
            self._late_in(plan.client.keepalive, self.runtime.now() if exchange is None else exchange.ended)
        if self._pending and not self._taking:
            data = self._pending
            self._pending = b""
            self._take(data)

    def switch(self, carrier: Carrier) -> None:
        """From here on the connection belongs to another protocol."""
        self.exchange = None
        self.carrier = carrier
        self.phase = TUNNEL
        self.deadline = inf
        rest = self._pending
        self._pending = b""
        if not self._reading:
            self.set_reading(True)
        if rest:
            carrier.from_client(rest)

    def _answer_without_route(self, request: Request, status: int, flag: Flag, detail: str) -> None:
        """404 and its like: the connection stays where the request had no body to wait for."""
        keep = request.keep_alive and not request.chunked and request.content_length <= 0 and not self.runtime.draining
        connection = (
            b"connection: close\r\n" if not keep else b"connection: keep-alive\r\n" if request.minor == 0 else b""
        )
        self.write(refuse(self.runtime, request, self.peer, status, flag, detail, connection))
        if keep:
            self.phase = BUSY
            self.exchange_done(True)
        else:
            self._finish(request.chunked or request.content_length > 0)

    def _refuse(self, status: int, flag: Flag, detail: str) -> None:
        """Answer what cannot be understood, and end the connection: nobody knows where the next request would begin."""
        self.write(refuse(self.runtime, None, self.peer, status, flag, detail, b"connection: close\r\n"))
        self._finish(True)
