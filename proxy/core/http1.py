"""HTTP/1 heads, read strictly (RFC 9112, RFC 9110): what two servers could read differently is refused, never repaired.

A head is judged as a whole block, because a byte looked at in Python costs fifty times one looked at in C. Deleting
every allowed byte from the block must leave exactly the CRLFs that splitting it found: one comparison that excludes
control bytes, NUL, bare CR and bare LF. A field name must be a token, which by itself excludes a space before the
colon, an empty name and a folded line. Only then are the few fields read on which framing rests. Field lines are kept
as the bytes they came in.

Names repeat from request to request, so a name once found valid is remembered with its lower-case form: a look-up
instead of a check and a copy, and one object for all heads that use it.
"""

from typing import Final

from proxy.core.request import Request, Response
from proxy.core.target import parse_authority, parse_target
from proxy.errors import ProtocolError

TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""The bytes of a token (RFC 9110 section 5.6.2): methods and field names."""

TEXT: Final = bytes((0x09, *range(0x20, 0x7F), *range(0x80, 0x100)))
"""The bytes of a line: HTAB, visible ASCII with space, and obs-text."""

MAX_RESPONSE_FIELDS: Final = 256
"""More than clients are allowed: an answer may set many cookies."""

_CRLF: Final = b"\r\n"
_OWS: Final = b" \t"
_PROTOCOL: Final = TOKEN + b"/"
_METHOD_LIMIT: Final = 32  # the longest registered one, UPDATEREDIRECTREF, has 17
_KNOWN_METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"))
_CHUNKED: Final = -2
_LENGTH_DIGITS: Final = 18  # below 2^63, where other servers overflow

_NAMES_REMEMBERED: Final = 2048
_names: Final[dict[bytes, bytes]] = {}


def find_head_end(buffer: bytes | bytearray, start: int) -> int:
    """Where the head in `buffer` ends: the index of its CRLFCRLF, or -1 while more is needed.

    `start` is where to look from: the head's first byte, or three bytes before what was added since the last look.
    Where a bare LF shows that no valid end can come, the answer is the buffer's length: the block up to there is one
    that the parsers refuse, so a client that speaks otherwise is told at once and not after a timeout.
    """
    end = buffer.find(b"\r\n\r\n", start)
    if end < 0 and buffer.count(b"\n", start) != buffer.count(_CRLF, start - 1 if start > 0 else 0):
        return len(buffer)
    return end


def _split_block(block: bytes) -> list[bytes]:
    lines = block.split(_CRLF)
    if block.translate(None, TEXT) != _CRLF * (len(lines) - 1):
        raise ProtocolError(400, "control byte, bare CR or bare LF in the head")
    return lines


def _remember_name(raw: bytes) -> bytes:
    """The lower-case form of a field name seen for the first time. Raises ProtocolError 400 where it is not a token."""
    if not raw or raw.translate(None, TOKEN):
        raise ProtocolError(400, "invalid field name")
    name = raw.lower()
    if len(raw) <= 64:
        if len(_names) >= _NAMES_REMEMBERED:
            _names.clear()
        _names[raw] = _names.setdefault(name, name)
    return name


def parse_fields(lines: list[bytes], names: list[bytes]) -> dict[bytes, bytes]:
    """Read field lines into a map of values, and append their lower-case names to `names`, in step.

    Repeated fields are joined with b", ", cookies with b"; ". Raises ProtocolError 400 for lines that are not fields,
    and for repeated fields of which there may be one only: Host, Content-Length, Transfer-Encoding.
    """
    fields: dict[bytes, bytes] = {}
    for line in lines:
        raw, colon, value = line.partition(b":")
        name = _names.get(raw)
        if name is None:
            name = _remember_name(raw)
        if not colon:
            raise ProtocolError(400, "field line without a colon")
        names.append(name)
        value = value.strip(_OWS)
        if name in fields:
            if name in (b"host", b"content-length", b"transfer-encoding"):
                raise ProtocolError(400, f"more than one {name.decode()}")
            fields[name] += (b"; " if name == b"cookie" else b", ") + value
        else:
            fields[name] = value
    return fields


def list_members(value: bytes) -> list[bytes]:
    """The members of a comma-separated list of tokens, in lower case, empty ones left out (RFC 9110 section 5.6.1)."""
    return [member for part in value.lower().split(b",") if (member := part.strip(_OWS))]


def _content_length(value: bytes) -> int:
    # A list ("5, 5") is refused too, though RFC 9110 section 8.6 lets a recipient repair it: not all do.
    if not value.isdigit() or len(value) > _LENGTH_DIGITS:
        raise ProtocolError(400, "invalid content-length")
    return int(value)


def _body_length(fields: dict[bytes, bytes], minor: int) -> int:
    """How the body is framed (RFC 9112 section 6.3): its length, -1 where nothing is said, or _CHUNKED."""
    coding = fields.get(b"transfer-encoding")
    stated = fields.get(b"content-length")
    if coding is None:
        return -1 if stated is None else _content_length(stated)
    if stated is not None:
        raise ProtocolError(400, "content-length with transfer-encoding")
    if minor == 0:
        raise ProtocolError(400, "transfer-encoding in HTTP/1.0")
    if coding.lower() != b"chunked":
        raise ProtocolError(400, "transfer-encoding other than chunked")
    return _CHUNKED


def _keeps_alive(minor: int, connection: bytes | None) -> bool:
    if connection is None:
        return minor == 1
    if connection in (b"keep-alive", b"Keep-Alive"):  # what it nearly always says
        return True
    members = list_members(connection)
    if b"close" in members:
        return False
    return minor == 1 or b"keep-alive" in members


def _refuse_version(version: bytes) -> ProtocolError:
    if (
        len(version) == 8
        and version[:5] == b"HTTP/"
        and version[5:6].isdigit()
        and version[6:7] == b"."
        and version[7:].isdigit()
    ):
        return ProtocolError(505, "HTTP version not supported")
    return ProtocolError(400, "malformed HTTP version")


def parse_request(block: bytes, max_fields: int, max_target: int) -> Request:
    """Parse a request head: the bytes before its CRLFCRLF. `max_target` is in bytes.

    One empty line before the request line is passed over (RFC 9112 section 2.2). With an absolute target, its
    authority stands in `authority` and in `fields[b"host"]`; the line of Host stays what it was. `expect_continue`
    and `upgrade` are set only where they mean something: with a body to come, and without one.

    Raises ProtocolError: 400, 414 (target), 417 (expectation), 431 (fields), 501 (CONNECT), 505 (version).
    """
    lines = _split_block(block)
    if not lines[0] and len(lines) > 1:
        del lines[0]
    parts = lines[0].split(b" ")
    if len(parts) != 3:
        raise ProtocolError(400, "malformed request line")
    method, target, version = parts
    if version == b"HTTP/1.1":
        minor = 1
    elif version == b"HTTP/1.0":
        minor = 0
    else:
        raise _refuse_version(version)
    if method not in _KNOWN_METHODS:
        if not method or len(method) > _METHOD_LIMIT or method.translate(None, TOKEN):
            raise ProtocolError(400, "invalid method")
        if method == b"CONNECT":
            raise ProtocolError(501, "CONNECT is not supported")
    if len(target) > max_target:
        raise ProtocolError(414, "request target too long")
    authority, path, raw_path, query, has_query, clean = parse_target(method, target)
    del lines[0]
    if len(lines) > max_fields:
        raise ProtocolError(431, "too many fields")
    names: list[bytes] = []
    fields = parse_fields(lines, names)

    host = b""
    stated = fields.get(b"host")
    if stated is not None:
        host = parse_authority(stated)
    elif minor == 1:
        raise ProtocolError(400, "missing host")
    if authority:
        host = parse_authority(authority)
        fields[b"host"] = authority
    elif stated is not None:
        authority = stated

    length = _body_length(fields, minor)
    chunked = length == _CHUNKED
    if chunked:
        length = -1

    connection = fields.get(b"connection")
    expect_continue = False
    upgrade = b""
    if minor == 1:
        expected = fields.get(b"expect")
        if expected is not None:
            if expected.lower() != b"100-continue":
                raise ProtocolError(417, "unknown expectation")
            expect_continue = chunked or length > 0
        wanted = fields.get(b"upgrade")
        if wanted is not None and connection is not None and not chunked and length <= 0:
            upgrade = _upgrade(wanted, connection)
    return Request(
        method,
        target,
        minor,
        lines,
        names,
        fields,
        authority,
        host,
        path,
        raw_path,
        query,
        has_query,
        clean,
        length,
        chunked,
        _keeps_alive(minor, connection),
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
    lines = _split_block(block)
    line = lines.pop(0)
    start = line[:9]
    # "HTTP/1.1 200" without the space that should follow: common, and there is nothing else to be read into it.
    digits = line[9:12]
    if len(digits) != 3 or not digits.isdigit() or line[12:13] not in (b" ", b""):
        raise ProtocolError(502, "malformed status line")
    if start == b"HTTP/1.1 ":
        minor = 1
    elif start == b"HTTP/1.0 ":
        minor = 0
    else:
        raise ProtocolError(502, "malformed or unsupported HTTP version")
    status = int(digits)
    if not 100 <= status <= 599:
        raise ProtocolError(502, "status out of range")
    if len(lines) > max_fields:
        raise ProtocolError(502, "too many fields")
    names: list[bytes] = []
    fields = parse_fields(lines, names)

    length = _body_length(fields, minor)
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
    return Response(
        status,
        line if len(line) > 12 else line + b" ",
        minor,
        lines,
        names,
        fields,
        length,
        chunked,
        not until_close and _keeps_alive(minor, fields.get(b"connection")),
        until_close,
        bodiless,
    )
