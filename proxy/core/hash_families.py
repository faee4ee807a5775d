"""Dealing as other systems deal, so that the proxy and an application with that system's SDK agree on who gets what.

Where Tidegate races exponentials (`hashing.py`), these systems take one hash of the unit, turn it into a bucket, and cut the
buckets into consecutive ranges as wide as the weights, in the order of the versions in the file: the bucket is in one of
them. The order matters, therefore, and with three versions or more a change of weights moves more units than it must.

A family is what a system hashes, how it makes a bucket of that, and where its ranges end, in that system's own arithmetic,
floating-point slips included: where a system is off by one unit in a billion, so is its family here.

Sources: flagd's fractional operation (v1: floats, v2: integers, v3: the value as CBOR), the Unleash client specification, and the
SDKs of Split, Optimizely, LaunchDarkly and GrowthBook, against which tests/property/test_hash_families.py runs.
"""

from fractions import Fraction
from hashlib import sha1
from math import ceil, lcm
from typing import Any, Final

from mmh3 import mmh3_32_uintdigest

from proxy.core.hash_weights import cut, shares, whole_weights
from proxy.core.hashing import Dealer

Spec = dict[str, Any]
UNLEASH_VARIANTS: Final = 86_028_157
"""The seed with which Unleash deals variants: another than for gradual rollouts, so that the two are independent."""
_HASHES: Final = 2**32
_LONGEST_LINE: Final = 1_000_000
_FNV_START: Final = 0x811C9DC5
_FNV_PRIME: Final = 0x01000193
_LAUNCHDARKLY_SCALE: Final = float(0xFFFFFFFFFFFFFFF)
_LAUNCHDARKLY_PARTS: Final = 100_000


class Family:
    """How one system deals one split.

    `edges[i]` is where the range of the i-th arm ends: a unit is in the first range whose edge is above its bucket.
    `first` is the lowest bucket and `last` the highest, as the system counts them. Families with the same `line` make
    the same hash of every unit, so that two of them can be laid over each other; `modulus` is what the hash is divided
    by where the remainder is the bucket, and 0 where its high bits are. `whole` says that buckets are whole numbers.
    `overflow` is the arm of a unit whose bucket is above all edges, -1 for none.
    """

    def __init__(
        self,
        name: str,
        line: str,
        edges: list[float],
        first: float,
        last: float,
        modulus: int = 0,
        *,
        whole: bool = True,
    ) -> None:
        self.name: Final = name
        self.line: Final = line
        self.edges: Final = edges
        self.first: Final = first
        self.last: Final = last
        self.modulus: Final = modulus
        self.whole: Final = whole
        self.overflow: int = -1

    def bucket(self, unit: bytes) -> float:
        """The unit's bucket."""
        raise AssertionError("a family says what its bucket is")

    def share_below(self, edge: float) -> float:
        """The share of all hashes whose bucket is below the edge, in [0, 1]."""
        return min(1.0, max(0.0, edge))

    def pieces(self, low: float, high: float, modulus: int) -> list[tuple[float, float]]:
        """The parts of the line between two edges: consecutive but for families that fold or repeat themselves.

        `modulus` is a multiple of this family's own, by which the line is cut.
        """
        return [(self.share_below(low), self.share_below(high))]


class Remainder(Family):
    """Buckets that are remainders of MurmurHash3_x86_32: those of Unleash and Split, counted from 1.

    What is hashed is `prefix` and the unit.
    """

    def __init__(self, name: str, prefix: bytes, seed: int, modulus: int, weights: list[float]) -> None:
        edges = [float(1 + edge) for edge in cut(weights, modulus)]
        super().__init__(name, f"remainder {seed} {prefix!r}", edges, 1.0, float(modulus), modulus)
        self._prefix: Final = prefix
        self._seed: Final = seed
        self._modulus: Final = modulus

    def bucket(self, unit: bytes) -> float:
        """The unit's bucket, from 1 to the modulus."""
        return float(mmh3_32_uintdigest(self._prefix + unit, self._seed) % self._modulus + 1)

    def share_below(self, edge: float) -> float:
        """The first remainders are met once more often than the others, where 2^32 is no multiple of the modulus."""
        count = int(edge) - 1
        return (_HASHES // self._modulus * count + min(count, _HASHES % self._modulus)) / _HASHES

    def pieces(self, low: float, high: float, modulus: int) -> list[tuple[float, float]]:
        """The remainders between two edges, once for each time this family's own modulus fits into the one given."""
        if modulus == self._modulus:
            return [(self.share_below(low), self.share_below(high))]
        return [
            ((low - 1 + start) / modulus, (high - 1 + start) / modulus) for start in range(0, modulus, self._modulus)
        ]


class FlagdFolded(Family):
    """flagd v1: the hash as a signed number, without its sign, as a percentage in floating point."""

    def __init__(self, prefix: bytes, weights: list[float]) -> None:
        edges: list[float] = []
        reached = 0.0
        for share in shares(weights):
            reached += float(100 * share)
            edges.append(reached)
        super().__init__("flagd-v1", f"high bits {prefix!r}", edges, 0.0, 100.0, whole=False)
        self._prefix: Final = prefix

    def bucket(self, unit: bytes) -> float:
        """The unit's percentage, in [0, 100.00000005]: above the last edge flagd serves the flag's default."""
        number = mmh3_32_uintdigest(self._prefix + unit, 0)
        folded = number if number < 2**31 else _HASHES - number
        return folded / (2**31 - 1) * 100

    def share_below(self, edge: float) -> float:
        """As a percentage."""
        return min(1.0, max(0.0, edge / 100))

    def pieces(self, low: float, high: float, modulus: int) -> list[tuple[float, float]]:
        """Two: positive numbers from the line's begin upwards, negative ones from its end downwards."""
        start, end = self.share_below(low) / 2, self.share_below(high) / 2
        return [(start, end), (1 - end, 1 - start)]


class FlagdScaled(Family):
    """flagd v2 and v3: the hash times the sum of the weights, shifted right by 32 bits, in integers.

    v2 hashes `prefix` and the unit. v3 hashes CBOR (RFC 8949, deterministic): either the text of `prefix` and unit, or
    (`head`) the array of a flag's key and the unit, of which `prefix` is the encoded begin.
    """

    def __init__(self, name: str, prefix: bytes, weights: list[float], *, cbor: bool, array: bool) -> None:
        whole = whole_weights(weights)
        total = sum(whole)
        edges: list[float] = []
        reached = 0
        for weight in whole:
            reached += weight
            edges.append(float(reached))
        kind = f"cbor {array}" if cbor else "high bits"
        super().__init__(name, f"{kind} {prefix!r}", edges, 0.0, float(max(total - 1, 0)))
        self._prefix: Final = prefix
        self._cbor: Final = cbor
        self._array: Final = array
        self._total: Final = total

    def bucket(self, unit: bytes) -> float:
        """The unit's bucket, from 0 to the sum of the weights less 1."""
        if self._array:
            data = self._prefix + _text_head(len(unit)) + unit
        elif self._cbor:
            data = _text_head(len(self._prefix) + len(unit)) + self._prefix + unit
        else:
            data = self._prefix + unit
        return float(mmh3_32_uintdigest(data, 0) * self._total >> 32)

    def share_below(self, edge: float) -> float:
        """Hashes below ceil(edge * 2^32 / total)."""
        return ceil(Fraction(int(edge) * _HASHES, self._total)) / _HASHES if self._total else 0.0


class Optimizely(Family):
    """Optimizely: MurmurHash3_x86_32, seed 1, of the bucketing id and the experiment's id, in ten thousandths."""

    def __init__(self, experiment: str, weights: list[float]) -> None:
        edges = [float(edge) for edge in cut(weights, 10_000)]
        super().__init__("optimizely", f"optimizely {experiment!r}", edges, 0.0, 9_999.0)
        self._suffix: Final = experiment.encode()

    def bucket(self, unit: bytes) -> float:
        """The unit's bucket, from 0 to 9999."""
        return float(mmh3_32_uintdigest(unit + self._suffix, 1) * 10_000 >> 32)

    def share_below(self, edge: float) -> float:
        """Hashes below ceil(edge * 2^32 / 10000)."""
        return ceil(Fraction(int(edge) * _HASHES, 10_000)) / _HASHES


class LaunchDarkly(Family):
    """LaunchDarkly: the first 60 bits of SHA-1, as a fraction; weights are whole thousandths of a percent."""

    def __init__(self, prefix: bytes, weights: list[float]) -> None:
        edges: list[float] = []
        reached = 0.0
        before = 0
        overflow = -1
        for place, edge in enumerate(cut(weights, _LAUNCHDARKLY_PARTS)):
            reached += (edge - before) / _LAUNCHDARKLY_PARTS
            overflow = place if edge > before else overflow
            before = edge
            edges.append(reached)
        super().__init__("launchdarkly", f"launchdarkly {prefix!r}", edges, 0.0, 1.0, whole=False)
        self.overflow = overflow  # its SDKs put what rounding leaves over into the last variation
        self._prefix: Final = prefix

    def bucket(self, unit: bytes) -> float:
        """The unit's bucket, in [0, 1]."""
        digest = sha1(self._prefix + unit, usedforsecurity=False).digest()
        return (int.from_bytes(digest[:8], "big") >> 4) / _LAUNCHDARKLY_SCALE


class GrowthBook(Family):
    """GrowthBook: FNV-1a of 32 bits over UTF-16 code units; version 2 hashes the hash's digits again.

    Ranges are its SDKs' sums of floating-point shares. Units are read as UTF-8; what is none becomes U+FFFD.
    """

    def __init__(self, key: str, version: int, weights: list[float]) -> None:
        edges: list[float] = []
        reached = 0.0
        for share in shares(weights):
            reached += float(share)
            edges.append(reached)
        parts = 10_000 if version == 2 else 1_000
        super().__init__("growthbook", f"growthbook {version} {key!r}", edges, 0.0, (parts - 1) / parts, whole=False)
        self._parts: Final = parts
        self._doubled: Final = version == 2
        self._key: Final = key
        self._start: Final = _fnv1a(_FNV_START, key)

    def bucket(self, unit: bytes) -> float:
        """The unit's bucket, in [0, 1): a whole number of ten thousandths, or thousandths in version 1."""
        text = unit.decode("utf-8", "replace")
        if self._doubled:
            number = _fnv1a(_FNV_START, str(_fnv1a(self._start, text)))
        else:
            number = _fnv1a(_fnv1a(_FNV_START, text), self._key)
        return number % self._parts / self._parts

    def share_below(self, edge: float) -> float:
        """The share of the buckets below the edge: a range narrower than a bucket may have none."""
        count = min(self._parts, max(0, round(edge * self._parts) + 1))
        while count > 0 and not (count - 1) / self._parts < edge:
            count -= 1
        return count / self._parts


class FamilyDealer(Dealer):
    """Deals one split as another system does, with the interface of Tidegate's own `Dealer`.

    The arms stand in the order of the versions in the file. A deny moves the units of the denied version and nobody
    else: they alone are dealt among the others by Tidegate's own race, in proportion to the weights.
    """

    def __init__(self, spec: Spec, salt: str, purpose: str, arms: list[tuple[int, str, float]]) -> None:
        super().__init__(salt, purpose, sorted(arms))
        self.family: Final = make_family(spec, [weight for _, _, weight in self.arms])
        self._places: Final = list(zip(self.family.edges, [index for index, _, _ in self.arms], strict=True))

    def deal(self, unit: bytes, denied: int = 0) -> int:
        """The index of the version this unit gets, or -1 when no arm with a weight is left.

        Also -1 where the other system would serve the flag's default: flagd v1 does so for 3 of 2^32 hashes at most.
        """
        if self.count == 0:
            return -1
        bucket = self.family.bucket(unit)
        overflow = self.family.overflow
        index = -1 if overflow < 0 else self._places[overflow][1]
        for edge, arm in self._places:
            if bucket < edge:
                index = arm
                break
        if denied and index >= 0 and denied >> index & 1:
            return super().deal(unit, denied)
        return index

    def ranges(self) -> list[tuple[int, float, float]]:
        """By version index, the buckets each version has: from, and up to but without."""
        found: list[tuple[int, float, float]] = []
        low = self.family.first
        for edge, index in self._places:
            found.append((index, low, edge))
            low = edge
        return found


def split_dealer(spec: Spec | None, salt: str, arms: list[tuple[int, str, float]]) -> Dealer:
    """The dealer of a route's or rule's split: Tidegate's own where no family is named."""
    return Dealer(salt, "split", arms) if spec is None else FamilyDealer(spec, salt, "split", arms)


def make_family(spec: Spec, weights: list[float]) -> Family:
    """A family for these weights, by arm. Raises ValueError for a name that is none."""
    name: str = spec["family"]
    if name == "unleash":
        seed = UNLEASH_VARIANTS if spec["variants"] else 0
        return Remainder(name, f"{spec['group']}:".encode(), seed, spec["total"] if spec["variants"] else 100, weights)
    if name == "split":
        return Remainder(name, b"", spec["seed"] & 0xFFFFFFFF, 100, weights)
    if name == "optimizely":
        return Optimizely(spec["experiment"], weights)
    if name == "launchdarkly":
        prefix = f"{spec['key']}.{spec['salt']}." if spec["seed"] is None else f"{spec['seed']}."
        return LaunchDarkly(prefix.encode(), weights)
    if name == "growthbook":
        return GrowthBook(spec["key"], spec["hash_version"], weights)
    key: str = spec["key"]
    text = (key if spec["cat"] is None else spec["cat"]).encode()
    if name == "flagd-v1":
        return FlagdFolded(text, weights)
    if name == "flagd-v2":
        return FlagdScaled(name, text, weights, cbor=False, array=False)
    if name == "flagd-v3":
        array = spec["cat"] is None
        prefix_bytes = b"\x82" + _text_head(len(text)) + text if array else text
        return FlagdScaled(name, prefix_bytes, weights, cbor=True, array=array)
    raise ValueError(f"there is no hash family {name}")


def parts_of(spec: Spec) -> int:
    """How many equal parts the family cuts the whole into: weights must be whole numbers of them. 0: any weights do."""
    name: str = spec["family"]
    if name == "unleash" and spec["variants"]:
        total: int = spec["total"]
        return total
    return {"unleash": 100, "split": 100, "optimizely": 10_000, "launchdarkly": _LAUNCHDARKLY_PARTS}.get(name, 0)


def common_modulus(one: Family, other: Family) -> int | None:
    """By which both can be laid over each other, 0 where neither has any; None where they deal independently."""
    if one.line != other.line:
        return None
    if one.modulus == other.modulus:
        return one.modulus
    both = lcm(one.modulus, other.modulus)
    return both if both <= _LONGEST_LINE else None


def ranges_on_line(family: Family, names: list[str], modulus: int) -> list[tuple[str, float, float]]:
    """Who has which part of the line, in its order: from, and up to but without, as shares in [0, 1]."""
    found: list[tuple[str, float, float]] = []
    low = family.first
    for name, edge in zip(names, family.edges, strict=True):
        if edge > low:
            found.extend((name, start, end) for start, end in family.pieces(low, edge, modulus) if end > start)
        low = edge
    return sorted(found, key=_start_of)


def _start_of(one: tuple[str, float, float]) -> float:
    return one[1]


def _text_head(length: int) -> bytes:
    """The head of a CBOR text of so many bytes: major type 3 and the shortest form of its length (RFC 8949, 4.2.1)."""
    if length < 24:
        return bytes([0x60 | length])
    if length < 0x100:
        return bytes([0x78, length])
    if length < 0x10000:
        return b"\x79" + length.to_bytes(2, "big")
    return b"\x7a" + length.to_bytes(4, "big")


def _fnv1a(state: int, text: str) -> int:
    """FNV-1a of 32 bits, from a state on, over UTF-16 code units as JavaScript's `charCodeAt` has them."""
    if text.isascii():
        for byte in text.encode():
            state = (state ^ byte) * _FNV_PRIME & 0xFFFFFFFF
        return state
    data = text.encode("utf-16-le", "surrogatepass")
    for place in range(0, len(data), 2):
        state = (state ^ (data[place] | data[place + 1] << 8)) * _FNV_PRIME & 0xFFFFFFFF
    return state
