"""Where the access log goes: opened at the start, moved or turned off by a reload, opened anew when it was rotated."""

import asyncio
import logging
from collections import Counter
from typing import Final

from proxy.errors import TidegateError
from proxy.telemetry.log_file import LogFile

log = logging.getLogger("tidegate.control")

OFF: Final = "off"


class AccessFile:
    """The file behind the workers' access lines. Until it is opened, lines go nowhere."""

    def __init__(self) -> None:
        self.target = OFF
        """Where lines go now: "off", "stdout" or a path."""
        self._file: LogFile | None = None
        self._closing: LogFile | None = None  # the one before, as long as it still writes
        self._lost_before: Final[Counter[str]] = Counter()  # of those that are closed

    def open(self, target: str) -> None:
        """Have lines go to `target`. Raises TidegateError when it cannot be opened."""
        if target == OFF:
            return
        try:
            self._file = LogFile(target, lambda level, text: log.log(getattr(logging, level.upper()), text))
        except OSError as error:
            raise TidegateError(f"access_log: {target} cannot be opened: {error.strerror or error}") from error
        self.target = target

    async def move(self, target: str) -> None:
        """Have lines go to `target` from now on, and nowhere where it cannot be opened: that is logged."""
        self._closing, self._file, self.target = self._file, None, OFF
        try:
            self.open(target)
        except TidegateError as error:
            log.error(str(error))
        if self._closing is not None:
            await asyncio.to_thread(self._closing.close)
            self._lost_before.update(self._closing.lost)
            self._closing = None

    def reopen(self) -> None:
        """The file was rotated: open its path anew."""
        if self._file is not None:
            self._file.reopen()

    def write(self, lines: bytes) -> None:
        """Queue whole lines."""
        if self._file is not None:
            self._file.write(lines)

    @property
    def lost(self) -> dict[str, int]:
        """By reason, the lines that never reached a file, this one or one before."""
        lost = self._lost_before.copy()
        for one in (self._closing, self._file):
            if one is not None:
                lost.update(one.lost)
        return lost

    def close(self) -> None:
        """Write what is queued, and stop."""
        if self._file is not None:
            self._file.close()
