import random
import shutil
import subprocess
from bisect import bisect_left
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from proxy.core.bearer import EXPIRED
from proxy.core.outlier import LATENCY
from proxy.core.plan import SPLIT
from proxy.errors import E5, UF
from proxy.telemetry import metrics
from proxy.telemetry.counters import (
    E_DOWN,
    E_DRAINED,
    E_EJECTED,
    E_EJECTIONS,
    E_UNHEALTHY,
    EXPORTED_EDGES,
    EXPRESSION_FAILED,
    HEDGE_WON,
    LIMITED_SHED,
    M_BUFFERED,
    M_CODES,
    M_DURATION,
    M_OUTCOMES,
    REGION_SLOTS,
    RETRY_BUDGET,
    U_IDLE,
    U_PANIC,
    V_BREAKER_OPENED,
    V_BREAKER_STATE,
    V_DURATION,
    V_FLAGS,
    V_HEDGE_OUTCOMES,
    V_IN_FLIGHT,
    V_LIMIT,
    V_LIMITED,
    V_QUEUED,
    V_REASONS,
    V_RETRY_OUTCOMES,
    V_RETRYING,
    V_UPSTREAM,
    W_EXPRESSIONS,
    W_LOG_DROPPED,
    W_LOOP_LAG,
    W_RATE_KEYS_FORGOTTEN,
    W_TOKENS,
    observe,
)
from proxy.telemetry.exposition import OPENMETRICS, TEXT, Exposition, choose_format
from proxy.telemetry.facts import Facts, ListFacts, Weight
from proxy.telemetry.ledger import Ledger
from tests.specs import plan_spec, route_spec
from tests.unit.telemetry.memory import cells_of, shop_spec

OWN = "tidegate_control_"


def samples(body, parse=parse_text):
    return {
        (one.name, *sorted(one.labels.items())): one.value for family in parse(body.decode()) for one in family.samples
    }


def value(found, name, **labels):
    return found[name, *sorted(labels.items())]


def busy(cells, facts, ledger):
    """Count something of everything, in the last worker's region too."""
    placed = ledger.place(shop_spec())
    facts.weights = [Weight("shop", "stable", 3.0, 1.0), Weight("shop", "canary", 1.0, 1.0)]
    facts.reloads, facts.reload_failures = 5, 2
    facts.access_lines_lost = {"full": 2, "failed": 1}
    for worker in range(cells.workers):
        facts.worker(worker).started(100 + worker)
        facts.worker(worker).up = True
        base = worker * REGION_SLOTS
        view = cells.view
        view[base + W_LOOP_LAG] = 1_500_000
        view[base + W_LOG_DROPPED] = 4
        canary = placed["routes"][0]["versions"][1]
        slot = base + canary["slot"]
        view[slot + V_IN_FLIGHT] = 1
        view[slot + V_RETRY_OUTCOMES] = 2
        view[slot + V_RETRY_OUTCOMES + RETRY_BUDGET] = 3
        view[slot + V_RETRYING] = 1
        view[slot + V_HEDGE_OUTCOMES + HEDGE_WON] = 4
        view[slot + V_BREAKER_STATE] = 1 << (16 * (worker + 1))  # half-open here, open there
        view[slot + V_BREAKER_OPENED] = 1
        view[slot + V_QUEUED] = 3
        view[slot + V_LIMITED + LIMITED_SHED] = 4
        view[base + W_RATE_KEYS_FORGOTTEN] = 5
        view[base + W_TOKENS + EXPIRED] = 3
        view[base + W_EXPRESSIONS + EXPRESSION_FAILED] = 7
        view[slot + V_REASONS + SPLIT] = 7
        view[slot + V_FLAGS + UF.index] = 1
        view[slot + V_FLAGS + E5.index] = 2
        observe(view, slot + V_DURATION, 0.02)
        observe(view, slot + V_UPSTREAM, 0.01)
        view[base + canary["codes"][0] + 200] = 5
        view[base + canary["codes"][1] + 404] = 6
        view[base + canary["codes_none"] + 503] = 1
        mirror = base + placed["routes"][0]["mirror"][0]["slot"]
        view[mirror + M_OUTCOMES] = 9
        view[mirror + M_BUFFERED] = 77
        view[mirror + M_CODES + 204] = 8
        observe(view, mirror + M_DURATION, 0.3)
        view[base + placed["upstreams"][0]["slot"] + U_IDLE] = 3
        view[base + placed["upstreams"][0]["slot"] + U_PANIC] = 1
        endpoint = base + placed["upstreams"][0]["endpoints"][0]["slot"]
        view[endpoint + E_EJECTED] = 1
        view[endpoint + E_EJECTIONS + LATENCY] = 2
    cells.view[placed["upstreams"][0]["endpoints"][0]["slot"] + E_DOWN] = 1
    cells.view[placed["routes"][0]["versions"][1]["slot"] + V_LIMIT] = -37  # while the floor is measured
    return placed


@pytest.mark.parametrize(("accept", "parse"), [("", parse_text), ("application/openmetrics-text", parse_openmetrics)])
def test_a_scrape_parses_and_sums_over_workers(accept, parse):
    with cells_of(2) as cells:
        facts, ledger = Facts(generation=3), Ledger(cells)
        busy(cells, facts, ledger)
        body, _ = Exposition(cells, ledger, facts).render(accept)
        found = samples(body, parse)
    canary = {"route": "shop", "version": "canary"}
    assert value(found, "tidegate_requests_total", **canary, served="canary", code="200") == 10
    assert value(found, "tidegate_requests_total", **canary, served="stable", code="404") == 12
    assert value(found, "tidegate_requests_total", **canary, served="none", code="503") == 2
    assert value(found, "tidegate_in_flight", **canary) == 2
    assert value(found, "tidegate_decisions_total", **canary, reason="split") == 14
    assert value(found, "tidegate_errors_total", **canary, flag="UF") == 2
    assert value(found, "tidegate_errors_total", **canary, flag="5xx") == 4
    assert value(found, "tidegate_retries_total", **canary, outcome="stale_connection") == 4
    assert value(found, "tidegate_retries_total", **canary, outcome="budget_exhausted") == 6
    assert value(found, "tidegate_retrying", **canary) == 2
    assert value(found, "tidegate_hedges_total", **canary, outcome="won") == 8
    breakers = {
        state: value(found, "tidegate_breaker_state", **canary, state=state)
        for state in ("closed", "half_open", "open")
    }
    assert breakers == {"closed": 0, "half_open": 1, "open": 1}
    assert value(found, "tidegate_breaker_opened_total", **canary) == 2
    assert value(found, "tidegate_queued", **canary) == 6
    assert value(found, "tidegate_limited_total", **canary, cause="shed") == 8
    assert value(found, "tidegate_concurrency_limit", **canary) == 37  # the first worker's region has it for all
    assert value(found, "tidegate_rate_keys_forgotten_total", worker="1") == 5
    assert value(found, "tidegate_tokens_total", worker="1", outcome="expired") == 3
    assert value(found, "tidegate_cel_errors_total", worker="1", cause="failed") == 7
    assert value(found, "tidegate_request_duration_seconds_count", **canary) == 2
    assert value(found, "tidegate_request_duration_seconds_sum", **canary) == pytest.approx(0.04)
    assert value(found, "tidegate_request_duration_seconds_bucket", **canary, le="0.01") == 0
    assert value(found, "tidegate_request_duration_seconds_bucket", **canary, le="0.025") == 2
    shadow = {"route": "shop", "upstream": "shadow"}
    assert value(found, "tidegate_mirror_total", **shadow, outcome="sent") == 18
    assert value(found, "tidegate_mirror_responses_total", **shadow, code="204") == 16
    assert value(found, "tidegate_mirror_buffered_bytes", **shadow) == 154
    assert value(found, "tidegate_upstream_connections", upstream="u", state="idle") == 6
    assert value(found, "tidegate_endpoint_up", upstream="u", endpoint="http://127.0.0.1:9001") == 0
    endpoint = {"upstream": "u", "endpoint": "http://127.0.0.1:9001"}
    assert value(found, "tidegate_ejections_total", **endpoint, cause="latency") == 4
    states = {
        state: value(found, "tidegate_endpoint_state", **endpoint, state=state)
        for state in ("unreachable", "ejected", "unhealthy", "drained")
    }
    assert states == {"unreachable": 1, "ejected": 1, "unhealthy": 0, "drained": 0}
    assert value(found, "tidegate_upstream_panic", upstream="u") == 1
    assert value(found, "tidegate_upstream_panic", upstream="shadow") == 0
    assert value(found, "tidegate_weight_percent", **canary, source="file") == 25
    assert value(found, "tidegate_weight_percent", **canary, source="effective") == 50
    assert value(found, "tidegate_config_generation") == 3
    assert value(found, "tidegate_config_reloads_total", outcome="taken") == 3
    assert value(found, "tidegate_config_reloads_total", outcome="refused") == 2
    assert value(found, "tidegate_worker_loop_lag_seconds", worker="1") == 0.0015
    assert value(found, "tidegate_access_log_lines_dropped_total", reason="worker") == 8
    assert value(found, "tidegate_access_log_lines_dropped_total", reason="failed") == 1


@pytest.mark.parametrize(("slot", "up"), [(E_DOWN, 0), (E_EJECTED, 0), (E_UNHEALTHY, 0), (E_DRAINED, 1)])
def test_endpoint_is_up_unless_something_is_wrong_with_it_in_any_worker(slot, up):
    with cells_of(2) as cells:
        ledger = Ledger(cells)
        placed = ledger.place(shop_spec())
        cells.view[REGION_SLOTS + placed["upstreams"][0]["endpoints"][0]["slot"] + slot] = 1
        found = samples(Exposition(cells, ledger, Facts()).render()[0])
    assert value(found, "tidegate_endpoint_up", upstream="u", endpoint="http://127.0.0.1:9001") == up


def test_every_family_is_what_the_table_says_it_is():
    with cells_of() as cells:
        facts, ledger = Facts(), Ledger(cells)
        busy(cells, facts, ledger)
        families = list(parse_text(Exposition(cells, ledger, facts).render()[0].decode()))
    shown = {one.name + ("_total" if one.type == "counter" else ""): one for one in families}
    table = {one.name: one for one in metrics.METRICS}
    assert {name for name in shown if not name.startswith(OWN)} == set(table)
    for name, metric in table.items():
        assert shown[name].type == metric.kind
        assert shown[name].documentation == metric.meaning
        for sample in shown[name].samples:
            assert set(sample.labels) - {"le"} == set(metric.labels), name


def test_promtool_finds_nothing_wrong():
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (Debian: prometheus)")
    with cells_of() as cells:
        facts, ledger = Facts(), Ledger(cells)
        busy(cells, facts, ledger)
        body, _ = Exposition(cells, ledger, facts).render()
    done = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", b"")


def test_exported_buckets_are_exactly_what_counting_them_directly_gives():
    rng = random.Random(7)
    durations = [rng.lognormvariate(-4, 3) for _ in range(2000)] + list(EXPORTED_EDGES)
    with cells_of() as cells:
        ledger = Ledger(cells)
        slot = ledger.place(shop_spec())["routes"][0]["versions"][0]["slot"]
        for duration in durations:
            observe(cells.view, slot + V_DURATION, duration)
        found = samples(Exposition(cells, ledger, Facts()).render()[0])
    stable = {"route": "shop", "version": "stable"}
    naive = [0] * (len(EXPORTED_EDGES) + 1)
    for duration in durations:
        naive[bisect_left(EXPORTED_EDGES, duration)] += 1
    below = 0
    for edge, count in zip((*map(str, EXPORTED_EDGES), "+Inf"), naive, strict=True):
        below += count
        assert value(found, "tidegate_request_duration_seconds_bucket", **stable, le=edge) == below
    total = sum(int(one * 1e9) for one in durations) / 1e9
    assert value(found, "tidegate_request_duration_seconds_sum", **stable) == total


def test_labels_are_escaped():
    with cells_of() as cells:
        name = 'a"b\\c\nd%s'
        ledger, facts = Ledger(cells), Facts(weights=[Weight(name, name, 1.0, 1.0)])
        placed = ledger.place(plan_spec(route_spec(name)))
        observe(cells.view, placed["routes"][0]["versions"][0]["slot"] + V_DURATION, 1.0)
        for accept, parse in (("", parse_text), ("application/openmetrics-text", parse_openmetrics)):
            found = samples(Exposition(cells, ledger, facts).render(accept)[0], parse)
            assert value(found, "tidegate_weight_percent", route=name, version=name, source="file") == 100
            shown = value(found, "tidegate_request_duration_seconds_count", route=name, version="stable")
            assert shown == 1


def test_a_scrape_of_idle_counters_makes_no_memory():
    with cells_of() as cells:
        ledger = Ledger(cells)
        ledger.place(shop_spec())
        Exposition(cells, ledger, Facts()).render()
        assert Path(f"/proc/self/fd/{cells.descriptor}").stat().st_blocks == 0


def test_weights_that_are_all_zero_are_zero_percent():
    with cells_of() as cells:
        facts = Facts(weights=[Weight("r", "v", 0.0, 0.0)])
        found = samples(Exposition(cells, Ledger(cells), facts).render()[0])
    assert value(found, "tidegate_weight_percent", route="r", version="v", source="effective") == 0


def test_cpu_seconds_go_on_when_a_worker_is_replaced():
    worker = Facts().worker(0)
    worker.started(10)
    worker.cpu(5.0)
    worker.cpu(4.9)  # a misreading
    worker.started(11)
    assert (worker.cpu_seconds, worker.restarts) == (5.0, 1)
    worker.cpu(1.0)
    assert worker.cpu_seconds == 6.0


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.4", OPENMETRICS),
        ("application/openmetrics-text;q=0.3,text/plain;q=0.7", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=x", TEXT),
    ],
)
def test_the_format_follows_accept(accept, chosen):
    assert choose_format(accept) == chosen


def test_lists_are_shown_with_what_became_of_their_files():
    with cells_of() as cells:
        facts = Facts(lists={'a "b".txt': ListFacts(units=3, taken_at=12.5, taken=2, refused=1, problem="gone")})
        facts.lists['a "b".txt'].skipped = {"not_text": 0, "too_long": 1, "duplicate": 4}
        body, _ = Exposition(cells, Ledger(cells), facts).render()
    shown = [line for line in body.decode().splitlines() if line.startswith("tidegate_list")]
    label = 'list="a \\"b\\".txt"'
    assert shown == [
        f"tidegate_list_units{{{label}}} 3",
        f"tidegate_list_current{{{label}}} 0",
        f"tidegate_list_last_read_seconds{{{label}}} 12.5",
        f'tidegate_list_reads_total{{{label},outcome="taken"}} 2',
        f'tidegate_list_reads_total{{{label},outcome="refused"}} 1',
        f'tidegate_list_lines_skipped{{{label},cause="not_text"}} 0',
        f'tidegate_list_lines_skipped{{{label},cause="too_long"}} 1',
        f'tidegate_list_lines_skipped{{{label},cause="duplicate"}} 4',
    ]
