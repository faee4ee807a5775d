"""Notices a worker whose event loop stands still, asks where, and has it replaced.

A worker writes the time into its region of the counters twenty times a second; here it is read once a second. One that serves
and has not written for `watchdog` is stuck in code that gives nothing back, which is a plugin's as a rule. It is killed: it has not
answered anybody for that long, and would not drain. A process that somebody has stopped (SIGSTOP, a debugger) is left alone, and
time in which control itself stood still does not count.
"""

import logging
from collections.abc import Callable
from typing import Final

from proxy.control.clock import Timers
from proxy.control.life import Event, State
from proxy.control.places import Place, Places
from proxy.telemetry.counters import REGION_SLOTS, W_HEARTBEAT, Cells

log = logging.getLogger("tidegate.control")

_SAYING: Final = 0.5
"""Seconds that a worker has to write down where it stands."""
_ASLEEP: Final = 3.0
"""Seconds between two looks from which on control itself stood still."""


class _Beat:
    """What was last read of one process, and since when it has been the same."""

    def __init__(self, pid: int, at: int, since: float) -> None:
        self.pid: Final = pid
        self.at: Final = at
        self.since = since


class Watchdog:
    """Looks at all places."""

    def __init__(
        self,
        cells: Cells,
        places: Places,
        timers: Timers,
        happen: Callable[[Place, Event], None],
        limit: Callable[[], float],
    ) -> None:
        """`happen` is the supervisor's; `limit` tells the seconds without a sign after which a worker is replaced, 0: never."""
        self._cells: Final = cells
        self._places: Final = places
        self._timers: Final = timers
        self._happen: Final = happen
        self._limit: Final = limit
        self._beats: Final[dict[int, _Beat]] = {}
        self._looked = timers.time()

    def look(self) -> None:
        """Called about once a second."""
        now = self._timers.time()
        limit = self._limit()
        asleep = now - self._looked > _ASLEEP
        self._looked = now
        for place in self._places.values():
            process = place.process
            if process is None or place.state is not State.SERVING or not limit:
                self._beats.pop(place.index, None)
                continue
            at = self._cells.view[place.index * REGION_SLOTS + W_HEARTBEAT]
            beat = self._beats.get(place.index)
            if beat is None or asleep or not at or beat.at != at or beat.pid != process.pid:
                self._beats[place.index] = _Beat(process.pid, at, now)
            elif now - beat.since >= limit:
                if process.stopped():
                    log.warning("worker %d is stopped (SIGSTOP, or a debugger); it is left alone", place.index)
                    beat.since = now
                else:
                    self._stalled(place, process.pid, now - beat.since)
                    del self._beats[place.index]

    def _stalled(self, place: Place, pid: int, seconds: float) -> None:
        log.error(
            "worker %d has stood still for %.0f s (watchdog); it says on standard error where, and is replaced",
            place.index,
            seconds,
        )
        process = place.process
        if process is not None:
            place.stalled = True
            process.say_where()
            self._timers.call_later(_SAYING, self._end, place, pid)

    def _end(self, place: Place, pid: int) -> None:
        if place.process is not None and place.process.pid == pid:
            self._happen(place, Event.STALLED)
