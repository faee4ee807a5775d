"""Finds the workers that an earlier control process left running, and what they hold: listeners, counters, the ledger.

A worker whose channel ended goes on serving and listens on a socket in the run directory. Whoever connects there gets its
HELLO in one message, with the counters' descriptor and the listeners' riding on it; from then on the connection is the
channel.
"""

import base64
import binascii
import contextlib
import json
import logging
import os
import signal
import socket
import struct
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from proxy.channel import messages
from proxy.channel.frames import ChannelError, FrameReader
from proxy.control.process import birth
from proxy.control.run_dir import RunDir
from proxy.control.sockets import Listener

log = logging.getLogger("tidegate.control")

_DESCRIPTORS: Final = 128
_ANSWER: Final = 2.0  # seconds a worker has for its HELLO, and for its socket to appear
_LOOK: Final = 0.02  # seconds between two looks for a socket


@dataclass(frozen=True, slots=True)
class Survivor:
    """A worker found alive. `first` is what it has sent so far, its HELLO included; `hello` what that says."""

    index: int
    pid: int
    hello: dict[str, Any]
    channel: socket.socket
    first: bytes
    counters: int
    listeners: list[Listener]

    @property
    def speaks_our_version(self) -> bool:
        """Whether it can be worked with; another version is replaced."""
        return self.hello.get("version") == messages.VERSION

    @property
    def draining(self) -> float | None:
        """Seconds that it still has to drain; None when it serves."""
        left = self.hello.get("draining")
        return None if left is None else float(left)

    @property
    def legacy(self) -> bytes:
        """What the earlier control process gave it to keep; empty when it gave nothing, or nothing that can be read."""
        try:
            return base64.b64decode(self.hello.get("ledger", ""), validate=True)
        except (binascii.Error, TypeError):
            return b""

    def close(self) -> None:
        """Let go of what was received. The worker goes on alone."""
        self.channel.close()
        os.close(self.counters)
        for listener in self.listeners:
            listener.socket.close()


def find_survivors(run_dir: RunDir) -> list[Survivor]:
    """All workers that answer, by their number. Blocks for at most a few seconds, and only when there are any.

    A worker that was recorded, lives and does not answer is killed: it would hold the address, and nobody could ever
    tell it anything again.
    """
    recorded = {index: pid for index, (pid, born) in run_dir.recorded().items() if birth(pid) == born}
    _await_sockets(run_dir, set(recorded))
    survivors = []
    living = {run_dir.socket_path(index) for index in recorded}
    for path in run_dir.sockets():
        survivor = _meet(path, lives=path in living)
        if survivor is not None:
            survivors.append(survivor)
    answered = {survivor.pid for survivor in survivors}
    for index, pid in recorded.items():
        if pid not in answered and birth(pid) is not None:
            log.warning("worker %d (process %d) lives but cannot be reached; killing it", index, pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    return sorted(survivors, key=lambda survivor: survivor.index)


def _await_sockets(run_dir: RunDir, expected: set[int]) -> None:
    """Give workers that have only just lost their control the time to notice."""
    limit = time.monotonic() + _ANSWER
    while any(not run_dir.socket_path(index).exists() for index in expected) and time.monotonic() < limit:
        time.sleep(_LOOK)


def _connect(path: Path, *, lives: bool) -> socket.socket | None:
    """A connection to the worker at `path`. One that `lives` and refuses has its socket there and does not listen yet."""
    limit = time.monotonic() + _ANSWER
    while True:
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        channel.settimeout(_ANSWER)
        try:
            channel.connect(str(path))
        except ConnectionRefusedError:
            channel.close()
            if not lives:
                path.unlink(missing_ok=True)  # of a worker that is gone
                return None
            if time.monotonic() >= limit:
                log.warning("%s is there, and nobody listens at it", path)
                return None
            time.sleep(_LOOK)
        except OSError as error:
            channel.close()
            log.warning("%s does not answer: %s", path, error)
            return None
        else:
            return channel


def _meet(path: Path, *, lives: bool) -> Survivor | None:
    channel = _connect(path, lives=lives)
    if channel is None:
        return None
    descriptors: list[int] = []
    try:
        said, first = _first_words(channel, descriptors)
        index = int(said["worker"])
        addresses = [str(address) for address in said["listeners"]]
        listeners = [
            Listener(address, socket.socket(fileno=number))
            for address, number in zip(addresses, descriptors[1:], strict=True)
        ]
    except (OSError, ChannelError, ValueError, KeyError, TypeError) as error:
        log.warning("the worker at %s cannot be taken over: %s", path, error)
        for number in descriptors:
            os.close(number)
        channel.close()
        return None
    pid, _, _ = struct.unpack("3i", channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
    channel.setblocking(False)
    return Survivor(index, pid or int(said["pid"]), said, channel, first, descriptors[0], listeners)


def _first_words(channel: socket.socket, descriptors: list[int]) -> tuple[dict[str, Any], bytes]:
    """The worker's HELLO and all bytes received with it. Descriptors are appended as they come."""
    reader = FrameReader()
    first = b""
    limit = time.monotonic() + _ANSWER
    while True:
        data, received, flags, _ = socket.recv_fds(channel, 1 << 16, _DESCRIPTORS)
        descriptors += received
        for number in received:
            os.set_inheritable(number, False)
        if flags & socket.MSG_CTRUNC:
            raise ChannelError("more descriptors than there is room for")
        if not data:
            raise ChannelError("it closed the connection")
        first += data
        for kind, payload in reader.feed(data):
            if kind != messages.HELLO:
                raise ChannelError(f"its first message is of kind {kind}")
            said: dict[str, Any] = json.loads(payload)
            return said, first
        if time.monotonic() > limit:
            raise ChannelError("it did not finish its first message in time")
