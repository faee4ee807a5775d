"""The way of a request to its upstream: the decision, the gates, the head as the upstream gets it, the body as it comes.

What comes back is in exchange.py, and how a connection is found in attempt.py.
"""

from typing import Final

from proxy.core.cookies import set_cookie_line
from proxy.core.decide import Decision, decide, find_chosen, find_kept, find_unit, to_keep
from proxy.core.field_lines import REQUEST_ID, TRACE
from proxy.core.fields import changed_lines, kept_lines, request_head
from proxy.core.framing import encode_chunk, last_chunk
from proxy.core.plan import Plan, Route, Version
from proxy.core.request import Request
from proxy.core.retry import IDEMPOTENT
from proxy.core.trace import lines_of, trace_id_of, valid_request_id, valid_traceparent
from proxy.dataplane.caching import not_cached
from proxy.dataplane.choices import answer_choice
from proxy.dataplane.concurrency import admitted
from proxy.dataplane.deadlines import in_time
from proxy.dataplane.downstream import Downstream
from proxy.dataplane.faults import undisturbed
from proxy.dataplane.mirror import Copy, start_copies
from proxy.dataplane.plugged import begin_asking
from proxy.dataplane.plugins import RoutePlugins
from proxy.dataplane.rates import within_rates
from proxy.dataplane.record import MARK_WARMING
from proxy.dataplane.tries import HELD, Tries
from proxy.dataplane.upstream import UpstreamConnection
from proxy.errors import DN, DPE
from proxy.telemetry.counters import (
    V_IN_FLIGHT,
    V_REASONS,
    add,
)

_IN_TIME: Final = 0
_WITHIN_RATES: Final = 1
_UNDISTURBED: Final = 2
_NOT_CACHED: Final = 3
_ADMITTED: Final = 4
_GATES: Final = 5

NOT_STORED: Final = b"cache-control: no-store\r\n"
"""Beside a record: whatever the upstream says of caching, this answer is one client's."""

_NOTHING_DROPPED: Final[frozenset[bytes]] = frozenset()


class Departure(Tries):
    """An exchange until its request is with the upstream."""

    _identity: bytes = b""
    _mint: bytes = b""  # the whole set-cookie line, where one is due
    _copies: list[Copy] | None = None
    _gate: int = 0  # the next to be passed

    def __init__(self, client: Downstream, plan: Plan, route: Route, request: Request) -> None:
        super().__init__(client, plan, route, request)
        self._kept = []
        if request.chunked or request.content_length > 0:
            self._sent = []
        else:
            self.request_done = True

    # The way up.

    def begin(self, unit: bytes | None = None, source: str = "") -> None:
        """Decide, and set off. Plugins that were asked say the `unit`, and where it came from; None: look for it."""
        route = self.route
        request = self.request
        runtime = self.runtime
        asking = self.asking
        if asking is None:
            if route.claimed and self.plan.tokens is not None:
                runtime.identifying.identify(self.plan.tokens, request, runtime.wall(), runtime.now())
            plugged = route.plugged
            if plugged is not None:
                assert isinstance(plugged, RoutePlugins)  # noqa: S101 - workers make no other
                begin_asking(self, plugged)
                return
        if unit is None:
            unit, source, mint = find_unit(route, request, runtime.cookies)
            if mint:
                unit, signed = runtime.cookies.mint(runtime.rng.randbytes(16))
                source = "minted"
                self._mint = set_cookie_line(mint, signed, self.secure)
        request.unit = unit
        if self.plan.timed:
            request.at = runtime.wall()
        if route.sticky is not None:
            request.kept = find_kept(route, request, unit, runtime.cookies)
        if route.choice is not None:
            request.chosen = find_chosen(route, request, unit, runtime.cookies)
        decision = decide(route, request, unit)
        if asking is None:
            dropped = self._take_ids(request)
            if self.set_off(decision, source, dropped):
                self.leave(dropped, None)
        else:
            asking.propose(decision, source)

    def await_decision(self) -> frozenset[bytes]:
        default = self.route.default
        self._chain = self.route.chains[default.index]
        self.runtime.view[default.slot + V_IN_FLIGHT] += 1
        return self._take_ids(self.request)

    def set_off(self, decision: Decision, source: str, dropped: frozenset[bytes]) -> bool:
        route = self.route
        request = self.request
        runtime = self.runtime
        unit = decision.unit
        if route.capped and unit is not None and (route.choice is None or request.path != route.choice.path):
            decision = runtime.capping.settle(route, request, unit, decision)
        self._decision = decision
        version = decision.version
        view = runtime.view
        if version is None:
            assigned = route.default
            add(view, assigned.slot + V_IN_FLIGHT, 1)
            add(view, assigned.slot + V_REASONS + decision.reason, 1)
            self._chain = route.chains[assigned.index]
            self._fail(DN)
            return False
        if route.sticky is not None and unit is not None:
            self._keep_version(decision, unit)
        add(view, version.slot + V_IN_FLIGHT, 1)
        self._chain = route.chains[version.index]
        if route.choice is not None and request.path == route.choice.path:
            self.own_page = True
        else:
            add(view, version.slot + V_REASONS + decision.reason, 1)
        if decision.denied:
            self._shorten_chain(decision.denied)
        if self.own_page:
            answer_choice(self)
            return False
        if 0 <= route.max_body < request.content_length:
            self._fail(DPE, 413, "the body is larger than this route takes")
            return False
        if unit is not None:
            hashed = runtime.hasher.hashed(unit)
            self._unit_hash = hashed.text
            self._identity = self._identity + hashed.line  # `+=` is another, and slower, addition in compiled code
            seen = route.seen
            if seen is not None and not seen.knows(self._unit_hash, version.name, decision.reason, decision.rule):
                runtime.exposing.record(
                    seen,
                    route,
                    version,
                    decision,
                    unit,
                    self._unit_hash,
                    source,
                    request,
                    self._request_id,
                    self.plan.generation,
                )
        if route.inject_flags and self.plan.flags is not None:
            self._identity += self.plan.flags.lines(route.inject_flags, request, unit)
        return True

    def leave(self, dropped: frozenset[bytes], changes: dict[bytes, list[bytes]] | None) -> None:
        route = self.route
        request = self.request
        if route.deadline is not None:
            dropped |= route.deadline.dropped
        self._kept = kept_lines(request, dropped, route.rewrite)
        if changes:
            self._kept = changed_lines(self._kept, changes)
            self.altered = b"".join([b"\n%b:%b" % (name, b"\n ".join(changes[name])) for name in sorted(changes)])
        if route.guarded:
            self.advance()
        else:
            self._try_version(0)
        if route.mirrors and not self._over:
            self._copies = start_copies(
                self.client.door.upstreams,
                route,
                request,
                request.unit,
                self._kept,
                self.client.forwarding(request),
                self._identity,
            )

    def _keep_version(self, decision: Decision, unit: bytes) -> None:
        """Have the answer bring the unit's record, where one is due; nobody else may be given such an answer."""
        sticky = self.route.sticky
        kept = to_keep(self.route, self.request, decision)
        cookies = self.runtime.cookies
        if sticky is None or kept is None or not cookies.enabled:
            return
        signed = cookies.keep(sticky.scope, unit, kept)
        self._mint += set_cookie_line(sticky.cookie, signed, self.secure, sticky.cookie_age) + NOT_STORED

    def _shorten_chain(self, denied: int) -> None:
        """Have the chain end with a version that was not taken out; those before it are passed over in their turn."""
        chain = self._chain
        length = len(chain)
        while length > 1 and denied >> chain[length - 1].index & 1:
            length -= 1
        if length < len(chain):
            self._chain = chain[:length]

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

    def head_for(self, version: Version, without: frozenset[bytes], lines: list[bytes]) -> bytes:
        kept = [line for line in self._kept if line.partition(b":")[0].lower() not in without] + lines
        return self._whole_head(version, kept)

    def _take_ids(self, request: Request) -> frozenset[bytes]:
        """Keep or make x-request-id and traceparent; answers the names of those that came and cannot be kept."""
        dropped = _NOTHING_DROPPED
        request_id: bytes | None = None
        trace_id = b""
        if request.marks & (REQUEST_ID | TRACE):
            request_id = request.fields.get(b"x-request-id")
            if request_id is not None and not valid_request_id(request_id):
                request_id = None
                dropped |= {b"x-request-id"}
            trace = request.fields.get(b"traceparent")
            if trace is not None:
                if valid_traceparent(trace):
                    trace_id = trace_id_of(trace)
                else:
                    dropped |= {b"traceparent", b"tracestate"}
        if trace_id:
            if request_id is None:
                self._identity = b"x-request-id: " + trace_id + b"\r\n"
        else:
            made = self.runtime.ids.take()
            trace_id = made[:32]
            self._identity = lines_of(made, request_id is None)
        self._request_id = trace_id if request_id is None else request_id
        self._trace_id = trace_id
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
            version.head_lines + self._identity + self.time_left(),
            self.route.rewrite,
            self.route.raw_paths,
            request.upgrade,
        )

    def body(self, data: bytes) -> None:
        """More of the request's body, decoded; the end is yet to come."""
        if self._over or (self.asking is not None and self.asking.keeps_body(data, None)):
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
        if self._over or (self.asking is not None and self.asking.keeps_body(data, trailers)):
            return
        self._request_bytes += len(data)
        if 0 <= self.route.max_body < self._request_bytes:
            self._fail(DPE, 413, "the body is larger than this route takes")
            return
        self.request_done = True
        self._send(encode_chunk(data) + last_chunk(trailers) if self.request.chunked else data)
        connection = self._connection
        if connection is not None and not self._answering:
            now = self.runtime.now()
            patience = self._patience(self._chain[self._served])  # which goes by when the connection was there
            self._upstream_started = now  # what the client took for its body is not the upstream's time
            connection.deadline_in(now, patience)
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
