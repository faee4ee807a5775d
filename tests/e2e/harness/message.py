"""HTTP/1 messages as the tests see them: read from a socket, strictly, with everything that was received kept.

Deliberately not the proxy's own parser: two readers that share code share their mistakes.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass, field

CHUNK = 1 << 18


class Ended(Exception):  # noqa: N818 - most ends are no errors here
    """The peer closed (`reset` False) or reset the connection before what was expected had come."""

    def __init__(self, *, reset: bool, rest: bytes) -> None:
        super().__init__(f"the connection was {'reset' if reset else 'closed'}; unread: {rest[:200]!r}")
        self.reset = reset
        self.rest = rest
        self.message: Message | None = None
        """What there is of the answer that was being read, from its head on."""


class Broken(AssertionError):  # noqa: N818 - reads as what it is
    """What came is not HTTP as RFC 9112 spells it."""


@dataclass(slots=True)
class Message:
    """A request or an answer. `framing` is none, length, chunked or close; `complete` turns True with the last byte of the body."""

    start: bytes
    fields: list[tuple[bytes, bytes]]
    framing: str = "none"
    body: bytes = b""
    size: int = 0
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)
    complete: bool = False
    interim: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The status of an answer."""
        return int(self.start.split(b" ", 2)[1])

    @property
    def method(self) -> bytes:
        """The method of a request."""
        return self.start.split(b" ", 1)[0]

    @property
    def target(self) -> bytes:
        """The target of a request."""
        return self.start.split(b" ")[1]

    def all(self, name: bytes) -> list[bytes]:
        """Every value of the field `name`, in order."""
        return [value for key, value in self.fields if key.lower() == name]

    def get(self, name: bytes) -> bytes | None:
        """The only value of the field `name`; None when there is none.

        Raises AssertionError when there are several.
        """
        values = self.all(name)
        assert len(values) <= 1, f"{name!r} came {len(values)} times: {values}"
        return values[0] if values else None


class Reader:
    """Bytes of a socket with look-ahead. `seen` keeps all that was ever received unless `record` is False."""

    def __init__(self, sock: socket.socket, *, record: bool = True) -> None:
        self.socket = sock
        self.buffer = bytearray()
        self.seen = bytearray()
        self.received = 0
        self.record = record

    def fill(self) -> None:
        """Receive once.

        Raises Ended at the end of the stream and TimeoutError past the socket's time limit.
        """
        try:
            data = self.socket.recv(CHUNK)
        except TimeoutError:
            raise
        except OSError as error:
            raise Ended(reset=True, rest=bytes(self.buffer)) from error
        if not data:
            raise Ended(reset=False, rest=bytes(self.buffer))
        self.received += len(data)
        if self.record:
            self.seen += data
        self.buffer += data

    def until(self, mark: bytes) -> bytes:
        """All up to and without `mark`, which is consumed."""
        start = 0
        while True:
            at = self.buffer.find(mark, start)
            if at >= 0:
                found = bytes(self.buffer[:at])
                del self.buffer[: at + len(mark)]
                return found
            start = max(0, len(self.buffer) - len(mark) + 1)
            self.fill()

    def exactly(self, size: int, take: Callable[[bytes], None]) -> None:
        """Hand `size` bytes to `take` in pieces as they come."""
        while size:
            if not self.buffer:
                self.fill()
            piece = bytes(self.buffer[:size])
            del self.buffer[: len(piece)]
            size -= len(piece)
            take(piece)

    def rest(self) -> bytes:
        """Everything until the end of the stream; a reset raises Ended."""
        try:
            while True:
                self.fill()
        except Ended as end:
            if end.reset:
                raise
        found = bytes(self.buffer)
        self.buffer.clear()
        return found


def split_fields(lines: list[bytes]) -> list[tuple[bytes, bytes]]:
    """Field lines as (name, value without optional whitespace).

    Raises Broken for a line that RFC 9112 section 5 does not allow.
    """
    fields = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if not colon or not name or name != name.strip() or b" " in name or set(value) & set(b"\r\n\0"):
            raise Broken(f"not a field line: {line!r}")
        fields.append((name, value.strip(b" \t")))
    return fields


def read_head(reader: Reader) -> Message:
    """The next head. Raises Ended when the peer ended first, Broken when it is malformed."""
    start, *lines = reader.until(b"\r\n\r\n").split(b"\r\n")
    return Message(start, split_fields(lines))


def read_body(reader: Reader, message: Message, sink: Callable[[bytes], None] | None = None) -> None:
    """Read the body that `message.framing` announces into it; with `sink` it goes there instead of to `message.body`."""
    pieces: list[bytes] = []

    def take(piece: bytes) -> None:
        message.size += len(piece)
        (sink or pieces.append)(piece)

    try:
        if message.framing == "length":
            reader.exactly(int(message.get(b"content-length") or b""), take)
        elif message.framing == "chunked":
            while True:
                size = int(reader.until(b"\r\n").partition(b";")[0], 16)
                if not size:
                    break
                reader.exactly(size, take)
                if reader.until(b"\r\n"):
                    raise Broken("a chunk is longer than its size")
            lines = []
            while line := reader.until(b"\r\n"):
                lines.append(line)
            message.trailers = split_fields(lines)
        elif message.framing == "close":
            take(reader.rest())
        message.complete = True
    finally:
        message.body = b"".join(pieces)


def announce(message: Message, *, request: bool, bodiless: bool = False) -> Message:
    """Set how the body of `message` is framed (RFC 9112 section 6.3); raises Broken for what the proxy must never send."""
    coding, length = message.all(b"transfer-encoding"), message.all(b"content-length")
    if coding and length:
        raise Broken(f"Transfer-Encoding with Content-Length: {message.fields}")
    if len(coding) > 1 or len(length) > 1:
        raise Broken(f"framed more than once: {message.fields}")
    if coding and coding[0].lower() != b"chunked":
        raise Broken(f"Transfer-Encoding: {coding[0]!r}")
    if length and not length[0].isdigit():
        raise Broken(f"Content-Length: {length[0]!r}")
    if bodiless:
        message.framing = "none"
    elif coding:
        message.framing = "chunked"
    elif length:
        message.framing = "length"
    else:
        message.framing = "none" if request else "close"
    return message


def read_request(reader: Reader) -> Message:
    """The next request with its body."""
    message = announce(read_head(reader), request=True)
    read_body(reader, message)
    return message


def read_response(reader: Reader, method: bytes = b"GET", sink: Callable[[bytes], None] | None = None) -> Message:
    """The next final answer to a request of `method`; the 1xx before it are its `interim`."""
    interim: list[Message] = []
    while True:
        message = read_head(reader)
        status = message.status
        if status == 101 or status >= 200:
            break
        interim.append(message)
    bodiless = method == b"HEAD" or status in {101, 204, 304} or (method == b"CONNECT" and status < 300)
    message.interim = interim
    announce(message, request=False, bodiless=bodiless)
    try:
        read_body(reader, message, sink)
    except Ended as end:
        end.message = message
        raise
    return message
