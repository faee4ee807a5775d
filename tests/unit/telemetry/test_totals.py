"""Sums over the workers, as the API shows them."""

from proxy.telemetry.counters import (
    E_DRAINED,
    E_EJECTED,
    E_IN_FLIGHT,
    E_UNHEALTHY,
    REGION_SLOTS,
    U_PANIC,
)
from proxy.telemetry.exposition import Exposition
from proxy.telemetry.facts import Facts
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.totals import EndpointTotals, Totals
from tests.unit.telemetry.memory import cells_of, shop_spec


def test_what_workers_hold_of_endpoints_and_upstreams_is_summed():
    with cells_of(2) as cells:
        ledger = Ledger(cells)
        upstream, shadow = ledger.place(shop_spec())["upstreams"]
        place = upstream["endpoints"][0]["slot"]
        for worker, in_flight in ((0, 3), (1, 4)):
            base = worker * REGION_SLOTS + place
            cells.view[base + E_IN_FLIGHT] = in_flight
            cells.view[base + E_UNHEALTHY] = 1
        cells.view[place + E_EJECTED] = 1
        cells.view[REGION_SLOTS + place + E_DRAINED] = 1
        cells.view[REGION_SLOTS + shadow["slot"] + U_PANIC] = 1
        totals = Totals(cells, ledger)
        assert totals.endpoints() == {
            ("u", "http://127.0.0.1:9001"): EndpointTotals(
                up=True, failures=0, in_flight=7, ejected=1, unhealthy=2, drained=1
            )
        }
        assert totals.panicking() == {"shadow"}


def test_checks_are_shown_by_outcome():
    with cells_of() as cells:
        facts = Facts(health_checks={("u", 'a"b'): {"passed": 3, "timeout": 0}})
        text = Exposition(cells, Ledger(cells), facts).render()[0].decode()
    assert 'tidegate_health_checks_total{upstream="u",endpoint="a\\"b",outcome="passed"} 3\n' in text
    assert 'outcome="timeout"} 0\n' in text
