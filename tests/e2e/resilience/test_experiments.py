"""Faults on purpose under load: whom they hit, how many, what else they set off, and how they end."""

import json
import time
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness.message import Ended
from tests.e2e.harness.proxy import Config, Proxy
from tests.e2e.harness.services import Service
from tests.e2e.harness.traffic import Record, Seen, Traffic
from tests.e2e.harness.wait import wait_for
from tests.e2e.resilience.configs import two_versions
from tests.e2e.resilience.conftest import Open

USERS = 60


def name(number: int) -> str:
    return f"{'staff' if number % 2 else 'guest'}-{number}"


def disturbed(one: Seen) -> bool:
    return bool(one.flags & {"FI", "DI"})


def affected(seen: Record) -> set[str]:
    return {one.user for one in seen if disturbed(one)}


def experiment(stable: Service, canary: Service, fault: Config, **more: Any) -> Config:
    """A fault for those of the staff that the canary has; a breaker and retries that must not take it for a failure."""
    breaker = {"window": "1s", "minimum_requests": 5, "error_percent": 10}
    route = {
        "faults": [{"segment": "staff", "versions": ["canary"], **fault}],
        "retry": {"on": ["5xx"], "budget": {"percent": 100, "minimum": 100}},
    }
    return two_versions(
        stable,
        canary,
        weight=50,
        version={"breaker": breaker},
        route=route,
        segments={"staff": {"header": "x-user-id", "prefix": "staff-"}},
        **{"faults": {"max_percent": 100}, **more},
    )


def test_abort_hits_its_share_of_its_segment_until_it_is_switched_off(tmp_path: Path, services: Open) -> None:
    stable, canary = services("stable", "canary")
    log = tmp_path / "access.log"
    config = experiment(stable, canary, {"abort": 503, "percent": 50}, access_log=str(log))
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, USERS, name=name) as traffic:
        traffic.more(10 * USERS)
        seen = traffic.seen
        staff = {one.user for one in seen.of("canary") if one.user.startswith("staff-")}
        hit = affected(seen)
        assert hit < staff
        assert 0.2 <= len(hit) / len(staff) <= 0.8
        assert {one.user for one in seen.bad()} == hit
        for one in seen:
            assert disturbed(one) == (one.user in hit), "the same users, every time"
            elsewhere = one.served not in {one.assigned, "none" if disturbed(one) else ""}
            assert not elsewhere, "a fault opens no breaker and sends nobody to another version"
        assert {(one.status, *one.flags) for one in seen.bad()} == {(503, "FI")}
        metrics = proxy.metrics()
        assert metrics.value("tidegate_breaker_opened_total") == 0
        assert metrics.value("tidegate_retries_total") == 0
        assert metrics.value("tidegate_errors_total") == 0

        proxy.change("POST", "/api/v1/faults/kill", {"reason": "enough"})
        after = traffic.more(10 * USERS)
        assert affected(after) == set()
        assert not after.bad()
        seen = traffic.stop()
        total = seen.only(disturbed)
        proxy.wait_metric(len(total), "tidegate_faults_total", version="canary", kind="abort")
        proxy.wait_metric(len(total), "tidegate_marked_requests_total", version="canary")
        wait_for(lambda: len(log.read_bytes().splitlines()) == len(seen), "every line of the access log")
        marked = [line for line in map(json.loads, log.read_text().splitlines()) if line["marked"]]
        assert len(marked) == len(total)
        assert {(line["marked"], line["flag"], line["assigned"]) for line in marked} == {("fault", "FI", "canary")}


def test_delays_slow_nobody_else_down_and_end_with_the_switch(tmp_path: Path, services: Open) -> None:
    stable, canary = services("stable", "canary")
    delay = 30.0
    config = experiment(stable, canary, {"delay": f"{delay}s", "percent": 50})
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, USERS, name=name) as traffic:

        def waiting() -> int:
            return int(proxy.metrics().value("tidegate_faults_total", kind="delay"))

        wait_for(lambda: len({one.user for one in traffic.seen}) + waiting() == USERS, "everybody to have asked")
        traffic.more(5 * USERS)
        held = waiting()
        assert 3 <= held <= USERS / 2
        assert not affected(traffic.seen), "they wait"
        proxy.change("POST", "/api/v1/faults/kill", {"reason": "enough"})
        # Those that were held up go on: the same users that had waited, and nobody had to wait for the delay's end.
        traffic.until(lambda seen: len(affected(traffic.seen)) == held, "those that waited")
        after = traffic.more(5 * USERS)
        seen = traffic.stop()
        assert not affected(after)
        assert all(user.startswith("staff-") for user in affected(seen))
        assert not seen.bad()
        assert max(one.seconds for one in seen) < delay
        undisturbed = seen.only(lambda one: not disturbed(one))
        assert undisturbed.share(lambda one: one.seconds > 1.0) <= 0.01


def test_blast_radius_holds_under_load(tmp_path: Path, services: Open) -> None:
    stable, canary = services("stable", "canary")
    config = experiment(stable, canary, {"abort": 503, "percent": 100}, faults={"max_percent": 10})
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, USERS, name=name) as traffic:
        traffic.more(20 * USERS)
        seen = traffic.stop().of("canary")
        assert 0.05 <= seen.share(disturbed) <= 0.1
        assert proxy.metrics().value("tidegate_faults_total", kind="capped") > 0


def test_resets_and_slow_bodies_are_for_who_asks_and_may(tmp_path: Path, services: Open) -> None:
    """Tests by header beside the traffic of everybody else, who get whole answers, and quickly."""
    stable, canary = services("stable", "canary")
    body = "x" * 4000
    for one in (stable, canary):
        one.tell(body=body)
    by_header = {"name": "x-tidegate-fault", "from": ["127.0.0.1/32"]}
    faults = [{"reset": True, "header": by_header}, {"slow_body": "8KiB", "header": by_header}]
    config = two_versions(stable, canary, weight=50, route={"faults": faults}, faults={"max_percent": 1})
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, USERS) as traffic:
        traffic.more(2 * USERS)
        for _ in range(5):
            with proxy.connect() as wire, pytest.raises(Ended) as end:
                wire.get("/", "a", "X-User-Id: me", "X-Tidegate-Fault: reset")
            assert end.value.reset
            with proxy.connect("127.0.0.2") as stranger:
                assert stranger.get("/", "a", "X-User-Id: me", "X-Tidegate-Fault: reset").status == 200
        began = time.monotonic()
        got = proxy.get("/", "a", "X-User-Id: me", "X-Tidegate-Fault: slow_body")
        assert time.monotonic() - began > 0.3
        assert (got.status, got.body) == (200, body.encode())
        assert got.get(b"x-tidegate-flags") == b"DI"
        traffic.more(2 * USERS)
        seen = traffic.stop()
        assert not seen.bad()
        assert not affected(seen)
        assert proxy.metrics().by("tidegate_faults_total", "kind") == {"reset": 5, "slow_body": 1}
        assert proxy.metrics().value("tidegate_marked_requests_total") == 6
        assert proxy.metrics().value("tidegate_errors_total") == 0
