"""Tables that say which endpoint a unit's hash belongs to: ring and maglev.

Both are built from identities and weights alone, so that every worker and every replica has the same, and in steps, so that a
worker can build one between two requests. Whether an endpoint can be used at the moment is not their concern: an ejection
does not move the units of the others, and changes no table.

The ring is ketama's (Karger et al. 1997; Jones 2007): every endpoint has points on a circle in proportion to its weight, and a hash
belongs to the next point. When an endpoint comes or goes only its own share moves. With 160 points each the shares
are within some 10 % of the weights.

Maglev (Eisenbud et al., NSDI 2016, section 3.4): every endpoint has a permutation of the table's places, and they take turns at
taking the next free place of theirs. Shares are exact to one place; when an endpoint comes or goes a little more than its
own share moves.
"""

from array import array
from bisect import bisect_left
from typing import Final

from mmh3 import mmh3_32_uintdigest

POINTS: Final = 160
"""Points of the ring for the endpoint of the least weight. libketama's."""
MOST_POINTS: Final = 1 << 15
"""Points of a ring at most. Envoy's smallest ring is 1024, its largest 8 million."""
PLACES: Final = 16_381
"""Places of a Maglev table; a prime. Envoy 65537, which takes four times as long to fill. With 160 endpoints of equal weight one
place is 1 % of a share."""
MOST_MEMBERS: Final = 1 << 14
"""Endpoints beyond these (by identity) get no units by hash."""

_PLACE_BITS: Final = 14
_PLACE_MASK: Final = (1 << _PLACE_BITS) - 1
_FREE: Final = -1


class HashTable:
    """What hash belongs to whom. `build` until it says True, then `find`."""

    def build(self, steps: int) -> bool:
        """Go on for about `steps` steps, each a fraction of a microsecond to a microsecond; whether the table is whole."""
        raise AssertionError("a table says how it is built")

    def find(self, unit: int) -> int:
        """The place, in the list it was built from, of the member that the hash `unit` (not negative) belongs to."""
        raise AssertionError("a table says how it is read")


class Ring(HashTable):
    """Ketama's ring. A point is its hash with the member's place behind it, so that one sorted list is all there is."""

    def __init__(self, identities: list[bytes], weights: list[int]) -> None:
        """Not empty; weights above 0."""
        self._identities: Final = identities[:MOST_MEMBERS]
        weights = weights[:MOST_MEMBERS]
        # The number of points of one endpoint hangs on no other, but for the lightest and, where there would be too many, a
        # power of two: what joins takes from all and moves nothing between them.
        scale = POINTS / min(weights)
        while sum(weights) * scale > MOST_POINTS and scale * min(weights) > 1.0:
            scale /= 2
        self._counts: Final = [max(1, round(weight * scale)) for weight in weights]
        self._points: list[int] = []
        self._member: int = 0
        self._done: int = 0  # points of that member

    def build(self, steps: int) -> bool:
        points = self._points
        member = self._member
        done = self._done
        while member < len(self._identities):
            identity = self._identities[member]
            count = self._counts[member]
            until = min(count, done + steps)
            for number in range(done, until):
                points.append(mmh3_32_uintdigest(b"%b\0%d" % (identity, number), 0) << _PLACE_BITS | member)
            steps -= until - done
            if until < count:
                self._member = member
                self._done = until
                return False
            member += 1
            done = 0
            if steps <= 0 and member < len(self._identities):
                self._member = member
                self._done = 0
                return False
        self._member = member
        points.sort()
        return True

    def find(self, unit: int) -> int:
        points = self._points
        place = bisect_left(points, (unit & 0xFFFFFFFF) << _PLACE_BITS)
        return points[place if place < len(points) else 0] & _PLACE_MASK


class Maglev(HashTable):
    """Maglev's table."""

    def __init__(self, identities: list[bytes], weights: list[int], places: int = PLACES) -> None:
        """Not empty; weights above 0. `places` is a prime, larger than the number of members should be."""
        identities = identities[:MOST_MEMBERS]
        self._places: Final = places
        self._weights: Final = weights[:MOST_MEMBERS]
        self._heaviest: Final = max(self._weights)
        self._next: Final = [mmh3_32_uintdigest(b"%b\0offset" % one, 0) % places for one in identities]
        self._skip: Final = [mmh3_32_uintdigest(b"%b\0skip" % one, 0) % (places - 1) + 1 for one in identities]
        self._owners: list[int] = [_FREE] * places
        self._left: int = places
        self._turn: int = 0  # whose turn it is
        self._credit: Final = [0] * len(identities)
        self._table: array[int] = array("H")

    def build(self, steps: int) -> bool:
        owners = self._owners
        places = self._places
        saved = self._credit
        turn = self._turn
        left = self._left
        while left > 0:
            if steps <= 0:
                self._turn = turn
                self._left = left
                return False
            steps -= 1
            credit = saved[turn] + self._weights[turn]
            if (
                credit >= self._heaviest
            ):  # the heaviest takes a place in every round, one of half its weight in every other
                credit -= self._heaviest
                place = self._next[turn]
                skip = self._skip[turn]
                while owners[place] != _FREE:
                    steps -= 1
                    place += skip
                    if place >= places:
                        place -= places
                    if steps <= 0:  # the last free places are far apart: the search goes on from here
                        self._next[turn] = place
                        self._turn = turn
                        self._left = left
                        return False
                owners[place] = turn
                left -= 1
                place += skip
                self._next[turn] = place - places if place >= places else place
            saved[turn] = credit
            turn += 1
            if turn == len(saved):
                turn = 0
        self._left = 0
        if owners:
            self._table = array("H", owners)
            self._owners = []
        return True

    def find(self, unit: int) -> int:
        return self._table[unit % self._places]
