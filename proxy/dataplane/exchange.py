"""One request and its answer: the only thing that knows both sides.

The life of an exchange: decide, find a connection, send the head, stream the body up and the answer down, count. Each step
is a plain call made by whichever side has news; nothing is awaited. Until the upstream has answered, an exchange may move
on: to another endpoint, to the fallback version, or once more to the same one where a pooled connection turned out to be
closed already. After the first byte of an answer it can only go on or be cut off, for what the client has it keeps.
"""

from math import inf
from typing import Final

from proxy.core.evidence import events_in
from proxy.core.fields import response_head
from proxy.core.framing import encode_chunk, last_chunk
from proxy.core.request import Response
from proxy.dataplane.answers import failure_answer
from proxy.dataplane.departure import Departure
from proxy.dataplane.faults import switched_off
from proxy.dataplane.tunnel import Tunnel
from proxy.errors import DC, DPE, E5, SI, ST, UT, Flag
from proxy.telemetry.counters import (
    RETRY_SUCCESS,
)

GOES_WELL: Final = 10.0
"""Seconds after its head in which an answer that has not ended counts as a good one of its endpoint: a stream may have no end."""


class Exchange(Departure):
    """From a parsed head to the last byte of the answer."""

    _chunk_out: bool = False
    _keep: bool = True
    _slowed: bool = False  # the client did not take the answer as fast as it came

    # What gates ask for.

    def refuse(self, flag: Flag, status: int = 0, detail: str = "", added: bytes = b"") -> None:
        self.added += added
        self._fail(flag, status, detail)

    def cut_off(self, flag: Flag) -> None:
        self._cut_off(flag)

    def answer(self, status: int, head: bytes, body: bytes, served: int, flag: Flag | None, stale: bool) -> None:
        self._drop_upstream()
        asking = self.asking
        if asking is not None and asking.ask_of_stored(status, head, body, served, flag, stale):
            return
        self._status = status
        self._served = served
        self._stale = stale
        self._flag = flag or (E5 if self.replaced else ST if stale else None)
        added = self._head_lines()
        self._response_bytes = len(body)
        head = b"".join((head, added, b"\r\n"))
        self._finish(head, body)

    def too_late(self) -> None:
        connection = self._connection
        now = self.runtime.now()
        if self._answering:
            if self.client.paused:
                self._cut_off(DC)
                return
            held = self._slowed or self.pacer is not None
            if held or now - self.answered_at >= GOES_WELL or not self._had_its_time(now):
                self.unproven = True
            else:
                if self._unsaid:
                    self._say(UT)
                self._try_spoiled(UT)
            self._cut_off(UT)
        elif connection is not None and not self.request_done and not connection.paused:
            self._fail(SI, 0, "the request's body did not come in time")  # everybody else was waiting for it
        else:
            if not self._had_its_time(now):
                self.unproven = self._let_down is None and self._failed_with is None
            else:
                self._report(UT.status, now - self._upstream_started, now)
                if self._arm is not None:
                    self._try_ended(UT, 0)
            self._fail(UT)

    def _had_its_time(self, now: float) -> bool:
        """Whether it is the upstream's doing that the whole exchange takes too long.

        The time that is over is the route's own, not what a caller asked for; and at least half of it was spent waiting for one
        endpoint alone: for a connection to it or, with all of the request there, for its answer.
        """
        timeout = self.route.timeout
        if timeout <= 0.0 or self.ends_at < self._started + timeout:
            return False
        if self._connection is not None:
            return self.request_done and now - self._upstream_started >= timeout / 2
        claim = self._claim
        return claim is not None and claim.endpoint is not None and now - claim.since >= timeout / 2

    # The way down.

    def on_interim(self, response: Response) -> None:
        if self.request.minor == 1:
            self.client.write(response_head(response, b""))

    def on_head(self, response: Response, body: bytes, complete: bool, trailers: list[bytes], now: float) -> None:
        self._upstream_seconds = now - self._upstream_started
        if self._pool is not None and self._pool.watched:
            seconds = self._upstream_seconds if self.request_done else -1.0
            self._report_answer(response.status, complete, seconds, now)
        self._take_head(response, body, complete, trailers)

    def pass_on(self, response: Response, body: bytes, complete: bool, trailers: list[bytes]) -> None:
        self._take_head(response, body, complete, trailers)
        connection = self._connection
        if not self._over and not self.request_done and connection is not None and not connection.paused:
            self.client.set_reading(True)  # an answer that came before the request was over: both go on

    def _take_head(self, response: Response, body: bytes, complete: bool, trailers: list[bytes]) -> None:
        request = self.request
        asking = self.asking
        if asking is None or not asking.passed:
            if (self._arm is not None or self.route.attended) and self._holds_back(response, body, complete):
                return
            if complete:
                self._connection = None  # it carries others by now: what the client takes is no concern of theirs
            self._answering = True
            self._status = response.status
            if self.route.tells:
                self._events = events_in(self.route.evidence, response.fields)
            if self._sent is not None:
                self._sent = None
            keeping = self.keeping
            if keeping is not None:  # after whoever may still ask somebody else: this is the answer that counts
                if keeping.on_answer(self._served, response):
                    return
                keeping.on_body(body, complete)
            if asking is not None:
                asking.ask_of_answer(response, body, complete, trailers)
                return
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
            self._finish(response_head(response, added), body)
        else:
            self.client.write_both(response_head(response, added), body)

    def on_body(self, data: bytes, complete: bool, trailers: list[bytes]) -> None:
        if self._unsaid and (complete or self.runtime.now() - self.answered_at >= GOES_WELL):
            self._say(None)
        if complete:
            self._connection = None
        asking = self.asking
        if asking is not None and asking.holds_answer:
            asking.keep_answer(data, complete, trailers)
            return
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
            if self.pacer is not None and self._answering:  # the upstream has said it all, and some of it is held
                self.client.write_deadline(self._chain[self._served].upstream.idle if paused else inf)
            return
        held = self.pacer is not None and self.pacer.full
        connection.set_reading(not paused and not held)
        if paused:
            self._slowed = True
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
        now = self.runtime.now()
        self._report(101, now - self._upstream_started, now)
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
        asking = self.asking
        if asking is not None and asking.holds_answer:
            asking.broke(flag)
            return
        if not untouched:  # a pooled connection that had been closed says nothing of its endpoint
            now = self.runtime.now()
            if self._unsaid:
                self._say(flag)
            elif not self._answering:
                self._report(flag.status, now - self._upstream_started if self.request_done else -1.0, now)
            if self.route.attended:
                self._shun()
        self._connection = None
        if self._answering:
            self._try_spoiled(flag)
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

    def _finish(self, last: bytes, body: bytes = b"") -> None:
        """Count, then send the last bytes: what a client has got has been counted, whatever happens to this process."""
        client = self.client
        self._settle()
        if body:
            client.write_both(last, body)
        elif last:
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
        if self.asking is not None:
            self.asking = None  # they know each other: a circle
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
