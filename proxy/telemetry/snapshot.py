"""Reading the counters without making memory of them.

The counters are sparse: a page nobody counted in does not exist. Reading such a page through the mapping would
create it (a read fault on shared memory allocates), so that one scrape of a large plan would turn address space into
memory. So the control process asks the kernel where data is (lseek with SEEK_DATA) and copies that out with pread,
which invents nothing. Where the kernel cannot tell, it calls everything data, and the answers are the same.
"""

import errno
import os
from bisect import bisect_right
from typing import Final

from proxy.telemetry.counters import LEDGER_SLOTS, REGION_SLOTS, Cells

SLOT_BYTES: Final = 8


class Snapshot:
    """Where data was when this was made, and what the blocks hold when asked.

    Slots are places within a region; what is read is the sum over the regions of all workers. A snapshot is made for
    one scrape: pages touched after it was made are not seen.
    """

    def __init__(self, cells: Cells) -> None:
        """Ask for the extents of data. Raises OSError when the descriptor is no longer open."""
        self._descriptor: Final = cells.descriptor
        self._regions: Final = tuple(worker * REGION_SLOTS for worker in range(cells.regions))
        self._starts: Final[list[int]] = []
        self._ends: Final[list[int]] = []
        for region in self._regions:
            self._look(region * SLOT_BYTES, (region + LEDGER_SLOTS) * SLOT_BYTES)

    def _look(self, place: int, end: int) -> None:
        """Note the extents of data from byte `place` to byte `end`: what the ledger dealt out of one region."""
        while place < end:
            try:
                start = os.lseek(self._descriptor, place, os.SEEK_DATA)
                place = os.lseek(self._descriptor, start, os.SEEK_HOLE)
            except OSError as error:
                if error.errno == errno.ENXIO:  # no data from here on
                    return
                raise
            if start < end:
                self._starts.append(start // SLOT_BYTES)
                self._ends.append(min(place, end) // SLOT_BYTES)

    def touched(self, place: int, slots: int) -> bool:
        """Whether any page of the absolute slots `place` to `place + slots` exists."""
        index = bisect_right(self._starts, place) - 1
        if index >= 0 and self._ends[index] > place:
            return True
        index += 1
        return index < len(self._starts) and self._starts[index] < place + slots

    def read(self, offset: int, slots: int) -> list[int] | None:
        """All slots of the block at `offset`, summed over the workers; None when nobody counted there."""
        total: list[int] | None = None
        for region in self._regions:
            data = self._bytes(region + offset, slots)
            if data:
                values = memoryview(data).cast("q").tolist()
                total = values if total is None else [a + b for a, b in zip(total, values, strict=True)]
        return total

    def sparse(self, offset: int, slots: int) -> dict[int, int]:
        """The slots of the block at `offset` that are not 0, by place in the block, summed over the workers."""
        total: dict[int, int] = {}
        for region in self._regions:
            data = self._bytes(region + offset, slots)
            if data:
                # Codes lie close together: cutting the zeros off both ends leaves little to look at one by one.
                first = (len(data) - len(data.lstrip(b"\0"))) // SLOT_BYTES
                last = -(-len(data.rstrip(b"\0")) // SLOT_BYTES)
                values = memoryview(data)[first * SLOT_BYTES : last * SLOT_BYTES].cast("q").tolist()
                for index, value in enumerate(values, first):
                    if value:
                        total[index] = total.get(index, 0) + value
        return {index: value for index, value in total.items() if value}

    def worker(self, worker: int, slots: int) -> list[int]:
        """The first `slots` slots of the region of `worker`, unsummed."""
        data = self._bytes(self._regions[worker], slots)
        return memoryview(data).cast("q").tolist() if data else [0] * slots

    def _bytes(self, place: int, slots: int) -> bytes:
        """The slots as they lie in memory, or nothing when they are all 0."""
        if not self.touched(place, slots):
            return b""
        data = os.pread(self._descriptor, slots * SLOT_BYTES, place * SLOT_BYTES)
        return data if data.count(0) < len(data) else b""
