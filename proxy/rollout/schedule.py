"""When a step may be taken: office hours, freezes, and not at the peak. Pure: `now` comes in, zones are tables (core/times).

What is closed is the taking of steps, nothing else: what has been reached stays, is watched, and goes back if it must.
"""

from datetime import UTC, datetime
from typing import Any, Final

from proxy.core.times import DAY, Period, Window

Spec = dict[str, Any]

_AHEAD: Final = 8
"""Days in which a window opens, if it ever does: one more than a week, for clocks that are set."""


class Schedule:
    """The `schedule` of a plan; None: any time will do."""

    def __init__(self, spec: Spec | None) -> None:
        self.allow: Final = [Window(one) for one in spec["allow"]] if spec else []
        self.freeze: Final = [Period(one) for one in spec["freeze"]] if spec else []
        self.below_rate: Final[float] = spec["below_rate"] if spec else 0.0

    def is_open(self, now: float, rate: float | None = None) -> bool:
        """Whether a step may be taken at `now` (Unix seconds). `rate`: requests per second of the route, None while unknown."""
        return not self.why_closed(now, rate)

    def why_closed(self, now: float, rate: float | None = None) -> str:
        """Why no step may be taken, for people; "" where one may."""
        return self._why_closed_at(now) or self._why_too_busy(rate)

    def opens_at(self, now: float) -> float | None:
        """When the clock next lets a step be taken, in Unix seconds: `now` where it does; None where it never will again."""
        if not self._why_closed_at(now):
            return now
        begins = [now, *(period.end for period in self.freeze if period.end > now)]
        moments = sorted({*begins, *(start for window in self.allow for at in begins for start in _starts(window, at))})
        return next((at for at in moments if at > now and not self._why_closed_at(at)), None)

    def _why_closed_at(self, now: float) -> str:
        for period in self.freeze:
            if period.holds_at(now):
                return f"frozen {period.words()}"
        if self.allow and not any(window.holds_at(now) for window in self.allow):
            return f"outside of {' and '.join(window.words() for window in self.allow)}"
        return ""

    def _why_too_busy(self, rate: float | None) -> str:
        if not self.below_rate:
            return ""
        if rate is None:
            return "nobody knows yet how many requests there are"
        if rate > self.below_rate:
            return f"{rate:.3g} requests/s are more than {self.below_rate:g}"
        return ""


def _starts(window: Window, at: float) -> list[float]:
    """When the window begins on the days from `at` on."""
    midnight = (int(at) + window.offset(at)) // DAY * DAY
    found = []
    for day in range(_AHEAD + 1):
        local = midnight + day * DAY + window.start
        start = local - window.offset(local)
        start = local - window.offset(start)
        # Where clocks leave that hour out, the window begins with the next one.
        found += [float(start), float(start + 3600)]
    return found


def moment(at: float) -> str:
    """A moment for people, in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


__all__ = ["Schedule", "moment"]
