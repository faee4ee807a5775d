"""Bodies of 100 MiB, one after another on one connection, and how fast they go."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench.load import USER_FIELD, LoadError
from bench.peers.upstream import BODIES

SIZE: Final = BODIES["100m"]
_HEAD: Final = f"Host: bench\r\n{USER_FIELD}: large\r\n"


@dataclass(frozen=True, slots=True)
class Carried:
    """How many bodies went through whole, and in how many seconds."""

    bodies: int
    seconds: float

    @property
    def mebibytes(self) -> float:
        """MiB a second."""
        return self.bodies * SIZE / (1 << 20) / self.seconds


@contextmanager
def on_cores(cores: set[int]) -> Iterator[None]:
    """This process on `cores` alone, for as long as the block lasts."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def carry(way: str, port: int, seconds: float, cores: set[int], file: Path) -> Carried:
    """Move bodies `down` or `up` until `seconds` are over, the last one to its end; `file` holds one to send.

    Raises LoadError when an answer is not what it should be, OSError when the connection breaks.
    """
    move = _download if way == "down" else _upload
    with on_cores(cores), socket.create_connection(("127.0.0.1", port), 30) as connection, file.open("rb") as body:
        bodies, begun = 0, time.monotonic()
        while time.monotonic() - begun < seconds:
            move(connection, body.fileno())
            bodies += 1
        return Carried(bodies, time.monotonic() - begun)


def _head(connection: socket.socket) -> tuple[dict[str, str], int]:
    """The fields of an answer, and how many bytes of its body came with them. Raises LoadError."""
    got = b""
    while b"\r\n\r\n" not in got:
        piece = connection.recv(65536)
        if not piece or len(got) > 65536:
            raise LoadError(f"a large body: no whole answer, {got[:80]!r}")
        got += piece
    head, _, rest = got.partition(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    if status.split(" ")[1] != "200":
        raise LoadError(f"a large body: {status}")
    fields = (line.partition(":") for line in lines)
    return {name.lower(): value.strip() for name, _, value in fields}, len(rest)


def _download(connection: socket.socket, _body: int) -> None:
    connection.sendall(f"GET /100m HTTP/1.1\r\n{_HEAD}\r\n".encode())
    fields, got = _head(connection)
    if fields.get("content-length") != str(SIZE):
        raise LoadError(f"100 MiB down: length {fields.get('content-length')}")
    room = bytearray(1 << 20)
    while got < SIZE:
        # MSG_TRUNC: the bytes are counted and thrown away, so that the load's core is not busy with copying them.
        read = connection.recv_into(room, min(len(room), SIZE - got), socket.MSG_TRUNC)
        if not read:
            raise LoadError(f"100 MiB down: {got} bytes came")
        got += read


def _upload(connection: socket.socket, body: int) -> None:
    connection.sendall(f"POST /upload HTTP/1.1\r\n{_HEAD}Content-Length: {SIZE}\r\n\r\n".encode())
    sent = 0
    connection.setblocking(True)  # os.sendfile knows nothing of the socket's timeout
    while sent < SIZE:
        sent += os.sendfile(connection.fileno(), body, sent, SIZE - sent)
    connection.settimeout(30)
    fields, rest = _head(connection)
    if fields.get("x-received") != str(SIZE):
        raise LoadError(f"100 MiB up: the upstream received {fields.get('x-received')}")
    missing = int(fields.get("content-length", "0")) - rest
    while missing > 0:
        missing -= len(connection.recv(missing)) or missing
