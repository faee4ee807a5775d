"""One message read by us, by h11 and by llhttp, told in the same words.

What both oracles refuse although RFC 9112 allows it, and we accept (`refused_by_both` knows them):

- an empty line before the request line, which llhttp takes and h11 does not, together with a method that llhttp has
  never heard of, where h11 takes any token;
- Content-Length or Transfer-Encoding in a trailer with a value that makes no sense. Both oracles read it, we drop the
  line unread (RFC 9110 section 6.5.1): it frames nothing.
"""

from dataclasses import dataclass, field

import h11
import httptools

from proxy.core.framing import ChunkedDecoder
from proxy.core.http1 import find_head_end, parse_request, parse_response

MAX_FIELDS = 100
MAX_TARGET = 8192


@dataclass
class Message:
    """A head and as much of its body as came; `rest` follows a complete one, None where a reader does not tell."""

    method: bytes = b""
    target: bytes = b""
    status: int = 0
    body: bytes = b""
    complete: bool = False
    rest: bytes | None = None
    until_close: bool = False
    switched: bool = False  # for this reader what follows the head is another protocol's


def read_request(stream: bytes, cuts: list[int] | None = None) -> Message | None:
    """What our parsers make of the first request in `stream`, arriving in pieces of the lengths in `cuts`.

    None where its head is unfinished. Raises ProtocolError.
    """
    pieces = _pieces(stream, cuts or [])
    buffer = bytearray()
    end = -1
    while end < 0:
        if not pieces:
            return None
        looked = len(buffer)
        buffer += pieces.pop(0)
        end = find_head_end(buffer, max(0, looked - 3))
    head = parse_request(bytes(buffer[:end]), MAX_FIELDS, MAX_TARGET)
    message = Message(head.method, head.target)
    _read_body(message, [bytes(buffer[end + 4 :]), *pieces], head.chunked, max(0, head.content_length))
    return message


def read_response(stream: bytes, method: bytes) -> Message | None:
    """What our parsers make of an answer after which the connection ends.

    None where its head is unfinished. Raises ProtocolError.
    """
    end = find_head_end(stream, 0)
    if end < 0:
        return None
    head = parse_response(stream[:end], method)
    message = Message(status=head.status)
    if head.until_close:
        message.body = stream[end + 4 :]
        message.complete = message.until_close = True
    elif head.bodiless:
        message.complete = True
    else:
        _read_body(message, [stream[end + 4 :]], head.chunked, max(0, head.content_length))
    return message


def refused_by_both(stream: bytes, method: bytes) -> bool:
    """Whether this is one of the cases above, in which no oracle accepts what we do."""
    after_head = stream[stream.find(b"\r\n\r\n") :].lower()
    unknown = ask_llhttp(method + b" / HTTP/1.1\r\nHost: a\r\n\r\n") is None
    return (
        (stream.startswith(b"\r\n") and unknown)
        or b"content-length" in after_head
        or b"transfer-encoding" in after_head
    )


def _pieces(stream: bytes, cuts: list[int]) -> list[bytes]:
    pieces = []
    at = 0
    for cut in cuts:
        pieces.append(stream[at : at + cut])
        at += cut
    pieces.append(stream[at:])
    return [piece for piece in pieces if piece]


def _read_body(message: Message, pieces: list[bytes], chunked: bool, length: int) -> None:
    if not chunked:
        stream = b"".join(pieces)
        message.body = stream[:length]
        message.complete = len(stream) >= length
        message.rest = stream[length:]
        return
    decoder = ChunkedDecoder()
    for piece in pieces:
        message.body += b"".join(decoder.feed(piece))
    message.complete = decoder.done
    message.rest = decoder.rest


def ask_h11(stream: bytes) -> Message | None:
    """The first request as h11 reads it; None where h11 refuses it."""
    return _drive_h11(h11.Connection(h11.SERVER), stream, closed=False)


def ask_h11_response(stream: bytes, method: bytes) -> Message | None:
    """The answer to `method` as h11 reads it, after which the connection ends; None where h11 refuses it."""
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    return _drive_h11(connection, stream, closed=True)


def _drive_h11(connection: h11.Connection, stream: bytes, *, closed: bool) -> Message | None:
    message = Message()
    ended = False
    try:
        connection.receive_data(stream)
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                if ended or not closed:
                    return message
                connection.receive_data(b"")
                ended = True
            elif isinstance(event, h11.Request):
                message.method, message.target = event.method, event.target
            elif isinstance(event, h11.InformationalResponse | h11.Response):
                message.status = event.status_code
            elif isinstance(event, h11.Data):
                message.body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                message.complete = True
                message.rest = connection.trailing_data[0]
                return message
            else:
                return message
    except h11.RemoteProtocolError:
        # That the end came too soon is no refusal of what came before it.
        return message if ended and message.status else None


@dataclass
class _Recorder:
    """Callbacks for httptools that keep the first message alone."""

    message: Message = field(default_factory=Message)

    def on_url(self, url: bytes) -> None:
        if not self.message.complete:
            self.message.target += url

    def on_body(self, body: bytes) -> None:
        if not self.message.complete:
            self.message.body += body

    def on_message_complete(self) -> None:
        self.message.complete = True


def ask_llhttp(stream: bytes) -> Message | None:
    """The first request as llhttp reads it; None where llhttp refuses it."""
    recorder = _Recorder()
    parser = httptools.HttpRequestParser(recorder)
    if not _drive_llhttp(parser, recorder, stream):
        return None
    recorder.message.method = parser.get_method()
    return recorder.message


def ask_llhttp_response(stream: bytes) -> Message | None:
    """The answer as llhttp reads it; None where llhttp refuses it.

    Never complete without a length: httptools cannot be told that the connection ended.
    """
    recorder = _Recorder()
    parser = httptools.HttpResponseParser(recorder)
    if not _drive_llhttp(parser, recorder, stream):
        return None
    recorder.message.status = parser.get_status_code()
    return recorder.message


def _drive_llhttp(
    parser: httptools.HttpRequestParser | httptools.HttpResponseParser, recorder: _Recorder, stream: bytes
) -> bool:
    """Feed byte by byte, so that get_method() still tells of the first message when it ends."""
    for at in range(len(stream)):
        try:
            parser.feed_data(stream[at : at + 1])
        except httptools.HttpParserUpgrade:
            recorder.message.switched = True
            return True
        except httptools.HttpParserError:
            return recorder.message.complete
        if recorder.message.complete:
            break
    return True
