"""What the connections of one worker share: the plan in force, counters, the clock, the timer wheel, pools, and lines to control.

Nothing here waits, and nothing here knows HTTP.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from random import Random
from typing import TYPE_CHECKING, Any, Final

from proxy.channel import messages
from proxy.core.cookies import UnitCookies
from proxy.core.hashing import UnitHasher
from proxy.core.plan import NONE, Plan
from proxy.core.request import Request
from proxy.dataplane.timers import TimerWheel
from proxy.errors import Flag
from proxy.telemetry.access_log import format_line
from proxy.telemetry.counters import V_FLAGS, W_FAILURES, W_LOG_DROPPED, Cells

if TYPE_CHECKING:
    from proxy.dataplane.mirror import Copy
    from proxy.dataplane.pool import Pool

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
        self.wheel: Final = TimerWheel(now())
        self.plan: Plan | None = None
        self.hasher: UnitHasher = UnitHasher(b"")
        self.cookies: UnitCookies = UnitCookies([])
        self.pools: Final[dict[str, Pool]] = {}
        self.shadows: Final[dict[str, Pool]] = {}  # the same upstreams as mirrors use them: connections of their own
        self.copies: Final[set[Copy]] = set()
        self.draining: bool = False
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

    def count_refusal(self, status: int, flag: Flag) -> None:
        """Count a request that never got as far as a route: it has route and version `none`."""
        plan = self.plan
        if plan is not None:
            self.view[plan.none_codes + status] += 1
            if flag.error:
                self.view[plan.none_slot + V_FLAGS + flag.index] += 1

    def refused_line(self, request: Request | None, client: str, status: int, flag: Flag, request_id: bytes) -> None:
        """The access log line of a request that never got as far as a route."""
        self.access(
            format_line(
                wall=self.wall(),
                route=NONE,
                assigned=NONE,
                served=NONE,
                reason="",
                unit_hash="",
                client=client if request is None else request.client,
                method=b"" if request is None else request.method,
                host=b"" if request is None else request.host,
                path=b"" if request is None else request.path,
                status=status,
                flags=flag.code,
                duration=0.0,
                upstream_duration=-1.0,
                request_bytes=0,
                response_bytes=0,
                request_id=request_id,
                trace_id=b"",
            )
        )

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


def _nobody_listens(kind: int, payload: bytes) -> bool:  # noqa: ARG001 - until a channel is there
    return False
