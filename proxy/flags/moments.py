"""When the clock alone changes what flags come to: ends, periods and windows that they, or the routes they follow, depend on."""

from collections.abc import Iterator
from math import inf
from typing import Any, Final, Protocol

from proxy.core.times import time_of

Spec = dict[str, Any]


class Timed(Protocol):
    """Something that holds at some times."""

    def holds_at(self, at: float) -> bool:
        """Whether it holds at this moment, in Unix seconds."""

    def next_change(self, at: float) -> float:
        """When that changes, after `at`, or is to be looked at again; infinite where never."""


class End:
    """What is there until a moment, in Unix seconds."""

    def __init__(self, until: float) -> None:
        self.until: Final = until

    def holds_at(self, at: float) -> bool:
        """Whether it is still there."""
        return at < self.until

    def next_change(self, at: float) -> float:
        """The end; infinite after it."""
        return self.until if at < self.until else inf


class Moments:
    """All of them, of one spec."""

    def __init__(self, spec: Spec) -> None:
        self._timed: Final = list(_timed(_decisive(spec)))

    def phase(self, at: float) -> list[bool]:
        """What holds at this moment, in Unix seconds: where that is the same, flags come to the same."""
        return [one.holds_at(at) for one in self._timed]

    def next_change(self, at: float) -> float:
        """Until when the phase is the same for certain; infinite where for ever."""
        return min((one.next_change(at) for one in self._timed), default=inf)


def _decisive(spec: Spec) -> list[Any]:
    """The parts of the spec that flags come from."""
    followed = {flag["route"] for flag in spec["flags"]}
    keys = ("kill", "rules", "rings", "holdout", "preview")
    parts: list[Any] = [spec["flags"]]
    for route in spec["routes"]:
        if route["name"] in followed:
            parts += [[route[key] for key in keys], [version["kill"] for version in route["versions"]]]
    named = set(_segments(parts))
    for segment in reversed(spec["segments"]):  # each stands after those it needs
        if segment["name"] in named:
            parts.append(segment["where"])
            named |= set(_segments(segment["where"]))
    return parts


def _segments(part: Any) -> Iterator[str]:
    """The segments that matchers and rings of this part name."""
    if isinstance(part, dict):
        if isinstance(part.get("segment"), str):
            yield part["segment"]
        yield from (one for one in part.get("order", ()) if isinstance(one, str))
    for one in _within(part):
        yield from _segments(one)


def _timed(part: Any) -> Iterator[Timed]:
    if isinstance(part, dict):
        until = part.get("until")
        if isinstance(until, float | int) and until > 0:
            yield End(until)
        if part.get("source") == "time":
            yield time_of(part)
            return
    for one in _within(part):
        yield from _timed(one)


def _within(part: Any) -> list[Any]:
    """Maps and lists within a map or a list."""
    values = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
    return [one for one in values if isinstance(one, dict | list)]
