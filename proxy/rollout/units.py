"""What all workers together have seen of the units of one route: sums added up, first events kept once. Pure, and bounded.

The order in which messages of several workers come in makes no difference, nor how many workers there are: sums add up, the share
of units that is kept is the smallest that any worker or this place needed, and of two first events of a unit the earlier counts.
"""

from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from proxy.core.evidence import heads_of

TRACKED: Final = 20_000
"""Units whose sums are kept, over all versions. Beyond, the share of units is halved (core/evidence.py says how)."""
FIRSTS: Final = 200_000
"""Units whose first events are kept. Those of further ones are dropped and counted."""
PENDING: Final = 10_000
"""Units with events of which no worker has told yet. Of more the oldest give way, and are counted."""
STRETCHES: Final = 256
"""Stretches of one run of which first events are counted. Those of further ones are dropped and counted."""
CALLED: Final = 64
"""Units with errors that are known of a version without any weight."""
_DEEPEST: Final = 31

First = tuple[int, float, int, int, int]
Happened = dict[str, tuple[int, int]]  # by event: how often, and the sum of its values in thousandths


class Sums:
    """Six sums over units, of x and n: enough for a ratio and its variance between units (analysis/clusters.py), and exact."""

    __slots__ = ("affected", "crossed", "total", "total_squared", "units", "weight", "weight_squared")

    def __init__(self) -> None:
        self.units = 0
        self.total = 0
        self.weight = 0
        self.total_squared = 0
        self.crossed = 0
        self.weight_squared = 0
        self.affected = 0

    def grow(self, total: int, weight: int, more_total: int, more_weight: int) -> None:
        """A unit that stood at `total` and `weight` has grown. New is who stood at weight 0."""
        self.units += not weight and more_weight > 0
        self.total += more_total
        self.weight += more_weight
        self.total_squared += more_total * (2 * total + more_total)
        self.crossed += total * more_weight + more_total * (weight + more_weight)
        self.weight_squared += more_weight * (2 * weight + more_weight)
        self.affected += not total and more_total > 0

    def values(self) -> tuple[int, int, int, int, int, int, int]:
        """In the order of analysis/clusters.Clusters: units, x, n, x^2, x n, n^2, units with an x."""
        return (
            self.units, self.total, self.weight, self.total_squared, self.crossed, self.weight_squared, self.affected,
        )  # fmt: skip


class Arm:
    """The sums of one version's units, by column. What columns have in common is kept once: most units have an error in none."""

    __slots__ = ("columns", "units", "weight", "weight_squared")

    def __init__(self, width: int) -> None:
        self.units = 0
        self.weight = 0
        self.weight_squared = 0
        self.columns = [[0, 0, 0, 0] for _ in range(width)]
        """x, x^2, x n, units with an x."""

    def grow(self, known: list[int], more: Sequence[int]) -> None:
        """A unit that stood at `known` has had `more`; the first column is n. `known` is brought up to date."""
        before, added_weight = known[0], more[0]
        after = before + added_weight
        if not before and added_weight:
            self.units += 1
        self.weight += added_weight
        self.weight_squared += added_weight * (before + after)
        columns = self.columns
        for place in range(1, len(columns)):
            added, total = more[place], known[place]
            if added:
                column = columns[place]
                column[0] += added
                column[1] += added * (2 * total + added)
                column[2] += total * added_weight + added * after
                if not total:
                    column[3] += 1
                known[place] = total + added
            elif total:
                columns[place][2] += total * added_weight
        known[0] = after

    def sums(self, place: int) -> Sums:
        """Of one column."""
        found = Sums()
        found.units, found.weight, found.weight_squared = self.units, self.weight, self.weight_squared
        if place:
            found.total, found.total_squared, found.crossed, found.affected = self.columns[place]
        else:  # n itself
            found.total, found.total_squared, found.crossed = self.weight, self.weight_squared, self.weight_squared
            found.affected = self.units
        return found


class Stretch:
    """The units of one stretch."""

    def __init__(
        self,
        columns: Sequence[str],
        events: Sequence[str],
        limit: int = TRACKED,
        weights: Mapping[str, float] | None = None,
        pending: int = PENDING,
    ) -> None:
        """`events` are those that are told of here, not by workers: a unit's count and value of each. They are counted at the
        share of the version with the most `weights`, for all of them: nobody knows whose a unit is when its event comes."""
        self.columns = tuple(columns)
        """None as long as only events were heard of. The first is the requests."""
        self.events = tuple(events)
        self.level: int = 0
        self.counted: dict[str, int] = {}
        """By version, the units that have been active since events are listened for."""
        self._limit: Final = limit
        self._weights: Final = dict(weights or {})
        self._arms: dict[str, Arm] = {}
        self._of_events: dict[str, dict[str, Sums]] = {}
        self._units: dict[str, dict[int, list[int]]] = {}
        self._happened: dict[int, Happened] = {}  # of units that are active
        self._pending: OrderedDict[int, Happened] = OrderedDict()  # of others, those with the oldest first
        self._room: Final = pending
        self.gave_way: int = 0
        """Units with events that were forgotten before any worker told of them: others came, and there was no room."""
        self._active: dict[str, set[int]] = {}

    @property
    def tracked(self) -> int:
        """Units that are kept, over all versions."""
        return sum(len(units) for units in self._units.values())

    @property
    def sums(self) -> dict[str, dict[str, Sums]]:
        """By version and column, over the units that are kept."""
        found = {
            version: {column: arm.sums(place) for place, column in enumerate(self.columns)}
            for version, arm in self._arms.items()
        }
        for version, columns in self._of_events.items():
            found.setdefault(version, {}).update(columns)
        return found

    def units(self, version: str) -> int:
        """How many of this version are kept."""
        return len(self._units.get(version, ()))

    def versions(self) -> list[str]:
        """Those of which units are kept."""
        return list(self._units)

    def level_of(self, version: str) -> int:
        """Of this version the units in a share of 2^-level are kept."""
        return max(0, self.level - heads_of(self._weights, [version])[0])

    def erred(self, version: str) -> int:
        """How many of them have had an error."""
        arm = self._arms.get(version)
        return 0 if arm is None or "errors" not in self.columns else arm.columns[self.columns.index("errors")][3]

    def take(self, versions: Sequence[str], level: int, units: Iterable[Sequence[int]], *, again: bool) -> None:
        """What one message says of units: hash, number of the version in `versions`, and sums since the worker told last."""
        if level > self.level:
            self._deepen(level)
        masks = [(1 << self.level_of(version)) - 1 for version in versions]
        width = len(self.columns)
        arms = [self._arm(version) for version in versions]
        for record in units:
            unit, number = record[0], record[1]
            if unit & masks[number]:
                continue
            ours, arm = arms[number]
            known = ours.get(unit)
            if known is None:
                known = ours[unit] = [0] * width
            arm.grow(known, record[2:])
            if not again:
                self._activate(versions[number], unit)
        while self.tracked > self._limit and self.level < _DEEPEST:
            self._deepen(self.level + 1)

    def _arm(self, version: str) -> tuple[dict[int, list[int]], Arm]:
        ours = self._units.setdefault(version, {})
        arm = self._arms.get(version)
        if arm is None:
            arm = self._arms[version] = Arm(len(self.columns))
        return ours, arm

    def happen(self, unit: int, event: str, count: int, thousandths: int) -> None:
        """An event of a unit. One whose unit is not in the share is none of ours. There is always room for it: those of units that
        nobody knows give way to one another and to nobody else."""
        if unit & ((1 << self.level) - 1):
            return
        if any(unit in active for active in self._active.values()):
            mine = self._happened.setdefault(unit, {})
        else:
            mine = self._pending.setdefault(unit, {})
            if len(self._pending) > self._room:
                self._pending.popitem(last=False)
                self.gave_way += 1
        before = mine.get(event, (0, 0))
        mine[event] = (before[0] + count, before[1] + thousandths)
        for version, active in self._active.items():
            if unit in active:
                self._count(version, event, before, mine[event])

    def listen(self, events: Sequence[str]) -> None:
        """Count events of these names, for the units that are active."""
        new = [event for event in events if event not in self.events]
        self.events = tuple(events)
        for version, active in self._active.items():
            for event in new:
                for _ in active:
                    self._unit_of_events(version, event)

    def _activate(self, version: str, unit: int) -> None:
        if unit & ((1 << self.level) - 1):
            return
        active = self._active.setdefault(version, set())
        if unit in active:
            return
        active.add(unit)
        self.counted[version] = self.counted.get(version, 0) + 1
        waiting = self._pending.pop(unit, None)
        if waiting is not None:
            self._happened[unit] = waiting
        mine = self._happened.get(unit, {})
        for event in self.events:
            self._unit_of_events(version, event)
            if event in mine:
                self._count(version, event, (0, 0), mine[event])

    def _unit_of_events(self, version: str, event: str) -> None:
        by_column = self._of_events.setdefault(version, {})
        for column in (f"event:{event}", f"value:{event}"):
            by_column.setdefault(column, Sums()).grow(0, 0, 0, 1)

    def _count(self, version: str, event: str, before: tuple[int, int], after: tuple[int, int]) -> None:
        if event not in self.events:
            return
        by_column = self._of_events.setdefault(version, {})
        hits = by_column[f"event:{event}"]
        hits.grow(before[0], 1, after[0] - before[0], 0)
        by_column[f"value:{event}"].grow(before[1], 1, after[1] - before[1], 0)

    def _deepen(self, level: int) -> None:
        """A smaller share: forget who is outside, and add the rest up anew."""
        self.level = level
        mask = (1 << level) - 1
        units, active, happened = self._units, self._active, self._happened
        self._units, self._active, self._arms, self._of_events, self.counted = {}, {}, {}, {}, {}
        self._happened = {unit: mine for unit, mine in happened.items() if not unit & mask}
        for unit in [unit for unit in self._pending if unit & mask]:
            del self._pending[unit]
        for version, ours in units.items():
            kept, arm = self._arm(version)
            narrow = (1 << self.level_of(version)) - 1
            for unit, sums in ours.items():
                if unit & narrow:
                    continue
                kept[unit] = [0] * len(self.columns)
                arm.grow(kept[unit], sums)
                if unit in active.get(version, ()):
                    self._activate(version, unit)


class Run:
    """One rollout's: the stretch it is in, and the first events of all of them."""

    def __init__(self, name: str, events: Sequence[str] = (), *, tracked: int = TRACKED, firsts: int = FIRSTS) -> None:
        self.name: Final = name
        self.events = tuple(events)
        self.braked: dict[str, Any] | None = None
        """Why a worker has taken the version out by itself, in the stretch that is followed."""
        self.weights: Final[dict[int, dict[str, float]]] = {}
        """Of each stretch, in the order in which they were heard of."""
        self.counts: Final[dict[int, dict[str, list[int]]]] = {}
        """By stretch and version, units by what they have had first there: an error, slower than each threshold."""
        self.changes: int = 0
        """How often a first event was counted."""
        self.samples: list[list[Any]] = []
        """Some of those, with the ids of their requests; the last ones."""
        self.dropped: Final[dict[str, int]] = {}
        self._called: Final[dict[int, dict[str, set[str]]]] = {}  # by stretch and version
        self._tracked: Final = tracked
        self._limit: Final = firsts
        self._firsts: Final[dict[int, list[tuple[float, int, str] | None]]] = {}
        self._stretches: Final[dict[int, Stretch]] = {}
        self._current: int | None = None

    def follow(self, stretch: int, weights: Mapping[str, float]) -> None:
        """From now on this is the stretch whose units count."""
        if self._current is not None and self._current != stretch:
            self.braked = None
        self._current = stretch
        self._know(stretch, weights)
        for other in [one for one in self._stretches if one != stretch]:
            del self._stretches[other]
        for other in [one for one in self._called if one != stretch]:
            del self._called[other]

    def listen(self, events: Sequence[str]) -> None:
        """From now on events of these names are counted here."""
        self.events = tuple(events)
        for stretch in self._stretches.values():
            stretch.listen(events)

    def units(self) -> Stretch | None:
        """Those of the stretch that is followed; None where nobody has told of any."""
        return None if self._current is None else self._stretches.get(self._current)

    @property
    def units_with_first_events(self) -> int:
        """How many have had any."""
        return len(self._firsts)

    def take(self, head: Mapping[str, Any], units: Sequence[Sequence[int]], firsts: Iterable[First]) -> None:
        """A worker's message (channel/evidence.py), of this run. Raises KeyError and TypeError for a head that is none."""
        number: int = head["stretch"]
        self._know(number, head["weights"])
        if (units or head["level"]) and self._current in (None, number):
            stretch = self._stretches.get(number)
            if stretch is not None and not stretch.columns:
                stretch.columns = tuple(head["columns"])
            if stretch is None or stretch.columns != tuple(head["columns"]):
                stretch = self._stretches[number] = Stretch(
                    head["columns"], self.events, self._tracked, head["weights"]
                )
                while len(self._stretches) > 4:  # nobody has said yet which one counts
                    del self._stretches[next(iter(self._stretches))]
            stretch.take(head["versions"], head["level"], units, again=bool(head["again"]))
        names: list[str] = head["first_versions"]
        for unit, at, of, version, mask in firsts:
            self._first(unit, at, of, names[version], mask)
        if head["brake"] is not None and self._current in (None, number):
            self.braked = dict(head["brake"])
        called: Mapping[str, list[str]] = head.get("called") or {}
        if called and self._current in (None, number):
            ours = self._called.setdefault(number, {})
            for name, whose in called.items():
                mine = ours.setdefault(name, set())
                mine.update(whose[: CALLED - len(mine)])
            while len(self._called) > 4:  # nobody has said yet which one counts
                del self._called[next(iter(self._called))]
        if head["samples"]:
            known = {sample[3] for sample in self.samples}
            self.samples = [*self.samples, *(one for one in head["samples"] if one[3] not in known)][-100:]

    def erred(self) -> dict[str, int]:
        """By version, units with an error in the stretch that is followed: by first errors, or by those that are tracked."""
        if self._current is None:
            return {}
        found = {version: places[0] for version, places in self.counts.get(self._current, {}).items() if places}
        stretch = self.units()
        if stretch is not None:
            for version in stretch.versions():
                found[version] = max(found.get(version, 0), stretch.erred(version))
        return found

    def called(self, version: str) -> int | None:
        """Units with an error among those who got this version without being dealt it (by a ring, a rule); 64 at most. None where
        some of them are nobody."""
        mine = set() if self._current is None else self._called.get(self._current, {}).get(version, set())
        return None if "" in mine else len(mine)

    def happen(self, unit: int, event: str, count: int, thousandths: int) -> bool:
        """An event of a unit, by its hash. False where it is no event of this run's."""
        if event not in self.events or self._current is None:
            return False
        stretch = self._stretches.get(self._current)
        if stretch is None:
            # The columns are the workers' to say; until then there are none.
            stretch = self._stretches[self._current] = Stretch(
                (), self.events, self._tracked, self.weights.get(self._current)
            )
        before = stretch.gave_way
        stretch.happen(unit, event, count, thousandths)
        if stretch.gave_way > before:
            self._drop("events")
        return True

    def _know(self, stretch: int, weights: Mapping[str, float]) -> None:
        if not self.weights.get(stretch) and (stretch in self.weights or len(self.weights) < STRETCHES):
            self.weights[stretch] = {name: float(weight) for name, weight in weights.items()}

    def _first(self, unit: int, at: float, stretch: int, version: str, mask: int) -> None:
        known = self._firsts.get(unit)
        if known is None:
            if len(self._firsts) >= self._limit:
                self._drop("first_events")
                return
            known = self._firsts[unit] = []
        if stretch not in self.weights:
            # Its weights come with its units; first events may be told before.
            if len(self.weights) >= STRETCHES:
                self._drop("stretches")
                return
            self.weights[stretch] = {}
        place = 0
        while mask >> place:
            if mask >> place & 1:
                while len(known) <= place:
                    known.append(None)
                before = known[place]
                now = (at, stretch, version)
                if before is None or now < before:
                    known[place] = now
                    self._count(stretch, version, place, 1)
                    if before is not None:
                        self._count(before[1], before[2], place, -1)
            place += 1

    def _count(self, stretch: int, version: str, place: int, more: int) -> None:
        self.changes += 1
        counts = self.counts.setdefault(stretch, {}).setdefault(version, [])
        while len(counts) <= place:
            counts.append(0)
        counts[place] += more

    def _drop(self, reason: str) -> None:
        self.dropped[reason] = self.dropped.get(reason, 0) + 1
