"""What trying again costs an upstream that is in trouble, and what a second try beside the first one gains."""

import time
from pathlib import Path

from tests.e2e.harness.proxy import Proxy
from tests.e2e.harness.traffic import Traffic
from tests.e2e.resilience.configs import USERS, one_version, two_versions
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
    """Every fiftieth answer takes a second: a second request, sent when the first takes long, has an answer sooner.

    The budget is wide, for so few users: one hedge in fifty is slow, too, and keeps its place all the time.
    """
    slow, share, budget = 1.0, 0.02, 50
    found = services("first", "second")
    for one, more in zip(found, (0.9, 1.1), strict=True):  # not in step with each other
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


def test_retry_waits_as_long_as_it_is_asked_to_and_no_longer_than_it_may(tmp_path: Path, services: Open) -> None:
    """Every second answer asks to come again in a second, which is waited for; then in half a minute, which is not."""
    (service,) = services("only")
    retry = {
        "on": ["gateway_error", "rate_limited"],
        "attempts": 2,
        "max_retry_after": "1s",
        "back_off": {"base": "1ms"},
        "budget": {"percent": 100, "minimum": 100},
    }
    with Proxy(one_version(service, route={"retry": retry}), tmp_path) as proxy, proxy.connect() as wire:
        for status in (503, 429):
            service.well()
            service.tell(status=status, share=0.5, misfields=["Retry-After: 1"])
            waited = 0
            for _ in range(3):
                service.forget()
                began = time.monotonic()
                assert wire.get().status == 200
                seconds = time.monotonic() - began
                again = service.counts().misbehaved
                assert (service.counts().requests, seconds >= 1.0) == (1 + again, again == 1)
                waited += again
            assert waited >= 2
            service.tell(share=1.0, misfields=["Retry-After: 30"])
            service.forget()
            before = proxy.metrics().by("tidegate_retries_total", "outcome").get("retry_after", 0)
            began = time.monotonic()
            got = wire.get()
            assert (got.status, got.get(b"retry-after")) == (status, b"30")
            assert time.monotonic() - began < 10
            assert service.counts().requests == 1
            proxy.wait_metric(before + 1, "tidegate_retries_total", outcome="retry_after")


def test_version_that_asks_for_patience_is_left_alone_and_its_fallback_answers(tmp_path: Path, services: Open) -> None:
    stable, canary = services("stable", "canary")
    canary.tell(status=503, misfields=["Retry-After: 30"])
    retry = {"on": ["gateway_error"], "attempts": 3, "budget": {"percent": 100, "minimum": 100}}
    with Proxy(two_versions(stable, canary, weight=50, route={"retry": retry}), tmp_path) as proxy:
        with Traffic(proxy.address, USERS) as traffic:
            seen = traffic.more(5 * USERS)
            assert seen.of("canary")
            assert set(seen.served()) == {"stable"}
            everything = traffic.stop()
        assert not everything.bad()
        assert canary.counts().requests == len(everything.of("canary")), "one try each"


def test_a_try_has_its_own_time(tmp_path: Path, services: Open) -> None:
    """One of two endpoints hangs: every request that meets it has an answer of the other one after that time."""
    hanging, well = services("hanging", "well")
    hanging.tell(manner="hang")
    own = 0.3
    retry = {
        "on": ["timeout"],
        "attempts": 2,
        "per_try_timeout": f"{own}s",
        "back_off": {"base": "1ms"},
        "budget": {"percent": 100, "minimum": 100},
    }
    with Proxy(one_version(hanging, well, route={"retry": retry}), tmp_path) as proxy:
        with Traffic(proxy.address, 10) as traffic:
            traffic.more(100)
            seen = traffic.stop()
        assert set(seen.bodies()) == {"well"}
        late = seen.only(lambda one: one.seconds >= own)
        assert len(late) >= hanging.counts().requests >= 0.4 * len(seen)
        assert proxy.metrics().by("tidegate_retries_total", "outcome") == {"success": hanging.counts().requests}
