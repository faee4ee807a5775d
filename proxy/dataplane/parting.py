"""How the connection of a client ends: cut off, closed once it has taken what was written, or heard out first.

A client must be able to tell an answer that was cut off from a whole one, and an answer must not be lost because the client
was still sending when the connection went (RFC 9112 section 9.6). Whoever reads nothing keeps no connection for ever.
"""

import asyncio
import socket
from typing import Final

from proxy.core.framing import ChunkedDecoder
from proxy.dataplane.downstream import Carrier, Door, Downstream
from proxy.dataplane.exchange import Exchange
from proxy.dataplane.readable import readable
from proxy.telemetry.counters import W_CONNECTIONS

_JOINED: Final = 16 << 10
"""Bytes of a body beyond which copying it behind its head costs more than writing both together."""
_LINGER: Final = 2.0
"""Seconds for a client to take an answer that came before its request was over (RFC 9112 section 9.6)."""
_FLUSH: Final = 10.0
"""Seconds for a client to take some of what was written to it before its connection ended."""

_LEAVE: Final = 2.0
"""Seconds for a client to answer the end of TLS (RFC 8446 section 6.1) before the connection below is closed."""

# Phases. Each by itself, because only so are they numbers in compiled code; a name bound to a range's is looked up.
PREFACE: Final = 0
HEAD: Final = 1
BODY: Final = 2
BUSY: Final = 3
TUNNEL: Final = 4
LINGER: Final = 5
FLUSH: Final = 6
CLOSED: Final = 7


class Parting(Downstream):
    """What a connection is, as far as its end is concerned; what it reads is `ClientConnection`'s business."""

    def __init__(self, door: Door, phase: int) -> None:
        super().__init__(door)
        self.transport: asyncio.Transport | None = None
        self.phase: int = phase
        self.exchange: Exchange | None = None
        self.carrier: Carrier | None = None
        self._pending: bytes = b""  # what came and waits for its turn
        self._decoder: ChunkedDecoder | None = None
        self._unsent: int = 0

    def write(self, data: bytes) -> None:
        transport = self.transport
        if transport is not None and self.phase != CLOSED:
            transport.write(data)

    def write_both(self, head: bytes, body: bytes) -> None:
        """A head and what there is of its body, in one system call."""
        if len(body) <= _JOINED:
            self.write(head + body)
            return
        transport = self.transport
        if transport is not None and self.phase != CLOSED:
            transport.writelines((head, body))

    def abort(self) -> None:
        """Cut the connection off, so that the client cannot take what it got for the whole."""
        transport = self.transport
        if transport is not None and self.phase != CLOSED:
            endpoint = transport.get_extra_info("socket")
            if endpoint is not None and endpoint.family != socket.AF_UNIX:
                endpoint.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
            transport.abort()
        self._closed()

    def close(self) -> None:
        """Send what was written, then close."""
        transport = self.transport
        if transport is None or self.phase in (FLUSH, CLOSED):
            return
        unsent = transport.get_write_buffer_size()
        transport.close()
        if unsent or self.secure:  # a client that reads nothing, or never takes leave of TLS, must not keep it for ever
            self.phase = FLUSH
            self.exchange = None
            self.carrier = None
            self._pending = b""
            self._unsent = unsent
            self.runtime.wheel.arm(self, self.runtime.now() + (_FLUSH if unsent else _LEAVE))
        else:
            self._closed()

    def _await_flush(self, now: float) -> None:
        """The connection should be over: cut it off, unless the client has taken some of what it was sent."""
        transport = self.transport
        unsent = 0 if transport is None else transport.get_write_buffer_size()
        if 0 < unsent < self._unsent:
            self._unsent = unsent
            self.runtime.wheel.arm(self, now + _FLUSH)
        else:
            self.abort()

    def generation(self) -> int:
        """Of the plan that what is under way here stands on; beyond all others where nothing is."""
        if self.exchange is not None:
            return self.exchange.plan.generation
        if self.carrier is not None:
            return self.carrier.generation
        return 1 << 62

    def cut_short(self) -> int:
        """The time to drain is over. Answers how many exchanges and tunnels that ended: 1 or 0."""
        exchange = self.exchange
        carrier = self.carrier
        if exchange is not None:
            exchange.cut_short()
        elif carrier is not None:
            carrier.end()
        elif self.phase == FLUSH:
            self.abort()
            return 0
        else:
            self.close()
            return 0
        return 1

    def close_if_idle(self) -> None:
        """The worker drains: a connection between two requests ends here. It is not between them when a request lies unread,
        as it may where the worker had no time for a while."""
        if self.phase in (HEAD, PREFACE) and not self._pending and self.transport is not None:
            wire = self.transport.get_extra_info("socket")
            if wire is None or not readable(wire.fileno()):
                self.close()

    def _finish(self, more_to_come: bool) -> None:
        """Close; where the client is still sending, give it time to read first, for a reset would take the answer away."""
        transport = self.transport
        if transport is None:
            return
        if not more_to_come:
            self.close()
            return
        self.phase = LINGER
        self._pending = b""
        self._decoder = None
        self._unsent = transport.get_write_buffer_size()
        if transport.can_write_eof():  # not over TLS; there the answer's framing says where it ends
            transport.write_eof()
        self.set_reading(True)
        self.runtime.wheel.arm(self, self.runtime.now() + (_FLUSH if self._unsent else _LINGER))

    def _closed(self) -> None:
        if self.phase == CLOSED:
            return
        self.phase = CLOSED
        runtime = self.runtime
        runtime.view[runtime.base + W_CONNECTIONS] -= 1
        runtime.wheel.forget(self)
        self.door.clients.discard(self)
        exchange = self.exchange
        carrier = self.carrier
        self.exchange = None
        self.carrier = None
        self._pending = b""
        if exchange is not None:
            exchange.client_gone()
        if carrier is not None:
            carrier.end()
