"""The switch that ends all faults at once, whatever the file says, and stays where it was put.

It works before it is written down: who reaches for it is in a hurry. It is kept in the state store and by the workers, so
that neither a restart nor a control process that died brings the faults back.
"""

import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Final

from proxy.control.state import Store

log = logging.getLogger("tidegate.control")

_STORED: Final = "faults_killed"


@dataclass(frozen=True, slots=True)
class Kill:
    """Why there are no faults, who said so, and since when (Unix seconds)."""

    reason: str
    by: str
    since: float


class KillSwitch:
    """Whether faults are killed. One change at a time."""

    def __init__(self, store: Store, clock: Callable[[], float], changed: Callable[[], None]) -> None:
        """`clock` gives Unix seconds; `changed` is called after each change, and must tell the workers."""
        self._store: Final = store
        self._clock: Final = clock
        self._changed: Final = changed
        self.kill: Kill | None = None

    async def load(self, inherited: dict[str, Any] | None) -> None:
        """Take what the store has, or what an earlier control process gave its workers to keep. Raises StoreError."""
        kept = await self._store.get(_STORED) or inherited
        self.kill = (
            None if kept is None else Kill(kept.get("reason", ""), kept.get("by", "unknown"), kept.get("since", 0.0))
        )
        if self.kill is not None:
            log.warning("faults are switched off since an earlier start (by %s: %s)", self.kill.by, self.kill.reason)

    def packed(self) -> dict[str, Any] | None:
        """As plain values, for the workers to keep."""
        return None if self.kill is None else asdict(self.kill)

    async def throw(self, reason: str, by: str) -> Kill:
        """End all faults. Raises StoreError where it could not be written down; then too they have ended."""
        kill = Kill(reason, by, self._clock())
        self.kill = kill
        self._changed()
        log.warning("faults are switched off by %s: %s", by, reason or "no reason given")
        await self._store.put(_STORED, asdict(kill))
        return kill

    async def lift(self, by: str) -> None:
        """Let faults hold again, as the file says. Raises StoreError, and then nothing has changed."""
        await self._store.delete(_STORED)
        if self.kill is not None:
            self.kill = None
            self._changed()
            log.info("faults are switched on again by %s", by)
