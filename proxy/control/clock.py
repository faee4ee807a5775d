"""The clock as control's parts need it; handed in, so that tests jump through time."""

from collections.abc import Callable
from typing import Any, Protocol


class Timer(Protocol):
    """A call to come."""

    def cancel(self) -> None:
        """It shall not come."""


class Timers(Protocol):
    """The clock and what it rings; an event loop is one."""

    def time(self) -> float:
        """Seconds on a clock that only goes forward."""

    def call_later(self, delay: float, callback: Callable[..., object], *args: Any) -> Timer:
        """Call `callback` in `delay` seconds."""
