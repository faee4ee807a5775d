"""Which endpoint takes a request: the policies that go by turns, load, chance or order. Those by hash are in hash_tables.py.

A `Member` is an endpoint as balancing sees it, a `Group` the members among which a choice is made now. Groups are made when
something changes (membership, health, warmth), not per request. Where chance decides, the draw is an argument.

- round_robin: smooth weighted round robin, as nginx deals it.
- least_request: with equal weights the less busy of two drawn at random (Mitzenmacher, "The power of two choices", 2001); with
  unequal ones smooth round robin by weight / (requests + 1), which is what Envoy does.
- random: by weight.
- first: the first in the order of the file.

Slow start multiplies a member's weight for round_robin, least_request and random. `first` goes by order alone, and a hash must
not move units about while an endpoint warms.
"""

from bisect import bisect_right
from itertools import accumulate
from math import inf, log
from typing import Any, Final

from mmh3 import mmh3_32_uintdigest

KINDS: Final = ("round_robin", "least_request", "ring_hash", "maglev", "random", "first")
ROUND_ROBIN, LEAST_REQUEST, RING_HASH, MAGLEV, RANDOM, FIRST = range(6)

OVERPROVISIONED: Final = 1.4
"""What endpoints can take beyond their share (Envoy's): a zone keeps all its traffic while 71 % of its weight is usable."""

_SCALE: Final = 2.0**-32


class SlowStart:
    """How much of its weight an endpoint has while it warms. `window` in seconds, `minimum` a share in [0, 1]."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.window: Final[float] = float(spec["window"])
        self.minimum: Final[float] = float(spec["minimum_percent"]) / 100
        self._power: Final[float] = 1 / float(spec["aggression"])

    def share(self, age: float) -> float:
        """The share of its weight that an endpoint has `age` seconds after it became usable: it grows from `minimum` to 1."""
        if age >= self.window:
            return 1.0
        if age <= 0.0:
            return self.minimum
        grown: float = (age / self.window) ** self._power
        return max(self.minimum, grown)


class Member:
    """One endpoint of an upstream. Whoever keeps its connections says in `load` how many requests it has."""

    def __init__(self, identity: str, weight: int, zone: str) -> None:
        """`identity` is what hashes go by: the same endpoint must have the same one in every worker and every replica."""
        self.identity: Final = identity.encode()
        self.weight: int = weight
        self.zone: str = zone
        self.share: float = float(weight)  # the weight that counts now
        self.current: float = 0.0  # of smooth weighted round robin
        self.usable_since: float = -inf  # monotonic seconds; those of the first plan were never new
        self.warm_at: float = -inf  # monotonic seconds; before, its samples are marked

    def load(self) -> int:
        """Requests at the endpoint, as far as this worker knows."""
        raise AssertionError("this cannot happen to a member that says how busy it is")

    def warming(self, now: float) -> bool:
        """Whether the endpoint became usable so lately that what it shows now is not what it is like."""
        return now < self.warm_at


class Group:
    """Members among which one is chosen. Made anew when a share changes; the turns are kept by the members."""

    def __init__(self, kind: int, members: list[Member]) -> None:
        """For the kinds that go by hash: what is done with a request that has no unit, which is least_request."""
        self.kind: Final = kind
        self.members: Final = members
        self.weight: Final = sum(member.share for member in members)
        self._equal: Final = len({member.share for member in members}) <= 1
        self._sums: Final[list[float]] = list(accumulate(member.share for member in members)) if kind == RANDOM else []

    def pick(self, draw: float) -> int:
        """The place of the member chosen; the group must not be empty. `draw` in [0, 1) decides where chance does."""
        kind = self.kind
        if kind == ROUND_ROBIN:
            return self._in_turn()
        if kind == FIRST:
            return 0
        if kind == RANDOM:
            last = len(self.members) - 1
            place = bisect_right(self._sums, draw * self._sums[last])
            return min(last, place)
        if self._equal:
            return self._of_two(draw)
        return self._in_turn_by_load()

    def _in_turn(self) -> int:
        """Smooth weighted round robin: everyone saves up its weight, the richest is chosen and pays for all."""
        members = self.members
        best = members[0]
        place = 0
        chosen = 0
        for member in members:
            member.current += member.share
            if member.current > best.current:
                best = member
                chosen = place
            place += 1  # noqa: SIM113 - `enumerate` costs more than this does
        best.current -= self.weight
        return chosen

    def _in_turn_by_load(self) -> int:
        """The same, with weights that are what load leaves of them."""
        members = self.members
        best = 0
        richest = 0.0
        total = 0.0
        for place, member in enumerate(members):
            weight = member.share / (member.load() + 1)
            current = member.current + weight
            member.current = current
            total += weight
            if place == 0 or current > richest:
                best = place
                richest = current
        members[best].current = richest - total
        return best

    def _of_two(self, draw: float) -> int:
        """Of two different members the one with fewer requests; of equals the first drawn."""
        members = self.members
        count = len(members)
        if count == 1:
            return 0
        place = draw * count
        first = min(int(place), count - 1)
        # What the first choice left of the draw is a draw again.
        second = min(int((place - first) * (count - 1)), count - 2)
        if second >= first:
            second += 1
        return second if members[second].load() < members[first].load() else first


def kept_share(usable: float, whole: float) -> float:
    """The share of the traffic that a zone keeps, of which weight `usable` of `whole` is usable; the rest spills over."""
    if whole <= 0.0:
        return 0.0
    return min(1.0, usable / whole * OVERPROVISIONED)


def rendezvous(members: list[Member], unit: int) -> int:
    """The place of the member that a unit's hash belongs to, by weighted rendezvous (see hashing.py); -1 of none.

    It costs a hash for each member, and so is for the units whose own endpoint cannot be used: they spread over all others,
    and nobody else moves.
    """
    tail = b"\0%x" % unit
    best = -1
    shortest = 0.0
    for place, member in enumerate(members):
        hashed: int = mmh3_32_uintdigest(member.identity + tail, 0)
        time = -log((hashed + 0.5) * _SCALE) / member.weight
        if best < 0 or time < shortest:
            best = place
            shortest = time
    return best
