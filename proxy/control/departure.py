"""How the proxy leaves: readiness fails at once, accepting goes on for a while, then what is in flight finishes."""

import asyncio
import logging
import signal
from collections.abc import Callable, Coroutine
from typing import Any, Final

from proxy.control.supervisor import Supervisor

log = logging.getLogger("tidegate.control")

PATIENCE: Final = 10.0
"""Seconds that Docker waits after SIGTERM before it kills; Kubernetes waits 30."""


class Departure:
    """Listens for the signals that end the proxy. The first begins the drain, the second ends it at once."""

    def __init__(self) -> None:
        self._first: Final[asyncio.Future[signal.Signals | None]] = asyncio.get_running_loop().create_future()
        self._hurry: Final = asyncio.Event()

    def signalled(self, number: signal.Signals) -> None:
        """SIGTERM, SIGQUIT: drain. SIGINT, from a terminal: drain without the delay."""
        if not self._first.done():
            self._first.set_result(number)
        else:
            log.warning("%s again: ending at once", number.name)
            self._hurry.set()

    def hand_over(self) -> None:
        """Another control process takes the place of this one: it leaves, and the workers stay."""
        if not self._first.done():
            self._first.set_result(None)

    @property
    def begun(self) -> bool:
        """Whether the proxy is leaving."""
        return self._first.done()

    async def wait(self) -> signal.Signals | None:
        """The first signal; None when another control process takes over."""
        return await self._first

    async def leave(
        self, supervisor: Supervisor, delay: float, limit: float, stop_listening: Callable[[], None]
    ) -> None:
        """Drain all workers. Accepting goes on for `delay` seconds, what is in flight then has `limit` seconds.

        `stop_listening` closes control's own hold on the listening sockets: the workers accept what waits, and when they
        have closed theirs too, new connections are refused.
        """
        if self._first.done() and self._first.result() is signal.SIGINT:
            delay = 0.0
        _announce(delay, limit)
        await self._or_hurry(asyncio.sleep(delay))
        stop_listening()
        await self._or_hurry(supervisor.drain(limit))
        if self._hurry.is_set():
            supervisor.kill()
            await supervisor.gone()
        log.info("drained")

    async def _or_hurry(self, work: Coroutine[Any, Any, None]) -> None:
        """Wait for `work`; not any longer once the second signal comes, which cancels it."""
        hurry = asyncio.create_task(self._hurry.wait(), name="second signal")
        task = asyncio.create_task(work, name="drain")
        await asyncio.wait((hurry, task), return_when=asyncio.FIRST_COMPLETED)
        for one in (hurry, task):
            one.cancel()
        await asyncio.gather(hurry, task, return_exceptions=True)


def _announce(delay: float, limit: float) -> None:
    longest = delay + limit
    accepting = f"accepting for {delay:g} s more, then " if delay else ""
    log.info("draining: %swhat is in flight has %g s; a second signal ends at once", accepting, limit)
    if longest >= PATIENCE:
        log.warning(
            "draining may take %g s; Docker kills after %g s unless told otherwise (docker stop -t, "
            "terminationGracePeriodSeconds): keep drain.delay + drain.limit below that",
            longest,
            PATIENCE,
        )
