"""What one worker gathers about the units of a route whose versions are compared: sums of each, and who had what first.

A verdict counts units and not requests (a unit keeps its version, so its errors come together). Two things are kept of units.

*Sums*, of units in a share of 2^-k of all: requests, errors, bytes, time, slow ones. The share is of their hashes, which have
nothing to do with who is dealt what; k grows when there would be too many, and then who is outside of the smaller share is
forgotten. So who is in it has been counted from the start. A version with a small weight has a larger share (`heads_of`): a verdict
is as good as what is known of the version of which least is, and of one unit in a hundred a share would leave next to nothing.

*First events*, of all units: the first error, and the first answer slower than each of the thresholds. There are few of them.

What was told is kept too: a control process that takes over is told all of it again. A tally is of one *stretch*: as long as
the weights stay the same. First events are of a whole *run*, which is one rollout from its start to its end.
"""

import json
from math import log2
from struct import Struct
from typing import Any, Final

Spec = dict[str, Any]

TRACKED: Final = 20_000
"""Units whose sums are kept, of one route, by one worker. Some 5 MB when full."""
FIRSTS: Final = 50_000
"""Units whose first events are kept, of one route, by one worker. Some 8 MB when full; the next ones are dropped and counted."""
SAMPLES: Final = 20
"""First events of a stretch that are told with the id of their request."""
CALLED: Final = 16
"""Units with errors that are kept of a version, among those who got it without being dealt it."""
LARGEST: Final = 1e9
"""Of a value that an event brings."""
SLOW_LIMIT: Final = 8
"""Thresholds at most."""
_DEEPEST: Final = 31  # the share is decided by 31 bits of a hash

REQUESTS, ERRORS, BYTES, MICROSECONDS, SLOW = range(5)
"""Columns of a unit's sums. From SLOW on there is one for each threshold, and then two for each event: how many, and their
values in thousandths."""
COLUMNS: Final[tuple[str, ...]] = ("requests", "errors", "bytes", "microseconds")

FIRST: Final = Struct("<QdIHH")
"""A first event as it is told: unit hash, Unix seconds, stretch, number of the version among `Firsts.versions`, mask of events.
Bit 0 is an error, bit 1 + i an answer slower than threshold i."""


class EvidenceWish:
    """What a plan wants to know of a route: seconds above which an answer is slow, and what is compared."""

    def __init__(self, spec: Spec, versions: list[str]) -> None:
        """Raises ValueError for more thresholds than there may be."""
        self.run: Final[str] = spec["run"]
        self.stretch: Final[int] = spec["stretch"]
        self.weights: Final[dict[str, float]] = spec["weights"]
        self.slow: Final[list[float]] = sorted(float(one) for one in spec["slow"])
        self.events: Final[list[tuple[str, bytes]]] = [
            (str(one["name"]), str(one["field"]).lower().encode()) for one in spec.get("events", ()) if one.get("field")
        ]
        self.versions: Final = versions
        self.brake: Final[Spec | None] = spec.get("brake")
        self.given_to: Final[str] = spec.get("to", "")
        self.compared: Final[list[str]] = [name for name in (spec.get("from"), spec.get("baseline")) if name]
        self.baseline: Final[str] = spec.get("baseline") or ""
        self.heads: Final[list[int]] = heads_of(self.weights, versions)
        if len(self.slow) > SLOW_LIMIT:
            raise ValueError(f"evidence: {len(self.slow)} thresholds of slowness; at most {SLOW_LIMIT}")

    def columns(self) -> list[str]:
        """The names of a unit's sums, in their order."""
        names = [*COLUMNS, *(f"slow:{edge!r}" for edge in self.slow)]
        for name, _ in self.events:
            names += (f"event:{name}", f"value:{name}")
        return names


class Firsts:
    """First events of the units of one run, in the order in which they came."""

    def __init__(self, run: str, limit: int = FIRSTS) -> None:
        self.run: Final = run
        self.limit: int = limit
        self.seen: Final[dict[str, int]] = {}  # by unit hash, the mask of what it has had
        self.records: Final = bytearray()
        self.versions: Final[list[str]] = []
        self.told: int = 0  # bytes of `records`
        self._erred: Final[dict[tuple[int, str], int]] = {}

    def note(self, unit: str, version: str, news: int, stretch: int, at: float) -> bool:
        """A unit has had `news` for the first time. False when there is no room for one more unit."""
        known = self.seen.get(unit, 0)
        if not known and len(self.seen) >= self.limit:
            return False
        if version not in self.versions:
            self.versions.append(version)
        self.seen[unit] = known | news
        self.records.extend(FIRST.pack(int(unit, 16), at, stretch, self.versions.index(version), news))
        if news & 1:
            self._erred[stretch, version] = self._erred.get((stretch, version), 0) + 1
        return True

    def erred(self, stretch: int, version: str) -> int:
        """Units whose first error was in this stretch, of this version."""
        return self._erred.get((stretch, version), 0)


class Tally:
    """The units of one route in one stretch, as one worker has seen them."""

    def __init__(self, route: str, wish: EvidenceWish, firsts: Firsts, limit: int = TRACKED) -> None:
        self.route: Final = route
        self.wish: Final = wish
        self.firsts: Final = firsts
        self.limit: Final = limit
        self.slow: Final = wish.slow
        self.least: Final[float] = wish.slow[0] if wish.slow else float("inf")
        self.width: Final = len(wish.columns())
        self.level: int = 0  # k
        # By version: of a hash whose unit is in the version's share, these bits are 0.
        self.masks: Final[list[int]] = [0 for _ in wish.versions]
        self.known: int = 0  # units in `fresh`, `leaving` and `kept`
        self.again: bool = False  # what is leaving was told before, if not to this control process
        self.changed: bool = False  # there is news that is not of units: samples, the brake, a smaller share
        self.braked: Spec | None = None  # the version was taken out in this stretch, and why
        self.called: Final[list[set[str]]] = [set() for _ in wish.versions]  # see `call`
        self.samples: Final[list[list[str | int | float]]] = []
        # By version, by unit hash: not told yet; about to be; told.
        self.fresh: list[dict[str, list[int]]] = _nobody(wish)
        self.leaving: list[dict[str, list[int]]] = _nobody(wish)
        self.kept: list[dict[str, list[int]]] = _nobody(wish)

    # On a request's way.

    def count(self, version: int, unit: str, failed: bool, seconds: float, size: int) -> int:
        """Count an answer of `size` bytes after `seconds`. Answers the mask of what this unit has had for the first time."""
        sums = self.fresh[version].get(unit)
        if sums is None:
            sums = self._begin(version, unit)
        news = 1 if failed else 0
        if sums is not None:
            sums[0] += 1
            sums[1] += news
            sums[2] += size
            sums[3] += int(seconds * 1e6)
        if seconds > self.least:
            for place, edge in enumerate(self.slow):
                if seconds > edge:
                    news |= 2 << place
                    if sums is not None:
                        sums[4 + place] += 1
        if news:
            news &= ~self.firsts.seen.get(unit, 0)
        return news

    def happened(self, version: int, unit: str, event: int, value: float) -> None:
        """Event number `event` of the wish happened to a unit that was counted before."""
        sums = self.fresh[version].get(unit)
        if sums is not None:
            place = SLOW + len(self.slow) + 2 * event
            sums[place] += 1
            sums[place + 1] += max(0, int(value * 1000))

    def call(self, version: int, unit: str) -> None:
        """An answer has failed of somebody who was not dealt this version: a ring's, or a rule's. Kept for the brake alone, where
        the version has no weight: otherwise it asks those who were dealt it. `unit` is "" where it is nobody."""
        if self.wish.weights.get(self.wish.versions[version], 0.0) > 0.0:
            return
        mine = self.called[version]
        if len(mine) < CALLED and unit not in mine:
            mine.add(unit)
            self.changed = True

    def _begin(self, version: int, unit: str) -> list[int] | None:
        """Sums for a unit that has had none since the last round; None where it is not in the share."""
        if int(unit[8:], 16) & self.masks[version]:
            return None
        sums = [0] * self.width
        self.fresh[version][unit] = sums
        if unit not in self.kept[version] and unit not in self.leaving[version]:
            self.known += 1
            if self.known > self.limit:
                self._thin()
                return self.fresh[version].get(unit)
        return sums

    def _thin(self) -> None:
        """Half the share, and half again, until there is room. That is told even where nothing else is: who was in the share and is
        missing now would pass for somebody who has had nothing."""
        self.changed = True
        while self.known > self.limit and self.level < _DEEPEST:
            self.level += 1
            self.known = 0
            for version in range(len(self.fresh)):
                mask = (1 << max(0, self.level - self.wish.heads[version])) - 1
                if mask != self.masks[version]:
                    self.masks[version] = mask
                    self.fresh[version] = _within(self.fresh[version], mask)
                    self.leaving[version] = _within(self.leaving[version], mask)
                    self.kept[version] = _within(self.kept[version], mask)
                self.known += len(self.fresh[version].keys() | self.leaving[version].keys() | self.kept[version].keys())

    # By the clock.

    def turn(self) -> None:
        """What is fresh is about to be told; what was, and is not told yet, comes first."""
        if not any(self.leaving):
            self.again = False
            self.fresh, self.leaving = self.leaving, self.fresh

    def take(self, limit: int) -> list[tuple[int, str, list[int]]]:
        """The next to be told, at most `limit`: version, unit hash and sums since it was last told. From now on they count as
        told."""
        taken: list[tuple[int, str, list[int]]] = []
        for version in range(len(self.leaving)):
            units = self.leaving[version]
            kept = self.kept[version]
            while units and len(taken) < limit:
                unit, sums = units.popitem()
                taken.append((version, unit, sums))
                _merge(kept, unit, sums)
        return taken

    def tell_again(self) -> None:
        """Another control process listens, and knows nothing: all that was told is about to be told."""
        for version in range(len(self.leaving)):
            units = self.leaving[version]
            kept = self.kept[version]
            for unit in units:
                _merge(kept, unit, units[unit])
            self.leaving[version] = kept
            self.kept[version] = {}
        self.again = any(self.leaving)
        self.changed = bool(self.samples) or any(self.called) or self.braked is not None or self.level > 0

    def erred(self, version: int) -> int:
        """Units whose first error in this stretch was of this version, or who are tracked and had one: the larger number."""
        tracked: set[str] = set()
        for units in (self.fresh[version], self.leaving[version], self.kept[version]):
            for unit, sums in units.items():
                if sums[ERRORS]:
                    tracked.add(unit)
        return max(len(tracked), self.firsts.erred(self.wish.stretch, self.wish.versions[version]))

    def waiting(self) -> bool:
        """Whether anything is about to be told."""
        return self.changed or any(self.leaving)

    def head(self) -> Spec:
        """What is said of it in every message."""
        wish = self.wish
        return {
            "brake": self.braked,
            "route": self.route,
            "run": wish.run,
            "stretch": wish.stretch,
            "weights": wish.weights,
            "versions": wish.versions,
            "columns": wish.columns(),
            "level": self.level,
            "again": self.again,
            "called": {
                name: sorted(self.called[place]) for place, name in enumerate(wish.versions) if self.called[place]
            },
        }


def heads_of(weights: dict[str, float], versions: list[str]) -> list[int]:
    """By version, how many times its share of units is halved later than that of the one with the most weight: as often as
    its weight goes into that one's, so that about as many units of each are kept. At a share of 2^-k, a version has 2^-(k - head).
    """
    most = max([0.0, *weights.values()])
    found: list[int] = []
    for name in versions:
        weight = weights.get(name, 0.0)
        found.append(min(_DEEPEST, int(log2(most / weight))) if 0.0 < weight < most else 0)
    return found


def _within(units: dict[str, list[int]], mask: int) -> dict[str, list[int]]:
    return {unit: sums for unit, sums in units.items() if not int(unit[8:], 16) & mask}


def _nobody(wish: EvidenceWish) -> list[dict[str, list[int]]]:
    return [{} for _ in wish.versions]


def _merge(into: dict[str, list[int]], unit: str, sums: list[int]) -> None:
    known = into.get(unit)
    if known is None:
        into[unit] = list(sums)
        return
    for place, value in enumerate(sums):
        known[place] += value


def events_in(tally: Tally | None, fields: dict[bytes, bytes]) -> list[tuple[int, float]] | None:
    """What an answer says that its unit did: number of the event, and value. A value that is no number is 0.0."""
    if tally is None:
        return None
    found: list[tuple[int, float]] = []
    for number, (_, field) in enumerate(tally.wish.events):
        said = fields.get(field)
        if said is not None:
            found.append((number, value_of(said)))
    return found or None


def value_of(said: bytes) -> float:
    """The number in a field, at least 0 and at most LARGEST; 0.0 where it is none."""
    try:
        value = float(said)
    except ValueError:
        return 0.0
    return value if 0.0 <= value <= LARGEST else 0.0


def wish_of(spec: Spec | None, versions: list[str]) -> EvidenceWish | None:
    """The wish of a route's spec, where it has one."""
    return None if spec is None else EvidenceWish(spec, versions)


def same_wish(one: EvidenceWish, other: EvidenceWish) -> bool:
    """Whether two wishes, of one plan and the next, are of the same stretch and count the same."""
    return (
        one.run == other.run
        and one.stretch == other.stretch
        and one.versions == other.versions
        and one.columns() == other.columns()
        and json.dumps(one.weights) == json.dumps(other.weights)
    )
