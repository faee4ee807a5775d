"""The head of a request as a value: what the parser makes, the decision reads, and the rewriter sends on."""

from typing import Final

from proxy.core.cookies import Kept
from proxy.core.field_lines import FieldLine, joined
from proxy.core.remembered import Remembered
from proxy.core.start_lines import RequestLine


class Request:
    """One request head.

    All text is bytes as received. `line` is the first line; `lines` are the field lines without CRLF, `read` what they say, in
    step, and `marks` those of all of them together (field_lines.py). `fields` maps a lower-case name to its value; repeated
    fields are joined with b", " (cookies with b"; "), as RFC 9110 section 5.3 allows. `path` is the path with unreserved
    escapes decoded (b"*" for `OPTIONS *`) and `raw_path` the path as received; `clean` is False when only a route with `paths:
    raw` may take it (dot segments, encoded slash, backslash or NUL). `query` has no question mark, and `has_query` tells `/x?`
    from `/x`. `authority` is what Host must say upstream and `host` the same in lower case without port. `content_length` is -1
    when none was given.

    What a decision reads beside the head is filled in before it: `client`, the resolved client address (see core/address.py);
    `trusted`, whether the peer is one of `trusted_proxies`; `unit`, the unit found; `at`, the time of day in Unix seconds, in
    plans where something has to do with time (`Plan.timed`) and 0 in others; `claims`, those of a verified token, with one
    value or several; `attributes`, those of a flag's context; `kept`, the unit's record of the version it got on this route,
    where the route has any and the record's signature is good; `chosen`, that of the version it chose for itself.
    """

    def __init__(
        self,
        line: RequestLine,
        lines: list[bytes],
        read: list[FieldLine],
        marks: int,
        fields: dict[bytes, bytes],
        authority: bytes,
        host: bytes,
        content_length: int,
        chunked: bool,
        keep_alive: bool,
        expect_continue: bool,
        upgrade: bytes,
    ) -> None:
        self.line: Final = line
        self.method: Final = line.method
        self.target: Final = line.target
        self.minor: Final = line.minor
        self.path: Final = line.path
        self.raw_path: Final = line.raw_path
        self.query: Final = line.query
        self.has_query: Final = line.has_query
        self.clean: Final = line.clean
        self.lines: Final = lines
        self.read: Final = read
        self.marks: Final = marks
        self.fields: Final = fields
        self.authority: Final = authority
        self.host: Final = host
        self.content_length: Final = content_length
        self.chunked: Final = chunked
        self.keep_alive: Final = keep_alive
        self.expect_continue: Final = expect_continue
        self.upgrade: Final = upgrade
        self.client: str = ""
        self.trusted: bool = False
        self.unit: bytes | None = None
        self.at: float = 0.0
        self.claims: dict[bytes, list[bytes]] | None = None
        self.attributes: dict[bytes, bytes] | None = None
        self.kept: Kept | None = None
        self.chosen: Kept | None = None
        self._cookies: dict[bytes, bytes] | None = None
        self._arguments: dict[bytes, bytes] | None = None

    def cookies(self) -> dict[bytes, bytes]:
        """Cookies by name, the first of a name, quotes removed; parsed once (RFC 6265 section 4.2)."""
        found = self._cookies
        if found is None:
            found = {}
            for pair in self.fields.get(b"cookie", b"").split(b";"):
                name, equals, value = pair.partition(b"=")
                if equals:
                    found.setdefault(name.strip(), value.strip().strip(b'"'))
            self._cookies = found
        return found

    def arguments(self) -> dict[bytes, bytes]:
        """Query arguments by name, percent- and plus-decoded, the first of a name; parsed once."""
        found = self._arguments
        if found is None:
            found = {}
            for pair in self.query.split(b"&"):
                name, _, value = pair.partition(b"=")
                if name:
                    found.setdefault(unquote_plus(name), unquote_plus(value))
            self._arguments = found
        return found

    def claim(self, name: bytes) -> bytes | None:
        """A claim of the request's verified token; None where there is none, it is a list of several, or no token is
        looked at."""
        values = self.claim_values(name)
        return values[0] if len(values) == 1 else None

    def claim_values(self, name: bytes) -> list[bytes]:
        """The values of a claim: more than one where it is a list, none where it is not there."""
        claims = self.claims
        return [] if claims is None else claims.get(name, [])

    def attribute(self, name: bytes) -> bytes | None:
        """An attribute of the context a flag is asked with; None on the way of ordinary requests."""
        attributes = self.attributes
        return None if attributes is None else attributes.get(name)


_DIGITS: Final = "0123456789abcdefABCDEF"
_HEX: Final = {(high + low).encode(): bytes((int(high + low, 16),)) for high in _DIGITS for low in _DIGITS}


def unquote_plus(text: bytes) -> bytes:
    """Decode %XX and + in a query component; an escape that is not one stays as it is (WHATWG URL section 5.1)."""
    if b"+" in text:
        text = text.replace(b"+", b" ")
    if b"%" not in text:
        return text
    head, *pieces = text.split(b"%")
    out = [head]
    for piece in pieces:
        byte = _HEX.get(piece[:2])
        out.append(b"%" + piece if byte is None else byte + piece[2:])
    return b"".join(out)


class Response(Remembered):
    """One response head, which is read and never changed: several answers may have it in common (answer_heads.py).

    The shapes are those of `Request`; `start` is the status line for the client, `minor` what the upstream's said.

    `content_length` is -1 when none was given; `chunked` and `keep_alive` say how the upstream framed it;
    `until_close` that only the end of the connection ends the body; `bodiless` that there is none (HEAD, 1xx, 204, 304).
    `passed_on` is what the client gets of it, as fields.response_head has put it together; empty before.
    """

    passed_on: bytes = b""

    def __init__(
        self,
        status: int,
        start: bytes,
        minor: int,
        lines: list[bytes],
        read: list[FieldLine],
        marks: int,
        content_length: int,
        chunked: bool,
        keep_alive: bool,
        until_close: bool,
        bodiless: bool,
    ) -> None:
        self.status: Final = status
        self.start: Final = start
        self.minor: Final = minor
        self.lines: Final = lines
        self.read: Final = read
        self.marks: Final = marks
        self.content_length: Final = content_length
        self.chunked: Final = chunked
        self.keep_alive: Final = keep_alive
        self.until_close: Final = until_close
        self.bodiless: Final = bodiless
        self._fields: dict[bytes, bytes] | None = None

    @property
    def fields(self) -> dict[bytes, bytes]:
        """Values by lower-case name, as in `Request`; put together once, for the few who ask."""
        found = self._fields
        if found is None:
            found = joined(self.read)
            self._fields = found
        return found
