"""HTTP dates (RFC 9110 section 5.6.7), read strictly: what is no date in one of the three forms is no date at all.

`email.utils` reads far more than that, time zones among it; a cache that guesses what `Expires` might mean keeps answers
that others hold for stale.
"""

from email.utils import formatdate
from typing import Final

_MONTHS: Final[dict[bytes, int]] = {
    name: at + 1 for at, name in enumerate(b"Jan Feb Mar Apr May Jun Jul Aug Sep Oct Nov Dec".split())
}
_DAYS: Final = frozenset(b"Mon Tue Wed Thu Fri Sat Sun".split())
_LONG_DAYS: Final = frozenset(b"Monday Tuesday Wednesday Thursday Friday Saturday Sunday".split())
_LENGTHS: Final = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_YEAR: Final = 365.2425 * 86400


def parse_date(value: bytes, now: float) -> float:
    """Seconds since the epoch, or -1 where `value` is no date (one before 1970 is none of interest).

    IMF-fixdate, and the two obsolete forms. `now` (seconds since the epoch) tells the century of a two-digit year: one
    that seems more than 50 years ahead is the last one that ended in these digits.
    """
    words = value.split(b" ")
    count = len(words)
    if count == 6 and words[0][-1:] == b"," and words[0][:-1] in _DAYS and words[5] == b"GMT":
        return _seconds(words[3], words[2], words[1], words[4])
    if count == 4 and words[0][-1:] == b"," and words[0][:-1] in _LONG_DAYS and words[3] == b"GMT":
        parts = words[1].split(b"-")
        if len(parts) != 3 or len(parts[2]) != 2 or not parts[2].isdigit():
            return -1.0
        this_year = int(1970 + now / _YEAR)
        year = this_year - this_year % 100 + int(parts[2])
        if year > this_year + 50:
            year -= 100
        return _seconds(b"%04d" % year, parts[1], parts[0], words[2])
    if count == 6 and words[2] == b"" and words[0] in _DAYS and len(words[3]) == 1:  # a one-digit day, padded
        return _seconds(words[5], words[1], b"0" + words[3], words[4])
    if count == 5 and words[0] in _DAYS:
        return _seconds(words[4], words[1], words[2], words[3])
    return -1.0


def _seconds(year: bytes, month: bytes, day: bytes, time: bytes) -> float:
    month_number = _MONTHS.get(month, 0)
    numbers = year + day + time[:2] + time[3:5] + time[6:]
    if (
        not month_number
        or len(year) != 4
        or len(day) != 2
        or len(time) != 8
        or time[2:3] != b":"
        or time[5:6] != b":"
        or not numbers.isdigit()
    ):
        return -1.0
    y = int(year)
    d = int(day)
    hours = int(time[:2])
    minutes = int(time[3:5])
    seconds = int(time[6:])
    if y < 1970 or not 1 <= d <= _LENGTHS[month_number - 1] or hours > 23 or minutes > 59 or seconds > 60:
        return -1.0
    if month_number == 2 and d == 29 and (y % 4 or (y % 100 == 0 and y % 400)):
        return -1.0
    # Days since the epoch, with years that begin in March (Howard Hinnant, "chrono-compatible low-level date algorithms").
    shifted = y - (1 if month_number <= 2 else 0)
    era = shifted // 400
    year_of_era = shifted - era * 400
    day_of_year = (153 * (month_number + (-3 if month_number > 2 else 9)) + 2) // 5 + d - 1
    days = era * 146097 + year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year - 719468
    return float(days * 86400 + hours * 3600 + minutes * 60 + seconds)


def format_date(seconds: float) -> bytes:
    """An IMF-fixdate of seconds since the epoch."""
    return formatdate(seconds, usegmt=True).encode()
