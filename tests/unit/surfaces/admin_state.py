"""A control process as the admin port sees it, with a plan and some counts."""

import asyncio
from contextlib import contextmanager
from pathlib import Path

from proxy.control.drained_endpoints import Drained
from proxy.control.endpoints import Endpoints
from proxy.control.exposures import Exposures
from proxy.control.health import Prober
from proxy.control.kill_switch import KillSwitch
from proxy.control.probe import Result
from proxy.control.rollouts.desk import RolloutDesk
from proxy.control.rollouts.evidence import Evidences
from proxy.control.rollouts.runner import Rollouts
from proxy.control.state import MemoryStore
from proxy.control.tasks import Tasks
from proxy.control.unit_lists import UnitLists
from proxy.rollout.journal import SqliteJournal
from proxy.settings.unit_files import UnitFiles
from proxy.telemetry.counters import E_DOWN, E_IN_FLIGHT, V_FLAGS, V_IN_FLIGHT
from proxy.telemetry.exposition import Exposition
from proxy.telemetry.facts import Facts, weights_of
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.measures import Measures
from proxy.telemetry.totals import Totals
from tests.specs import upstream_spec
from tests.unit.control.clock import Timers
from tests.unit.core.test_health import SPEC as HEALTH
from tests.unit.telemetry.memory import cells_of, endpoint_spec, shop_spec


class StandIn:
    def __init__(self, cells):
        ledger = Ledger(cells)
        upstreams = [
            upstream_spec("u", endpoints=[endpoint_spec()]),
            upstream_spec("shadow"),
            upstream_spec("pair", health=HEALTH, endpoints=[
                endpoint_spec("http://shop.internal:80", "10.0.0.1", 80), endpoint_spec("unix:/run/shop.sock", "", 0),
            ]),
        ]  # fmt: skip
        upstreams[2]["endpoints"][1]["unix"] = "/run/shop.sock"
        self.spec = ledger.place(shop_spec(secrets={"cookie": ["hush"], "unit_hash": "hush"}, upstreams=upstreams))
        self.file = "config/tidegate.yaml"
        self.warnings = ["no `state`: forgotten at a restart"]
        self.reasons = []
        self.facts = Facts(
            generation=4,
            last_reload_time=12.5,
            weights=weights_of(self.spec, {"shop": {"stable": 90.0, "canary": 10.0}}),
        )
        self.exposition = Exposition(cells, ledger, self.facts)
        self.totals = Totals(cells, ledger)
        self.exposures = Exposures(self.facts.exposures, lambda: self.spec, lambda unit: None)
        self.evidence = Evidences(
            MemoryStore(), Measures(cells, ledger), lambda: self.spec, lambda: 12.5, lambda: 1.0, self.facts.evidence,
            lambda name, work: work.close(),
        )  # fmt: skip
        self.files = UnitFiles(Path())
        self.lists = UnitLists(self.files, self.facts, lambda frame: None, Timers(), lambda: True)
        self.told = []
        self.faults = KillSwitch(MemoryStore(), lambda: 12.5, lambda: self.told.append(self.faults.kill is not None))
        view = cells.view
        stable, canary = self.spec["routes"][0]["versions"]
        view[canary["codes"][0] + 200] = 3
        view[canary["codes"][1] + 200] = 2
        view[stable["codes"][0] + 500] = 1
        view[stable["slot"] + V_FLAGS + 19] = 1
        view[stable["slot"] + V_IN_FLIGHT] = 6
        view[self.spec["upstreams"][0]["endpoints"][0]["slot"] + E_DOWN] = 1
        view[self.spec["upstreams"][2]["endpoints"][0]["slot"] + E_IN_FLIGHT] = 4
        self.store = MemoryStore()
        self.told = []
        self.journal = SqliteJournal(None)
        running = Rollouts(self.journal, lambda: None, lambda: 12.5, lambda: 0.0, self.facts.rollouts, lambda *_: None)
        running.routes = {route["name"]: route for route in self.spec["routes"]}
        self.running = running
        self.rollouts = RolloutDesk(running, None)
        self.timers = Timers()
        self.failing = False
        self.endpoints = self.look_after()

    def look_after(self):
        tasks = Tasks()

        def prober(changed):
            return Prober(self.check, self.timers, lambda: 12.5, lambda: 0.5, tasks, changed, {})

        endpoints = Endpoints(
            prober, Drained(self.store, lambda: 100.0), lambda *said: self.told.append(said), self.totals.endpoints,
            self.timers, tasks,
        )  # fmt: skip
        endpoints.bring(self.spec["upstreams"], self.spec["upstreams"])
        return endpoints

    async def check(self, target):
        return Result("status", "status 503, expected 200-299") if self.failing else Result("passed")

    async def settle(self):
        """Let what is due be checked."""
        self.timers.jump(1.0)
        for _ in range(8):
            await asyncio.sleep(0)

    def not_ready(self):
        return self.reasons


@contextmanager
def stand_in():
    with cells_of() as cells:
        yield StandIn(cells)
