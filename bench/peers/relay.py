"""The bare relay: the least that a proxy on uvloop can cost. It copies bytes between two sockets and looks at none
of them.
"""

import asyncio
import sys
from typing import cast

import uvloop


class Side(asyncio.Protocol):
    """One of the two ends of a relayed connection. What arrives goes to the other end; what arrives before it is
    there is kept.
    """

    def __init__(self, upstream: tuple[str, int] | None, other: "Side | None") -> None:
        self._upstream = upstream
        self._other = other
        self._early = b""
        self.transport: asyncio.Transport | None = None
        self._dialling: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)  # uvloop's is one in all but name
        if self._upstream is not None:
            self._dialling = asyncio.get_running_loop().create_task(self._dial(*self._upstream))
        elif self._other is not None:
            self._other.joined(self)

    async def _dial(self, host: str, port: int) -> None:
        try:
            await asyncio.get_running_loop().create_connection(lambda: Side(None, self), host, port)
        except OSError as error:
            print(f"relay: {error}", file=sys.stderr)
            self.close()

    def joined(self, other: "Side") -> None:
        self._other = other
        if self._early:
            other.write(self._early)
            self._early = b""

    def data_received(self, data: bytes) -> None:
        if self._other is None:
            self._early += data
        else:
            self._other.write(data)

    def write(self, data: bytes) -> None:
        if self.transport is not None:
            self.transport.write(data)

    def pause_writing(self) -> None:
        if self._other is not None and self._other.transport is not None:
            self._other.transport.pause_reading()

    def resume_writing(self) -> None:
        if self._other is not None and self._other.transport is not None:
            self._other.transport.resume_reading()

    def connection_lost(self, _error: Exception | None) -> None:
        self.transport = None
        if self._other is not None:
            self._other.close()

    def close(self) -> None:
        if self.transport is not None:
            self.transport.close()


async def serve(port: int, upstream: int) -> None:
    """Relay 127.0.0.1:`port` to 127.0.0.1:`upstream`, for ever."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Side(("127.0.0.1", upstream), None), "127.0.0.1", port, backlog=4096)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), int(sys.argv[2])))
