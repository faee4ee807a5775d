"""Cache-Control, of requests and of answers (RFC 9111 section 5.2, RFC 5861): read once, into plain values.

Where a field contradicts itself, the most restrictive reading wins: of two lifetimes the shorter, a lifetime that is no
number is none, and a field whose quotes do not close says `no-store`, for nobody can tell what else it said. So does one
that is longer than anybody's: a client must not choose how long it takes to read.
"""

from typing import Final

ABSENT: Final = -1
LONGEST: Final = 1 << 31
"""Seconds. What is longer, or too long to be read, is this long (RFC 9111 section 1.2.2)."""

_LONG: Final = 4096
"""Bytes."""
_REMEMBERED: Final = 512
_NO_FIELDS: Final[frozenset[bytes]] = frozenset()


class CacheControl:
    """The directives that mean something to a shared cache.

    Durations are seconds, ABSENT where not named. `withheld` are the fields (lower case) that `private="..."` and
    `no-cache="..."` name: stored without them, an answer may be shared.
    """

    no_store: bool = False
    no_cache: bool = False
    private: bool = False
    public: bool = False
    must_revalidate: bool = False
    proxy_revalidate: bool = False
    must_understand: bool = False
    only_if_cached: bool = False
    max_age: int = ABSENT
    s_maxage: int = ABSENT
    min_fresh: int = ABSENT
    max_stale: int = ABSENT  # LONGEST where any staleness will do
    stale_while_revalidate: int = ABSENT
    stale_if_error: int = ABSENT

    def __init__(self, value: bytes) -> None:
        self.withheld: frozenset[bytes] = _NO_FIELDS
        members = _members(value) if len(value) <= _LONG else None
        if members is None:
            self.no_store = True
            return
        for member in members:
            self._take(member)

    def _take(self, member: bytes) -> None:
        raw, equals, argument = member.partition(b"=")
        name = raw.strip(b" \t").lower()
        if equals and raw != raw.rstrip(b" \t"):
            argument = b" "  # "max-age =5": not what the grammar allows, so not a number that counts
        if name == b"max-age":
            self.max_age = _shorter(self.max_age, _seconds(argument, 0))
        elif name == b"s-maxage":
            self.s_maxage = _shorter(self.s_maxage, _seconds(argument, 0))
        elif name == b"no-cache":
            named = _field_names(argument)
            self.no_cache |= not named
            self.withheld |= named
        elif name == b"private":
            named = _field_names(argument)
            self.private |= not named
            self.withheld |= named
        elif name == b"stale-while-revalidate":
            self.stale_while_revalidate = _shorter(self.stale_while_revalidate, _seconds(argument, 0))
        elif name == b"stale-if-error":
            self.stale_if_error = _shorter(self.stale_if_error, _seconds(argument, 0))
        elif name == b"min-fresh":
            self.min_fresh = max(self.min_fresh, _seconds(argument, ABSENT))
        elif name == b"max-stale":
            self.max_stale = _shorter(self.max_stale, _seconds(argument, 0) if equals else LONGEST)
        else:
            self._take_flag(name)

    def _take_flag(self, name: bytes) -> None:
        if name == b"no-store":
            self.no_store = True
        elif name == b"public":
            self.public = True
        elif name == b"must-revalidate":
            self.must_revalidate = True
        elif name == b"proxy-revalidate":
            self.proxy_revalidate = True
        elif name == b"must-understand":
            self.must_understand = True
        elif name == b"only-if-cached":
            self.only_if_cached = True


def _members(value: bytes) -> list[bytes] | None:
    """The members of the list, commas in quoted strings left alone; None where a quote does not close."""
    if value.find(b'"') < 0:
        return [member.strip(b" \t") for member in value.split(b",")]
    members = []
    start = 0
    at = 0
    quoted = False
    while at < len(value):
        byte = value[at]
        if quoted:
            if byte == 0x5C:
                at += 1
            elif byte == 0x22:
                quoted = False
        elif byte == 0x22:
            quoted = True
        elif byte == 0x2C:
            members.append(value[start:at].strip(b" \t"))
            start = at + 1
        at += 1
    if quoted:
        return None
    members.append(value[start:].strip(b" \t"))
    return members


def _unquoted(argument: bytes) -> bytes:
    if len(argument) >= 2 and argument[:1] == b'"' and argument[-1:] == b'"':
        return argument[1:-1].replace(b"\\", b"")
    return argument


def _seconds(argument: bytes, otherwise: int) -> int:
    digits = _unquoted(argument)
    if not digits.isdigit():
        return otherwise
    return LONGEST if len(digits) > 10 else min(int(digits), LONGEST)


def _shorter(known: int, added: int) -> int:
    return added if known == ABSENT else min(known, added)


def _field_names(argument: bytes) -> frozenset[bytes]:
    return frozenset(name for part in _unquoted(argument).lower().split(b",") if (name := part.strip(b" \t")))


_known: Final[dict[bytes, CacheControl]] = {}
_NOTHING: Final = CacheControl(b"")
_PRAGMA: Final = CacheControl(b"no-cache")


def read(value: bytes) -> CacheControl:
    """The directives of a field's value. Values repeat, so what was read is remembered."""
    found = _known.get(value)
    if found is None:
        found = CacheControl(value)
        if len(value) <= 256:
            if len(_known) >= _REMEMBERED:
                _known.clear()
            _known[value] = found
    return found


def read_answer(fields: dict[bytes, bytes]) -> CacheControl:
    """What an answer says."""
    value = fields.get(b"cache-control")
    return _NOTHING if value is None else read(value)


def read_request(fields: dict[bytes, bytes]) -> CacheControl:
    """What a request says; where it says nothing, `Pragma: no-cache` means what it meant in HTTP/1.0."""
    value = fields.get(b"cache-control")
    if value is not None:
        return read(value)
    pragma = fields.get(b"pragma")
    if pragma is not None and pragma.lower().find(b"no-cache") >= 0:
        return _PRAGMA
    return _NOTHING
