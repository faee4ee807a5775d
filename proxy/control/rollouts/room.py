"""Rollouts put together: the journal, what judges, what is asked and told outside, the runner, and the desk for people."""

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from proxy.control.exposures import Exposures
from proxy.control.handover import Inventory
from proxy.control.rollouts.course import Courses
from proxy.control.rollouts.desk import RolloutDesk
from proxy.control.rollouts.evidence import Evidences
from proxy.control.rollouts.people import LazySender, Outside
from proxy.control.rollouts.runner import Rollouts
from proxy.control.rollouts.schedules import Schedules
from proxy.control.state import Store
from proxy.control.tasks import Tasks
from proxy.rollout.journal import open_journal
from proxy.telemetry.facts import Facts
from proxy.telemetry.measures import Measures

Spec = dict[str, Any]


class RolloutRoom:
    """All that rollouts need in the control process."""

    def __init__(
        self,
        state: str | None,
        store: Store,
        inventory: Inventory,
        exposures: Exposures,
        facts: Facts,
        tasks: Tasks,
        spec: Callable[[], Spec],
        publish: Callable[[], None],
    ) -> None:
        """`state` is the file's; `spec` gives that of the plan in force, `publish` sends it anew with what `lay` gives."""
        measures = Measures(inventory.cells, inventory.ledger)
        self.journal: Final = open_journal(state, Path.cwd())
        self.evidence: Final = Evidences(store, measures, spec, time.time, time.monotonic, facts.evidence, tasks.spawn)
        self._sender: Final = LazySender()
        self._courses: Final = Courses(measures.of, time.time)
        self._tasks: Final = tasks
        self._outside: Final = Outside(
            self._sender,
            self.journal,
            exposures,
            self._courses,
            facts.rollouts,
            plans=lambda: self.rollouts.plans,
            witness=self.evidence,
            clock=time.time,
            rng=random.random,
            spawn=tasks.spawn,
        )

        def requests(route: str) -> int:
            return sum(one.requests + one.marked for one in measures.of([route]).values())

        self.rollouts: Final[Rollouts] = Rollouts(
            self.journal,
            publish,
            time.time,
            time.monotonic,
            facts.rollouts,
            tasks.spawn,
            judge=self.evidence,
            people=self._outside,
            closed=Schedules(requests, time.monotonic).closed,
            counted=self.evidence.wish,
        )
        self.desk: Final = RolloutDesk(self.rollouts, self._outside)

    async def load(self, spec: Spec) -> None:
        """Take what an earlier control process left, and do as this spec of the file's says. Before its first plan.

        Raises JournalError.
        """
        await self.evidence.load()
        await self.rollouts.load()
        await self.rollouts.follow(spec)

    def begin(self) -> None:
        """Look after them from now on."""
        self._tasks.spawn("rollouts", self.rollouts.run())
        self._tasks.spawn("courses of rollouts", self._courses.run(self.rollouts))
        self._tasks.spawn("missing reports", self._outside.catch_up(self.desk.all()))

    async def follow(self, spec: Spec) -> None:
        """Do as this spec of the file's says, which is in force now."""
        await self.rollouts.follow(spec)
        self.rollouts.bring()

    async def close(self) -> None:
        """Write down how far they are, and let go of files and connections. Nothing that was begun may run any more."""
        await self.rollouts.leave()
        await self.evidence.close()
        await self._sender.close()
        await self.journal.close()
