"""Who gets what, by hash alone: no state, so that every worker, every replica and every restart agree.

Weights are dealt by weighted rendezvous. Each arm draws u in (0, 1) from a hash of the unit, and the smallest -ln(u)
/ w wins: a race of exponentials, in which an arm wins with probability w / sum of w. Raising one arm's weight only
shortens its own time, so nobody leaves an arm whose weight fell against none, however many arms there are; cumulative
weights hold that for two arms only. The hash is mmh3_32 over `salt NUL purpose NUL version NUL unit`: the NULs keep
neighbours apart, and the purpose keeps a 10 % mirror from being exactly the canary's users.
"""

from hashlib import blake2b
from math import log
from typing import Final

from mmh3 import mmh3_32_uintdigest

_SCALE: Final = 2.0**-32
_BUCKETS: Final = 10_000
_REMEMBERED: Final = 16_384
_LONGEST: Final = 256
"""Bytes of a unit beyond which its hash is made each time: clients may choose their units, and so what is remembered."""


def hash32(data: bytes) -> int:
    """MurmurHash3_x86_32 with seed 0, unsigned."""
    return mmh3_32_uintdigest(data, 0)


def bucket(salt: bytes, unit: bytes) -> int:
    """The bucket shown to people, in [0, 10000). It decides nothing."""
    return mmh3_32_uintdigest(salt + b"\0" + unit, 0) % _BUCKETS


def unit_hash32(prefix: bytes, unit: bytes) -> int:
    """The hash of a unit for one purpose; `prefix` is `salt NUL purpose NUL name NUL`."""
    return mmh3_32_uintdigest(prefix + unit, 0)


def sampled(prefix: bytes, unit: bytes, threshold: int) -> bool:
    """Whether a unit is within a share of threshold / 2^32 of all units: always the same ones, and growing with it."""
    return mmh3_32_uintdigest(prefix + unit, 0) < threshold


class Dealer:
    """Deals units to the arms of one split.

    `arms` are (index of the version, name of the version, weight); weights are relative and not negative, and an arm of
    weight 0 never wins. Ties go to the arm listed first.
    """

    def __init__(self, salt: str, purpose: str, arms: list[tuple[int, str, float]]) -> None:
        self.arms: Final = arms
        self._running: Final = [
            (index, f"{salt}\0{purpose}\0{name}\0".encode(), weight) for index, name, weight in arms if weight > 0
        ]
        self.count: Final = len(self._running)
        nothing = (-1, b"", 1.0)
        first = self._running[0] if self.count > 0 else nothing
        second = self._running[1] if self.count > 1 else nothing
        # The first two arms stand apart, because most splits have no more than two.
        self._first: Final[int] = first[0]
        self._first_prefix: Final[bytes] = first[1]
        self._first_weight: Final[float] = first[2]
        self._second: Final[int] = second[0]
        self._second_prefix: Final[bytes] = second[1]
        self._second_weight: Final[float] = second[2]

    def deal(self, unit: bytes, denied: int = 0) -> int:
        """The index of the version this unit gets, or -1 when no arm with a weight is left.

        `denied` is a bit mask of version indexes that may not win; the others keep their relative shares.
        """
        if denied == 0:
            if self.count == 2:
                # Said to be numbers, because a wheel is mostly built where mmh3 is not there to say it.
                one: int = mmh3_32_uintdigest(self._first_prefix + unit, 0)
                other: int = mmh3_32_uintdigest(self._second_prefix + unit, 0)
                first = log((one + 0.5) * _SCALE) / self._first_weight
                second = log((other + 0.5) * _SCALE) / self._second_weight
                return self._first if first >= second else self._second  # times are negated: the larger is the sooner
            if self.count == 1:
                return self._first
        winner = -1
        best = 0.0
        for index, prefix, weight in self._running:
            if denied >> index & 1:
                continue
            hashed: int = mmh3_32_uintdigest(prefix + unit, 0)
            time = -log((hashed + 0.5) * _SCALE) / weight
            if winner < 0 or time < best:
                winner = index
                best = time
        return winner

    def times(self, unit: bytes) -> list[tuple[int, float]]:
        """What `deal` compares, by version index: -ln(u) / w of every arm with a weight. The smallest wins."""
        return [
            (index, -log((mmh3_32_uintdigest(prefix + unit, 0) + 0.5) * _SCALE) / weight)
            for index, prefix, weight in self._running
        ]


class UnitHasher:
    """A unit's name in headers, logs and exposures: keyed, so that guessing does not turn it back."""

    def __init__(self, key: bytes) -> None:
        # BLAKE2b takes 64 bytes of key at most; longer ones are hashed down first.
        self._key: Final = key if len(key) <= 64 else blake2b(key, digest_size=64).digest()
        self._known: dict[bytes, HashedUnit] = {}

    def __call__(self, unit: bytes) -> str:
        """16 hex digits: BLAKE2b of 8 bytes, keyed (RFC 7693)."""
        return self.hashed(unit).text

    def hashed(self, unit: bytes) -> "HashedUnit":
        """The same with the line that tells the upstream."""
        known = self._known.get(unit)
        if known is None:
            known = HashedUnit(unit_hash(self._key, unit))
            if len(unit) <= _LONGEST:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[unit] = known
        return known


class HashedUnit:
    """A unit's hash as 16 hex digits, and as a whole field line with its CRLF."""

    def __init__(self, text: str) -> None:
        self.text: Final = text
        self.line: Final = b"x-tidegate-unit-hash: " + text.encode() + b"\r\n"


def unit_hash(key: bytes, unit: bytes) -> str:
    """16 hex digits of keyed BLAKE2b. Raises ValueError for a key over 64 bytes."""
    return blake2b(unit, digest_size=8, key=key).hexdigest()


def unit_number(hashed: str) -> int:
    """What `UnitHasher` answers as a number of 60 bits, for tables that deal units to endpoints."""
    return int(hashed[:15], 16)
