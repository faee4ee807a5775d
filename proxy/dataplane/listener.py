"""A listening socket of the worker. It is shared with the other workers, and stays open in control."""

import asyncio
import select
import socket
from typing import Final, cast

from proxy.core.plan import Spec
from proxy.dataplane.client import ClientConnection
from proxy.dataplane.runtime import Runtime
from proxy.dataplane.tls import Terminator

_BACKLOG: Final = 4096
_HANDSHAKE: Final = 10.0
"""Seconds for a TLS handshake."""


class Listener:
    """Accepts connections and knows those that are open."""

    def __init__(self, runtime: Runtime, endpoint: socket.socket, spec: Spec) -> None:
        """Raises OSError or ssl.SSLError where the certificates cannot be used."""
        self.runtime: Final = runtime
        self.endpoint: Final = endpoint
        self.proxy_protocol: Final[bool] = spec["proxy_protocol"]
        self._terminator: Final = Terminator(spec["tls"]) if spec["tls"] else None
        self.secure: Final = self._terminator is not None
        self.clients: Final[set[ClientConnection]] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Begin to accept."""
        loop = self.runtime.loop
        context = None if self._terminator is None else self._terminator.context
        handshake = None if context is None else _HANDSHAKE
        # A duplicate: the loop closes what it is given, and a control process that takes over is handed the original.
        endpoint = self.endpoint.dup()
        if endpoint.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(
                self._accepted, sock=endpoint, backlog=_BACKLOG, ssl=context, ssl_handshake_timeout=handshake
            )
        else:
            self._server = await loop.create_server(
                self._accepted, sock=endpoint, backlog=_BACKLOG, ssl=context, ssl_handshake_timeout=handshake
            )

    def _accepted(self) -> asyncio.BaseProtocol:
        client = ClientConnection(self.runtime, self.clients, secure=self.secure, proxy_protocol=self.proxy_protocol)
        return cast("asyncio.BaseProtocol", client)  # one by shape: compiled classes have no foreign bases

    def update(self, spec: Spec) -> None:
        """Take new certificates. Raises OSError or ssl.SSLError, and then the old ones stay."""
        if self._terminator is not None and spec["tls"]:
            self._terminator.update(spec["tls"])

    def waiting(self) -> bool:
        """Whether a connection waits to be accepted."""
        poll = select.poll()
        poll.register(self.endpoint, select.POLLIN)
        return bool(poll.poll(0))

    def close(self) -> None:
        """Accept no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.endpoint.close()
