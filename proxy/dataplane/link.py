"""The worker's end of the channel to control, and the door at which a new control process knocks when the old one is gone.

While control is dead the worker serves on with the plan it has. It listens on a socket in the run directory, and whoever
connects there with the same user's rights gets the counters, the listening sockets and the ledger, and is control from then on.
"""

import asyncio
import base64
import json
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from proxy.channel import messages
from proxy.channel.frames import ChannelError, FrameReader, encode
from proxy.dataplane.runtime import Runtime, log

_BEHIND: Final = 4 << 20
"""Bytes that control has not read; beyond, what can be dropped is, and what can wait does."""
_CAN_WAIT: Final = (messages.ACCESS, messages.LOG, messages.EVIDENCE)


class Link(asyncio.Protocol):
    """One channel at a time; when it ends, the door opens."""

    def __init__(
        self,
        runtime: Runtime,
        worker: int,
        door: Path | None,
        describe: Callable[[], dict[str, object]],
        descriptors: Callable[[], list[int]],
        received: Callable[[int, bytes], None],
    ) -> None:
        self._runtime: Final = runtime
        self._worker: Final = worker
        self._door: Final = door
        self._describe: Final = describe
        self._descriptors: Final = descriptors
        self._received: Final = received
        self._reader = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._knock: socket.socket | None = None
        self._ledger: bytes = b""
        self._leaving: bool = False
        self._first: bytes = b""  # what is left to say of HELLO, before anything else that is ready to be said
        runtime.send = self.send

    async def open(self, channel: socket.socket) -> None:
        """Use `channel`, inherited from control."""
        self._first = self._hello()
        await self._runtime.loop.create_connection(lambda: self, sock=channel)

    def _hello(self) -> bytes:
        ledger = base64.b64encode(self._ledger).decode()
        said = self._describe() | {"worker": self._worker, "ledger": ledger}
        return encode(messages.HELLO, json.dumps(said).encode())

    def send(self, kind: int, payload: bytes) -> bool:
        """Send a message; False when there is nobody to take it, or control is too far behind for what may be lost."""
        transport = self._transport
        if transport is None or self._leaving or transport.is_closing():
            return False
        if kind in _CAN_WAIT and transport.get_write_buffer_size() > _BEHIND:
            return False
        transport.write(encode(kind, payload))
        return True

    @property
    def connected(self) -> bool:
        """Whether there is a control process."""
        return self._transport is not None

    # What the event loop calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._reader = FrameReader()
        first, self._first = self._first, b""
        if first:
            transport.write(first)  # type: ignore[attr-defined]
        self._runtime.exposing.connected()
        self._runtime.evidencing.connected()

    def data_received(self, data: bytes) -> None:
        try:
            frames = self._reader.feed(data)
        except ChannelError as error:
            log.error("the channel to control is out of step", exc_info=error)
            if self._transport is not None:
                self._transport.abort()
            return
        for kind, payload in frames:
            if kind == messages.LEDGER:
                self._ledger = payload
            else:
                self._received(kind, payload)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._open_door()

    # Taking over.

    def _open_door(self) -> None:
        if self._door is None or self._leaving:
            return
        knock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        try:
            self._door.unlink(missing_ok=True)
            knock.bind(str(self._door))
            knock.listen(4)
        except OSError as error:
            knock.close()
            log.error("no new control process can take this worker over", exc_info=error)
            return
        self._knock = knock
        self._runtime.loop.add_reader(knock.fileno(), self._knocked)

    def leave(self) -> None:
        """The worker has drained and ends: nobody takes it over any more. Control closes the channel when it has heard all:
        what it wrote to a worker that is gone would fail, and take along what it had not read yet."""
        self._leaving = True
        self._close_door()
        if self._transport is not None:
            self._transport.write_eof()

    def _close_door(self) -> None:
        knock = self._knock
        self._knock = None
        if knock is not None:
            self._runtime.loop.remove_reader(knock.fileno())
            knock.close()
            if self._door is not None:
                self._door.unlink(missing_ok=True)

    def _knocked(self) -> None:
        knock = self._knock
        if knock is None:
            return
        try:
            channel, _ = knock.accept()
        except OSError:
            return
        channel.setblocking(False)
        credentials = channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
        if struct.unpack("3i", credentials)[1] not in (os.getuid(), 0):
            log.error("somebody else tried to take this worker over")
            channel.close()
            return
        frame = self._hello()
        try:
            sent = socket.send_fds(channel, [frame], self._descriptors())
        except OSError as error:
            log.error("a control process that wanted to take over went away", exc_info=error)
            channel.close()
            return
        self._close_door()
        self._first = frame[sent:]
        self._runtime.spawn("takeover", self._adopt(channel))

    async def _adopt(self, channel: socket.socket) -> None:
        await self._runtime.loop.create_connection(lambda: self, sock=channel)
