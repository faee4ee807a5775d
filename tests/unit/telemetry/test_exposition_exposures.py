"""What a scrape says of exposures."""

from math import inf

from proxy.telemetry.counters import V_EXPOSURES_DROPPED
from proxy.telemetry.exposition import Exposition
from proxy.telemetry.facts import ExposureFacts, Facts
from proxy.telemetry.ledger import Ledger
from tests.unit.telemetry.memory import cells_of, shop_spec
from tests.unit.telemetry.test_exposition import samples, value


def scraped(facts, dropped=()):
    with cells_of() as cells:
        ledger = Ledger(cells)
        spec = ledger.place(shop_spec())
        for version, count in zip(spec["routes"][0]["versions"], dropped, strict=False):
            cells.view[version["slot"] + V_EXPOSURES_DROPPED] = count
        found = samples(Exposition(cells, ledger, Facts(exposures=facts)).render()[0])
    return {key: value for key, value in found.items() if "exposure" in key[0] or "sample_ratio" in key[0]}


def test_nothing_is_said_where_nothing_is_recorded():
    assert scraped(ExposureFacts()) == {}


def test_outcomes_by_route_failures_sizes_and_ratios():
    facts = ExposureFacts(
        recorded={"shop": 7, "cart": 1},
        repeated={"shop": 2},
        failures={"store": 1, "corrupt": 0},
        records=8,
        size=4096,
        ratios=[("shop", "", "", -1.5), ("shop", "beta", "header", inf)],
    )
    found = scraped(facts, dropped=(3, 4))
    by_outcome = {
        (dict(labels)["route"], dict(labels)["outcome"]): count
        for (name, *labels), count in found.items()
        if name == "tidegate_exposures_total"
    }
    assert by_outcome == {
        ("shop", "recorded"): 7, ("shop", "repeated"): 2, ("shop", "dropped"): 7,
        ("cart", "recorded"): 1, ("cart", "repeated"): 0, ("cart", "dropped"): 0,
    }  # fmt: skip
    assert value(found, "tidegate_exposure_failures_total", kind="store") == 1
    assert value(found, "tidegate_exposure_records") == 8
    assert value(found, "tidegate_exposure_store_bytes") == 4096
    name = "tidegate_sample_ratio_log_bayes_factor"
    assert value(found, name, route="shop", segment="", source="") == -1.5
    assert value(found, name, route="shop", segment="beta", source="header") == inf
