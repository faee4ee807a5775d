"""Validators: is what somebody holds still current (RFC 9110 section 13, RFC 9111 section 4.3)?

Two directions. A client asks whether its copy is current, and the stored answer says so (`not_modified`). The cache asks
the origin the same of its own copy (`condition_lines`), and a 304 makes that one fresh again (`freshened`).
"""

from typing import Final

from proxy.core.dates import parse_date

CONDITIONS: Final = frozenset((b"if-none-match", b"if-modified-since"))
"""The request fields that a cache may answer, and replaces when it asks itself."""
FOR_THE_ORIGIN: Final = frozenset((b"range", b"if-range", b"if-match", b"if-unmodified-since"))
"""The request fields that only the origin can answer (RFC 9111 section 4.3.2); ranges it could, but passes by."""

_MOST_TAGS: Final = 256
_TOLD_BY_304: Final = frozenset((b"cache-control", b"content-location", b"date", b"etag", b"expires", b"vary", b"via"))
_TIED_TO_THE_BODY: Final = frozenset((b"content-length", b"content-encoding", b"content-range"))


def opaque(tag: bytes) -> bytes:
    """An entity tag without its weakness: all that a weak comparison looks at."""
    return tag[2:] if tag[:2] == b"W/" else tag


def entity_tags(value: bytes) -> list[bytes]:
    """The entity tags of a list, weakness removed; quotes may hold commas. What is no tag is passed over; so are tags beyond
    some hundreds, which no client holds."""
    tags: list[bytes] = []
    at = 0
    while len(tags) < _MOST_TAGS:
        start = value.find(b'"', at)
        if start < 0:
            return tags
        end = value.find(b'"', start + 1)
        if end < 0:
            return tags
        tags.append(value[start : end + 1])
        at = end + 1
    return tags


def not_modified(fields: dict[bytes, bytes], tag: bytes, modified: float, wall: float) -> bool:
    """Whether a GET or HEAD with these fields is answered 304 (RFC 9110 section 13.2.2).

    `tag` is the stored answer's entity tag or empty, `modified` its Last-Modified in seconds since the epoch, or its Date
    where it has none (RFC 9111 section 4.3.2).
    """
    wanted = fields.get(b"if-none-match")
    if wanted is not None:
        if wanted == b"*":
            return True
        return bool(tag) and opaque(tag) in entity_tags(wanted)
    since = fields.get(b"if-modified-since")
    if since is None:
        return False
    date = parse_date(since, wall)
    return date >= 0 and 0 <= modified <= date


def condition_lines(tag: bytes, modified: bytes) -> list[bytes]:
    """The lines that ask an origin whether a stored answer is still current."""
    lines = []
    if tag:
        lines.append(b"if-none-match: " + tag)
    if modified:
        lines.append(b"if-modified-since: " + modified)
    return lines


def name_of(line: bytes) -> bytes:
    """The lower-case name of a field line."""
    return line.partition(b":")[0].lower()


def not_modified_lines(lines: list[bytes]) -> list[bytes]:
    """Of the lines of a stored answer those that its 304 has (RFC 9110 section 15.4.5)."""
    return [line for line in lines if name_of(line) in _TOLD_BY_304]


def same_answer(tag: bytes, told: bytes) -> bool:
    """Whether a 304 with the tag `told` speaks of the stored answer with `tag` (RFC 9111 section 4.3.4)."""
    return not told or told[:2] == b"W/" or not tag or opaque(tag) == told


def freshened(lines: list[bytes], newer: list[bytes]) -> list[bytes]:
    """The stored field lines with those of a 304 in the place of the ones they name (RFC 9111 section 3.2)."""
    newer = [line for line in newer if name_of(line) not in _TIED_TO_THE_BODY]
    replaced = frozenset(name_of(line) for line in newer)
    return [line for line in lines if name_of(line) not in replaced] + newer
