"""Chunked bodies, read strictly and written plainly (RFC 9112 section 7.1).

The decoder is fed whatever arrived and hands the body back in pieces; between feeds it keeps at most an unfinished
line. It reads only what the grammar says: no bare LF, no space around the size, no sign, no missing CRLF after the
data. Extensions are checked and dropped, for they mean nothing beyond the next hop. So are trailer fields that would
say something about framing, routing or identity: those who read a trailer as if it had stood in the head would be
told it too late to check.
"""

import re
from typing import Final

from proxy.core.field_lines import TEXT, read_line
from proxy.errors import ProtocolError

LAST_CHUNK: Final = b"0\r\n\r\n"

MAX_TRAILER_BYTES: Final = 16 * 1024
MAX_TRAILER_FIELDS: Final = 64

_CRLF: Final = b"\r\n"
_CR: Final = 0x0D
_HEX: Final = b"0123456789abcdefABCDEF"
_SIZE_DIGITS: Final = 15  # below 2^60: other servers overflow beyond
_LINE_LIMIT: Final = 1024  # a size and its extensions, in bytes
_TOKEN: Final = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
# RFC 9112 section 7.1.1. Bad whitespace is let pass within the extensions, where it can move no boundary, but not
# before them.
_EXTENSIONS: Final = re.compile(
    rb"(?:;[ \t]*" + _TOKEN + rb"(?:[ \t]*=[ \t]*(?:" + _TOKEN + rb'|"(?:[^"\\]|\\.)*"))?(?:[ \t]+(?=;))?)+'
)

_FRAMING: Final = b"connection content-length keep-alive proxy-connection te trailer transfer-encoding upgrade"
_ROUTING: Final = b"forwarded host max-forwards traceparent tracestate via x-real-ip x-request-id"
_AUTHENTICATION: Final = (
    b"authorization cookie proxy-authenticate proxy-authorization set-cookie set-cookie2 www-authenticate"
)
_REQUEST_MODIFIERS: Final = (
    b"cache-control expect if-match if-modified-since if-none-match if-range if-unmodified-since pragma range"
)
_RESPONSE_CONTROL: Final = b"age date expires location retry-after vary warning"
_CONTENT: Final = b"content-encoding content-range content-type"
FORBIDDEN_TRAILERS: Final = frozenset(
    b" ".join((_FRAMING, _ROUTING, _AUTHENTICATION, _REQUEST_MODIFIERS, _RESPONSE_CONTROL, _CONTENT)).split()
)
"""What must be known before the content, or decides who may have it and who gets it (RFC 9110 section 6.5.1)."""
_FORBIDDEN_PREFIXES: Final = (b"x-forwarded-", b"x-tidegate-")

# What the decoder reads next.
_SIZE: Final = 0
_DATA: Final = 1
_DATA_END: Final = 2
_TRAILER: Final = 3


class ChunkedDecoder:
    """Decodes one chunked body, however its bytes are split over the feeds.

    When `done`, `rest` holds the bytes after the end and `trailers` the field lines that may be passed on, as received.
    """

    def __init__(self) -> None:
        self.done: bool = False
        self.rest: bytes = b""
        self.trailers: list[bytes] = []
        self._state: int = _SIZE
        self._left: int = 0  # bytes of the current chunk still to come
        self._pending: bytes = b""  # an unfinished line
        self._trailer_bytes: int = 0
        self._trailer_fields: int = 0

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived; return the pieces of the body in it, none of them empty.

        Raises ProtocolError 400, or 431 for trailers beyond MAX_TRAILER_BYTES or MAX_TRAILER_FIELDS. The pieces of that
        call are lost, and the decoder is of no further use.
        """
        if self.done:
            self.rest += data
            return []
        if self._pending:
            data = self._pending + data
            self._pending = b""
        pieces: list[bytes] = []
        size = len(data)
        at = 0
        while at < size:
            if self._state == _DATA:
                end = at + self._left
                if end > size:
                    pieces.append(data[at:] if at else data)  # compiled, a slice of everything would be a copy
                    self._left = end - size
                    break
                pieces.append(data[at:end] if at or end < size else data)
                at = end
                self._left = 0
                self._state = _DATA_END
            elif self._state == _DATA_END:
                if data[at : at + 2] != _CRLF:
                    if size - at == 1 and data[at] == _CR:
                        self._pending = b"\r"
                        break
                    raise ProtocolError(400, "chunk longer than its size")
                at += 2
                self._state = _SIZE
            elif self._state == _SIZE:
                end = self._line_end(data, at, _LINE_LIMIT, 400, "chunk size line too long")
                if end < 0:
                    break
                self._left = _chunk_size(data[at:end])
                self._state = _DATA if self._left else _TRAILER
                at = end + 2
            else:
                limit = MAX_TRAILER_BYTES - self._trailer_bytes
                end = self._line_end(data, at, limit, 431, "trailers too large")
                if end < 0:
                    break
                if end == at:
                    self.done = True
                    self.rest = data[end + 2 :]
                    break
                self._take_trailer(data[at:end])
                at = end + 2
        return pieces

    def _line_end(self, data: bytes, at: int, limit: int, status: int, detail: str) -> int:
        """Where the line that starts at `at` ends; -1, with the line put aside, while its CRLF is yet to come."""
        end = data.find(_CRLF, at, at + limit + 2)
        if end < 0:
            if len(data) - at >= limit + 2:
                raise ProtocolError(status, detail)
            self._pending = data[at:]
            # A line that is wrong already will not get better: say so now, not when the peer is tired of waiting.
            text = self._pending[:-1] if self._pending[-1] == _CR else self._pending
            if text.translate(None, TEXT):
                raise ProtocolError(400, "control byte, bare CR or bare LF in the chunked framing")
        return end

    def _take_trailer(self, line: bytes) -> None:
        self._trailer_bytes += len(line) + 2
        self._trailer_fields += 1
        if self._trailer_fields > MAX_TRAILER_FIELDS:
            raise ProtocolError(431, "too many trailer fields")
        if line.translate(None, TEXT):
            raise ProtocolError(400, "control byte, bare CR or bare LF in a trailer")
        name = read_line(line).name.replace(b"_", b"-")  # CGI-like upstreams read them as one
        if name not in FORBIDDEN_TRAILERS and not name.startswith(_FORBIDDEN_PREFIXES):
            self.trailers.append(line)


def _chunk_size(line: bytes) -> int:
    digits, semicolon, _ = line.partition(b";")
    if not digits or len(digits) > _SIZE_DIGITS or digits.translate(None, _HEX):
        raise ProtocolError(400, "invalid chunk size")
    if semicolon and (line.translate(None, TEXT) or _EXTENSIONS.fullmatch(line, len(digits)) is None):
        raise ProtocolError(400, "invalid chunk extension")
    return int(digits, 16)


def encode_chunk(data: bytes) -> bytes:
    """One chunk with `data` in it; nothing for no data, because an empty chunk would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def last_chunk(trailers: list[bytes]) -> bytes:
    """The end of a chunked body, with trailer field lines (without CRLF)."""
    return b"0\r\n%b\r\n\r\n" % _CRLF.join(trailers) if trailers else LAST_CHUNK
