"""An upstream that does what a test says, over real sockets, and remembers exactly what it was sent.

One thread accepts and one serves each connection. What a connection does is a plain function over it (`play`), so a
script reads like the story it tells: `c.head(); c.send(b"HTTP/1.1 200 OK\\r\\n"); c.reset()`.
"""

import socket
import ssl
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from . import message
from .client import reset
from .message import Broken, Ended, Message, Reader
from .wait import wait_for

BLOCK = b"tidegate" * 8192  # 64 KiB


class Connection:
    """One connection that the proxy opened."""

    def __init__(self, origin: "Origin", sock: socket.socket) -> None:
        self.origin = origin
        self.socket = sock
        self.reader = Reader(sock, record=origin.record)
        self.requests: list[Message] = []
        self.ended = threading.Event()
        """Set when the serving thread is done: the peer went away, or the script ended it."""
        self.peer = sock.getpeername()

    def secure(self, context: ssl.SSLContext) -> None:
        """Do the server's part of a TLS handshake."""
        secured = context.wrap_socket(self.socket, server_side=True)
        self.socket = secured
        self.reader = Reader(secured, record=self.origin.record)

    def quiet(self) -> bool:
        """Whether all that came so far was whole requests, or the connection has ended."""
        return self.ended.is_set() or (bool(self.requests) and all(one.complete for one in self.requests))

    def head(self) -> Message:
        """Wait for the next request's head. Its body can still be read with `body`."""
        request = message.announce(message.read_head(self.reader), request=True)
        with self.origin.lock:
            self.requests.append(request)
            self.origin.requests.append(request)
        return request

    def body(self, request: Message, sink: Callable[[bytes], None] | None = None) -> None:
        """Read the body of `request`, into it or into `sink`."""
        message.read_body(self.reader, request, sink)

    def request(self) -> Message:
        """Wait for the next whole request."""
        request = self.head()
        self.body(request)
        return request

    def send(self, data: bytes) -> None:
        """Send all of `data`."""
        self.socket.sendall(data)

    def stream(self, size: int) -> int:
        """Send `size` bytes of filler; the count that was taken, short only when the peer went away."""
        left = size
        while left:
            left -= self.socket.send(BLOCK[: min(left, len(BLOCK))])
        return size

    def echo(self) -> None:
        """Send back whatever comes until the peer ends."""
        while True:
            if not self.reader.buffer:
                self.reader.fill()
            data = bytes(self.reader.buffer)
            self.reader.buffer.clear()
            self.send(data)

    def hold(self) -> None:
        """Neither read nor send until the origin is released or stopped."""
        self.origin.released.wait()

    def gone(self) -> None:
        """Wait until the peer ends the connection."""
        self.reader.rest()

    def close(self) -> None:
        """End in order: FIN. Raises Ended, which ends the script."""
        self.socket.shutdown(socket.SHUT_RDWR)
        raise Ended(reset=False, rest=b"")

    def reset(self) -> None:
        """End with RST. Raises Ended, which ends the script."""
        reset(self.socket)
        raise Ended(reset=True, rest=b"")


Respond = Callable[[Connection, Message], None]
Play = Callable[[Connection], None]


def answer(body: bytes = b"ok", status: str = "200 OK", *fields: str) -> Respond:
    """A respond function that always says the same."""
    lines = [f"HTTP/1.1 {status}", *fields, f"Content-Length: {len(body)}", "", ""]
    data = "\r\n".join(lines).encode() + body

    def respond(connection: Connection, request: Message) -> None:
        connection.send(data[: -len(body)] if request.method == b"HEAD" and body else data)

    return respond


def serve(connection: Connection) -> None:
    """The ordinary life: one request after another, each given to the origin's current `respond`."""
    while True:
        request = connection.head()
        if request.get(b"expect"):
            connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.body(request)
        connection.origin.respond(connection, request)


class Origin:
    """A listening server. `respond` and `play` may be changed while it runs: requests and connections to come follow them."""

    def __init__(
        self,
        respond: Respond | None = None,
        *,
        play: Play = serve,
        unix: Path | None = None,
        tls: ssl.SSLContext | None = None,
        record: bool = True,
        backlog: int = 512,
        port: int = 0,
        receive_buffer: int = 0,
    ) -> None:
        self.respond = respond or answer()
        self.play = play
        self.tls = tls
        self.unix = unix
        self.record = record
        self.lock = threading.Lock()
        self.released = threading.Event()
        self.requests: list[Message] = []
        self.connections: list[Connection] = []
        self.failures: list[BaseException] = []
        self._stopping = False
        if unix is None:
            self._listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if receive_buffer:
                self._listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            self._listener.bind(("127.0.0.1", port))
        else:
            self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self._listener.bind(str(unix))
        self.port = 0 if unix else self._listener.getsockname()[1]
        self._listener.listen(backlog)
        self._threads: list[threading.Thread] = []
        self._accepting = threading.Thread(target=self._accept, name=f"origin-{self.port}", daemon=True)
        self._accepting.start()

    @property
    def url(self) -> str:
        """As an endpoint in the configuration."""
        if self.unix:
            return f"unix:{self.unix}"
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Close everything. Raises what a script died of, unless it was the peer going away."""
        self._stopping = True
        self.released.set()
        # A shutdown wakes the accepting thread where a close would not.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join()
        self._listener.close()
        for connection in self.connections:
            try:
                connection.socket.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # it had ended already
        for thread in self._threads:
            thread.join()
        assert not self.failures, self.failures

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            connection = Connection(self, sock)
            self.connections.append(connection)
            thread = threading.Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: Connection) -> None:
        try:
            if self.unix is None:
                connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls is not None:
                connection.secure(self.tls)
            self.play(connection)
        except (Ended, OSError):
            pass  # the peer, or the script, ended the connection
        except (Broken, ValueError, AssertionError) as failure:
            self.failures.append(failure)
        finally:
            connection.socket.close()
            connection.ended.set()

    def settle(self) -> None:
        """Wait until every connection made before this call has been read: served, or ended.

        Connections are accepted in the order in which they were made, so one of our own marks the place in the queue.
        """
        with socket.create_connection(("127.0.0.1", self.port)) as mark:
            own = mark.getsockname()
            before: list[Connection] = []

            def marked() -> bool:
                before[:] = self.connections
                return any(one.peer == own for one in before)

            wait_for(marked, "our own connection")
            wait_for(lambda: all(one.quiet() for one in before if one.peer != own), "quiet connections")

    def wait_requests(self, count: int) -> list[Message]:
        """The first `count` requests, once that many have come whole."""
        wait_for(
            lambda: len(self.requests) >= count and all(r.complete for r in self.requests[:count]), f"{count} requests"
        )
        return self.requests[:count]

    def wait_connection(self, index: int = 0) -> Connection:
        """The connection number `index`, once it is there."""
        wait_for(lambda: len(self.connections) > index, f"connection {index}")
        return self.connections[index]
