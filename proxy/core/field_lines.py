"""Field lines as values: read once, remembered, and marked with what a proxy has to do about them.

Heads repeat: from request to request most lines are the same bytes as before. A line that was read is therefore remembered
with what was found in it, and meeting it again costs one look-up where reading costs a check of every byte, a search, and
three new objects. `Date` repays that although it changes every second; where a name's lines are other ones in every request,
they are not remembered (remembered.py). Credentials never are.

What a line means is told by the marks of its name, so that a whole head is asked once, by one number, whether there is
anything in it to be done.
"""

from typing import Final

from proxy.core.remembered import Habit, Remembered
from proxy.errors import ProtocolError

TOKEN: Final = b"!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
"""The bytes of a token (RFC 9110 section 5.6.2): methods and field names."""

TEXT: Final = bytes((0x09, *range(0x20, 0x7F), *range(0x80, 0x100)))
"""The bytes of a line: HTAB, visible ASCII with space, and obs-text."""
# One letter for each of them and another byte for all others: asked so, it takes half the time of deleting them.
_IS_TEXT: Final = bytes(0x61 if byte in TEXT else 0 for byte in range(256))

OWN_PREFIX: Final = b"x-tidegate-"

HOST: Final = 1
LENGTH: Final = 1 << 1
"""Content-Length."""
CODING: Final = 1 << 2
"""Transfer-Encoding."""
CONNECTION: Final = 1 << 3
EXPECT: Final = 1 << 4
UPGRADE: Final = 1 << 5
TE: Final = 1 << 6
VIA: Final = 1 << 7
REQUEST_ID: Final = 1 << 8
TRACE: Final = 1 << 9
"""Traceparent."""
NOT_UP: Final = 1 << 10
"""Never passed on in a request: the hop's own, what this proxy says itself, and what could be taken for that."""
NOT_DOWN: Final = 1 << 11
"""Never passed on in an answer."""
FRAMING: Final = LENGTH | CODING
CONNECTIONS: Final = 1 << 12
"""Of a whole head: Connection comes more than once."""
NEW: Final = 1 << 13
"""Of a whole head: some of its lines were not remembered."""
_ONCE: Final = HOST | LENGTH | CODING
_ONCE_OR_CONNECTION: Final = _ONCE | CONNECTION

_SINGLE: Final[dict[bytes, int]] = {
    b"host": HOST,
    b"content-length": LENGTH,
    b"transfer-encoding": CODING,
    b"connection": CONNECTION,
    b"expect": EXPECT,
    b"upgrade": UPGRADE,
    b"te": TE,
    b"via": VIA,
    b"x-request-id": REQUEST_ID,
    b"traceparent": TRACE,
}

HOP: Final = frozenset(
    (
        b"connection",
        b"proxy-connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
FORWARDING: Final = frozenset((b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host", b"forwarded"))
REQUEST_DROPPED: Final = HOP | FORWARDING | {b"via"}
_OWN_RESPONSE: Final = frozenset(
    OWN_PREFIX + name
    for name in (b"route", b"version", b"served", b"reason", b"flags", b"cache", b"shadow", b"unit-hash")
)
"""Only this proxy speaks of itself: what an upstream says in its name is not passed on."""
RESPONSE_DROPPED: Final = HOP | _OWN_RESPONSE | {b"via"}
_LOOK_ALIKES: Final = FORWARDING | {b"x-request-id"}

_PRIVATE: Final = frozenset((b"authorization", b"proxy-authorization", b"cookie", b"set-cookie"))
"""Names whose values are not kept longer than their request."""

_OWS: Final = b" \t"
_NAMES_REMEMBERED: Final = 2048
_NAME_LIMIT: Final = 64
_LINES_REMEMBERED: Final = 2048
_LINE_LIMIT: Final = 160


class _Name:
    def __init__(self, text: bytes) -> None:
        self.text: Final = text
        self.marks: Final = _marks_of(text)
        self.habit: Final = None if text in _PRIVATE else Habit()


class FieldLine(Remembered):
    """One field line: `raw` as it came, without CRLF; `name` in lower case; `value` without the white space around it."""

    def __init__(self, raw: bytes, name: _Name, value: bytes) -> None:
        self.raw: Final = raw
        self.name: Final = name.text
        self.value: Final = value
        self.marks: Final = name.marks
        self.number: int = -1
        """The value of a Content-Length, once somebody has read it as one."""


_names: Final[dict[bytes, _Name]] = {}
_lines: Final[dict[bytes, FieldLine]] = {}


def _marks_of(name: bytes) -> int:
    marks = _SINGLE.get(name, 0)
    plain = name.replace(b"_", b"-")  # as CGI-like upstreams read it
    if name in REQUEST_DROPPED or plain.startswith(OWN_PREFIX) or (plain != name and plain in _LOOK_ALIKES):
        marks |= NOT_UP
    if name in RESPONSE_DROPPED:
        marks |= NOT_DOWN
    return marks


def _name_of(raw: bytes) -> _Name:
    """What is known of a name as it is spelt. Raises ProtocolError 400 where it is not a token."""
    name = _names.get(raw)
    if name is None:
        if not raw or raw.translate(None, TOKEN):
            raise ProtocolError(400, "invalid field name")
        text = raw.lower()
        name = _names.get(text) or _Name(text)
        if len(raw) <= _NAME_LIMIT:
            if len(_names) >= _NAMES_REMEMBERED:
                _names.clear()
            _names[text] = name
            _names[raw] = name
    return name


def held() -> int:
    """How many lines are remembered."""
    return len(_lines)


def forget() -> None:
    """Remember nothing, as at the start."""
    _lines.clear()
    _names.clear()


def read_line(raw: bytes) -> FieldLine:
    """Judge and read a line that is not remembered. Raises ProtocolError 400 for a byte that does not belong, or no field."""
    if not raw.translate(_IS_TEXT).isalpha() and raw:
        raise ProtocolError(400, "control byte, bare CR or bare LF in the head")
    spelt, colon, value = raw.partition(b":")
    name = _name_of(spelt)
    if not colon:
        raise ProtocolError(400, "field line without a colon")
    line = FieldLine(raw, name, value.strip(_OWS))
    habit = name.habit
    if habit is not None and len(raw) <= _LINE_LIMIT and habit.pays(line):
        if len(_lines) >= _LINES_REMEMBERED:
            _lines.clear()
        _lines[raw] = line
    return line


def read_lines(lines: list[bytes], read: list[FieldLine]) -> int:
    """Read field lines into `read`, in step. Answers the marks of all of them.

    Raises ProtocolError 400 for lines that are not fields, and for repeated fields of which there may be one only: Host,
    Content-Length, Transfer-Encoding.
    """
    marks = 0
    for raw in lines:
        line = _lines.get(raw)
        if line is None:
            line = read_line(raw)
            marks |= NEW
        elif not line.met:
            line.met = True
        read.append(line)
        of = line.marks
        if of:
            if of & marks & _ONCE_OR_CONNECTION:
                if of & _ONCE:
                    raise ProtocolError(400, f"more than one {line.name.decode()}")
                marks |= CONNECTIONS
            marks |= of
    return marks


def joined(read: list[FieldLine]) -> dict[bytes, bytes]:
    """The values by name; those of repeated fields joined with b", ", cookies with b"; " (RFC 9110 section 5.3)."""
    fields: dict[bytes, bytes] = {}
    for line in read:
        fields[line.name] = line.value
    if len(fields) < len(read):
        fields.clear()
        for line in read:
            name = line.name
            before = fields.get(name)
            if before is None:
                fields[name] = line.value
            else:
                fields[name] = before + (b"; " if name == b"cookie" else b", ") + line.value
    return fields


def parse_fields(lines: list[bytes]) -> dict[bytes, bytes]:
    """Field lines as a map of values. Raises ProtocolError 400 like `read_lines`."""
    read: list[FieldLine] = []
    read_lines(lines, read)
    return joined(read)


def value_of(read: list[FieldLine], mark: int) -> bytes:
    """The value of the first field with this mark."""
    for line in read:
        if line.marks & mark:
            return line.value
    return b""
