"""Lists of units in life: lent to the workers, and read again when their files change, without a look at the configuration.

A file is read on a thread (settings/unit_files.py). What comes of it replaces the list in the workers at once; a file that
cannot be used, or is gone, leaves the list as it was.
"""

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from proxy.channel import messages
from proxy.channel.frames import encode_json
from proxy.control.clock import Timer, Timers
from proxy.control.watch import looks
from proxy.core.unit_table import UnitList
from proxy.settings.unit_files import Memory, UnitFile, UnitFiles
from proxy.telemetry.facts import Facts, ListFacts

log = logging.getLogger("tidegate.lists")

_GRACE: Final = 5.0
"""Seconds that a memory stays open after another took its place: a worker that is late still finds it."""


class UnitLists:
    """The lists that the configuration in force names."""

    def __init__(
        self,
        files: UnitFiles,
        facts: Facts,
        lend: Callable[[bytes], None],
        timers: Timers,
        by_polling: Callable[[], bool],
    ) -> None:
        """`lend` gives a frame to all workers; `by_polling` says how to watch."""
        self.files: list[Path] = []
        self.directories: list[Path] = []
        self._source: Final = files
        self._facts: Final = facts
        self._lend: Final = lend
        self._timers: Final = timers
        self._by_polling: Final = by_polling
        self._lists: dict[str, UnitFile] = {}
        self._lent: dict[str, int] = {}
        self._mapped: Final[dict[str, UnitList]] = {}
        self._former: list[Memory] = []
        self._timer: Timer | None = None
        self._named: Final = asyncio.Event()

    def bring(self, lists: dict[str, UnitFile]) -> None:
        """Have these lists in force; called before the plan that names them is sent. The dict is this object's from then
        on: who else held a list that was replaced would hold its memory."""
        before = self._lists
        self._lists = lists
        self.files = [self._source.path(name) for name in lists]
        if lists:
            self._named.set()
        else:
            self._named.clear()
        for name in self._facts.lists.keys() - lists.keys():
            del self._facts.lists[name]
            self._mapped.pop(name, None)
        for name, read in lists.items():
            if before.get(name) is not read:
                self._note(name, read)
        self._give([one.memory for name, one in before.items() if self._lists.get(name) is not one])

    def tables(self) -> Mapping[str, UnitList]:
        """The lists, to be looked into here; each stays the same object while its table is replaced."""
        for name, read in self._lists.items():
            if name not in self._mapped:
                self._mapped[name] = UnitList(read.table())
        return self._mapped

    async def watch(self) -> None:
        """Read files again when they change, for ever."""
        while True:
            await self._named.wait()
            async with contextlib.aclosing(looks(self, self._by_polling)) as times:
                async for _ in times:
                    await self.look()
                    if not self._lists:
                        break

    async def look(self) -> None:
        """Read those files that have changed."""
        for name in list(self._lists):
            if await asyncio.to_thread(self._source.changed, name):
                self._forget()  # with the one before, there would be three of them while this one is made
                await asyncio.to_thread(self._source.look, name)
            if name not in self._lists:  # a configuration came meanwhile
                continue
            facts = self._facts.lists[name]
            problem = self._source.problems.get(name, "")
            read = self._source.known.get(name)
            if problem != facts.problem:
                if problem:
                    facts.refused += 1
                    log.error("%s; the list stays as it was, of %d units", problem, facts.units)
                else:
                    log.info("the list %s can be used again", name)
                facts.problem = problem
            if read is not None and read is not self._lists[name]:
                self._replace(name, read)

    def _replace(self, name: str, read: UnitFile) -> None:
        old = self._lists[name]
        self._lists[name] = read
        self._note(name, read)
        if read.digest == old.digest:
            log.info("the list %s was read again; nothing has changed", name)
        else:
            log.info("the list %s is now of %d units, and was of %d", name, read.units, old.units)
        bad = read.skipped["not_text"] + read.skipped["too_long"]
        if bad:
            log.warning("%d lines of %s are no units; the first is line %d", bad, read.path, read.first_bad)
        self._give([old.memory])

    def _note(self, name: str, read: UnitFile) -> None:
        if name in self._mapped:
            self._mapped[name].table = read.table()
        facts = self._facts.lists.setdefault(name, ListFacts())
        facts.file = str(read.path)
        facts.units = read.units
        facts.skipped = dict(read.skipped)
        facts.modified = read.modified
        facts.taken_at = time.time()
        facts.taken += 1

    def _give(self, former: list[Memory]) -> None:
        lent = {name: one.memory.inode for name, one in self._lists.items()}
        if lent != self._lent:
            self._lent = lent
            described = [
                {"name": name, "descriptor": one.memory.descriptor, "inode": one.memory.inode, "size": one.memory.size}
                for name, one in self._lists.items()
            ]
            self._lend(encode_json(messages.UNITS, {"pid": os.getpid(), "lists": described}))
        if former:
            self._forget()
            self._former = former
            self._timer = self._timers.call_later(_GRACE, self._forget)

    def _forget(self) -> None:
        self._former = []
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
