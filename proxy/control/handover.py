"""What a new control process starts with: all afresh, or what survivors of an earlier one hold.

Survivors are sorted here: those that can be worked with, those that serve on but must be replaced (other listeners, or
this program takes over from another one), and strangers, whose messages or counters are another program version's:
these keep nothing but the listening sockets alive (strangers.py).
"""

import contextlib
import logging
import os
from dataclasses import dataclass, field, replace

from proxy.control.legacy import Legacy, LegacyError
from proxy.control.sockets import Listener, close_listeners, open_listeners
from proxy.control.takeover import Survivor
from proxy.telemetry.counters import Cells, create_memory, regions_in_use
from proxy.telemetry.ledger import Ledger, LedgerError

log = logging.getLogger("tidegate.control")


@dataclass(slots=True)
class Inventory:
    """The listeners, counters and workers to go on with."""

    listeners: list[Listener]
    cells: Cells
    ledger: Ledger
    legacy: Legacy
    survivors: list[Survivor] = field(default_factory=list)
    misfits: list[int] = field(default_factory=list)
    strangers: list[Survivor] = field(default_factory=list)


def take_stock(found: list[Survivor], addresses: list[str], workers: int, *, anew: bool = False) -> Inventory:
    """Sort `found`, and open what nobody holds of `addresses`. `anew`: no worker shall stay. Raises ListenError."""
    ours, strangers, ledger, legacy = _judge(found, workers)
    held = _listeners(found, legacy)
    inherited = [listener.address for listener in held]
    try:
        listeners = open_listeners(addresses, held)
    except Exception:
        for survivor in found:
            survivor.close()
        raise
    close_listeners([one for one in held if one not in listeners])
    for one in ours[1:]:
        os.close(one.counters)  # the same memory as the first's
    if ledger is None:
        cells = Cells(create_memory(), 0, workers)
        ledger = Ledger(cells)
    else:
        cells = ledger_cells(ours, workers)
        ledger = Ledger.load(ledger.dump(), cells)
    misfits = [one.index for one in ours if (anew or inherited != addresses) and one.draining is None]
    return Inventory(listeners, cells, ledger, legacy, ours, misfits, strangers)


def ledger_cells(survivors: list[Survivor], workers: int) -> Cells:
    """The counters that survivors share, with all regions in which anybody ever counted."""
    memory = survivors[0].counters
    living = {one.index for one in survivors}
    cells = Cells(memory, 0, workers)
    cells.share(workers, sorted(living | set(range(regions_in_use(memory)))))
    return cells


def _judge(found: list[Survivor], workers: int) -> tuple[list[Survivor], list[Survivor], Ledger | None, Legacy]:
    ours = [one for one in found if one.speaks_our_version]
    strangers = [one for one in found if not one.speaks_our_version]
    if not ours:
        return [], strangers, None, _readable(found)
    # Who drains may be what is left of another version's memory.
    memory = os.fstat(next((one for one in ours if one.draining is None), ours[0]).counters).st_ino
    strangers += [one for one in ours if os.fstat(one.counters).st_ino != memory]
    ours = [one for one in ours if os.fstat(one.counters).st_ino == memory]
    try:
        legacies = [Legacy.unpack(one.legacy) for one in ours if one.legacy]
        ledger = Ledger.newest([one.ledger for one in legacies], ledger_cells(ours, workers))
    except (LegacyError, LedgerError) as error:
        log.warning("the counters of surviving workers cannot be gone on with (%s); counting starts anew", error)
        return [], [*strangers, *ours], None, _readable(found)
    generation = max([one.generation for one in legacies] + [int(one.hello.get("generation", 0)) for one in ours])
    newest = max(legacies, key=lambda one: one.generation)
    return ours, strangers, ledger, replace(newest, generation=generation, ledger=b"")


def _readable(strangers: list[Survivor]) -> Legacy:
    """Of what strangers kept, the keys and the listeners' addresses, if they can be read: users keep their versions."""
    for one in strangers:
        with contextlib.suppress(LegacyError):
            legacy = Legacy.unpack(one.legacy)
            return replace(legacy, ledger=b"", restarts={}, cpu={}, left=[])
    return Legacy(0, b"")


def _listeners(found: list[Survivor], legacy: Legacy) -> list[Listener]:
    """One set of the listening sockets; every survivor brought descriptors of the same ones."""
    if not found:
        return []
    first = next((one for one in found if one.listeners), found[0])  # who drains holds none any more
    for other in found:
        if other is not first:
            close_listeners(other.listeners)
    held = first.listeners
    if len(legacy.listeners) == len(held):
        return [Listener(address, one.socket) for address, one in zip(legacy.listeners, held, strict=True)]
    return held
