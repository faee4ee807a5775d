"""A raw client: it sends exactly the bytes it is told to and reads answers strictly."""

import socket
import ssl
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from .message import Ended, Message, Reader, read_response
from .wait import DEADLINE


class Wire:
    """One client connection."""

    def __init__(self, sock: socket.socket, *, record: bool = True) -> None:
        sock.settimeout(DEADLINE)
        self.socket = sock
        self.reader = Reader(sock, record=record)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send all of `data`. A peer that has closed is no error here: what it answered is what counts."""
        try:
            self.socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return

    def get(
        self, target: str = "/", host: str = "plain.test", *fields: str, method: str = "GET", body: bytes = b""
    ) -> Message:
        """One request, and its answer."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        self.send("\r\n".join([*lines, "", ""]).encode() + body)
        return self.response(method.encode())

    def response(self, method: bytes = b"GET", sink: Callable[[bytes], None] | None = None) -> Message:
        """The next answer; raises Ended when the connection ends before it is whole."""
        return read_response(self.reader, method, sink)

    def ends(self) -> bytes:
        """Wait for the end of the connection, and return what came before it."""
        try:
            return self.reader.rest()
        except Ended as end:
            return end.rest

    def finish(self) -> None:
        """Half-close: nothing more will be sent."""
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """Go away with a reset."""
        reset(self.socket)


def reset(sock: socket.socket) -> None:
    """Close `sock` so that the peer gets RST instead of FIN."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    # The descriptor stays with the kernel while another thread receives on it; a shutdown would send FIN first.
    sock.close()


def connect(
    address: tuple[str, int], source: str = "127.0.0.1", *, record: bool = True, receive_buffer: int = 0
) -> Wire:
    """A connection to `address` from the loopback address `source`; `receive_buffer` bytes bound what the kernel holds for us."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.settimeout(DEADLINE)
        sock.bind((source, 0))
        sock.connect(address)
    except OSError:
        sock.close()
        raise
    return Wire(sock, record=record)


def connect_tls(address: tuple[str, int], name: str, authority: Path) -> Wire:
    """A TLS connection to `address` that asks for and verifies `name`."""
    context = ssl.create_default_context(cafile=str(authority))
    plain = socket.create_connection(address, timeout=DEADLINE)
    try:
        return Wire(context.wrap_socket(plain, server_hostname=name))
    except BaseException:
        plain.close()
        raise
