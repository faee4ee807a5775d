"""What becomes of workers, put down where it is looked for: in the facts and counters that are shown, and in the run directory
and with the workers themselves, for a control process that comes after this one.
"""

import logging
from collections.abc import Callable
from typing import Final

from proxy.control.access_file import AccessFile
from proxy.control.exposures import Exposures
from proxy.control.handover import Inventory
from proxy.control.places import Places, running
from proxy.control.plans import Plans
from proxy.control.rollouts.evidence import Evidences
from proxy.control.run_dir import RunDir
from proxy.control.token_keys import TokenKeys
from proxy.telemetry.counters import REGION_SLOTS, W_STALLS
from proxy.telemetry.facts import Facts

log = logging.getLogger("tidegate.control")


class Register:
    """Keeps it true: hears what the supervisor tells (supervisor.SupervisorEvents)."""

    def __init__(
        self,
        inventory: Inventory,
        facts: Facts,
        plans: Plans,
        places: Places,
        run_dir: RunDir | None,
        access: AccessFile,
        exposures: Exposures,
        evidence: Evidences,
        token_keys: TokenKeys,
        served: Callable[[], None],
    ) -> None:
        """Goes on with what an earlier control process had put down. `served` is called when a worker serves a plan."""
        self._inventory: Final = inventory
        self._facts: Final = facts
        self._plans: Final = plans
        self._places: Final = places
        self._run_dir = run_dir
        self._access: Final = access
        self._exposures: Final = exposures
        self._evidence: Final = evidence
        self._token_keys: Final = token_keys
        self._served: Final = served
        self._inherit()

    def _inherit(self) -> None:
        inventory = self._inventory
        alive = {one.index for one in inventory.survivors}
        left = set(inventory.legacy.left) - alive
        for index, restarts in inventory.legacy.restarts.items():
            self._facts.worker(index).restarts = restarts + (index not in alive and index not in left)
            self._facts.worker(index).left = index in left
        for index, seconds in inventory.legacy.cpu.items():
            self._facts.worker(index).cpu_before = seconds
        for index in set(range(inventory.cells.regions)) - alive:
            inventory.ledger.reset_present(inventory.cells.view, index)

    def look(self) -> None:
        """Note what nothing tells of: the CPU times. Called about once a second."""
        for place in self._places.values():
            if place.process is not None:
                self._facts.worker(place.index).cpu(place.process.cpu_seconds())

    def close(self) -> None:
        """Leave the run directory as it is: the workers are another control process's now, or gone."""
        self._run_dir = None

    def started(self, index: int, pid: int) -> None:
        """A process runs in this place."""
        self._facts.worker(index).started(pid)
        self._record()
        self._plans.bequeath()

    def died(self, index: int, cpu: float) -> None:
        """A worker's process has ended."""
        self._facts.worker(index).ended(cpu)
        self._inventory.ledger.reset_present(self._inventory.cells.view, index)
        place = self._places.get(index)
        if place is not None and place.stalled:
            place.stalled = False
            self._inventory.cells.view[index * REGION_SLOTS + W_STALLS] += 1  # nobody else writes there now
        self._record()

    def left(self, index: int) -> None:
        """A worker has drained and nobody comes after it in its place."""
        self._facts.worker(index).left = True
        self._plans.bequeath()

    def shared(self, workers: int, living: list[int]) -> None:
        """Limits are divided among `workers`, and those of the numbers `living` run."""
        self._inventory.cells.share(workers, living)

    def serving(self, index: int, generation: int, seconds: float) -> None:
        """A worker serves this plan."""
        worker = self._facts.worker(index)
        worker.up, worker.generation = True, generation
        log.debug("worker %d serves plan %d, taken in %.3f s", index, generation, seconds)
        self._served()

    def refused(self, index: int, generation: int, error: str) -> None:
        """A worker could not take this plan."""
        if generation == self._plans.generation:
            self._facts.last_reload_success = False
            self._facts.problems = [f"worker {index} cannot take plan {generation}: {error}"]

    def settled(self, generation: int) -> None:
        """No worker has an exchange left on an older plan."""
        if self._inventory.ledger.settled(generation):
            self._plans.bequeath()

    def exposed(self, payload: bytes, done: Callable[[], None]) -> None:
        """A message of exposures."""
        self._exposures.take(payload, done)

    def testified(self, payload: bytes) -> None:
        """A message of evidence."""
        self._evidence.take(payload)

    def lacking(self, source: str) -> None:
        """A token named a key that is not among those of this source."""
        self._token_keys.want(source)

    def accessed(self, lines: bytes) -> None:
        """Whole lines for the access log."""
        self._access.write(lines)

    def _record(self) -> None:
        if self._run_dir is None:
            return
        try:
            self._run_dir.record(running(self._places))
        except OSError as error:
            log.warning("the run directory cannot be written (%s): taking over may miss workers", error)
