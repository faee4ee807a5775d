"""Time zones as tables of offsets, for the data plane: it reads no files and knows no calendar.

The table is made once, when the configuration is loaded, from the system's zone data (or the `tzdata` package's). It covers
the years from FIRST to LAST, whatever the date is, so that the same file makes the same plan; new rules of a zone count
with the next load after the system has learnt them. After LAST the last offset stays.
"""

import zoneinfo
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Final

from proxy.settings.problems import shown, suggestion
from proxy.settings.scalars import parse_plain_text, refuse

FIRST: Final = 2025
LAST: Final = 2049
_WEEK: Final = 7 * 86400

Offsets = list[list[int]]
"""[since, offset] in order: from `since` (Unix seconds) on, local time is `offset` seconds ahead of UTC."""


def parse_zone(value: object) -> str:
    """The name of a time zone, such as `Europe/Oslo`."""
    name = parse_plain_text(value)
    try:
        zoneinfo.ZoneInfo(name)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        known = zoneinfo.available_timezones()
        if not known:
            refuse("this system has no data on time zones: install `tzdata`")
        tail = suggestion(name, known)
        refuse(
            f"there is no time zone {shown(name)}"
            + (tail if "did you mean" in tail else "; names are those of the IANA, such as `Europe/Oslo`, and `UTC`")
        )
    return name


def offsets_of(zone: str) -> Offsets:
    """The table of a zone that there is."""
    return [list(pair) for pair in _offsets(zone, _stamp(zone))]


def _stamp(zone: str) -> int:
    """Changes when the zone's data does."""
    for directory in zoneinfo.TZPATH:
        try:
            return Path(directory, zone).stat().st_mtime_ns
        except OSError:
            continue
    return 0


@lru_cache(maxsize=64)
def _offsets(zone: str, _stamped: int) -> tuple[tuple[int, int], ...]:
    info = zoneinfo.ZoneInfo.no_cache(zone)

    def offset(at: int) -> int:
        delta = datetime.fromtimestamp(at, info).utcoffset()
        return 0 if delta is None else round(delta.total_seconds())

    at = int(datetime(FIRST, 1, 1, tzinfo=UTC).timestamp())
    end = int(datetime(LAST + 1, 1, 1, tzinfo=UTC).timestamp())
    known = offset(at)
    table = [(at, known)]
    while at < end:
        following = at + _WEEK
        if offset(following) != known:  # no zone sets its clocks twice within a week
            low, high = at, following
            while high - low > 1:
                middle = (low + high) // 2
                if offset(middle) == known:
                    low = middle
                else:
                    high = middle
            known = offset(high)
            table.append((high, known))
        at = following
    return tuple(table)


__all__ = ["FIRST", "LAST", "Offsets", "offsets_of", "parse_zone"]
