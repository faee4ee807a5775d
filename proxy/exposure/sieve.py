"""Has this unit been seen on this route? "No" is certain, "maybe" is wrong less than once in a thousand times.

A blocked Bloom filter (Putze, Sanders, Singler, "Cache-, hash- and space-efficient Bloom filters", 2007): each key sets five bits
of one 64-bit word, so a test is one look into memory. With 32 bits a key it is wrong for less than one stranger in a thousand.
One belongs to each segment of the store: a newcomer is told from a known unit without a question to the database.
"""

from typing import Final

WORDS: Final = 1 << 17
"""Words of 64 bits: 1 MiB, for up to 262,144 keys."""

_MASK: Final = WORDS - 1
_MIX: Final = 0x9E3779B97F4A7C15
_FULL: Final = (1 << 64) - 1


def sieve_key(unit: int, route: int) -> tuple[int, int, int]:
    """A unit's hash (64 bits, unsigned) on the route of this number: one hash of both, and its word and bits in a sieve."""
    mixed = (unit ^ (route * _MIX & _FULL)) * _MIX & _FULL
    bits = (
        1 << (mixed >> 58)
        | 1 << (mixed >> 52 & 63)
        | 1 << (mixed >> 46 & 63)
        | 1 << (mixed >> 40 & 63)
        | 1 << (mixed >> 34 & 63)
    )
    return mixed, mixed >> 12 & _MASK, bits


class Sieve:
    """The keys of one segment. `words` is indexed with the second number of a key and tested against the third."""

    SIZE: Final = WORDS * 8
    """Bytes of a packed one."""

    def __init__(self, packed: bytes = b"") -> None:
        """Empty, or what `packed` gave. Raises ValueError for what it did not give."""
        if packed and len(packed) != self.SIZE:
            raise ValueError("a sieve of another size")
        self.words: Final[memoryview] = memoryview(bytearray(packed or WORDS * 8)).cast("Q")

    def add(self, key: tuple[int, int, int]) -> None:
        """Put a key in."""
        self.words[key[1]] |= key[2]

    def may_have(self, key: tuple[int, int, int]) -> bool:
        """Whether the key may be in it; False is certain."""
        return self.words[key[1]] & key[2] == key[2]

    def packed(self) -> bytes:
        """As bytes."""
        return self.words.tobytes()
