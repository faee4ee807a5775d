"""Dates as HTTP writes them (RFC 9110 section 5.6.7): the one form that is sent, and the two that may still be met.

Pure arithmetic over days, so that no locale, time zone or library with a clock of its own has a say.
"""

from typing import Final

_MONTHS: Final[dict[bytes, int]] = {
    name: number
    for number, name in enumerate(
        (b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec"), 1
    )
}


def parse_http_date(value: bytes) -> float | None:
    """Seconds since the epoch, or None for what is no HTTP date.

    Takes `Sun, 06 Nov 1994 08:49:37 GMT`, `Sunday, 06-Nov-94 08:49:37 GMT` (a year that would lie more than 50 years
    ahead is not known here, so 70..99 are 1970..1999 and the rest 20xx) and `Sun Nov  6 08:49:37 1994`.
    """
    words = value.replace(b"-", b" ").split()
    if len(words) == 6 and words[5] == b"GMT":
        _, day, month, year, time, _ = words
    elif len(words) == 5:
        _, month, day, time, year = words
    else:
        return None
    clock = time.split(b":")
    number = _MONTHS.get(month.lower(), 0)
    if number == 0 or len(clock) != 3 or not all(one.isdigit() for one in (day, year, *clock)):
        return None
    if len(year) not in (2, 4) or len(day) > 2 or any(len(one) != 2 for one in clock):
        return None
    years = int(year)
    if len(year) == 2:
        years += 1900 if years >= 70 else 2000
    hour, minute, second = int(clock[0]), int(clock[1]), int(clock[2])
    if not 1 <= int(day) <= 31 or hour > 23 or minute > 59 or second > 60 or years < 1970:
        return None
    return _days(years, number, int(day)) * 86400.0 + hour * 3600 + minute * 60 + second


def _days(year: int, month: int, day: int) -> int:
    """Days from 1970-01-01 in the Gregorian calendar: years that begin in March, so that the leap day comes last."""
    if month <= 2:
        year -= 1
        month += 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 + day - 719469
