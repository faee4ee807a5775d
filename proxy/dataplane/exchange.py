"""One request and its answer: the only thing that knows both sides.

The life of an exchange: decide, find a connection, send the head, stream the body up and the answer down, count. Each step
is a plain call made by whichever side has news; nothing is awaited. Until the upstream has answered, an exchange may move
on: to another endpoint, to the fallback version, or once more to the same one where a pooled connection turned out to be
closed already. After the first byte of an answer it can only go on or be cut off, for what the client has it keeps.
"""

from math import inf
from typing import Final

from proxy.core.cookies import set_cookie_line
from proxy.core.decide import decide, find_unit
from proxy.core.fields import kept_lines, request_head, response_head
from proxy.core.framing import encode_chunk, last_chunk
from proxy.core.plan import Plan, Route, Version
from proxy.core.request import Request, Response
from proxy.core.retry import IDEMPOTENT
from proxy.core.trace import make_traceparent, trace_id_of, valid_request_id, valid_traceparent
from proxy.dataplane.answers import failure_answer
from proxy.dataplane.caching import not_cached
from proxy.dataplane.concurrency import admitted
from proxy.dataplane.deadlines import in_time
from proxy.dataplane.downstream import Downstream
from proxy.dataplane.faults import switched_off, undisturbed
from proxy.dataplane.mirror import Copy, start_copies
from proxy.dataplane.rates import within_rates
from proxy.dataplane.record import MARK_WARMING
from proxy.dataplane.tries import HELD, Tries
from proxy.dataplane.tunnel import Tunnel
from proxy.dataplane.upstream import UpstreamConnection
from proxy.errors import DC, DN, DPE, E5, SI, ST, UT, Flag
from proxy.telemetry.counters import (
    RETRY_SUCCESS,
    V_IN_FLIGHT,
    V_REASONS,
)

_IN_TIME, _WITHIN_RATES, _UNDISTURBED, _NOT_CACHED, _ADMITTED, _GATES = range(6)

_JOINED: Final = 64 << 10
"""Bytes of a stored body beyond which it is written by itself: copying it costs more than a second write."""

_NOTHING_DROPPED: Final[frozenset[bytes]] = frozenset()


class Exchange(Tries):
    """From a parsed head to the last byte of the answer."""

    _identity: bytes = b""
    _mint: bytes = b""  # the whole set-cookie line, where one is due
    _copies: list[Copy] | None = None
    _chunk_out: bool = False
    _keep: bool = True
    _gate: int = 0  # the next to be passed

    def __init__(self, client: Downstream, plan: Plan, route: Route, request: Request) -> None:
        super().__init__(client, plan, route, request)
        self._kept = []
        if request.chunked or request.content_length > 0:
            self._sent = []
        else:
            self.request_done = True

    # The way up.

    def begin(self) -> None:
        """Decide, and set off."""
        route = self.route
        request = self.request
        runtime = self.runtime
        unit, _, mint = find_unit(route, request, runtime.cookies)
        if mint:
            unit, signed = runtime.cookies.mint(runtime.rng.randbytes(16))
            self._mint = set_cookie_line(mint, signed, self.client.secure)
        decision = decide(route, request, unit)
        self._decision = decision
        version = decision.version
        dropped = self._take_ids(request)
        view = runtime.view
        if version is None:
            assigned = route.default
            view[assigned.slot + V_IN_FLIGHT] += 1
            view[assigned.slot + V_REASONS + decision.reason] += 1
            self._chain = route.chains[assigned.index]
            self._fail(DN)
            return
        view[version.slot + V_IN_FLIGHT] += 1
        view[version.slot + V_REASONS + decision.reason] += 1
        self._chain = route.chains[version.index]
        if 0 <= route.max_body < request.content_length:
            self._fail(DPE, 413, "the body is larger than this route takes")
            return
        if unit is not None:
            self._unit_hash = runtime.hasher(unit)
            self._identity += b"x-tidegate-unit-hash: " + self._unit_hash.encode() + b"\r\n"
        if route.deadline is not None:
            dropped |= route.deadline.dropped
        self._kept = kept_lines(request, dropped, route.rewrite)
        if route.guarded:
            self.advance()
        else:
            self._try_version(0)
        if route.mirrors and not self._over:
            self._copies = start_copies(
                self.client.door.upstreams,
                route,
                request,
                unit,
                self._kept,
                self.client.forwarding(request),
                self._identity,
            )

    def advance(self) -> None:
        """Through what is left of the gates; each may answer, or hold the exchange up and call this later."""
        while self._gate < _GATES:
            gate = self._gate
            self._gate = gate + 1
            if not self._passes(gate):
                return
        self._try_version(0)

    def _passes(self, gate: int) -> bool:
        """Whether the gate in this place lets the exchange go on. Their order: what costs least refuses first."""
        if gate == _IN_TIME:
            return in_time(self)
        if gate == _WITHIN_RATES:
            return within_rates(self)
        if gate == _UNDISTURBED:
            return undisturbed(self)
        if gate == _NOT_CACHED:
            return not_cached(self)
        return admitted(self)

    def refuse(self, flag: Flag, status: int = 0, detail: str = "", added: bytes = b"") -> None:
        self.added += added
        self._fail(flag, status, detail)

    def cut_off(self, flag: Flag) -> None:
        self._cut_off(flag)

    def answer(self, status: int, head: bytes, body: bytes, served: int, flag: Flag | None, stale: bool) -> None:
        self._drop_upstream()
        self._status = status
        self._served = served
        self._stale = stale
        self._flag = flag or (E5 if self.replaced else ST if stale else None)
        added = self._head_lines()
        self._response_bytes = len(body)
        head = b"".join((head, added, b"\r\n"))
        if len(body) > _JOINED:
            self.client.write(head)
            self._finish(body)
        else:
            self._finish(head + body)

    def head_for(self, version: Version, without: frozenset[bytes], lines: list[bytes]) -> bytes:
        kept = [line for line in self._kept if line.partition(b":")[0].lower() not in without] + lines
        return self._whole_head(version, kept)

    def too_late(self) -> None:
        connection = self._connection
        if self._answering:
            self._cut_off(DC if self.client.paused else UT)
        elif connection is not None and not self.request_done and not connection.paused:
            self._fail(SI, 0, "the request's body did not come in time")  # everybody else was waiting for it
        else:
            if self._arm is not None:
                self._try_ended(UT, 0)
            self._fail(UT)

    def _take_ids(self, request: Request) -> frozenset[bytes]:
        """Keep or make x-request-id and traceparent; answers the names of those that came and cannot be kept."""
        fields = request.fields
        request_id = fields.get(b"x-request-id")
        trace = fields.get(b"traceparent")
        dropped = _NOTHING_DROPPED
        if request_id is not None and not valid_request_id(request_id):
            request_id = None
            dropped |= {b"x-request-id"}
        if trace is not None and not valid_traceparent(trace):
            trace = None
            dropped |= {b"traceparent", b"tracestate"}
        if trace is None:
            trace = make_traceparent(self.runtime.rng.getrandbits(192))
            self._identity = b"traceparent: " + trace + b"\r\n"
        if request_id is None:
            request_id = trace_id_of(trace)
            self._identity += b"x-request-id: " + request_id + b"\r\n"
        self._request_id = request_id
        self._traceparent = trace
        return dropped

    def on_connected(self, connection: UpstreamConnection) -> None:
        version = self._chain[self._served]
        if self._claim is not None:
            self._claim = None
        self._connection = connection
        now = self.runtime.now()
        self._upstream_started = now
        if now < connection.endpoint.warm_at:
            self.marked |= MARK_WARMING
        head = self._head_of(version, self._kept)
        attended = self.route.attended
        sent = self._sent
        if sent:
            connection.write(head + b"".join(sent))
        else:
            connection.write(head)
        if self.request_done:
            connection.deadline_in(now, version.upstream.response if not attended else self._patience(version))
            if attended:
                self._expect_hedge()
            if sent is not None:  # its body came while there was no connection; a client that leaves must be noticed
                self.client.set_reading(True)
        else:
            retry = self.route.retry
            if self.method not in (IDEMPOTENT if retry is None else retry.methods):
                self._sent = None
            if not connection.paused:  # else what waited filled it, and `on_upstream_pause` has said so
                connection.no_deadline()
                self.client.set_reading(True)

    def _head_of(self, version: Version, kept: list[bytes]) -> bytes:
        keeping = self.keeping
        if keeping is not None:  # the cache may ask on a condition, with every try and hedge alike
            kept = keeping.lines_for(self._served, kept)
        return self._whole_head(version, kept)

    def _whole_head(self, version: Version, kept: list[bytes]) -> bytes:
        request = self.request
        return request_head(
            request,
            kept,
            self.client.forwarding(request),
            version.head_lines + self._identity + self.time_left(self.runtime.now()),
            self.route.rewrite,
            self.route.raw_paths,
            request.upgrade,
        )

    def body(self, data: bytes) -> None:
        """More of the request's body, decoded; the end is yet to come."""
        if self._over:
            return
        self._request_bytes += len(data)
        if 0 <= self.route.max_body < self._request_bytes:
            self._fail(DPE, 413, "the body is larger than this route takes")
            return
        self._send(encode_chunk(data) if self.request.chunked else data)
        if self._answering:  # an upstream that answers early and then waits for the rest is not idle
            connection = self._connection
            if connection is not None and not self.client.paused:
                connection.deadline_in(self.runtime.now(), connection.silence)
        copies = self._copies
        if copies is not None:
            for copy in copies:
                copy.body(data)

    def last_body(self, data: bytes, trailers: list[bytes]) -> None:
        """The rest of the request's body."""
        if self._over:
            return
        self._request_bytes += len(data)
        if 0 <= self.route.max_body < self._request_bytes:
            self._fail(DPE, 413, "the body is larger than this route takes")
            return
        self.request_done = True
        self._send(encode_chunk(data) + last_chunk(trailers) if self.request.chunked else data)
        connection = self._connection
        if connection is not None and not self._answering:
            connection.deadline_in(self.runtime.now(), self._patience(self._chain[self._served]))
        copies = self._copies
        if copies is not None:
            for copy in copies:
                copy.last_body(data, trailers)

    def _send(self, data: bytes) -> None:
        sent = self._sent
        if sent is not None:
            sent.append(data)
            self._sent_size += len(data)
            if self._connection is not None:
                retry = self.route.retry
                if self._sent_size > (HELD if retry is None else retry.body_limit):
                    self._sent = None
        if self._connection is not None:
            self._connection.write(data)

    def on_upstream_pause(self, paused: bool) -> None:
        connection = self._connection
        if connection is None or self.request_done:
            return
        self.client.set_reading(not paused)
        if paused:
            connection.deadline_in(self.runtime.now(), connection.silence)
        elif not self._answering:
            connection.no_deadline()

    # The way down.

    def on_interim(self, response: Response) -> None:
        if self.request.minor == 1:
            self.client.write(response_head(response, b""))

    def on_head(self, response: Response, body: bytes, complete: bool, trailers: list[bytes]) -> None:
        now = self.runtime.now()
        self._upstream_seconds = now - self._upstream_started
        pool = self._pool
        if pool is not None and pool.watched:
            self._report(response.status, self._upstream_seconds, now)
        self._take_head(response, body, complete, trailers)

    def _take_head(self, response: Response, body: bytes, complete: bool, trailers: list[bytes]) -> None:
        request = self.request
        if (self._arm is not None or self.route.attended) and self._holds_back(response, body, complete):
            return
        if complete:
            self._connection = None  # it carries others by now: what the client takes is no concern of theirs
        self._answering = True
        self._status = response.status
        if self._sent is not None:
            self._sent = None
        keeping = self.keeping
        if keeping is not None:  # after whoever may still ask somebody else: this is the answer that counts
            if keeping.on_answer(self._served, response):
                return
            keeping.on_body(body, complete)
        added = self._mint + self.added
        keep = request.keep_alive and self.request_done and not self.runtime.draining
        if response.content_length < 0 and not response.bodiless:
            if request.minor == 1:
                self._chunk_out = True
                added += b"transfer-encoding: chunked\r\n"
                body = encode_chunk(body)
                if complete:
                    body += last_chunk(trailers)
            else:
                keep = False
        if not keep:
            added += b"connection: close\r\n"
        elif request.minor == 0:
            added += b"connection: keep-alive\r\n"
        if not keep:
            self._keep = False
        if self.route.debug is not None:
            lines = self._debug_lines()
            if lines:
                added += lines + b"x-request-id: " + self._request_id + b"\r\n"
        self._response_bytes = len(body)
        pacer = self.pacer
        if pacer is not None:
            self.client.write(response_head(response, added))
            pacer.hold(body, complete)
        elif complete:
            self._finish(response_head(response, added) + body)
        else:
            self.client.write(response_head(response, added) + body)

    def on_body(self, data: bytes, complete: bool, trailers: list[bytes]) -> None:
        if complete:
            self._connection = None
        keeping = self.keeping
        if keeping is not None:
            keeping.on_body(data, complete)
        if self._chunk_out:
            data = encode_chunk(data)
            if complete:
                data += last_chunk(trailers)
        self._response_bytes += len(data)
        pacer = self.pacer
        if pacer is not None:
            pacer.hold(data, complete)
        else:
            self.let_go(data, complete)

    def let_go(self, data: bytes, last: bool) -> None:
        if last:
            self._finish(data)
        elif data:
            self.client.write(data)

    def hold_upstream(self, held: bool) -> None:
        connection = self._connection
        if connection is None:
            return
        connection.set_reading(not held and not self.client.paused)
        if held:
            connection.no_deadline()
        elif not self.client.paused:
            connection.deadline_in(self.runtime.now(), connection.silence)

    def in_haste(self) -> bool:
        return switched_off(self.runtime)

    def on_client_pause(self, paused: bool) -> None:
        """The client takes no more (or again takes) what is written to it."""
        connection = self._connection
        if connection is None:
            return
        held = self.pacer is not None and self.pacer.full
        connection.set_reading(not paused and not held)
        if paused:
            connection.no_deadline()
            self.client.write_deadline(connection.silence)
        else:
            self.client.write_deadline(inf)
            if not held and (self._answering or self.request_done):
                connection.deadline_in(self.runtime.now(), connection.silence)

    def on_switch(self, response: Response, rest: bytes) -> bool:
        request = self.request
        connection = self._connection
        pool = self._pool
        if not request.upgrade or connection is None or pool is None:
            return False
        protocol = response.fields.get(b"upgrade", request.upgrade)
        added = self._mint + b"connection: upgrade\r\nupgrade: " + protocol + b"\r\n"
        self.client.write(response_head(response, added))
        self._status = 101
        if self._arm is not None:
            self._try_ended(None, 101)
        if self._unjudged:
            self._judge_retry(RETRY_SUCCESS)
        tunnel = Tunnel(self.client, connection, pool, self.route.name, self._chain[0], self.plan.generation)
        self._connection = None
        self._pool = None
        connection.user = tunnel
        self._settle()
        self.client.switch(tunnel)
        tunnel.start(rest)
        return True

    # What goes wrong.

    def on_broken(self, flag: Flag, untouched: bool) -> None:
        if not untouched:  # a pooled connection that had been closed says nothing of its endpoint
            now = self.runtime.now()
            self._report(flag.status, -1.0 if self._answering else now - self._upstream_started, now)
            if self.route.attended:
                self._shun()
        self._connection = None
        if self._answering:
            self._try_spoiled()
            self._cut_off(flag)
            return
        self._leave_pool()
        if untouched and not self._resent and self._may_send_again():
            refused = self._send_again()
            if refused is None:
                return
            flag = refused
        if (self._arm is not None or self.route.attended) and self._lost(flag, False):
            return
        if flag.repeatable:  # the upstream was not even reached
            self._served = -1
        self._fail(flag)

    def client_gone(self) -> None:
        """The client closed its connection before the answer was whole."""
        if not self._over:
            self._flag = DC
            self._status = 499
            self._drop_upstream()
            self._settle()

    def client_silent(self, sending: bool) -> None:
        """The client sent no more of its body, or did not take the answer, for too long."""
        if self._over:
            return
        if sending and not self._answering:
            self._fail(SI, 408, "the request's body did not come in time")
        else:
            self._cut_off(SI if sending else DC)

    def client_broke(self, status: int, detail: str) -> None:
        """The client's body was not valid."""
        if self._over:
            return
        if self._answering:
            self._cut_off(DPE)
        else:
            self._fail(DPE, status, detail)

    def cut_short(self) -> None:
        """The worker's time to drain is over."""
        if not self._over:
            self._cut_off(DC)

    def _cut_off(self, flag: Flag) -> None:
        """The answer has begun and cannot be finished: the client must be able to tell."""
        self._flag = flag
        if flag is DC:
            self._status = 499
        self._drop_upstream()
        self._settle()
        self.client.abort()

    def _fail(self, flag: Flag, status: int = 0, detail: str = "") -> None:
        """Answer in the upstream's place."""
        keeping = self.keeping
        if keeping is not None and keeping.on_failure(flag):
            return
        self._flag = flag
        self._status = status or flag.status
        self._drop_upstream()
        request = self.request
        added = self._head_lines()
        answer = failure_answer(
            self._status,
            flag,
            detail,
            self._request_id,
            request.fields.get(b"accept", b""),
            request.method == b"HEAD",
            added,
            self.runtime.wall(),
        )
        self._response_bytes = len(answer)
        self._finish(answer)

    def _head_lines(self) -> bytes:
        """What is added to the head of an answer that no upstream gives."""
        request = self.request
        keep = request.keep_alive and self.request_done and not self.runtime.draining
        added = self._mint + self.added
        if not keep:
            added += b"connection: close\r\n"
        elif request.minor == 0:
            added += b"connection: keep-alive\r\n"
        self._keep = keep
        if self.route.debug is not None:
            added += self._debug_lines()
        return added

    # The end.

    def _finish(self, last: bytes) -> None:
        """Count, then send the last bytes: what a client has got has been counted, whatever happens to this process."""
        client = self.client
        self._settle()
        if last:
            client.write(last)
        client.exchange_done(self._keep)

    def _settle(self) -> None:
        """Count, once."""
        self._over = True
        if self._waiter is not None:
            self._abandon_wait()
        if self.ends_at != inf:
            self.runtime.wheel.forget(self)
        if self.pacer is not None:
            self.pacer.stop()
            self.pacer = None
        if self.keeping is not None:
            self.keeping.ended()
        self._connection = None
        if self._arm is not None or self.route.attended:
            self._tries_over()
        copies = self._copies
        if copies is not None:
            self._copies = None
            if not self.request_done:
                for copy in copies:
                    copy.abandon()
        self._leave_pool()
        self._count()
        seat = self.seat
        if seat is not None:
            self.seat = None
            seat.over()
