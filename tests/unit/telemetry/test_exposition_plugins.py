"""What a scrape says of plugins."""

from proxy.telemetry.counters import (
    CAUSE_TIMEOUT,
    HISTOGRAM_SLOTS,
    HOOK_DECIDE,
    HOOK_REQUEST,
    P_ANSWERED,
    P_DISABLED,
    P_ERRORS,
    P_RUNNING,
    P_SECONDS,
    W_STALLS,
    observe,
)
from proxy.telemetry.exposition import Exposition
from proxy.telemetry.facts import Facts
from proxy.telemetry.ledger import Ledger
from tests.unit.telemetry.memory import cells_of, shop_spec


def lines_of(spec_plugins: list[str], count: bool) -> list[str]:
    with cells_of() as cells:
        ledger = Ledger(cells)
        ledger.place(shop_spec(plugins=[{"name": name} for name in spec_plugins]))
        if count:
            at = dict(ledger.blocks("plugin"))[spec_plugins[0],]
            cells.view[at + P_RUNNING] = 2
            cells.view[at + P_ANSWERED] = 3
            cells.view[at + P_DISABLED] = 1
            cells.view[at + P_ERRORS + 8 * HOOK_REQUEST + CAUSE_TIMEOUT] = 4
            observe(cells.view, at + P_SECONDS + HOOK_DECIDE * HISTOGRAM_SLOTS, 0.003)
            cells.view[W_STALLS] = 5
        text = Exposition(cells, ledger, Facts()).render()[0].decode()
    return [line for line in text.splitlines() if line.startswith(("tidegate_plugin", "tidegate_worker_stalls"))]


def test_counts_of_a_plugin_are_shown_by_hook_and_cause() -> None:
    lines = lines_of(["tenant"], True)
    assert 'tidegate_plugin_errors_total{plugin="tenant",hook="on_request",cause="timeout"} 4' in lines
    assert 'tidegate_plugin_seconds_sum{plugin="tenant",hook="decide"} 0.003' in lines
    assert 'tidegate_plugin_seconds_count{plugin="tenant",hook="decide"} 1' in lines
    assert 'tidegate_plugin_seconds_bucket{plugin="tenant",hook="decide",le="0.0025"} 0' in lines
    assert 'tidegate_plugin_answers_total{plugin="tenant"} 3' in lines
    assert 'tidegate_plugin_overrides_total{plugin="tenant"} 0' in lines
    assert 'tidegate_plugin_in_flight{plugin="tenant"} 2' in lines
    assert 'tidegate_plugin_hooks_disabled{plugin="tenant"} 1' in lines
    assert 'tidegate_worker_stalls_total{worker="0"} 5' in lines
    assert not [line for line in lines if 'hook="unit"' in line]


def test_plugins_that_were_never_asked_are_not_shown() -> None:
    assert [line for line in lines_of(["tenant"], False) if "plugin" in line] == []
