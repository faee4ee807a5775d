"""Accepts where the PROXY protocol's preface stands before a TLS handshake: it is read off the socket, and only then TLS begins.

Without TLS the preface is the first thing on an ordinary connection, and client.py reads it there. With TLS it comes before
the first byte that the TLS library may see, so exactly the preface must be taken from the socket and not one byte more.
"""

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable
from typing import Final

from proxy.core import proxy_protocol
from proxy.dataplane.refusals import count_refusal
from proxy.dataplane.runtime import Runtime, log
from proxy.errors import DPE, ProtocolError

_AT_ONCE: Final = 64
"""Connections accepted before others have their turn."""
_PATIENCE: Final = 1.0
"""Seconds without accepting after the process ran out of descriptors."""
_SHORTEST: Final = 15
"""Bytes of the shortest preface, `PROXY UNKNOWN` with CRLF."""
_V2_HEAD: Final = 16


class PrefacedServer:
    """Accepts on `endpoint`, which becomes its own, and serves each connection over TLS."""

    def __init__(
        self,
        runtime: Runtime,
        endpoint: socket.socket,
        context: ssl.SSLContext,
        patience: float,
        accepted: Callable[[str], asyncio.BaseProtocol],
    ) -> None:
        """`patience` is the seconds for the preface, and again for the handshake; `accepted` makes the protocol for a
        client at the address that the preface told, empty where it told none."""
        self._runtime: Final = runtime
        self._endpoint: Final = endpoint
        self._context: Final = context
        self._patience: Final = patience
        self._accepted: Final = accepted
        self._closed: bool = False

    def start(self) -> None:
        """Begin to accept."""
        self._endpoint.setblocking(False)
        self._listen()

    def close(self) -> None:
        """Accept no more."""
        if not self._closed:
            self._closed = True
            self._runtime.loop.remove_reader(self._endpoint.fileno())
            self._endpoint.close()

    def _listen(self) -> None:
        if not self._closed:
            self._runtime.loop.add_reader(self._endpoint.fileno(), self._accept)

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            try:
                connection, _address = self._endpoint.accept()
            except OSError as error:
                if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
                    log.error("no connection can be accepted", extra={"error": error.strerror})
                    self._runtime.loop.remove_reader(self._endpoint.fileno())
                    self._runtime.loop.call_later(_PATIENCE, self._listen)
                return  # nothing waits, or another worker was first
            connection.setblocking(False)
            self._runtime.spawn("preface", self._greet(connection))

    async def _greet(self, connection: socket.socket) -> None:
        try:
            async with asyncio.timeout(self._patience):
                address = await self._read(connection)
            if address is not None:
                await self._runtime.loop.connect_accepted_socket(
                    lambda: self._accepted(address),
                    connection,
                    ssl=self._context,
                    ssl_handshake_timeout=self._patience,
                )
                return
        except ProtocolError:
            count_refusal(self._runtime, 400, DPE)
        except OSError:  # it left, was too slow (TimeoutError), or its handshake failed (ssl.SSLError)
            pass
        connection.close()

    async def _read(self, connection: socket.socket) -> str | None:
        """The address that the preface tells, empty for none; None when the connection ends first."""
        loop = self._runtime.loop
        data = b""
        while True:
            preface = proxy_protocol.parse(data)
            if preface is not None:
                return preface.address or ""
            more = await loop.sock_recv(connection, _wanted(data, connection))
            if not more:
                return None
            data += more


def _wanted(data: bytes, connection: socket.socket) -> int:
    """How many bytes may be taken that surely belong to the preface which `data` begins."""
    if len(data) < _SHORTEST:
        return _SHORTEST - len(data)
    if not data.startswith(b"PROXY"):
        return (
            _V2_HEAD - len(data) if len(data) < _V2_HEAD else _V2_HEAD + int.from_bytes(data[14:16], "big") - len(data)
        )
    try:
        ahead = connection.recv(proxy_protocol.MAX_V1, socket.MSG_PEEK)
    except BlockingIOError:
        return 1
    end = ahead.find(b"\n")
    return (end + 1 if end >= 0 else len(ahead)) or 1
