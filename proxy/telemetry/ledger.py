"""Which block of counter slots belongs to which labels.

The control process keeps the ledger; workers only ever see slots, in the plan. Three laws:

- The same labels have the same block over all generations, so that a counter goes on where it was.
- No two labels share a block, and a block changes hands only when every worker has said (SETTLED) that no exchange is
  left on a plan that named its old labels. Before it does, it is cleared in every region.
- Sums never go back. What a version that left had counted stays as its own series while it is among the newest
  `RETIRED_LIMITS`; then it is added, once, to the series `removed` of its route.

What is folded lives in the ledger and no longer in shared memory. So that a control process which takes over after a
crash finds it, `dump()` has to reach the workers after a `settled` that returned True, and before the plan that `place`
made: a crash in between then finds blocks that are free, or still whole under their old labels, but never lost.
"""

import json
import re
from collections.abc import Iterable, Iterator
from hashlib import blake2b
from typing import Any, Final

from proxy.core.plan import NONE, REASONS
from proxy.errors import FLAGS, TidegateError
from proxy.telemetry import counters
from proxy.telemetry.counters import BLOCK_SLOTS, IN_FLIGHT_SLOTS, LEDGER_SLOTS, REGION_SLOTS, WORKER_SLOTS, Cells
from proxy.telemetry.labels import KINDS, Key, endpoint_key, labels_of, with_slots
from proxy.telemetry.snapshot import Snapshot

Spec = dict[str, Any]

REMOVED: Final = "removed"
"""Label of the series into which those that left long ago are folded."""

OTHER: Final = "other"
"""Label of an upstream's endpoints that came while too many others waited to be forgotten."""

RETIRED_LIMITS: Final = {
    "version": 1000,
    "codes": 4000,
    "mirror": 1000,
    "upstream": 1000,
    "endpoint": 1000,
    "plugin": 1000,
}
"""By kind of block, how many series stay that the plan no longer names."""

REMOVED_ROUTES: Final = 1000
"""How many routes that are gone keep a series `version="removed"` of their own; beyond, the route too is `removed`."""

WAITING_ENDPOINTS: Final = 4096
"""How many endpoints may wait for workers to settle before newcomers of an upstream share one block."""

_PLACE: Final = re.compile("[A-Z]_[A-Z0-9_]+")  # a slot's name in counters.py: V_IN_FLIGHT, E_DOWN

_FOLDED_KINDS: Final = ("version", "codes", "mirror")
_FORMAT: Final = 1


class LedgerError(TidegateError):
    """A ledger that this program cannot go on with."""


class LedgerFullError(LedgerError):
    """The plan needs more counters than a region has."""


class Block:
    """A place in every region. `gone` is the generation that no longer named it, None while the plan names it."""

    __slots__ = ("gone", "offset")

    def __init__(self, offset: int, gone: int | None = None) -> None:
        self.offset = offset
        self.gone = gone


class Ledger:
    """The places of all series, live, retired and folded."""

    def __init__(self, cells: Cells) -> None:
        self._cells: Final = cells
        self._blocks: Final[dict[str, dict[Key, Block]]] = {kind: {} for kind in KINDS}
        # Retired keys in the order in which they left: a dict, because leaving that order must be cheap too.
        self._retired: Final[dict[str, dict[Key, None]]] = {kind: {} for kind in KINDS}
        self._free: Final[dict[str, list[int]]] = {kind: [] for kind in KINDS}
        self._folded: Final[dict[str, dict[Key, dict[int, int]]]] = {kind: {} for kind in _FOLDED_KINDS}
        self._routes: set[str] = set()
        self._next = WORKER_SLOTS
        self._generation = 0
        self._settled = -1
        self._serial = 0

    # What the control process does with it.

    def place(self, spec: Spec) -> Spec:
        """A copy of `spec` with the slots put in; the labels it no longer names are retired.

        `spec["generation"]` must be set and grow from call to call.

        Raises LedgerFullError, and then nothing has changed.
        """
        wanted = labels_of(spec)
        self._reserve(wanted)
        generation: int = spec["generation"]
        snapshot = Snapshot(self._cells)
        for kind, keys in wanted.items():
            for key in keys:
                self._keep(kind, key, snapshot)
        for kind, blocks in self._blocks.items():
            keys = wanted[kind]
            for key, block in blocks.items():
                if block.gone is None and key not in keys:
                    block.gone = generation
                    self._retired[kind][key] = None
        self._generation = generation
        self._routes = {route["name"] for route in spec["routes"]} | {NONE}
        self._serial += 1
        return with_slots(spec, self._offset)

    def _offset(self, kind: str, key: Key) -> int:
        return self._blocks[kind][key].offset

    def place_endpoints(self, upstream: str, endpoints: list[Spec]) -> list[Spec]:
        """Copies of `endpoints` with slots, for a name of `upstream` that resolved anew within a generation.

        Those it no longer has are retired; their blocks wait for the next generation to settle.

        Raises LedgerFullError, and then nothing has changed.
        """
        blocks = self._blocks["endpoint"]
        crowded = len(self._retired["endpoint"]) >= WAITING_ENDPOINTS
        keys = [endpoint_key(upstream, one) for one in endpoints]
        keys = [(upstream, OTHER) if crowded and key not in blocks else key for key in keys]
        self._reserve({"endpoint": dict.fromkeys(keys)})
        for key, block in blocks.items():
            if block.gone is None and key[0] == upstream and key not in keys:
                block.gone = self._generation + 1
                self._retired["endpoint"][key] = None
        snapshot = Snapshot(self._cells)
        self._serial += 1
        return [
            {**one, "slot": self._keep("endpoint", key, snapshot).offset}
            for one, key in zip(endpoints, keys, strict=True)
        ]

    def settled(self, generation: int) -> bool:
        """Take in that no worker has an exchange left on a plan older than `generation`: fold and free what may go.

        True when something was folded or freed; `dump()` must then reach the workers before the next plan does.
        """
        self._settled = max(self._settled, generation)
        changed = False
        snapshot: Snapshot | None = None
        for kind, limit in RETIRED_LIMITS.items():
            retired = self._retired[kind]
            while len(retired) > limit:
                key = next(iter(retired))
                gone = self._blocks[kind][key].gone
                if gone is None or gone > self._settled:
                    break  # those behind it left later still
                snapshot = snapshot or Snapshot(self._cells)
                self._fold(kind, key, snapshot)
                changed = True
        # Also where no block was folded: a route whose older versions are folded may itself have left since.
        if self._fold_routes() or changed:
            changed = True
            self._serial += 1
        return changed

    def reset_present(self, view: "memoryview[int]", worker: int) -> None:
        """Set what described the present of a dead `worker` to 0, in all its blocks: nothing of it is in flight any
        more."""
        snapshot = Snapshot(self._cells)
        base = worker * REGION_SLOTS
        places = [base + slot for slot in IN_FLIGHT_SLOTS["worker"]]
        for kind, blocks in self._blocks.items():
            slots = IN_FLIGHT_SLOTS.get(kind, ())
            places += [base + block.offset + slot for block in blocks.values() for slot in slots]
        for place in places:
            if snapshot.touched(place, 1) and view[place]:
                view[place] = 0

    # What the exposition reads.

    @property
    def serial(self) -> int:
        """Grows with every change: of two dumps, the one with the higher serial is the newer."""
        return self._serial

    @property
    def used(self) -> int:
        """Slots of a region that belong to a series or wait to be reused."""
        return self._next

    def blocks(self, kind: str) -> Iterator[tuple[Key, int]]:
        """Labels and offsets of all blocks of `kind`: live ones and retired ones."""
        for key, block in self._blocks[kind].items():
            yield key, block.offset

    def live(self, kind: str) -> Iterator[tuple[Key, int]]:
        """Labels and offsets of the blocks of `kind` that the plan names."""
        for key, block in self._blocks[kind].items():
            if block.gone is None:
                yield key, block.offset

    def folded(self, kind: str) -> dict[Key, dict[int, int]]:
        """By labels, the counts of `kind` that no longer are in shared memory, by slot of the block."""
        return self._folded.get(kind, {})

    # Handing over.

    def dump(self) -> bytes:
        """All of it as JSON, for the next control process."""
        return json.dumps(
            {
                "format": _FORMAT,
                "layout": _layout(),
                "serial": self._serial,
                "generation": self._generation,
                "settled": self._settled,
                "next": self._next,
                "routes": sorted(self._routes),
                "free": self._free,
                "blocks": {
                    kind: [[*key, block.offset] for key, block in blocks.items() if block.gone is None]
                    for kind, blocks in self._blocks.items()
                },
                "retired": {
                    kind: [[*key, self._blocks[kind][key].offset, self._blocks[kind][key].gone] for key in keys]
                    for kind, keys in self._retired.items()
                },
                "folded": {
                    kind: [[*key, list(counts.items())] for key, counts in folds.items()]
                    for kind, folds in self._folded.items()
                },
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def load(cls, data: bytes, cells: Cells) -> "Ledger":
        """The ledger that `dump` wrote, over the same memory.

        Raises LedgerError when it is not one, or was written for another layout of the counters.
        """
        ledger = cls(cells)
        try:
            value = json.loads(data)
            if value["format"] != _FORMAT or value["layout"] != _layout():
                raise LedgerError("the ledger of counters was written for another layout of the counters")
            ledger._serial = value["serial"]
            ledger._generation = value["generation"]
            ledger._settled = value["settled"]
            ledger._next = value["next"]
            ledger._routes = set(value["routes"])
            for kind in KINDS:
                ledger._free[kind] = value["free"][kind]
                for *labels, offset in value["blocks"][kind]:
                    ledger._blocks[kind][tuple(labels)] = Block(offset)
                for *labels, offset, gone in value["retired"][kind]:
                    ledger._blocks[kind][tuple(labels)] = Block(offset, gone)
                    ledger._retired[kind][tuple(labels)] = None
            for kind in _FOLDED_KINDS:
                for *labels, counts in value["folded"][kind]:
                    ledger._folded[kind][tuple(labels)] = dict(counts)
        except (ValueError, KeyError, TypeError) as error:
            raise LedgerError(f"the ledger of counters cannot be read: {error!r}") from error
        return ledger

    @classmethod
    def newest(cls, dumps: Iterable[bytes], cells: Cells) -> "Ledger":
        """Of the ledgers that the workers kept, the newest: a crash may have come when only some had it.

        Raises LedgerError when there is none, or one cannot be read.
        """
        ledgers = [cls.load(data, cells) for data in dumps]
        if not ledgers:
            raise LedgerError("no worker kept the ledger of counters")
        return max(ledgers, key=lambda ledger: ledger.serial)

    # Places.

    def _reserve(self, wanted: dict[str, dict[Key, None]]) -> None:
        needed = 0
        for kind, keys in wanted.items():
            new = sum(key not in self._blocks[kind] for key in keys) - len(self._free[kind])
            needed += max(0, new) * BLOCK_SLOTS[kind]
        if self._next + needed > LEDGER_SLOTS:
            raise LedgerFullError(
                f"the plan needs {needed} more counters, and {LEDGER_SLOTS - self._next} of {LEDGER_SLOTS} are left:"
                " it has too many routes, versions or fallbacks for one process"
            )

    def _keep(self, kind: str, key: Key, snapshot: Snapshot) -> Block:
        """The block of `key`, named by the plan from now on; a new one is cleared first."""
        block = self._blocks[kind].get(key)
        if block is None:
            size = BLOCK_SLOTS[kind]
            if self._free[kind]:
                offset = self._free[kind].pop()
            else:
                offset = self._next
                self._next += size
            self._clear(offset, size, snapshot)
            block = self._blocks[kind][key] = Block(offset)
        elif block.gone is not None:
            block.gone = None
            del self._retired[kind][key]
        return block

    def _clear(self, offset: int, slots: int, snapshot: Snapshot) -> None:
        # Also at places never given out by this ledger: a control process that died may have given them out unrecorded.
        cells = self._cells
        for worker in range(cells.regions):
            place = worker * REGION_SLOTS + offset
            if snapshot.touched(place, slots):
                cells.view[place : place + slots] = memoryview(bytes(slots * 8)).cast("q")

    def _fold(self, kind: str, key: Key, snapshot: Snapshot) -> None:
        """Forget the block of `key`; what it counted goes on under the labels `removed`."""
        if kind == "version":
            for served in [one for one in self._retired["codes"] if one[:2] == key]:
                self._fold("codes", served, snapshot)
            self._move("codes", (*key, REMOVED), (key[0], REMOVED, REMOVED))
            self._move("codes", (*key, NONE), (key[0], REMOVED, NONE))
        block = self._blocks[kind].pop(key)
        del self._retired[kind][key]
        self._free[kind].append(block.offset)
        if kind not in _FOLDED_KINDS:
            return
        counts = snapshot.sparse(block.offset, BLOCK_SLOTS[kind])
        for slot in IN_FLIGHT_SLOTS.get(kind, ()):
            counts.pop(slot, None)
        target = (*key[:2], NONE if key[2] == NONE else REMOVED) if kind == "codes" else (key[0], REMOVED)
        self._add(kind, target, counts)

    def _fold_routes(self) -> bool:
        """Routes that are gone and have only `removed` left: all but the newest become the route `removed`. True if any did."""
        gone: dict[str, None] = {}
        for kind in _FOLDED_KINDS:
            for key in self._folded[kind]:
                if key[0] not in self._routes and key[0] != REMOVED and REMOVED in key[1:2]:
                    gone[key[0]] = None
        surplus = list(gone)[: max(0, len(gone) - REMOVED_ROUTES)]
        for route in surplus:
            for kind in _FOLDED_KINDS:
                for key in [one for one in self._folded[kind] if one[0] == route and one[1] == REMOVED]:
                    self._move(kind, key, (REMOVED, *key[1:]))
        return bool(surplus)

    def _move(self, kind: str, source: Key, target: Key) -> None:
        counts = self._folded[kind].pop(source, None)
        if counts:
            self._add(kind, target, counts)

    def _add(self, kind: str, target: Key, counts: dict[int, int]) -> None:
        sums = self._folded[kind].setdefault(target, {})
        for slot, value in counts.items():
            sums[slot] = sums.get(slot, 0) + value


def _layout() -> dict[str, Any]:
    """What the slots mean: counters are gone on with only by a program to which they mean the same."""
    places = [(name, value) for name, value in sorted(vars(counters).items()) if _PLACE.fullmatch(name)]
    words = repr((places, counters.FINE_EDGES, REASONS, [(flag.index, flag.code) for flag in FLAGS]))
    return {**BLOCK_SLOTS, "region": REGION_SLOTS, "meaning": blake2b(words.encode(), digest_size=8).hexdigest()}
