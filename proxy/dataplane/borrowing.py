"""Lists of units, borrowed from control: memory that it fills and all workers look into.

Control names a memory by its process and descriptor. It is opened as the kernel shows it, under /proc, which the same user
may, and it stays when control has closed it or has died. A list that cannot be opened stays what it was: either control has
put another one in its place, and says so next, or it is gone and the next one will.
"""

import mmap
import os
from collections.abc import Iterable
from typing import Any, Final

from proxy.core.unit_table import UnitList, UnitTable
from proxy.dataplane.runtime import log


class Borrowed:
    """The lists of one worker by name. A new table counts at once, for plans that have the list already too."""

    def __init__(self) -> None:
        self.lists: Final[dict[str, UnitList]] = {}
        self._inodes: Final[dict[str, int]] = {}
        self._offered: frozenset[str] = frozenset()

    def take(self, message: dict[str, Any]) -> None:
        """A UNITS message."""
        self._offered = frozenset([one["name"] for one in message["lists"]])
        for one in message["lists"]:
            name: str = one["name"]
            if self._inodes.get(name) == one["inode"]:
                continue
            try:
                table = _open(message["pid"], one["descriptor"], one["inode"], one["size"])
            except (OSError, ValueError) as error:
                log.warning("the list %s could not be taken: %s", name, error)
                continue
            self._inodes[name] = one["inode"]
            held = self.lists.get(name)
            if held is None:
                self.lists[name] = UnitList(table)
            else:
                held.table = table

    def leave(self, named: Iterable[str]) -> None:
        """Let go of lists that neither the plan in force names nor control offers."""
        staying = self._offered | frozenset(named)
        for name in [name for name in self.lists if name not in staying]:
            del self.lists[name]
            del self._inodes[name]


def _open(pid: int, descriptor: int, inode: int, size: int) -> UnitTable:
    """The table in this memory of another process. Raises OSError and ValueError."""
    # It may be a pipe by now, and is not waited for.
    opened = os.open(f"/proc/{pid}/fd/{descriptor}", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        state = os.fstat(opened)
        if state.st_ino != inode or state.st_size != size:
            raise ValueError("another has taken its place")
        return UnitTable(memoryview(mmap.mmap(opened, size, prot=mmap.PROT_READ)))
    finally:
        os.close(opened)
