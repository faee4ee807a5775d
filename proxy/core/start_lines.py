"""The first line of a head: a request's and an answer's (RFC 9112 sections 3 and 4). Those that come again are read once.

A target with a query is not remembered: it seldom comes again, and what it carries may be secret.
"""

from typing import Final

from proxy.core.field_lines import TEXT, TOKEN
from proxy.core.remembered import Habit, Remembered
from proxy.core.target import parse_target
from proxy.errors import ProtocolError

_METHOD_LIMIT: Final = 32  # the longest registered one, UPDATEREDIRECTREF, has 17
_KNOWN_METHODS: Final = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"PATCH", b"TRACE"))

_REMEMBERED: Final = 1024
_LENGTH_LIMIT: Final = 256
_habit: Final = Habit()
_requests: Final[dict[bytes, "RequestLine"]] = {}

_ANSWERS_REMEMBERED: Final = 256
_answers: Final[dict[bytes, "StatusLine"]] = {}


class RequestLine(Remembered):
    """`raw` as it came, and what it says; `authority` to `clean` as `parse_target` has them."""

    def __init__(
        self,
        raw: bytes,
        method: bytes,
        target: bytes,
        minor: int,
        authority: bytes,
        path: bytes,
        raw_path: bytes,
        query: bytes,
        has_query: bool,
        clean: bool,
    ) -> None:
        self.raw: Final = raw
        self.method: Final = method
        self.target: Final = target
        self.minor: Final = minor
        self.authority: Final = authority
        self.path: Final = path
        self.raw_path: Final = raw_path
        self.query: Final = query
        self.has_query: Final = has_query
        self.clean: Final = clean


class StatusLine:
    """`text` is the line as HTTP/1.1 has it, its last space there; `minor` is what it said."""

    def __init__(self, text: bytes, status: int, minor: int) -> None:
        self.text: Final = text
        self.status: Final = status
        self.minor: Final = minor


def held() -> int:
    """How many lines are remembered."""
    return len(_requests) + len(_answers)


def forget() -> None:
    """Remember nothing, as at the start."""
    _requests.clear()
    _answers.clear()
    _habit.forget()


def recall_request_line(raw: bytes) -> RequestLine:
    """What a request line says. Raises ProtocolError: 400, 501 (CONNECT), 505 (version)."""
    line = _requests.get(raw)
    if line is not None:
        if not line.met:
            line.met = True
        return line
    line = _read_request_line(raw)
    if not line.has_query and len(raw) <= _LENGTH_LIMIT and _habit.pays(line):
        if len(_requests) >= _REMEMBERED:
            _requests.clear()
        _requests[raw] = line
    return line


def _read_request_line(raw: bytes) -> RequestLine:
    parts = raw.split(b" ")
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
            raise ProtocolError(400, "invalid method")  # also where a byte belongs into no head
        if method == b"CONNECT":
            raise ProtocolError(501, "CONNECT is not supported")
    authority, path, raw_path, query, has_query, clean = parse_target(method, target)
    return RequestLine(raw, method, target, minor, authority, path, raw_path, query, has_query, clean)


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


def recall_status_line(raw: bytes) -> StatusLine:
    """What a status line says. Raises ProtocolError 502."""
    line = _answers.get(raw)
    if line is None:
        line = _read_status_line(raw)
        if len(raw) <= _LENGTH_LIMIT:
            if len(_answers) >= _ANSWERS_REMEMBERED:
                _answers.clear()
            _answers[raw] = line
    return line


def _read_status_line(raw: bytes) -> StatusLine:
    if raw.translate(None, TEXT):
        raise ProtocolError(502, "control byte, bare CR or bare LF in the status line")
    # "HTTP/1.1 200" without the space that should follow: common, and there is nothing else to be read into it.
    digits = raw[9:12]
    if len(digits) != 3 or not digits.isdigit() or raw[12:13] not in (b" ", b""):
        raise ProtocolError(502, "malformed status line")
    version = raw[:9]
    if version == b"HTTP/1.1 ":
        minor = 1
    elif version == b"HTTP/1.0 ":
        minor = 0
    else:
        raise ProtocolError(502, "malformed or unsupported HTTP version")
    status = int(digits)
    if not 100 <= status <= 599:
        raise ProtocolError(502, "status out of range")
    text = raw if len(raw) > 12 else raw + b" "
    return StatusLine(text if minor == 1 else b"HTTP/1.1" + text[8:], status, minor)
