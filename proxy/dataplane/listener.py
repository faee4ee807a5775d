"""A listening socket of the worker. It is shared with the other workers, and stays open in control."""

import asyncio
import socket
from typing import Final, cast

from proxy.core.plan import Spec
from proxy.dataplane.client import ClientConnection
from proxy.dataplane.downstream import Door, Downstream
from proxy.dataplane.preface import PrefacedServer
from proxy.dataplane.readable import readable
from proxy.dataplane.runtime import Runtime
from proxy.dataplane.tls import Terminator
from proxy.dataplane.upstreams import Upstreams

_BACKLOG: Final = 4096
_HANDSHAKE: Final = 10.0
"""Seconds for a TLS handshake."""


class Listener:
    """Accepts connections and knows those that are open."""

    def __init__(self, runtime: Runtime, upstreams: Upstreams, endpoint: socket.socket, spec: Spec) -> None:
        """Raises OSError or ssl.SSLError where the certificates cannot be used."""
        self.runtime: Final = runtime
        self.endpoint: Final = endpoint
        self.clients: Final[set[Downstream]] = set()
        self._upstreams: Final = upstreams
        self._terminator: Terminator | None = Terminator(spec["tls"]) if spec["tls"] else None
        self._door: Door = self._make_door(spec)
        self._server: asyncio.Server | PrefacedServer | None = None

    def _make_door(self, spec: Spec) -> Door:
        return Door(
            self.runtime,
            self._upstreams,
            secure=self._terminator is not None,
            proxy_protocol=spec["proxy_protocol"],
            clients=self.clients,
        )

    async def start(self) -> None:
        """Begin to accept."""
        loop = self.runtime.loop
        context = None if self._terminator is None else self._terminator.context
        handshake = None if context is None else _HANDSHAKE
        # A duplicate: the loop closes what it is given, and a control process that takes over is handed the original.
        endpoint = self.endpoint.dup()
        if context is not None and self._door.proxy_protocol:
            prefaced = PrefacedServer(self.runtime, endpoint, context, _HANDSHAKE, self._greeted)
            prefaced.start()
            self._server = prefaced
        elif endpoint.family == socket.AF_UNIX:
            self._server = await loop.create_unix_server(
                self._accepted, sock=endpoint, backlog=_BACKLOG, ssl=context, ssl_handshake_timeout=handshake
            )
        else:
            self._server = await loop.create_server(
                self._accepted, sock=endpoint, backlog=_BACKLOG, ssl=context, ssl_handshake_timeout=handshake
            )

    def _accepted(self) -> asyncio.BaseProtocol:
        return cast(
            "asyncio.BaseProtocol", ClientConnection(self._door)
        )  # one by shape: compiled classes have no foreign bases

    def _greeted(self, address: str) -> asyncio.BaseProtocol:
        return cast("asyncio.BaseProtocol", ClientConnection(self._door, address))

    async def update(self, spec: Spec) -> None:
        """Take new certificates, or become another kind of listener. Connections that are open stay what they are.

        Raises OSError or ssl.SSLError, and then all is as before.
        """
        if self._terminator is not None and spec["tls"] and self._door.proxy_protocol == spec["proxy_protocol"]:
            self._terminator.update(spec["tls"])
        elif self._door.secure != bool(spec["tls"]) or self._door.proxy_protocol != spec["proxy_protocol"]:
            self._terminator = Terminator(spec["tls"]) if spec["tls"] else None
            self._door = self._make_door(spec)
            before = self._server
            await self.start()  # both accept for a moment: nothing that comes in between is lost
            if before is not None:
                before.close()

    def waiting(self) -> bool:
        """Whether a connection waits to be accepted."""
        return readable(self.endpoint.fileno())

    def close(self) -> None:
        """Accept no more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.endpoint.close()
