"""Reads the configuration again when it changes. A bad file never replaces a good plan: all its errors are shown.

One reading is under way at a time. Whatever is asked for meanwhile is one more reading afterwards, so a storm of saves
settles on the last.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final, Protocol

from proxy.control.watch import fingerprint, looks
from proxy.settings.loader import Loaded
from proxy.settings.problems import SettingsError

log = logging.getLogger("tidegate.reload")


class Source(Protocol):
    """Where configurations come from: settings' Loader, in life."""

    files: list[Path]
    directories: list[Path]

    def load(self) -> Loaded:
        """The configuration as it lies there now. Raises SettingsError."""


class Reloader:
    """Watches and reads; what comes of it is told."""

    def __init__(
        self,
        source: Source,
        accept: Callable[[Loaded], Awaitable[None]],
        refuse: Callable[[SettingsError], None],
        by_polling: Callable[[], bool],
    ) -> None:
        """`accept` and `refuse` are called on the loop with what a reading gave, one at a time; `by_polling` says how to watch."""
        self._source: Final = source
        self._accept: Final = accept
        self._refuse: Final = refuse
        self._by_polling: Final = by_polling
        self._asked: Final = asyncio.Event()
        self._seen = fingerprint(source)

    def ask(self) -> None:
        """Read the files again soon, changed or not."""
        self._asked.set()

    async def watch(self) -> None:
        """Ask whenever files have changed, for ever."""
        async for _ in looks(self._source, self._by_polling):
            if await asyncio.to_thread(fingerprint, self._source) != self._seen:
                self.ask()

    async def run(self) -> None:
        """Read whenever asked, for ever."""
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.read()

    async def read(self) -> None:
        """Read the files now, on a thread: control goes on meanwhile."""
        # The mark is taken before the reading: a change that comes in between differs from it and is read next.
        self._seen = await asyncio.to_thread(fingerprint, self._source)
        files = list(self._source.files)
        try:
            loaded = await asyncio.to_thread(self._source.load)
        except SettingsError as error:
            self._refuse(error)
        else:
            await self._accept(loaded)
        if self._source.files != files:
            self._seen = await asyncio.to_thread(fingerprint, self._source)
