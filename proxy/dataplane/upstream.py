"""A connection to an endpoint: reads answers strictly and hands them to whoever asked, one exchange after the other.

The connection knows framing and nothing else. Who uses it is an `UpstreamUser`: an exchange, which passes the answer on,
or a shadow's copy, which counts and forgets it. An answer that two readers could read differently is refused whole; bytes
after an answer's end are nobody's answer and end the connection.
"""

import asyncio
import os
from math import inf
from typing import Final

from proxy.core.answer_heads import recall_response
from proxy.core.balance import Member
from proxy.core.framing import ChunkedDecoder
from proxy.core.http1 import cut_head
from proxy.core.request import Response
from proxy.dataplane.runtime import Runtime
from proxy.dataplane.timers import TICK, Timed
from proxy.errors import UC, UPE, UR, UT, Flag, ProtocolError

MAX_HEAD: Final = 64 << 10
"""Bytes of an answer's head. Envoy 60 KiB, nginx 4-8, Node 16."""
_MAX_INTERIM: Final = 32
"""1xx answers before the final one; more is an upstream that never comes to the point."""

_UNEXPECTED: Final = "this cannot happen to a user that does not say what to do about it"

# Phases, each by itself: numbers in compiled code.
IDLE: Final = 0
HEAD: Final = 1
LENGTH: Final = 2
CHUNKED: Final = 3
UNTIL_CLOSE: Final = 4
TUNNEL: Final = 5
CLOSED: Final = 6


class UpstreamUser(Timed):
    """Who a connection works for. All calls come from the event loop; none may block."""

    method: bytes = b""
    request_done: bool = False
    generation: int = 0  # of the plan it stands on

    def on_connected(self, connection: "UpstreamConnection") -> None:
        """The connection is yours: write to it."""
        raise AssertionError(_UNEXPECTED)

    def on_unreachable(self, flag: Flag) -> None:
        """There will be no connection: UF, UO or UH."""
        raise AssertionError(_UNEXPECTED)

    def on_interim(self, response: Response) -> None:
        """A 1xx answer other than 101."""
        raise AssertionError(_UNEXPECTED)

    def on_switch(self, response: Response, rest: bytes) -> bool:
        """101, and the first bytes of the other protocol. False: it was not asked for."""
        raise AssertionError(_UNEXPECTED)

    def on_head(self, response: Response, body: bytes, complete: bool, trailers: list[bytes], now: float) -> None:
        """The final answer's head with what has come of its body, at `now`. When `complete`, the connection is no longer yours."""
        raise AssertionError(_UNEXPECTED)

    def on_body(self, data: bytes, complete: bool, trailers: list[bytes]) -> None:
        """More of the body, decoded. When `complete`, the connection is no longer yours."""
        raise AssertionError(_UNEXPECTED)

    def on_broken(self, flag: Flag, untouched: bool) -> None:
        """The connection is gone. `untouched`: it was a reused one, and closed without a byte of an answer."""
        raise AssertionError(_UNEXPECTED)

    def on_tunnel(self, data: bytes) -> None:
        """Bytes of the other protocol."""
        raise AssertionError(_UNEXPECTED)

    def on_upstream_pause(self, paused: bool) -> None:
        """The upstream takes no more (or again takes) what is written to it."""
        raise AssertionError(_UNEXPECTED)


class ConnectionKeeper:
    """Whose a connection is between two exchanges: a pool."""

    def release(self, connection: "UpstreamConnection", now: float) -> None:
        """An exchange is over, at `now`, and its connection can carry another."""
        raise AssertionError(_UNEXPECTED)

    def connection_gone(self, connection: "UpstreamConnection") -> None:
        """A connection closed: its place is free."""
        raise AssertionError(_UNEXPECTED)


class UpstreamConnection(Timed):
    """An asyncio protocol towards an endpoint."""

    def __init__(self, runtime: Runtime, keeper: ConnectionKeeper, endpoint: Member) -> None:
        self.runtime: Final = runtime
        self.endpoint: Final = endpoint
        self._keeper: Final = keeper
        self.user: UpstreamUser | None = None
        self.transport: asyncio.Transport | None = None
        self.phase: int = IDLE
        self.reused: bool = False
        self.paused: bool = False  # the transport wants no more writes
        self.silence: float = 60.0
        self._buffer: bytes = b""
        self._searched: int = 0
        self._remaining: int = 0
        self._decoder: ChunkedDecoder | None = None
        self._reading: bool = True
        self._interim: int = 0
        self._reusable: bool = False

    # What the pool and the user call.

    def attach(self, user: UpstreamUser) -> None:
        """Start working for `user`."""
        self.user = user
        self.phase = HEAD
        self._interim = 0

    def write(self, data: bytes) -> None:
        transport = self.transport
        if transport is not None and self.phase != CLOSED:
            transport.write(data)

    def deadline_in(self, now: float, seconds: float) -> None:
        """Be late `seconds` after `now`."""
        deadline = now + seconds
        if deadline < self.due - TICK:
            self.runtime.wheel.arm(self, deadline)
        else:
            self.deadline = deadline

    def no_deadline(self) -> None:
        self.deadline = inf

    def set_reading(self, reading: bool) -> None:
        """Take more from the upstream, or no more for now."""
        transport = self.transport
        if reading != self._reading and transport is not None and not transport.is_closing():
            self._reading = reading
            if reading:
                transport.resume_reading()
            else:
                transport.pause_reading()

    def close(self) -> None:
        """Give the connection up; the user is not told."""
        self.user = None
        if self.phase != CLOSED:
            self.phase = CLOSED
            self._keeper.connection_gone(self)
            if self.transport is not None:
                self.transport.abort()
        self.runtime.wheel.forget(self)

    def finish_tunnel(self) -> None:
        """Send what was written, then close."""
        self.user = None
        if self.phase != CLOSED:
            self.phase = CLOSED
            self._keeper.connection_gone(self)
            transport = self.transport
            if transport is not None:
                unsent = transport.get_write_buffer_size()
                transport.close()
                if unsent:  # an endpoint that reads nothing must not keep it for ever
                    self.runtime.wheel.arm(self, self.runtime.now() + self.silence)
                    return
        self.runtime.wheel.forget(self)

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport) or hasattr(transport, "pause_reading")  # noqa: S101
        self.transport = transport  # type: ignore[assignment]

    def pause_writing(self) -> None:
        self.paused = True
        if self.user is not None:
            self.user.on_upstream_pause(True)

    def resume_writing(self) -> None:
        self.paused = False
        if self.user is not None:
            self.user.on_upstream_pause(False)

    def eof_received(self) -> bool:
        if self.phase == UNTIL_CLOSE:
            self._finish(b"", reusable=False, trailers=[])
        elif self.phase == TUNNEL:
            user = self.user
            self.close()
            if user is not None:
                user.on_broken(UC, False)
        else:
            self._broken(UC)
        return False

    def connection_lost(self, error: Exception | None) -> None:
        if self.phase == CLOSED:
            self.runtime.wheel.forget(self)
            return
        if self.phase == UNTIL_CLOSE and error is None:
            self._finish(b"", reusable=False, trailers=[])
            return
        if self.phase == HEAD and isinstance(error, (ConnectionResetError, BrokenPipeError)):
            self._take_last_words()
            if self.phase == CLOSED:
                return
        self._broken(UR if isinstance(error, ConnectionResetError) else UC)

    def _take_last_words(self) -> None:
        """Read what had come before a write failed: an upstream that answers 413 in the middle of a body, and closes.

        The loop gives a connection up at the first write that fails; the answer may lie unread in the socket, which is open
        until `connection_lost` returns. Through TLS there is nothing to be made of it.
        """
        transport = self.transport
        if self.user is None or transport is None or transport.get_extra_info("sslcontext") is not None:
            return
        endpoint = transport.get_extra_info("socket")
        if endpoint is None:
            return
        try:
            data = os.read(endpoint.fileno(), MAX_HEAD)
        except (OSError, ValueError):  # nothing more, or closed already
            return
        if data:
            self.data_received(data)

    def expired(self, now: float) -> None:
        if self.phase == CLOSED:
            if self.transport is not None:
                self.transport.abort()
            return
        self._broken(UT)

    def data_received(self, data: bytes) -> None:
        user = self.user
        phase = self.phase
        if user is None:
            # Nobody asked: an answer to nothing would become the answer to the next request.
            self.close()
            return
        try:
            if phase == HEAD:
                if self._buffer:
                    data = self._buffer + data
                    self._buffer = b""
                self._head(user, data)
            elif phase == LENGTH:
                self._length(user, data)
            elif phase == CHUNKED:
                self._chunked(user, data)
            elif phase == UNTIL_CLOSE:
                self.deadline_in(self.runtime.now(), self.silence)
                user.on_body(data, False, [])
            elif phase == TUNNEL:
                user.on_tunnel(data)
        except ProtocolError:
            self._broken(UPE)

    # Reading an answer.

    def _head(self, user: UpstreamUser, data: bytes) -> None:
        while True:
            cut = cut_head(data, self._searched)
            if cut is None:
                if len(data) > MAX_HEAD:
                    raise ProtocolError(502, "the answer's head is too long")
                self._buffer = data
                self._searched = max(len(data) - 3, 0)
                return
            head, rest = cut
            self._searched = 0
            if len(head) > MAX_HEAD:
                raise ProtocolError(502, "the answer's head is too long")
            response = recall_response(head, user.method)
            status = response.status
            if status >= 200:
                break
            if status == 101:
                self.phase = TUNNEL
                self.no_deadline()
                if not user.on_switch(response, rest):
                    raise ProtocolError(502, "switched protocols without being asked")
                return
            self._interim += 1
            if self._interim > _MAX_INTERIM:
                raise ProtocolError(502, "too many interim answers")
            user.on_interim(response)
            if self.user is None:
                return
            data = rest
            if not data:
                return
        self._reusable = response.keep_alive
        if response.bodiless:
            self._finish_head(user, response, b"", rest)
        elif response.chunked:
            decoder = ChunkedDecoder()
            pieces = decoder.feed(rest) if rest else []
            body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            if decoder.done:
                self._finish_head(user, response, body, decoder.rest, decoder.trailers)
            else:
                self._decoder = decoder
                self.phase = CHUNKED
                self._go_on(user, response, body)
        elif response.until_close:
            self.phase = UNTIL_CLOSE
            self._go_on(user, response, rest)
        else:
            length = response.content_length
            if len(rest) >= length:
                if len(rest) == length:
                    self._finish_head(user, response, rest, b"")
                else:
                    self._finish_head(user, response, rest[:length], rest[length:])
            else:
                self._remaining = length - len(rest)
                self.phase = LENGTH
                self._go_on(user, response, rest)

    def _go_on(self, user: UpstreamUser, response: Response, body: bytes) -> None:
        now = self.runtime.now()
        self.deadline_in(now, self.silence)
        user.on_head(response, body, False, [], now)

    def _finish_head(
        self, user: UpstreamUser, response: Response, body: bytes, surplus: bytes, trailers: list[bytes] | None = None
    ) -> None:
        now = self.runtime.now()
        self._let_go(self._reusable and not surplus and user.request_done, now)
        user.on_head(response, body, True, trailers or [], now)

    def _length(self, user: UpstreamUser, data: bytes) -> None:
        remaining = self._remaining - len(data)
        if remaining > 0:
            self._remaining = remaining
            self.deadline_in(self.runtime.now(), self.silence)
            user.on_body(data, False, [])
        elif remaining == 0:
            self._finish(data, reusable=self._reusable, trailers=[])
        else:
            self._finish(data[:remaining], reusable=False, trailers=[])

    def _chunked(self, user: UpstreamUser, data: bytes) -> None:
        decoder = self._decoder
        assert decoder is not None  # noqa: S101 - the phase says so
        pieces = decoder.feed(data)
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if decoder.done:
            self._finish(body, reusable=self._reusable and not decoder.rest, trailers=decoder.trailers)
            return
        self.deadline_in(self.runtime.now(), self.silence)
        if body:
            user.on_body(body, False, [])

    def _finish(self, data: bytes, reusable: bool, trailers: list[bytes]) -> None:
        user = self.user
        self._let_go(reusable and user is not None and user.request_done, self.runtime.now())
        if user is not None:
            user.on_body(data, True, trailers)

    def _let_go(self, reusable: bool, now: float) -> None:
        self.user = None
        self._decoder = None
        transport = self.transport
        if reusable and transport is not None and not self.paused:  # the pool looks whether it is closing
            self.phase = IDLE
            self.reused = True
            if not self._reading:
                self.set_reading(True)
            self._keeper.release(self, now)
        else:
            self.close()

    def _broken(self, flag: Flag) -> None:
        user = self.user
        untouched = self.reused and self.phase == HEAD and not self._buffer and self._interim == 0 and flag is not UT
        self.close()
        if user is not None:
            user.on_broken(flag, untouched)
