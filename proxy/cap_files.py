"""The files behind caps: which units have had a version, counted over workers, restarts and upgrades.

For control, which makes them, and for workers, which write down each unit before its request goes on. A file lies beside the store
of exposures, one for each capped version of a route and each salt epoch, and all processes map it. Adding takes its lock
(flock), which is free again when who held it dies; a unit is added once in its life, so that hardly anybody ever waits. What is
written there is there for the next process at once, and is on the disk when the system finds the time: after a loss of power, the
store's records make up for what is missing (control/caps.py).
"""

import fcntl
import mmap
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Final

from proxy.core.caps import HEADER, MAGIC, CapRecord, CapTable, size_for
from proxy.core.plan import Route

KNOWN, ADMITTED, FULL, CONTENDED = range(4)
"""What comes of a unit that asks: it has had the version; it has it now; nobody new may; the lock could not be had."""

_MAGIC: Final = MAGIC.to_bytes(8, "little")
_TRIES: Final = 2_000
"""For the lock: some milliseconds. Who has it needs microseconds."""
_OPENED: Final = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW  # whoever can put a link there has no other file written to
_BITE: Final = 64
"""Units that are entered under one lock."""


def cap_file(state: str, route: str, version: str, epoch: int) -> str:
    """The file of a cap beside `state` (`sqlite:PATH`). `sqlite:tidegate.db` gives `tidegate-caps/ROUTE~VERSION~EPOCH`, relative
    to where the proxy runs."""
    return str(caps_beside(state) / f"{route}~{version}~{epoch}")


def caps_beside(state: str) -> Path:
    """The directory of all of them."""
    path = Path(state.partition(":")[2])
    return path.with_name(f"{path.stem}-caps")


def forget_in_files(directory: Path, unit: int) -> list[str]:
    """Forget a unit (its hash) in all files of caps, those too that no plan names any more; its places stay taken. Answers why
    that failed, where it did."""
    problems = []
    for path in sorted(directory.glob("*~*~*")) if directory.is_dir() else ():
        try:
            CapFile(str(path)).forget(unit)
        except (OSError, ValueError) as error:  # a TimeoutError is an OSError
            problems.append(f"{path}: {error}")
    return problems


class CapFile:
    """A file, mapped. Raises OSError, and ValueError for what is no such file."""

    def __init__(self, path: str) -> None:
        self.path: Final = path
        descriptor = os.open(path, _OPENED)
        try:
            self.identity: Final = _identity(os.fstat(descriptor))
            size = self.identity[2]
            if size < HEADER:
                raise ValueError("this is no record of a cap")
            self._map: Final = mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
        self.table: Final = CapTable(memoryview(self._map))

    def is_current(self) -> bool:
        """Whether it is what lies there now, in all its length. Raises OSError."""
        return self.identity == _identity(os.stat(self.path))  # noqa: PTH116 - in workers, too

    def admit(self, unit: int, limit: int) -> int:
        """Have a unit (its hash) counted, if it is not: one of KNOWN, ADMITTED, FULL, CONTENDED."""
        table = self.table
        if table.has(unit):
            return KNOWN
        if table.count >= limit:
            return FULL
        lock = self._lock()
        if lock < 0:
            return CONTENDED
        try:
            if table.has(unit):
                return KNOWN
            if table.count >= limit:
                return FULL
            return ADMITTED if table.add(unit) else FULL
        finally:
            os.close(lock)

    def take_up(self, units: list[int], at: int) -> int:
        """Enter units that have had the version already, as far as there is room, whatever the cap; `at` is up to when they are
        all. How many are new. Raises TimeoutError."""
        table = self.table
        missing = [unit for unit in units if not table.has(unit)]
        new = 0
        for start in range(0, len(missing), _BITE):
            lock = self._lock()
            if lock < 0:
                raise TimeoutError("somebody else writes there")
            try:
                for unit in missing[start : start + _BITE]:
                    if not table.has(unit) and table.add(unit):
                        new += 1
            finally:
                os.close(lock)
        table.take_up(at)
        return new

    def forget(self, unit: int) -> bool:
        """Forget a unit whose place stays taken. Whether it was there. Raises TimeoutError."""
        if not self.table.has(unit):
            return False
        lock = self._lock()
        if lock < 0:
            raise TimeoutError("somebody else writes there")
        try:
            return self.table.replace(unit, int.from_bytes(os.urandom(8), "little"))
        finally:
            os.close(lock)

    def flush(self) -> None:
        """Have it on the disk. Takes its time. Raises OSError."""
        self._map.flush()

    def _lock(self) -> int:
        """A descriptor that has the lock until it is closed; -1 where it cannot be had."""
        try:
            descriptor = os.open(self.path, _OPENED)
        except OSError:
            return -1
        if _identity(os.fstat(descriptor))[:2] == self.identity[:2]:
            for _ in range(_TRIES):
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    continue
                except OSError:
                    break
                return descriptor
        os.close(descriptor)
        return -1


def _identity(state: os.stat_result) -> tuple[int, int, int]:
    return state.st_dev, state.st_ino, state.st_size


def make_cap_file(path: Path, units: int) -> CapFile:
    """The file with room for so many units, made or made longer where it has to be. All of the room is taken from the disk here:
    who writes into a hole while the disk is full dies of it. Raises OSError, and ValueError for what is no such file."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(path, _OPENED | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        was = os.fstat(descriptor).st_size
        if was > 0 and os.pread(descriptor, 8, 0) != _MAGIC:  # it is somebody else's, and stays as it is
            raise ValueError("this is no record of a cap")
        size = size_for(units)
        if was < size:
            try:
                os.posix_fallocate(descriptor, 0, size)
            except OSError:
                os.ftruncate(descriptor, was)  # what there was room for would be taken for somebody else's file
                raise
        if was == 0:
            os.pwrite(descriptor, _MAGIC, 0)
        made = CapFile(str(path))
        made.table.recount()
        return made
    finally:
        os.close(descriptor)


class FileRecord(CapRecord):
    """The record of a cap in a file. `hasher` gives the hash of a unit in 16 hex digits."""

    def __init__(self, file: CapFile, hasher: Callable[[bytes], str]) -> None:
        self.file: Final = file
        self.hasher: Final = hasher

    def count(self) -> int:
        """How many units have had the version."""
        return self.file.table.count

    def has(self, unit: bytes) -> bool:
        """Whether this unit has."""
        return self.file.table.has(int(self.hasher(unit), 16))


def look_into_files(routes: Iterable[Route], hasher: Callable[[bytes], str]) -> None:
    """Give the caps of these routes their records, to be asked; one whose file is not there keeps what it has."""
    for route in routes:
        for version in route.capped:
            if version.cap is not None:
                with suppress(OSError, ValueError):
                    version.cap.record = FileRecord(CapFile(version.cap.file), hasher)
