"""What trying again costs an upstream that is in trouble, and what a second try beside the first one gains."""

from pathlib import Path

from tests.e2e.harness.proxy import Proxy
from tests.e2e.harness.traffic import Traffic
from tests.e2e.resilience.configs import one_version
from tests.e2e.resilience.conftest import Open


def test_retry_storm_stays_within_its_budget(tmp_path: Path, services: Open) -> None:
    """Everything fails, and everything that fails may be tried three times: without a budget that would be three times the load."""
    users, minimum = 40, 3
    found = services("first", "second")
    for one in found:
        one.tell(status=503, latency=0.03)
    retry = {"on": ["gateway_error"], "attempts": 3, "budget": {"percent": 20, "minimum": minimum}}
    with Proxy(one_version(*found, route={"retry": retry}), tmp_path) as proxy:
        with Traffic(proxy.address, users) as traffic:
            traffic.more(1500)
            seen = traffic.stop()
        sent = sum(one.counts().requests for one in found)
        assert seen.statuses() == {503: len(seen)}
        assert len(seen) < sent <= 1.2 * len(seen) + minimum
        counted = proxy.metrics().by("tidegate_retries_total", "outcome")
        assert counted["budget_exhausted"] > 0
        # Every try beyond the first was counted as one that succeeded or failed.
        assert sent - len(seen) == counted.get("failure", 0) + counted.get("success", 0)
        proxy.wait_metric(0, "tidegate_in_flight")


def test_retries_hide_an_endpoint_that_fails_now_and_then(tmp_path: Path, services: Open) -> None:
    """One request in twenty fails, at each of two endpoints: with two retries nobody gets to see it."""
    found = services("first", "second")
    for one, manner in zip(found, ("reset", "half_head"), strict=True):
        one.tell(manner=manner, share=0.05)
    retry = {"on": ["reset"], "attempts": 3, "back_off": {"base": "1ms"}, "budget": {"percent": 20, "minimum": 20}}
    with Proxy(one_version(*found, route={"retry": retry}), tmp_path) as proxy, Traffic(proxy.address) as traffic:
        traffic.more(1000)
        seen = traffic.stop()
        assert seen.statuses() == {200: len(seen)}
        failed = sum(one.counts().misbehaved for one in found)
        assert failed >= 0.045 * len(seen)
        assert sum(one.counts().requests for one in found) == len(seen) + failed


def test_hedges_cut_a_slow_tail(tmp_path: Path, services: Open) -> None:
    """Every fiftieth answer takes a second: a second request, sent when the first takes long, has an answer sooner."""
    slow, share, budget = 1.0, 0.02, 10
    found = services("first", "second")
    for one, more in zip(
        found, (0.9, 1.1), strict=True
    ):  # not in step with each other: the budget is one hedge at a time
        one.tell(slow=slow, slow_share=more * share)
    hedge = {
        "percentile": 90,
        "minimum_delay": "20ms",
        "maximum_delay": "100ms",
        "minimum_samples": 100,
        "budget_percent": budget,
    }
    with Proxy(one_version(*found, route={"hedge": hedge}), tmp_path) as proxy:
        with Traffic(proxy.address, 40) as traffic:
            traffic.more(150)
            mark = traffic.mark()
            before = sum(one.counts().requests for one in found)
            traffic.more(2000)
            traffic.stop()
        seen = traffic.since(mark)
        sent = sum(one.counts().requests for one in found) - before
        assert not seen.bad()
        assert seen.share(lambda one: one.seconds >= 0.9 * slow) <= share / 2
        hedged = proxy.metrics().by("tidegate_hedges_total", "outcome")
        assert hedged["won"] >= 10
        assert sent <= (1 + budget / 100) * len(seen) + 40
        proxy.wait_metric(0, "tidegate_in_flight")
