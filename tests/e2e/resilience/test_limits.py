"""More comes than may pass: who is refused, how many, and what they are told."""

import time
from pathlib import Path
from typing import Any

from tests.e2e.harness.proxy import Config, Proxy
from tests.e2e.harness.services import Service
from tests.e2e.harness.traffic import Traffic
from tests.e2e.harness.wait import wait_for
from tests.e2e.resilience.configs import one_version, two_versions
from tests.e2e.resilience.conftest import Open


def test_rate_limit_holds_over_two_workers(tmp_path: Path, services: Open) -> None:
    """200 a second and not 2 x 200, nor 2 x 100 where the kernel gives one worker more connections than the other."""
    rate, burst = 200, 100
    (service,) = services("only")
    config = one_version(service, route={"rate_limits": [{"rate": f"{rate}/s", "burst": burst}]}, workers=2)
    with Proxy(config, tmp_path) as proxy:
        with Traffic(proxy.address, 40, rest=0.05) as traffic:
            traffic.until(lambda seen: seen.statuses()[200] >= burst + 2.5 * rate, "2.5 seconds' worth of tokens")
            seen = traffic.stop()
        passed = [one for one in seen if one.status == 200]
        refused = [one for one in seen if one.status != 200]
        seconds = max(one.at + one.seconds for one in passed) - min(one.at for one in seen)
        granted = burst + rate * seconds
        assert abs(len(passed) - granted) <= 0.05 * granted
        assert {(one.status, *one.flags) for one in refused} == {(429, "RL")}
        # The next token is never further away than a twohundredth of a second, which is one when rounded up.
        assert {one.retry_after for one in refused} == {"1"}
        assert service.counts().requests == len(passed)
        assert proxy.metrics().value("tidegate_limited_total", cause="rate") == len(refused)
        assert proxy.metrics().value("tidegate_errors_total") == 0


def test_each_user_has_a_bucket_of_its_own_and_is_told_when_to_come_back(tmp_path: Path, services: Open) -> None:
    (service,) = services("only")
    limits = [{"rate": "30/m", "burst": 3, "by": "unit"}]
    with Proxy(one_version(service, route={"rate_limits": limits}, workers=2), tmp_path) as proxy:

        def ask(user: str) -> tuple[int, bytes | None]:
            got = proxy.get("/", "a", f"X-User-Id: {user}")
            return got.status, got.get(b"retry-after")

        began = time.monotonic()
        assert [ask("ann")[0] for _ in range(3)] == [200] * 3
        status, wait = ask("ann")
        assert status == 429
        assert wait in {b"1", b"2"}
        assert [ask("bob")[0] for _ in range(3)] == [200] * 3
        wait_for(lambda: ask("ann")[0] == 200, "a token")
        # 30 a minute: one every two seconds. To be refused costs nothing, however often.
        assert time.monotonic() - began > 1.9
        assert ask("ann")[0] == 429


def test_empty_bucket_outlives_an_edit(tmp_path: Path, services: Open) -> None:
    stable, canary = services("stable", "canary")
    limits = [{"rate": "1/m", "burst": 5}]
    with Proxy(two_versions(stable, canary, route={"rate_limits": limits}), tmp_path) as proxy:
        assert [proxy.get().status for _ in range(7)] == [200] * 5 + [429] * 2

        def grow(config: Config) -> None:
            versions = config["routes"][0]["versions"]
            versions["stable"]["weight"], versions["canary"]["weight"] = 50, 50

        proxy.edit(grow)
        assert proxy.get().status == 429
        assert stable.counts().requests + canary.counts().requests == 5


def at_most(service: Service, count: int, **concurrency: Any) -> Config:
    return one_version(service, route={"concurrency": {"limit": count, **concurrency}}, workers=2)


def test_requests_beyond_the_limit_wait_in_a_queue(tmp_path: Path, services: Open) -> None:
    (service,) = services("only")
    service.tell(latency=0.05)
    config = at_most(service, 6, queue=30, queue_timeout="5s", shed_at_percent=100)
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, 24, rest=0.0) as traffic:
        traffic.more(300)
        seen = traffic.stop()
        assert seen.statuses() == {200: len(seen)}
        assert 4 <= service.counts().most_at_once <= 6
        # 24 users and 6 places: on average a user waits three turns for its own.
        assert sum(one.seconds for one in seen) / len(seen) >= 2 * 0.05
        proxy.wait_metric(0, "tidegate_queued")


def test_full_queue_refuses_at_once_and_a_long_wait_ends(tmp_path: Path, services: Open) -> None:
    (service,) = services("only")
    service.tell(manner="hang")
    config = at_most(service, 4, queue=8, queue_timeout="400ms", shed_at_percent=100)
    with Proxy(config, tmp_path) as proxy:
        with Traffic(proxy.address, 20, rest=0.2) as traffic:
            wait_for(lambda: proxy.metrics().value("tidegate_limited_total", cause="queue_timeout") >= 8, "timeouts")
            service.well()
            service.break_connections()
            traffic.until(lambda seen: seen.statuses()[200] >= 100, "answers")
            seen = traffic.stop()
        shed = [one for one in seen if one.status == 503 and one.flags == {"UO"}]
        lost = [one for one in seen if one.status != 200 and one not in shed]
        assert len(lost) == 4, "those that were with the upstream"
        waited = [one for one in shed if one.seconds >= 0.4]
        at_once = [one for one in shed if one.seconds < 0.2]
        assert len(waited) >= 8
        assert len(at_once) >= 8
        assert all(one.retry_after for one in shed)
        assert service.counts().most_at_once <= 4
        counted = proxy.metrics().by("tidegate_limited_total", "cause")
        assert counted.keys() == {"queue_full", "queue_timeout"}
        assert sum(counted.values()) == len(shed)


def test_canary_is_shed_first(tmp_path: Path, services: Open) -> None:
    """Stable's users alone need most of the limit: the canary gets nothing so that they keep it."""
    stable, canary = services("stable", "canary")
    for one in (stable, canary):
        one.tell(latency=0.2)
    users, limit = 40, 40
    concurrency = {"limit": limit, "queue": 0, "shed_at_percent": 50, "shed_first": ["canary"]}
    config = two_versions(stable, canary, weight=30, route={"concurrency": concurrency}, workers=2)
    with Proxy(config, tmp_path) as proxy:
        with Traffic(proxy.address, users, rest=0.0) as traffic:
            traffic.more(200)
            seen = traffic.more(300)
            # Less load: the canary's users are served again, too.
            for one in (stable, canary):
                one.tell(latency=0.0)
            calm = traffic.until(lambda seen: seen.served()["canary"] > 0 and seen[-1].at - seen[0].at > 0.2, "calm")
            everything = traffic.stop()
        assert not everything.of("stable").bad()
        shed = seen.of("canary").bad()
        assert len(shed) >= 0.5 * len(seen.of("canary"))
        assert {(one.status, *one.flags) for one in shed} == {(503, "LS")}
        assert calm.of("canary").only(lambda one: one.good)
        assert stable.counts().most_at_once <= limit
        assert proxy.metrics().value("tidegate_limited_total", version="canary", cause="shed") > 0
        assert proxy.metrics().value("tidegate_limited_total", version="stable") == 0
