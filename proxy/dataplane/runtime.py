"""What the connections of one worker share: the plan in force, counters, the clock, the timer wheel, and lines to control.

Nothing here waits, and nothing here knows HTTP.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from random import Random
from typing import Any, Final

from proxy.channel import messages
from proxy.core.cookies import UnitCookies
from proxy.core.gcra import RateTable
from proxy.core.hashing import UnitHasher
from proxy.core.plan import Plan
from proxy.dataplane.braking import Braking
from proxy.dataplane.capping import Capping
from proxy.dataplane.evidencing import Evidencing
from proxy.dataplane.exposing import Exposing
from proxy.dataplane.identifying import Identifying
from proxy.dataplane.ids import TraceIds
from proxy.dataplane.timers import TimerWheel
from proxy.telemetry.counters import W_FAILURES, W_LOG_DROPPED, Cells

log = logging.getLogger("tidegate.worker")

_LINES_HELD: Final = 4 << 20
"""Bytes of access log that wait while control does not read. Beyond, lines are dropped and counted."""


class Runtime:
    """One worker's shared state. `now` is a monotonic clock in seconds, `wall` the time of day in seconds since the epoch."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        cells: Cells,
        now: Callable[[], float],
        wall: Callable[[], float],
        rng: Random,
    ) -> None:
        self.loop: Final = loop
        self.cells: Final = cells
        self.view: Final[memoryview] = cells.view
        self.base: Final = cells.base
        self.now: Final = now
        self.wall: Final = wall
        self.rng: Final = rng
        self.ids: Final = TraceIds(rng)
        self.wheel: Final = TimerWheel(now())
        self.plan: Plan | None = None
        self.hasher: UnitHasher = UnitHasher(b"")
        self.cookies: UnitCookies = UnitCookies([])
        self.rates: RateTable | None = None  # once something is limited by rate
        self.exposing: Final = Exposing(wall, cells.view)
        self.capping: Final = Capping(cells.view)
        self.evidencing: Final = Evidencing(now, wall, cells.view)
        self.braking: Final = Braking(now, cells.view, _warn)
        self.identifying: Final = Identifying(cells.view, cells.base)
        self.draining: bool = False
        self.faults_killed: bool = False
        self._lines: list[bytes] = []
        self._lines_size: int = 0
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self.send: Callable[[int, bytes], bool] = _nobody_listens

    def spawn(self, name: str, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run `work` beside everything else; what it dies of is logged and counted."""
        task = self.loop.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)
        return task

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None:
            self.unexpected(task.get_name(), error)

    def unexpected(self, where: str, error: BaseException) -> None:
        """Something that nothing expected: counted and logged, and the worker goes on."""
        self.view[self.base + W_FAILURES] += 1
        log.error("unexpected failure in %s", where, exc_info=error)

    def access(self, line: bytes) -> None:
        """Hand an access log line on; it leaves with the next flush."""
        if self._lines_size > _LINES_HELD:
            self.view[self.base + W_LOG_DROPPED] += 1
            return
        self._lines.append(line)
        self._lines_size += len(line)

    def flush(self) -> None:
        """Send the access log lines collected so far, unless control is behind."""
        if self._lines and self.send(messages.ACCESS, b"".join(self._lines)):
            self._lines.clear()
            self._lines_size = 0


def _warn(text: str, fields: dict[str, Any]) -> None:
    log.warning("%s", text, extra={"numbers": fields})


def _nobody_listens(kind: int, payload: bytes) -> bool:  # noqa: ARG001 - until a channel is there
    return False
