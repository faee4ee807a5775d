"""At most so many units ever: who has had a version, and when nobody new may.

The record is memory that all workers, and processes after them, share (proxy/cap_files.py puts a file behind it): a count, and the
hashes of the units. It only ever grows, so that nothing in it has to move: entries lie in hash tables one behind the other,
each twice as long as the one before and filled to one half before the next is begun. Looking needs no lock; adding is for
who holds the file's. The count goes up before the entry is there: whoever dies in between has used a place up, and none is
given twice.
"""

from typing import Any, Final

Spec = dict[str, Any]

MAGIC: Final = 0x31504143475444  # "DTGCAP1" as the machine reads it
HEADER: Final = 4096
"""Bytes before the first table: MAGIC, the count, and up to when exposures were taken up (microseconds since 1970)."""
FIRST_TABLE: Final = 4096
"""Slots of the first table, of 64 bits each; it takes half as many entries."""
MOST: Final = 10_000_000
"""Units that a cap may allow."""

_WORDS: Final = HEADER // 8


def size_for(units: int) -> int:
    """Bytes of a record with room for so many units."""
    words, slots = _WORDS, FIRST_TABLE
    while units > 0:
        words += slots
        units -= slots >> 1
        slots <<= 1
    return 8 * words


class CapTable:
    """A record. Hashes are numbers of 64 bits; 0 stands for none and is kept as 1."""

    def __init__(self, memory: memoryview) -> None:
        """`memory` is all of it, writable where units are to be added. Raises ValueError for what is no such record."""
        words = memory.cast("Q")
        if len(words) < _WORDS or words[0] != MAGIC:
            raise ValueError("this is no record of a cap")
        self._words: Final[memoryview] = words
        room, start, slots = 0, _WORDS, FIRST_TABLE
        while start + slots <= len(words):
            room += slots >> 1
            start += slots
            slots <<= 1
        self.room: Final[int] = room  # for how many units there is any

    @property
    def count(self) -> int:
        """How many units have had it."""
        count: int = self._words[1]
        return count

    @property
    def taken_up(self) -> int:
        """Up to when exposures that the store has are in it, in microseconds since 1970."""
        at: int = self._words[2]
        return at

    def take_up(self, at: int) -> None:
        """Note up to when they are."""
        self._words[2] = at

    def has(self, unit: int) -> bool:
        """Whether this unit is in it."""
        return self._find(unit or 1) >= 0

    def add(self, unit: int) -> bool:
        """Enter a unit that is not in it; False where there is no room. Only for who holds the lock."""
        words = self._words
        count: int = words[1]
        if count >= self.room:
            return False
        words[1] = count + 1
        start, slots = _WORDS, FIRST_TABLE
        while count >= slots >> 1:
            count -= slots >> 1
            start += slots
            slots <<= 1
        entry = unit or 1
        place = entry % slots
        while words[start + place]:
            place = place + 1 if place + 1 < slots else 0
        words[start + place] = entry
        return True

    def replace(self, unit: int, other: int) -> bool:
        """Put another hash in the place of a unit's, so that it is forgotten and its place stays taken; False where it is not
        in it. Only for who holds the lock."""
        at = self._find(unit or 1)
        if at < 0:
            return False
        self._words[at] = other or 1
        return True

    def recount(self) -> None:
        """Count anew, and believe the higher number. Only for who holds the lock."""
        found = 0
        start, slots = _WORDS, FIRST_TABLE
        while start + slots <= len(self._words):
            for at in range(start, start + slots, FIRST_TABLE):
                found += FIRST_TABLE - self._words[at : at + FIRST_TABLE].tolist().count(0)
            start += slots
            slots <<= 1
        self._words[1] = max(found, min(self._words[1], self.room))

    def _find(self, entry: int) -> int:
        """Where this entry stands; -1 where it does not."""
        words = self._words
        left: int = words[1]
        start, slots = _WORDS, FIRST_TABLE
        while left > 0 and start + slots <= len(words):
            place = entry % slots
            seen: int = words[start + place]
            while seen:
                if seen == entry:
                    return start + place
                place += 1
                if place == slots:
                    place = 0
                seen = words[start + place]
            left -= slots >> 1
            start += slots
            slots <<= 1
        return -1

    def release(self) -> None:
        """Let go of the memory."""
        self._words.release()


class CapRecord:
    """What a cap asks of the record of its version. This one says that nobody has had it: for who does not serve."""

    def count(self) -> int:
        """How many units have had the version."""
        return 0

    def has(self, unit: bytes) -> bool:
        """Whether this unit has."""
        return False


class Cap:
    """The cap of a version. Without a record nobody may have the version: who cannot count gives nothing away."""

    def __init__(self, spec: Spec, version: str) -> None:
        self.limit: Final[int] = spec["limit"]
        self.file: Final[str] = spec["file"]
        self.label: Final = f"versions.{version}.cap"
        self.record: CapRecord | None = (
            None  # given by who builds the plan; one record may serve one plan after the other
        )

    def reached(self) -> bool:
        """Whether as many units have had it as may."""
        record = self.record
        return record is None or record.count() >= self.limit

    def closed_to(self, unit: bytes | None) -> bool:
        """Whether this unit may not have the version: the cap is reached, and it has not had it. Without a unit there is nobody
        who could have."""
        record = self.record
        if record is None:
            return True
        if record.count() < self.limit:
            return False
        return unit is None or not record.has(unit)
