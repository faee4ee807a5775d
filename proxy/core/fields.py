"""The head on its way through: which fields are passed on, which are the hop's own, which are added (RFC 9110 section 7.6).

Lines that need no change stay the bytes they came in, and a head in which nothing is to be dropped is joined as it is:
the ordinary request costs two joins and a look at its names.
"""

from typing import Final

from proxy.core.field_lines import (
    CONNECTION,
    EXPECT,
    FORWARDING,
    HOST,
    NOT_DOWN,
    NOT_UP,
    OWN_PREFIX,
    REQUEST_DROPPED,
    RESPONSE_DROPPED,
    TE,
    VIA,
    FieldLine,
    read_lines,
)
from proxy.core.http1 import list_members
from proxy.core.plan import Rewrite
from proxy.core.request import Request, Response

_VIA: Final = b"1.1 tidegate"
MARKER: Final = b"x-tidegate-shadow"
"""On every copy a mirror sends, so that a shadow knows it is one, and no copy is copied again."""

_OTHERWISE: Final = (
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"x-forwarded-scheme",
    b"x-forwarded-server",
    b"x-forwarded-ssl",
    b"x-host",
    b"x-http-method",
    b"x-http-method-override",
    b"x-method-override",
    b"x-original-host",
    b"x-original-url",
    b"x-rewrite-url",
)
_OVERRIDES: Final = frozenset(_OTHERWISE + tuple(name.replace(b"-", b"_") for name in _OTHERWISE))
"""With these a client, or a proxy before this one, tells frameworks that a request has another method or address than it has."""

_KEPT_WHATEVER_CONNECTION_SAYS: Final = FORWARDING | {
    b"host",
    b"content-length",
    b"transfer-encoding",
    b"authorization",
    b"cookie",
    b"set-cookie",
    b"x-request-id",
    b"traceparent",
    b"tracestate",
    b"via",
}
_ORDINARY_CONNECTION: Final = frozenset((b"keep-alive", b"Keep-Alive", b"close", b"Close", b"upgrade", b"Upgrade"))
_NOTHING: Final[frozenset[bytes]] = frozenset()
_CREDENTIALS: Final = frozenset((b"authorization", b"cookie"))


def _named_by_connection(value: bytes) -> frozenset[bytes]:
    """The fields that a Connection value makes the hop's own; never those that others rely on."""
    return frozenset(list_members(value)) - _KEPT_WHATEVER_CONNECTION_SAYS


def taken_by_connection(request: Request) -> bool:
    """Whether a Connection field takes others of this head away that the upstream would else get."""
    connection = request.fields.get(b"connection")
    if connection is None or connection in _ORDINARY_CONNECTION:
        return False
    return not (_named_by_connection(connection) - REQUEST_DROPPED).isdisjoint(request.fields)


def kept_lines(request: Request, drop_ids: frozenset[bytes], rewrite: Rewrite | None) -> list[bytes]:
    """The field lines of `request` that are passed on. `drop_ids` are identity fields that the caller replaces."""
    marks = request.marks
    dropped = drop_ids
    if marks & CONNECTION:
        connection = request.fields[b"connection"]
        if connection not in _ORDINARY_CONNECTION:
            dropped |= _named_by_connection(connection)
    if marks & EXPECT and request.minor == 0:  # means nothing there (RFC 9110 section 10.1.1)
        dropped |= {b"expect"}
    if rewrite is not None and rewrite.dropped:
        dropped |= rewrite.dropped
    if request.target[:1] != b"/" and request.target != b"*":  # absolute-form: its authority replaces Host
        dropped |= {b"host"}
    if dropped:
        return [line.raw for line in request.read if not line.marks & NOT_UP and line.name not in dropped]
    if marks & NOT_UP:
        return [line.raw for line in request.read if not line.marks & NOT_UP]
    return request.lines


def request_head(
    request: Request,
    kept: list[bytes],
    forwarding: bytes,
    identity: bytes,
    rewrite: Rewrite | None,
    raw_path: bool,
    upgrade: bytes,
) -> bytes:
    """The head for the upstream, with its empty line.

    `kept` are the lines passed on; `forwarding` and `identity` whole lines with CRLF. A body that came chunked goes on
    chunked. `upgrade` is the protocol to ask for, or empty.
    """
    target = upstream_target(request, rewrite, raw_path)
    if target == request.target and request.minor == 1:
        parts = [request.line.raw, b"\r\n"]
    else:
        parts = [request.method, b" ", target, b" HTTP/1.1\r\n"]
    if kept:
        parts.append(b"\r\n".join(kept))
        parts.append(b"\r\n")
    marks = request.marks
    if (not marks & HOST or (request.target[:1] != b"/" and request.target != b"*")) and not (
        rewrite is not None and rewrite.sets_host
    ):
        parts.append(b"host: " + request.authority + b"\r\n")
    if request.chunked:
        parts.append(b"transfer-encoding: chunked\r\n")
    if marks & TE and b"trailers" in list_members(request.fields[b"te"]):
        parts.append(b"te: trailers\r\n")
    if upgrade:
        parts.append(b"connection: upgrade\r\nupgrade: " + upgrade + b"\r\n")
    parts.append(
        b"via: " + request.fields[b"via"] + b", " + _VIA + b"\r\n" if marks & VIA else b"via: 1.1 tidegate\r\n"
    )
    parts.append(forwarding)
    parts.append(identity)
    if rewrite is not None:
        parts.append(rewrite.set_lines)
    parts.append(b"\r\n")
    return b"".join(parts)


def upstream_target(request: Request, rewrite: Rewrite | None, raw_path: bool) -> bytes:
    """The target the upstream gets: in origin-form (or `*`), and the path that was matched."""
    path = request.raw_path if raw_path else request.path
    if rewrite is not None and rewrite.strip_prefix:
        prefix = rewrite.strip_prefix
        if path == prefix:
            path = b"/"
        elif path.startswith(prefix) and (path[len(prefix) : len(prefix) + 1] == b"/" or prefix.endswith(b"/")):
            path = path[len(prefix) :]
            if path[:1] != b"/":
                path = b"/" + path
            # "/shop//evil.example" must not become "//evil.example", which some read as an authority.
            elif path[:2] == b"//":
                path = b"/" + path.lstrip(b"/")
    return path + b"?" + request.query if request.has_query else path


class Origin:
    """Where the requests of one connection come from, as the upstream is told: the address of the peer, and the scheme."""

    def __init__(self, peer: str, scheme: bytes) -> None:
        self._address: Final = peer.encode("ascii", "replace")
        self._scheme: Final = scheme
        address = self._address
        self._element: Final = (
            b"for=" + (b'"[' + address + b']"' if b":" in address else address or b"unknown") + b";proto=" + scheme
        )
        line = b"x-forwarded-for: " + address + b"\r\n" if address else b""
        self._before: Final = line + b"x-forwarded-proto: " + scheme + b"\r\nx-forwarded-host: "
        self._between: Final = b"\r\nforwarded: " + self._element + b";host="

    def lines(self, host: bytes) -> bytes:
        """X-Forwarded-For, -Proto, -Host and Forwarded (RFC 7239) of a client nobody vouches for, as whole lines. What it says
        itself is overwritten."""
        if not host:
            return self._before.removesuffix(b"x-forwarded-host: ") + b"forwarded: " + self._element + b"\r\n"
        return b"".join((self._before, host, self._between, _quoted(host), b"\r\n"))

    def lines_beside(self, request: Request) -> bytes:
        """The same of a peer that is trusted: its For and Forwarded are appended to, its Proto and Host kept."""
        fields = request.fields
        address = self._address
        before = fields.get(b"x-forwarded-for")
        if before:
            address = before + b", " + address if address else before
        host = request.authority
        element = self._element + b";host=" + _quoted(host) if host else self._element
        chain = fields.get(b"forwarded")
        if chain:
            element = chain + b", " + element
        lines = b"x-forwarded-for: " + address + b"\r\n" if address else b""
        lines += b"x-forwarded-proto: " + (fields.get(b"x-forwarded-proto") or self._scheme) + b"\r\n"
        host = fields.get(b"x-forwarded-host") or host
        if host:
            lines += b"x-forwarded-host: " + host + b"\r\n"
        return lines + b"forwarded: " + element + b"\r\n"


def public_origin(forwarding: bytes) -> bytes:
    """Of forwarding lines those that tell the upstream under which scheme and host it was asked: its answer may rest on them."""
    start = 0 if forwarding.startswith(b"x-forwarded-proto:") else forwarding.find(b"\r\nx-forwarded-proto:") + 2
    return forwarding[start : forwarding.find(b"\r\nforwarded:", start)]


def overrides(fields: dict[bytes, bytes]) -> bytes:
    """What a request says of its method and address beside its target and Host, each on a line; mostly nothing.

    They are passed on as they came, and answers may rest on them: who keeps answers must tell them apart by it.
    """
    if _OVERRIDES.isdisjoint(fields):
        return b""
    return b"".join([b"\n" + name + b":" + fields[name] for name in sorted(_OVERRIDES.intersection(fields))])


def _quoted(host: bytes) -> bytes:
    """A host as a value in Forwarded: a colon or bracket needs quotes (RFC 7239 section 4)."""
    return b'"' + host + b'"' if ord(":") in host or ord("[") in host else host


_IDENTITY: Final = frozenset((b"host", b"content-length", b"expect", b"x-request-id", b"traceparent", b"tracestate"))


def closed_to_requests(name: bytes) -> bool:
    """Whether a field of this lower-case name is the proxy's own business in a request: nobody else sets or removes it."""
    plain = name.replace(b"_", b"-")
    return plain in REQUEST_DROPPED or plain in _IDENTITY or plain.startswith(OWN_PREFIX)


def closed_to_responses(name: bytes) -> bool:
    """The same of an answer's fields."""
    plain = name.replace(b"_", b"-")
    return plain in RESPONSE_DROPPED or plain == b"content-length" or plain.startswith(OWN_PREFIX)


def changed_lines(lines: list[bytes], changes: dict[bytes, list[bytes]]) -> list[bytes]:
    """Field lines with these changes: the values by lower-case name, none where a field is to go."""
    kept = [line for line in lines if line.partition(b":")[0].lower() not in changes]
    for name, values in changes.items():
        kept.extend([name + b": " + value for value in values])
    return kept


def changed_response(response: Response, changes: dict[bytes, list[bytes]]) -> Response:
    """An answer's head with these changes of its fields; none of them touches its framing."""
    lines = changed_lines(response.lines, changes)
    read: list[FieldLine] = []
    marks = read_lines(lines, read)
    return Response(
        response.status,
        response.start,
        response.minor,
        lines,
        read,
        marks,
        response.content_length,
        response.chunked,
        response.keep_alive,
        response.until_close,
        response.bodiless,
    )


def shadow_lines(kept: list[bytes], strip_credentials: bool) -> list[bytes]:
    """The lines of a copy: those of the original, on request without credentials."""
    if not strip_credentials:
        return kept
    return [line for line in kept if line.partition(b":")[0].lower() not in _CREDENTIALS]


def response_head(response: Response, added: bytes) -> bytes:
    """The head for the client, with its empty line. `added` are whole lines: framing, connection, cookies."""
    head = response.passed_on
    if not head:
        head = _passed_on(response)
        response.passed_on = head
    return head[:-2] + added + b"\r\n" if added else head


def _passed_on(response: Response) -> bytes:
    marks = response.marks
    lines = response.lines
    via = b"via: 1.1 tidegate\r\n"
    if marks & NOT_DOWN or (response.status == 204 and response.content_length >= 0):
        dropped = _named_by_answer(response)
        if dropped:
            lines = [line.raw for line in response.read if not line.marks & NOT_DOWN and line.name not in dropped]
        else:
            lines = [line.raw for line in response.read if not line.marks & NOT_DOWN]
        if marks & VIA:
            via = b"via: " + response.fields[b"via"] + b", " + _VIA + b"\r\n"
    if not lines:
        return b"".join((response.start, b"\r\n", via, b"\r\n"))
    return b"".join((response.start, b"\r\n", b"\r\n".join(lines), b"\r\n", via, b"\r\n"))


def _named_by_answer(response: Response) -> frozenset[bytes]:
    """The fields that this answer itself makes the hop's own, or that mean nothing in it."""
    dropped: frozenset[bytes] = _NOTHING
    if response.marks & CONNECTION:
        for line in response.read:
            if line.marks & CONNECTION and line.value not in _ORDINARY_CONNECTION:
                dropped |= _named_by_connection(line.value)
    if response.status == 204 and response.content_length >= 0:  # wrong but harmless; not passed on (section 8.6)
        dropped |= {b"content-length"}
    return dropped
