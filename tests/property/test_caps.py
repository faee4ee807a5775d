"""Laws of caps: never more units than may, over any interleaving of workers; nobody who has it loses it by the cap."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from proxy.cap_files import make_cap_file
from proxy.core.build import build_plan
from proxy.core.decide import decide
from proxy.core.hashing import UnitHasher
from proxy.core.plan import REASONS, Plan
from proxy.core.request import Request
from proxy.dataplane.capping import Capping
from tests.specs import plan_spec, request_head, route_spec, version_spec

UNITS = [b"user-%d" % number for number in range(40)]
units = st.sampled_from(UNITS)
workers = st.integers(0, 2)


class Worker:
    """One worker's plan and files; a decision may be begun now and settled later, after those of others."""

    def __init__(self, counters: memoryview) -> None:
        self.capping = Capping(counters)
        self.plan: Plan | None = None
        self.begun: list[tuple[Request, bytes, Any]] = []

    def take(self, limit: int, file: str) -> None:
        cap = {"limit": limit, "file": file}
        versions = [
            version_spec("stable", 50.0),
            version_spec("canary", 40.0, cap=cap),
            version_spec("blue", 10.0),
        ]
        rules = [{"label": "rules[0]", "units": [unit.decode() for unit in UNITS[::7]], "version": "canary"}]
        self.plan = build_plan(plan_spec(route_spec(versions=versions, rules=rules)))
        self.capping.bring(self.plan, UnitHasher(b"key"))

    def begin(self, unit: bytes) -> None:
        assert self.plan is not None
        request = request_head()
        request.unit = unit
        self.begun.append((request, unit, decide(self.plan.routes[0], request, unit)))

    def settle(self) -> tuple[bytes, str, str]:
        assert self.plan is not None
        request, unit, decision = self.begun.pop(0)
        settled = self.capping.settle(self.plan.routes[0], request, unit, decision)
        assert settled.version is not None
        return unit, settled.version.name, REASONS[settled.reason]


class Interleaving(RuleBasedStateMachine):
    """Workers that serve, die and come again, plans that raise and lower the cap; what was given is written down here."""

    @initialize(limit=st.integers(1, 12))
    def begin(self, limit: int) -> None:
        self.directory = TemporaryDirectory()
        self.path = Path(self.directory.name) / "caps" / "shop~canary~0"
        self.counters = memoryview(bytearray(8 * 4096)).cast("q")
        self.limit = limit
        self.highest = limit  # there ever was
        self.file = make_cap_file(self.path, limit)
        self.workers = [self._worker() for _ in range(3)]
        self.given: set[bytes] = set()

    def _worker(self) -> Worker:
        worker = Worker(self.counters)
        worker.take(self.limit, str(self.path))
        return worker

    @rule(worker=workers, unit=units)
    def request_begins(self, worker: int, unit: bytes) -> None:
        self.workers[worker].begin(unit)

    @rule(worker=workers)
    def request_goes_on(self, worker: int) -> None:
        if not self.workers[worker].begun:
            return
        unit, version, reason = self.workers[worker].settle()
        if version == "canary":
            self.given.add(unit)
            assert len(self.given) <= self.highest
        if unit in self.given:
            assert version == "canary"
            assert reason in {"split", "sticky", "override"}

    @rule(worker=workers, units=st.lists(units, min_size=1, max_size=20))
    def many_come(self, worker: int, units: list[bytes]) -> None:
        for unit in units:
            self.request_begins(worker, unit)
        while self.workers[worker].begun:
            self.request_goes_on(worker)

    @rule(worker=workers)
    def worker_dies_and_another_comes(self, worker: int) -> None:
        self.workers[worker] = self._worker()

    @rule()
    def all_end_and_begin_again(self) -> None:
        self.file = make_cap_file(self.path, self.limit)
        self.workers = [self._worker() for _ in range(3)]

    @rule(limit=st.integers(1, 16))
    def cap_is_another(self, limit: int) -> None:
        self.limit = limit
        self.highest = max(self.highest, limit)
        self.file = make_cap_file(self.path, limit)
        for worker in self.workers:
            while worker.begun:  # a decision is settled under the plan that it was begun under
                unit, version, _ = worker.settle()
                if version == "canary":
                    self.given.add(unit)
            worker.take(limit, str(self.path))

    @invariant()
    def never_more_than_may(self) -> None:
        if hasattr(self, "given"):
            assert self.file.table.count == len(self.given)
            assert len(self.given) <= self.highest

    @invariant()
    def who_has_it_would_get_it_again_everywhere(self) -> None:
        for worker in getattr(self, "workers", ()):
            assert worker.plan is not None
            for unit in self.given:
                request = request_head()
                request.unit = unit
                decision = decide(worker.plan.routes[0], request, unit)
                assert decision.version is not None
                assert decision.version.name == "canary"

    def teardown(self) -> None:
        if hasattr(self, "directory"):
            self.directory.cleanup()


TestInterleaving = Interleaving.TestCase
TestInterleaving.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
