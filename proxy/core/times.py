"""Times at which a matcher holds: hours and days by a clock on some wall, and periods with a beginning and an end.

Nothing here knows what time it is, nor what a time zone is: a request brings the time (`Request.at`), and the spec a table
of the zone's offsets from UTC, made where files may be read (settings/zones.py). What clocks show when they are set is then
the table's: an hour that is left out never comes, and one that is repeated comes twice.
"""

from bisect import bisect_right
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from math import inf
from typing import Any, Final

from proxy.core.request import Request

Spec = dict[str, Any]

DAY: Final = 86400
DAYS: Final[tuple[str, ...]] = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_AHEAD: Final = 10
"""Days that are looked ahead: every week has what a week can have."""
_THURSDAY: Final = 3  # the first of January 1970


class Window:
    """From one time of day to another, on some days of the week, in one time zone.

    `start` and `end` are seconds since local midnight; where the end is not after the start the window goes over
    midnight, and belongs to the day on which it began.
    """

    def __init__(self, spec: Spec) -> None:
        self.zone: Final[str] = spec["zone"]
        self.start: Final[int] = spec["from"]
        self.end: Final[int] = spec["to"]
        self.days: Final[list[bool]] = [day in spec["days"] for day in DAYS]
        self._since: Final[list[float]] = [float(since) for since, _ in spec["offsets"]]
        self._offsets: Final[list[int]] = [offset for _, offset in spec["offsets"]]

    def offset(self, at: float) -> int:
        """Seconds that local time is ahead of UTC. Before the table begins it is the table's first, after its end the last."""
        return self._offsets[max(0, bisect_right(self._since, at) - 1)]

    def holds(self, request: Request) -> bool:
        """Whether the request came within the window: the start is, the end is not."""
        return self.holds_at(request.at)

    def holds_at(self, at: float) -> bool:
        """Whether it holds at this moment, in Unix seconds."""
        local = int(at) + self.offset(at)
        second = local % DAY
        weekday = (local // DAY + _THURSDAY) % 7
        if self.start < self.end:
            return self.start <= second < self.end and self.days[weekday]
        if second >= self.start:
            return self.days[weekday]
        return second < self.end and self.days[weekday - 1]

    def next_change(self, at: float) -> float:
        """When it begins to hold, or ceases to, after `at`; a moment up to which it does neither, where that is far off."""
        holds = self.holds_at(at)
        table = self._since
        place = bisect_right(table, at)
        ahead = [since for since in table[place : place + 2] if since < at + _AHEAD * DAY]
        offsets = {self.offset(at), *(self.offset(since) for since in ahead)}
        midnight = (int(at) + self.offset(at)) // DAY * DAY
        edges = [
            float(midnight + day * DAY + second - offset)
            for day in range(-1, _AHEAD)
            for second in (0, self.start, self.end)
            for offset in offsets
        ]
        for moment in sorted([*edges, *ahead]):
            if moment > at and self.holds_at(moment) != holds:
                return moment
        return at + (_AHEAD - 2) * DAY

    def show(self, at: float) -> str:
        """What a clock on the wall showed, for people: `Sat 2026-11-21 16:50:43 +01:00`."""
        there = datetime.fromtimestamp(int(at), UTC).astimezone(timezone(timedelta(seconds=self.offset(at))))
        return there.strftime("%a %Y-%m-%d %H:%M:%S ") + there.isoformat()[19:]

    def words(self) -> str:
        """The window, for people: `22:00-06:00 mon,tue Europe/Oslo`."""
        days = ",".join(day for day, named in zip(DAYS, self.days, strict=True) if named)
        return f"{_time_of_day(self.start)}-{_time_of_day(self.end)} {'' if all(self.days) else f'{days} '}{self.zone}"


class Period:
    """From one moment to another, in Unix seconds; 0 for an end that is open."""

    def __init__(self, spec: Spec) -> None:
        self.start: Final[float] = spec["from"]
        self.end: Final[float] = spec["to"]

    def holds(self, request: Request) -> bool:
        """Whether the request came within the period: the beginning is, the end is not."""
        return self.holds_at(request.at)

    def holds_at(self, at: float) -> bool:
        """Whether it holds at this moment, in Unix seconds."""
        return self.start <= at and (not self.end or at < self.end)

    def next_change(self, at: float) -> float:
        """When it begins to hold, or ceases to, after `at`; infinite where it does not any more."""
        return min((moment for moment in (self.start, self.end) if moment > at), default=inf)

    def show(self, at: float) -> str:
        """The moment, for people."""
        return _moment(at)

    def words(self) -> str:
        """The period, for people."""
        pieces = [f"from {_moment(self.start)}"] if self.start else []
        return " ".join([*pieces, f"to {_moment(self.end)}"] if self.end else pieces)


def time_of(spec: Spec) -> Window | Period:
    """What a leaf whose source is `time` is about. Raises ValueError for a test that is none of time."""
    test: str = spec["test"]
    if test == "window":
        return Window(spec["value"])
    if test == "period":
        return Period(spec["value"])
    raise ValueError(f"not a test of time: {test!r}")


def time_matcher(spec: Spec) -> Callable[[Request], bool]:
    """The matcher of a leaf whose source is `time`. Raises ValueError for a test that is none of time."""
    return time_of(spec).holds


def trace_time(spec: Spec, request: Request) -> Spec:
    """What that matcher says, and what it saw, in words."""
    time = time_of(spec)
    return {
        "matched": time.holds(request),
        "source": "time",
        "test": spec["test"],
        "value": time.words(),
        "saw": time.show(request.at),
    }


def _time_of_day(second: int) -> str:
    return f"{second // 3600:02}:{second // 60 % 60:02}" + (f":{second % 60:02}" if second % 60 else "")


def _moment(at: float) -> str:
    return datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
