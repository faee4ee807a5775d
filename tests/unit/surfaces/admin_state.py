"""A control process as the admin port sees it, with a plan and some counts."""

from contextlib import contextmanager

from proxy.telemetry.counters import E_DOWN, V_FLAGS, V_IN_FLIGHT
from proxy.telemetry.exposition import Exposition
from proxy.telemetry.facts import Facts, weights_of
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.totals import Totals
from tests.unit.telemetry.memory import cells_of, shop_spec


class StandIn:
    def __init__(self, cells):
        ledger = Ledger(cells)
        self.spec = ledger.place(shop_spec(secrets={"cookie": ["hush"], "unit_hash": "hush"}))
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
        view = cells.view
        stable, canary = self.spec["routes"][0]["versions"]
        view[canary["codes"][0] + 200] = 3
        view[canary["codes"][1] + 200] = 2
        view[stable["codes"][0] + 500] = 1
        view[stable["slot"] + V_FLAGS + 19] = 1
        view[stable["slot"] + V_IN_FLIGHT] = 6
        view[self.spec["upstreams"][0]["endpoints"][0]["slot"] + E_DOWN] = 1

    def not_ready(self):
        return self.reasons


@contextmanager
def stand_in():
    with cells_of() as cells:
        yield StandIn(cells)
