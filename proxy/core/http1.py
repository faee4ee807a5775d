"""HTTP/1 heads, read strictly (RFC 9112, RFC 9110): what two servers could read differently is refused, never repaired.

A head's lines are what splitting it at CRLF finds. Those that are remembered (field_lines.py) were judged when they first
came; of every other, nothing may be left once all allowed bytes are deleted: one comparison in C that excludes control bytes,
NUL, bare CR and bare LF. A field name must be a token, which by itself excludes a space before the colon, an empty name and a
folded line. Only then are the few fields read on which framing rests. Field lines are kept as the bytes they came in.
"""

from typing import Final

from proxy.core.field_lines import (
    CODING,
    CONNECTION,
    CONNECTIONS,
    EXPECT,
    FRAMING,
    HOST,
    LENGTH,
    TOKEN,
    UPGRADE,
    FieldLine,
    joined,
    read_lines,
    value_of,
)
from proxy.core.request import Request, Response
from proxy.core.start_lines import recall_request_line, recall_status_line
from proxy.core.target import parse_authority
from proxy.errors import ProtocolError

MAX_RESPONSE_FIELDS: Final = 256
"""More than clients are allowed: an answer may set many cookies."""

_CRLF: Final = b"\r\n"
_END: Final = b"\r\n\r\n"
_OWS: Final = b" \t"
_PROTOCOL: Final = TOKEN + b"/"
_CHUNKED: Final = -2
_LENGTH_DIGITS: Final = 18  # below 2^63, where other servers overflow


def cut_head(data: bytes, searched: int) -> tuple[bytes, bytes] | None:
    """The first head in `data` without its CRLFCRLF, and what follows it; None while more is needed.

    `searched` is three bytes less than what was looked through before, 0 for a head that has just begun.
    """
    if searched == 0:
        head, found, rest = data.partition(_END)
        if found:
            return head, rest
    end = find_head_end(data, searched)
    return None if end < 0 else (data[:end], data[end + 4 :])


def find_head_end(buffer: bytes | bytearray, start: int) -> int:
    """Where the head in `buffer` ends: the index of its CRLFCRLF, or -1 while more is needed.

    `start` is where to look from: the head's first byte, or three bytes before what was added since the last look.
    Where a bare LF shows that no valid end can come, the answer is the buffer's length: the block up to there is one
    that the parsers refuse, so a client that speaks otherwise is told at once and not after a timeout.
    """
    end = buffer.find(_END, start)
    if end < 0 and buffer.count(b"\n", start) != buffer.count(_CRLF, start - 1 if start > 0 else 0):
        return len(buffer)
    return end


def list_members(value: bytes) -> list[bytes]:
    """The members of a comma-separated list of tokens, in lower case, empty ones left out (RFC 9110 section 5.6.1)."""
    return [member for part in value.lower().split(b",") if (member := part.strip(_OWS))]


def _content_length(read: list[FieldLine]) -> int:
    for line in read:
        if line.marks & LENGTH:
            if line.number < 0:
                value = line.value
                # A list ("5, 5") is refused too, though RFC 9110 section 8.6 lets a recipient repair it: not all do.
                if not value.isdigit() or len(value) > _LENGTH_DIGITS:
                    raise ProtocolError(400, "invalid content-length")
                line.number = int(value)
            return line.number
    return -1


def _body_length(marks: int, read: list[FieldLine], minor: int) -> int:
    """How the body is framed (RFC 9112 section 6.3): its length, -1 where nothing is said, or _CHUNKED."""
    if not marks & CODING:
        return _content_length(read) if marks & LENGTH else -1
    if marks & LENGTH:
        raise ProtocolError(400, "content-length with transfer-encoding")
    if minor == 0:
        raise ProtocolError(400, "transfer-encoding in HTTP/1.0")
    if value_of(read, CODING).lower() != b"chunked":
        raise ProtocolError(400, "transfer-encoding other than chunked")
    return _CHUNKED


def _keeps_alive(minor: int, connection: bytes) -> bool:
    if connection in (b"keep-alive", b"Keep-Alive"):  # what it nearly always says
        return True
    members = list_members(connection)
    if b"close" in members:
        return False
    return minor == 1 or b"keep-alive" in members


def parse_request(block: bytes, max_fields: int, max_target: int) -> Request:
    """Parse a request head: the bytes before its CRLFCRLF. `max_target` is in bytes.

    One empty line before the request line is passed over (RFC 9112 section 2.2). With an absolute target, its
    authority stands in `authority` and in `fields[b"host"]`; the line of Host stays what it was. `expect_continue`
    and `upgrade` are set only where they mean something: with a body to come, and without one.

    Raises ProtocolError: 400, 414 (target), 417 (expectation), 431 (fields), 501 (CONNECT), 505 (version).
    """
    lines = block.split(_CRLF)
    start = lines.pop(0)
    if not start and lines:
        start = lines.pop(0)
    line = recall_request_line(start)
    if len(line.target) > max_target:
        raise ProtocolError(414, "request target too long")
    if len(lines) > max_fields:
        raise ProtocolError(431, "too many fields")
    read: list[FieldLine] = []
    marks = read_lines(lines, read)
    fields = joined(read)
    minor = line.minor
    authority = line.authority

    host = b""
    stated = b""
    if marks & HOST:
        stated = fields[b"host"]
        host = parse_authority(stated)
    elif minor == 1:
        raise ProtocolError(400, "missing host")
    if authority:
        host = parse_authority(authority)
        fields[b"host"] = authority
    else:
        authority = stated

    length = _body_length(marks, read, minor) if marks & FRAMING else -1
    chunked = length == _CHUNKED
    if chunked:
        length = -1

    connection = fields[b"connection"] if marks & CONNECTION else None
    expect_continue = False
    upgrade = b""
    if marks & (EXPECT | UPGRADE) and minor == 1:
        if marks & EXPECT:
            if fields[b"expect"].lower() != b"100-continue":
                raise ProtocolError(417, "unknown expectation")
            expect_continue = chunked or length > 0
        if marks & UPGRADE and connection is not None and not chunked and length <= 0:
            upgrade = _upgrade(fields[b"upgrade"], connection)
    return Request(
        line,
        lines,
        read,
        marks,
        fields,
        authority,
        host,
        length,
        chunked,
        minor == 1 if connection is None else _keeps_alive(minor, connection),
        expect_continue,
        upgrade,
    )


def _upgrade(wanted: bytes, connection: bytes) -> bytes:
    """The protocol to switch to, in lower case; empty where the wish is not passed on.

    Other versions of HTTP, and TLS, would take the requests that follow out of this proxy's sight: those are never
    passed on (RFC 9110 section 7.8 lets a server ignore Upgrade).
    """
    if b"upgrade" not in list_members(connection):
        return b""
    protocol = wanted.lower()
    if not protocol or protocol.translate(None, _PROTOCOL) or protocol in (b"h2", b"h2c", b"h3"):
        return b""
    return b"" if protocol.startswith((b"http/", b"tls/")) or protocol in (b"http", b"tls") else protocol


def parse_response(block: bytes, request_method: bytes, max_fields: int = MAX_RESPONSE_FIELDS) -> Response:
    """Parse a response head: the bytes before its CRLFCRLF. `request_method` is what it answers.

    `content_length` and `chunked` are what the head says, also where `bodiless` overrules them (HEAD, 304). A 1xx or
    204 that announces a body is refused: whoever believed it would read the next answer as that body, or that body as
    the next answer. `fields` joins Set-Cookie like any other; who needs its values reads `lines`.

    Raises ProtocolError 502.
    """
    try:
        return _parse_response(block, request_method, max_fields)
    except ProtocolError as error:
        raise ProtocolError(502, error.detail) from None


def _parse_response(block: bytes, request_method: bytes, max_fields: int) -> Response:
    lines = block.split(_CRLF)
    start = recall_status_line(lines.pop(0))
    if len(lines) > max_fields:
        raise ProtocolError(502, "too many fields")
    status = start.status
    minor = start.minor
    read: list[FieldLine] = []
    marks = read_lines(lines, read)

    length = _body_length(marks, read, minor) if marks & FRAMING else -1
    chunked = length == _CHUNKED
    if chunked:
        length = -1

    bodiless = False
    if status < 200 or status == 204:
        # "Content-Length: 0" is wrong there but common, and says the same as the status.
        if chunked or length > 0:
            raise ProtocolError(502, "a body announced where there is none")
        bodiless = True
    elif status == 304 or request_method == b"HEAD":
        bodiless = True
    until_close = not bodiless and not chunked and length < 0
    keep_alive = minor == 1
    if marks & CONNECTION:
        connection = joined(read)[b"connection"] if marks & CONNECTIONS else value_of(read, CONNECTION)
        keep_alive = _keeps_alive(minor, connection)
    return Response(
        status,
        start.text,
        minor,
        lines,
        read,
        marks,
        length,
        chunked,
        keep_alive and not until_close,
        until_close,
        bodiless,
    )
