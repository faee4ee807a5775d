"""A version fails as a whole: its users go to another one while it does, nobody else notices, and they come back."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness.proxy import Config, Proxy
from tests.e2e.harness.services import Service
from tests.e2e.harness.traffic import Record, Seen, Traffic
from tests.e2e.harness.wait import wait_for
from tests.e2e.resilience.configs import CANARY_PERCENT, USERS, pool, two_versions
from tests.e2e.resilience.conftest import Open

WINDOW = 1.0
ERROR_PERCENT = 50
PROBES = 2
BREAKER = {
    "window": f"{WINDOW}s",
    "minimum_requests": 10,
    "error_percent": ERROR_PERCENT,
    "open": "300ms",
    "max_open": "600ms",
    "probes": PROBES,
}
RETRY = {
    "on": ["connect_failure", "reset", "gateway_error", "timeout"],
    "attempts": 2,
    "back_off": {"base": "2ms", "max": "2ms"},
    "budget": {"percent": 100, "minimum": USERS},
}


def with_breaker(stable: Service, canary: Service, **more: Any) -> Config:
    return two_versions(stable, canary, version={"breaker": BREAKER}, **more)


def breaker(proxy: Proxy, state: str) -> bool:
    """Whether the canary's breaker is in that state in all workers, as /metrics shows it."""
    workers = proxy.config.get("workers", 1)
    return bool(proxy.metrics().value("tidegate_breaker_state", version="canary", state=state) == workers)


def opened(proxy: Proxy) -> int:
    return int(proxy.metrics().value("tidegate_breaker_opened_total", version="canary"))


def users(seen: Record) -> dict[str, str]:
    """Which version each user is assigned to; nobody may have two."""
    found: dict[str, set[str]] = {}
    for one in seen:
        found.setdefault(one.user, set()).add(one.assigned)
    assert all(len(versions) == 1 for versions in found.values()), found
    return {user: next(iter(versions)) for user, versions in found.items()}


def at_home(one: Seen) -> bool:
    return one.served == one.assigned


@pytest.mark.parametrize("workers", [1, 2])
def test_failing_canary_costs_its_users_the_threshold_and_nobody_else_anything(
    tmp_path: Path, services: Open, workers: int
) -> None:
    """With two workers each of them sees half of it, and the bounds are the same."""
    stable, canary = services("stable", "canary")
    config = with_breaker(stable, canary, workers=workers)
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, USERS) as traffic:
        calm = traffic.more(10 * USERS)
        assert not calm.bad()
        assert all(map(at_home, calm))
        home = users(traffic.seen)
        canary_users = sum(version == "canary" for version in home.values())
        assert abs(canary_users / USERS - CANARY_PERCENT / 100) < 0.15
        assert canary_users >= 3

        mark = traffic.mark()
        canary.tell(status=503)
        wait_for(lambda: breaker(proxy, "open"), "the breaker to open")
        first = traffic.since(mark)
        errors = len(first.of("canary").bad())
        # What of the window may be errors, and what each user had under way when it opened. A bucket more than the window.
        end = first[-1].at
        window = traffic.seen.of("canary").only(
            lambda one: end - 1.1 * WINDOW - 0.1 <= one.at and one.served == "canary"
        )
        assert errors <= ERROR_PERCENT / 100 * len(window) + PROBES * opened(proxy) + canary_users + 1
        assert errors >= ERROR_PERCENT / 100 * 10 / 2

        shut = traffic.more(5 * USERS, lambda one: one.assigned == "canary" and one.served == "stable")
        assert all("FB" in one.flags for one in shut)
        assert not shut.bad()
        wait_for(lambda: opened(proxy) >= 3, "two probes in vain")
        during = traffic.since(mark)
        assert not during.of("stable").bad()
        assert set(during.of("stable").served()) == {"stable"}
        # Once what was under way is over only probes fail: as many as there may be, for each time the breaker tried.
        openings = opened(proxy)
        assert len(during.of("canary").bad()) <= errors + canary_users + PROBES * openings

        canary.well()
        wait_for(lambda: breaker(proxy, "closed"), "the breaker to close")
        recovered = traffic.more(10 * USERS)
        assert not recovered.bad()
        assert all(map(at_home, recovered)), "its users return to it"
        assert users(traffic.stop()) == home, "nobody was assigned anew meanwhile"


def test_failing_canary_costs_nothing_with_retries(tmp_path: Path, services: Open) -> None:
    stable, canary = services("stable", "canary")
    config = with_breaker(stable, canary, route={"retry": RETRY})
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, USERS) as traffic:
        traffic.more(5 * USERS)
        canary.tell(status=503)
        wait_for(lambda: breaker(proxy, "open"), "the breaker to open")
        wait_for(lambda: opened(proxy) >= 2, "probes in vain")
        canary.well()
        wait_for(lambda: breaker(proxy, "closed"), "the breaker to close")
        recovered = traffic.more(5 * USERS)
        assert all(map(at_home, recovered))
        seen = traffic.stop()
        assert seen.statuses() == {200: len(seen)}
        away = seen.only(lambda one: not at_home(one))
        assert away
        assert {(one.assigned, one.served) for one in away} == {("canary", "stable")}
        assert all("FB" in one.flags for one in away)


def test_canary_that_dies_costs_nothing_with_retries(tmp_path: Path, services: Open) -> None:
    """Connections reset and refused, as when a process is killed; and back, as when it was restarted."""
    stable, canary = services("stable", "canary")
    config = two_versions(stable, canary, route={"retry": RETRY})
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, USERS) as traffic:
        traffic.more(5 * USERS)
        canary.down()
        down = traffic.more(5 * USERS, lambda one: one.assigned == "canary")
        assert down.served()["stable"] > 0
        canary.up()
        traffic.until(lambda seen: canary.counts().requests > 0 and "canary" in seen.served(), "its users to return")
        recovered = traffic.more(5 * USERS)
        assert all(map(at_home, recovered))
        seen = traffic.stop()
        assert seen.statuses() == {200: len(seen)}


def test_slow_canary_opens_its_breaker(tmp_path: Path, services: Open) -> None:
    stable, canary = services("stable", "canary")
    config = with_breaker(stable, canary)
    config["routes"][0]["versions"]["canary"]["breaker"] = {
        **BREAKER,
        "error_percent": 0,
        "slow": {"above": "150ms", "percent": 50},
    }
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, USERS) as traffic:
        traffic.more(5 * USERS)
        canary.tell(latency=0.3)
        wait_for(lambda: breaker(proxy, "open"), "the breaker to open")
        shut = traffic.more(20, lambda one: one.assigned == "canary" and one.served == "stable")
        assert not shut.bad()
        canary.well()
        wait_for(lambda: breaker(proxy, "closed"), "the breaker to close")
        assert all(map(at_home, traffic.more(5 * USERS)))
        assert not traffic.stop().bad()


def test_open_breaker_outlives_an_edit(tmp_path: Path, services: Open) -> None:
    stable, canary = services("stable", "canary")
    config = with_breaker(stable, canary)
    config["routes"][0]["versions"]["canary"]["breaker"] = {**BREAKER, "open": "60s", "max_open": "60s"}
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, USERS) as traffic:
        traffic.more(5 * USERS)
        canary.tell(status=500)
        wait_for(lambda: breaker(proxy, "open"), "the breaker to open")
        canary.well()
        traffic.more(2 * USERS)
        canary.forget()

        def grow(config: Config) -> None:
            versions = config["routes"][0]["versions"]
            versions["stable"]["weight"], versions["canary"]["weight"] = 50, 50

        proxy.edit(grow)
        seen = traffic.more(10 * USERS)
        assert len(seen.of("canary")) > 0.25 * len(seen)
        assert set(seen.served()) == {"stable"}
        assert not seen.bad()
        assert breaker(proxy, "open")
        assert opened(proxy) == 1
        assert canary.counts().requests == 0


def test_chain_of_fallbacks_is_followed_to_its_end_and_back(tmp_path: Path, services: Open) -> None:
    """The canary falls back to the beta, and that to stable; who is down is stepped over, and nobody is assigned anew."""
    stable, beta, canary = services("stable", "beta", "canary")
    config = two_versions(stable, canary, weight=50, route={"retry": RETRY})
    config["upstreams"]["v3"] = pool(beta)
    versions = config["routes"][0]["versions"]
    versions["beta"] = {"upstream": "v3", "weight": 0, "fallback": "stable"}
    versions["canary"]["fallback"] = "beta"
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, USERS) as traffic:
        home = users(traffic.more(5 * USERS))
        for gone, answers in ((canary, "beta"), (beta, "stable")):
            gone.down()
            traffic.until(lambda seen, name=answers: name in seen.last(USERS).of("canary").served(), "the next one")
            seen = traffic.more(3 * USERS)
            assert set(seen.of("canary").served()) == {answers}
            assert set(seen.of("canary").bodies()) == {answers}
            assert set(seen.of("stable").served()) == {"stable"}
            assert all("FB" in one.flags for one in seen.of("canary"))
        for back in (beta, canary):
            back.up()
            traffic.until(
                lambda seen, name=back.name: set(seen.last(USERS).of("canary").served()) == {name},
                "its users to return",
            )
        recovered = traffic.more(3 * USERS)
        assert all(map(at_home, recovered))
        seen = traffic.stop()
        assert seen.statuses() == {200: len(seen)}
        assert users(seen) == home
        counted = proxy.metrics()
        assert counted.by("tidegate_requests_total", "served", version="canary").keys() == {"canary", "beta", "stable"}
        assert counted.by("tidegate_requests_total", "served", version="stable").keys() == {"stable"}


def test_saturated_canary_opens_its_breaker_before_anybody_is_refused(tmp_path: Path, services: Open) -> None:
    """It has far more users than its upstream's limit, but they come one after another: a few in each tick of the clock."""
    stable, canary = services("stable", "canary")
    many, limit = 100, 40
    config = two_versions(stable, canary, weight=70, policy={"limits": {"requests": limit}})
    config["routes"][0]["versions"]["canary"]["breaker"] = {**BREAKER, "error_percent": 0, "saturation_percent": 60}
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, many, rest=1.0) as traffic:
        home = users(traffic.more(2 * many))
        assert sum(version == "canary" for version in home.values()) > limit
        canary.tell(latency=1.5)
        wait_for(lambda: breaker(proxy, "open"), "the breaker to open")
        shut = traffic.more(20, lambda one: one.assigned == "canary" and one.served == "stable")
        assert all("FB" in one.flags for one in shut)
        canary.well()
        wait_for(lambda: breaker(proxy, "closed"), "the breaker to close")
        traffic.until(lambda seen: len(seen) >= many and all(map(at_home, seen.last(many))), "its users to return")
        assert not traffic.stop().bad()
        # At 8 of 40 it opens.
        assert 8 <= canary.counts().most_at_once <= limit
        assert not any("UO" in one.flags for one in traffic.seen)


def test_samples_of_a_version_that_warms_up_are_marked(tmp_path: Path, services: Open) -> None:
    """From its first weight on, over further steps, and no longer than the configuration says."""
    stable, canary = services("stable", "canary")
    log = tmp_path / "access.log"
    config = two_versions(stable, canary, weight=0, version={"warm_up": "10m"}, access_log=str(log))

    def weight(percent: int) -> Callable[[Config], None]:
        def change(config: Config) -> None:
            versions = config["routes"][0]["versions"]
            versions["stable"]["weight"], versions["canary"]["weight"] = 100 - percent, percent

        return change

    def marked(version: str) -> float:
        return proxy.metrics().value("tidegate_marked_requests_total", version=version)

    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, USERS) as traffic:
        assert set(traffic.more(3 * USERS).served()) == {"stable"}
        for percent in (20, 50):
            proxy.edit(weight(percent))
            traffic.more(30, lambda one: one.served == "canary")
        proxy.edit(lambda config: config["routes"][0]["versions"]["canary"].update(warm_up="0s"))
        warm = traffic.mark()
        before = marked("canary")
        traffic.more(5 * USERS)
        seen = traffic.stop()
        assert not seen.bad()
        assert traffic.since(warm).served()["canary"] > 0
        assert marked("canary") == before
        assert marked("stable") == 0
        cold = len(seen.of("canary")) - len(traffic.since(warm).of("canary"))
        assert cold - USERS <= before <= cold + USERS, "all but what was under way when it changed"
        wait_for(lambda: len(log.read_bytes().splitlines()) == len(seen), "every line")
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        assert sum(line["marked"] == "warming" for line in lines) == before
        assert {line["served"] for line in lines if line["marked"]} == {"canary"}
