"""How often, until when, at what hour, how long kept: `100/s`, `2026-12-01T00:00:00Z`, `22:00`, `90d`; as in scalars."""

import re
from datetime import datetime
from typing import Annotated, Final

from pydantic import BeforeValidator, WithJsonSchema

from proxy.settings.problems import shown
from proxy.settings.scalars import matched, parse_duration, refuse

_RATE: Final = re.compile(r"(\d{1,9}(?:\.\d{1,9})?) ?/ ?(s|m|h)")
_SECONDS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0}
_AGE: Final = re.compile(r"(\d{1,4})d")
_OLDEST: Final = 3650
_FASTEST: Final = 10_000_000.0
# RFC 3339 section 5.6; fromisoformat alone takes much more.
_MOMENT: Final = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:[Zz]|[+-]\d\d:\d\d)?")
_TIME_OF_DAY: Final = re.compile(r"([01]\d|2[0-4]):([0-5]\d)(?::([0-5]\d))?")


def parse_rate(value: object) -> float:
    """Requests per second of a rate such as `100/s`, `6000/m` or `1000/h`."""
    what = "a rate such as `100/s`, `6000/m` or `1000/h`"
    if isinstance(value, int | float) and not isinstance(value, bool):
        refuse(f"must be {what}; did you mean `{value}/s`?")
    found = matched(value, _RATE, what)
    rate = float(found[1]) / _SECONDS[found[2]]
    if rate <= 0:
        refuse("must be above 0; a `deny` rule or a weight of 0 keeps requests out altogether")
    if rate > _FASTEST:
        refuse(f"must be at most 10000000/s, not {shown(value)}")
    return rate


def parse_moment(value: object) -> float:
    """Seconds since 1970 of a point in time such as `2026-12-01T00:00:00Z` (RFC 3339, with its zone)."""
    what = "a point in time with its zone, such as `2026-12-01T00:00:00Z` or `2026-12-01T02:00:00+02:00`"
    text = matched(value, _MOMENT, what)[0]
    try:
        moment = datetime.fromisoformat(text.upper())
    except ValueError as error:
        refuse(f"is no point in time: {error}")
    if moment.tzinfo is None:
        refuse(f"must have a zone: `{text}Z` for UTC, or `{text}+02:00`")
    return moment.timestamp()


def parse_age(value: object) -> float:
    """Seconds of an age such as `90d` or `12h`: a duration, or days."""
    found = _AGE.fullmatch(value) if isinstance(value, str) else None
    if found is not None:
        if int(found[1]) > _OLDEST:
            refuse(f"must be at most {_OLDEST}d, not {shown(value)}")
        seconds = int(found[1]) * 86400.0
    else:
        seconds = parse_duration(value)
    if seconds <= 0:
        refuse("must be longer than 0s")
    return seconds


def parse_time_of_day(value: object) -> int:
    """Seconds since midnight of a time such as `22:00` or `06:30:15`; `24:00` is the end of the day."""
    what = "a time of day such as `22:00`, from `00:00` to `24:00`"
    found = matched(value, _TIME_OF_DAY, what)
    seconds = int(found[1]) * 3600 + int(found[2]) * 60 + int(found[3] or 0)
    if seconds > 86400:
        refuse(f"must be {what}, not {shown(value)}")
    return seconds


Rate = Annotated[
    float,
    BeforeValidator(parse_rate),
    WithJsonSchema(
        {"type": "string", "pattern": r"^([0-9]{1,9}(\.[0-9]{1,9})? ?/ ?(s|m|h)|.*\$\{.*)$", "examples": ["100/s"]}
    ),
]
"""Requests per second, above 0."""
Moment = Annotated[
    float,
    BeforeValidator(parse_moment),
    WithJsonSchema({"type": "string", "examples": ["2026-12-01T00:00:00Z"]}),
]
"""Seconds since 1970."""
Age = Annotated[
    float,
    BeforeValidator(parse_age),
    WithJsonSchema({"type": "string", "pattern": r"^([0-9]+(\.[0-9]+)?(ms|s|m|h|d)|.*\$\{.*)$", "examples": ["90d"]}),
]
"""Seconds, above 0."""
TimeOfDay = Annotated[
    int,
    BeforeValidator(parse_time_of_day),
    WithJsonSchema({"type": "string", "examples": ["22:00", "06:00"]}),
]
"""Seconds since midnight."""
