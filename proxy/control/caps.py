"""Caps in the control process: files made before a plan needs them, what the store has that they have not, how they stand.

The files are the record (proxy/cap_files.py); workers write them. The store of exposures makes up for what a file cannot have:
units that had the version before it had a cap, and those whose writing a loss of power undid. Both are looked for when a plan
comes, a moment after it, when workers have told all that they knew, and every minute.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from proxy.cap_files import CapFile, forget_in_files, make_cap_file
from proxy.exposure.queries import Reader
from proxy.exposure.schema import ExposureError, NoExposuresError
from proxy.telemetry.facts import CapFacts, Facts

log = logging.getLogger("tidegate.control")

Spec = dict[str, Any]

EARLY: Final = 5.0
"""Seconds after a plan in which the store is looked at again."""
OFTEN: Final = 60.0
"""Seconds between two looks at it, later."""
OVERLAP: Final = 120.0
"""Seconds before the last look whose exposures are looked at once more: they may have been stored late."""


class _Kept:
    """One cap: what it is of, and its file, None where that failed."""

    def __init__(self, route: str, version: str, epoch: int, limit: int, path: str) -> None:
        self.route: Final = route
        self.version: Final = version
        self.epoch: Final = epoch
        self.limit: Final = limit
        self.path: Final = path
        self.file: CapFile | None = None
        self.problem = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Kept) and self.path == other.path and self.limit == other.limit

    __hash__ = None  # type: ignore[assignment]


class Caps:
    """The caps of the plan in force."""

    def __init__(
        self,
        facts: Facts,
        store: Callable[[], Path | None],
        directory: Callable[[], Path | None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`store` says where exposures are kept, and `directory` where the files; `clock` gives Unix seconds."""
        self._facts: Final = facts
        self._store: Final = store
        self._directory: Final = directory
        self._clock: Final = clock
        self._kept: list[_Kept] = []
        self._look_at = 0.0
        self._looking = False

    async def bring(self, spec: Spec) -> None:
        """Have the files of a plan ready; before it is sent."""
        wanted = [
            _Kept(route["name"], version["name"], route["epoch"], version["cap"]["limit"], version["cap"]["file"])
            for route in spec["routes"]
            for version in route["versions"]
            if version["cap"]
        ]
        if not wanted and not self._kept:
            return
        await asyncio.to_thread(self._make, wanted)
        self._kept = wanted
        self._look_at = self._clock() + EARLY
        self.note()

    def note(self) -> None:
        """Note how they stand; say it where one is reached, or open again."""
        known = self._facts.caps
        facts: dict[tuple[str, str], CapFacts] = {}
        for one in self._kept:
            place = (one.route, one.version)
            facts[place] = now = CapFacts(0 if one.file is None else one.file.table.count, one.limit, one.problem)
            before = known.get(place)
            if one.problem:
                continue
            if now.reached and (before is None or not before.reached):
                log.info(
                    "route %s: %d units have had version %s, and its cap is %d: nobody new gets it",
                    one.route, now.units, one.version, one.limit,
                )  # fmt: skip
            elif before is not None and before.reached and not now.reached:
                log.info(
                    "route %s: version %s is open to new units again: %d of %d have had it",
                    one.route, one.version, now.units, one.limit,
                )  # fmt: skip
        self._facts.caps = facts

    async def tick(self) -> None:
        """Once a second: note, and look at the store where that is due."""
        if not self._kept:
            return
        self.note()
        now = self._clock()
        if now >= self._look_at and not self._looking:
            self._look_at = now + OFTEN
            self._looking = True
            try:
                await asyncio.to_thread(self._look, list(self._kept))
            finally:
                self._looking = False

    def forget(self, unit: int) -> None:
        """Forget a unit (its hash): its places stay taken."""
        directory = self._directory()
        for problem in [] if directory is None else forget_in_files(directory, unit):
            log.error("%s; a unit that was erased may still be in there: erase it again", problem)

    # On a thread.

    def _make(self, wanted: list[_Kept]) -> None:
        for one in wanted:
            self._open(one)
        self._take_up(wanted)

    def _look(self, caps: list[_Kept]) -> None:
        """Try again what failed, and look at the store."""
        for one in caps:
            if one.file is None:
                self._open(one)
        self._take_up(caps)

    def _open(self, one: _Kept) -> None:
        """Have the file of a cap, made where it has to be; say why not, once."""
        path = Path(one.path)
        try:
            try:
                one.file = make_cap_file(path, one.limit)
            except ValueError as error:
                aside = path.with_name(f"{path.name}.corrupt-{int(self._clock())}")
                path.rename(aside)
                log.error("%s: %s; set aside as %s, and begun anew from the exposures", path, error, aside.name)
                one.file = make_cap_file(path, one.limit)
        except (OSError, ValueError) as error:
            if one.problem != str(error):
                one.problem = str(error)
                log.error(
                    "route %s: the units of version %s cannot be counted (%s): nobody gets it",
                    one.route, one.version, error,
                )  # fmt: skip
            return
        if one.problem:
            one.problem = ""
            log.info("route %s: the units of version %s can be counted again", one.route, one.version)

    def _take_up(self, caps: list[_Kept]) -> None:
        """Enter whom the store knows and the files do not."""
        path = self._store()
        for one in caps if path is not None else ():
            file = one.file
            if file is None or path is None:
                continue
            now = self._clock()
            since = max(0, file.table.taken_up - int(OVERLAP * 1e6))
            try:
                with Reader(path) as reader:
                    known = set(reader.units_of(one.route, one.version, one.epoch, since))
                if file.table.room < file.table.count + len(
                    known
                ):  # they may be more than the cap, and all of them keep it
                    one.file = file = make_cap_file(Path(one.path), file.table.count + len(known))
                new = file.take_up(list(known), int(now * 1e6))
                file.flush()
            except NoExposuresError:
                continue
            except (ExposureError, OSError) as error:  # a TimeoutError is an OSError
                log.warning(
                    "route %s: the units of version %s were not compared with the store: %s",
                    one.route,
                    one.version,
                    error,
                )
                continue
            if new:
                log.info(
                    "route %s: %d units of version %s, which the store knows, count for its cap",
                    one.route,
                    new,
                    one.version,
                )
