"""More comes than may pass: who is refused, how many, and what they are told."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness.proxy import Config, Proxy
from tests.e2e.harness.services import Service
from tests.e2e.harness.traffic import Record, Traffic
from tests.e2e.harness.wait import wait_for
from tests.e2e.resilience.configs import one_version, two_versions
from tests.e2e.resilience.conftest import Open

RATE, BURST, CALLERS = 60, 40, 54


def of_one_bucket(moments: list[float]) -> int:
    """How many of the requests that came at these moments one bucket would have let through."""
    tokens, last, passed = float(BURST), 0.0, 0
    for moment in sorted(moments):
        tokens = min(BURST, tokens + RATE * (moment - last)) if last else tokens
        last = moment
        if tokens >= 1:
            tokens -= 1
            passed += 1
    return passed


def took(proxy: Proxy, worker: int) -> float:
    return proxy.metrics().value("tidegate_worker_requests_total", worker=str(worker))


@contextmanager
def asleep(pid: int) -> Iterator[None]:
    """The process does nothing meanwhile: what it would have accepted goes to the others."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("skew", ["as it comes", "most on one worker", "all on one worker"])
def test_rate_limit_holds_over_two_workers_under_any_skew(tmp_path: Path, services: Open, skew: str) -> None:
    """Not twice the rate, nor half of it on a worker that has all the connections: what one bucket would have admitted."""
    (service,) = services("only")
    config = one_version(service, route={"rate_limits": [{"rate": f"{RATE}/s", "burst": BURST}]}, workers=2)
    others = {"as it comes": 0, "most on one worker": 6, "all on one worker": 0}[skew]
    with Proxy(config, tmp_path) as proxy, ExitStack() as stack:
        traffic = [Traffic(proxy.address, CALLERS, rest=0.05)]
        with nullcontext() if skew == "as it comes" else asleep(proxy.workers()[1]):
            stack.enter_context(traffic[0])
            traffic[0].until(lambda seen: len({one.user for one in seen}) == CALLERS, "everybody to be connected")
            asked_meanwhile = took(proxy, 0)
        if others:
            traffic.append(Traffic(proxy.address, others, rest=0.05))
            stack.enter_context(traffic[1])
        traffic[0].until(lambda seen: seen.statuses()[200] >= 3 * RATE, "three seconds' worth of tokens")
        seen = Record(one for some in traffic for one in some.stop())
        passed = seen.statuses()[200]
        refused = seen.bad()
        assert len(refused) >= 0.2 * len(seen), "there was not enough traffic to say anything"
        granted = of_one_bucket([one.at for one in seen])
        assert abs(passed - granted) <= 0.05 * granted
        assert {(one.status, *one.flags) for one in refused} == {(429, "RL")}
        # The next token is never further away than a small part of a second, which is one when rounded up.
        assert {one.retry_after for one in refused} == {"1"}
        assert service.counts().requests == passed
        assert proxy.metrics().value("tidegate_limited_total", cause="rate") == len(refused)
        assert proxy.metrics().value("tidegate_errors_total") == 0
        if skew == "all on one worker":
            assert took(proxy, 0) >= asked_meanwhile > 0
            assert took(proxy, 1) == 0
        elif others:
            assert took(proxy, 0) > 3 * took(proxy, 1)


def test_each_kind_of_key_has_buckets_of_its_own(tmp_path: Path, services: Open) -> None:
    """Two requests a minute for each key; every case is two requests of one, one more of it, and one of another."""
    (service,) = services("only")
    cases: dict[str, tuple[Any, str, list[str], str, list[str]]] = {
        "unit": ("unit", "/", ["X-User-Id: ann"], "/", ["X-User-Id: bob"]),
        "address": ("client_ip", "/", ["X-Forwarded-For: 192.0.2.1"], "/", ["X-Forwarded-For: 192.0.2.2"]),
        "network": ("client_ip", "/", ["X-Forwarded-For: 2001:db8::1"], "/", ["X-Forwarded-For: 2001:db8:0:1::1"]),
        "field": ({"header": "x-api-key"}, "/", ["X-Api-Key: a"], "/", ["X-Api-Key: b"]),
        "query": ({"query": "key"}, "/?key=a", [], "/?key=b", []),
        "cookie": ({"cookie": "key"}, "/", ["Cookie: key=a"], "/", ["Cookie: key=b"]),
        "both": ([{"header": "x-api-key"}, "version"], "/", ["X-Api-Key: a"], "/", ["X-Api-Key: b"]),
    }
    config = one_version(service, workers=2, trusted_proxies=["127.0.0.0/8"])
    [route] = config["routes"]
    config["routes"] = [
        {
            **route,
            "name": name,
            "match": {"host": f"{name}.test"},
            "rate_limits": [{"rate": "2/m", "burst": 2, "by": by}],
        }
        for name, (by, *_) in cases.items()
    ]
    with Proxy(config, tmp_path) as proxy:
        for name, (_, target, fields, other_target, other_fields) in cases.items():
            host = f"{name}.test"
            got = [proxy.get(target, host, *fields) for _ in range(3)]
            assert [one.status for one in got] == [200, 200, 429], name
            assert [one.get(b"ratelimit-policy") for one in got] == [b'"rate_limits[0]";q=2;w=60'] * 3
            left = [(one.get(b"ratelimit") or b"").split(b";")[1] for one in got]
            assert left == [b"r=1", b"r=0", b"r=0"]
            assert 28 <= int(got[2].get(b"retry-after") or b"0") <= 30
            assert proxy.get(other_target, host, *other_fields).status == 200, name
            if name not in {"unit", "address", "network"}:
                assert [proxy.get("/", host).status for _ in range(3)] == [200] * 3, "who has no key is not limited"


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
        waited = [
            one for one in shed if one.seconds >= 0.2
        ]  # the worker's clock is coarse, and it starts later than ours
        at_once = [one for one in shed if one not in waited]
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


def test_adaptive_limit_follows_what_the_upstream_can_do(tmp_path: Path, services: Open) -> None:
    """Answers take ten times as long: the limit goes down until few are let through, and up again when they are quick."""
    (service,) = services("only")
    service.tell(latency=0.03)
    adaptive = {"minimum": 4, "maximum": 60, "samples": 20, "interval": "60s"}
    config = at_most(service, 30, queue=40, queue_timeout="10s", adaptive=adaptive, shed_at_percent=100)

    def limit() -> float:
        return proxy.metrics().value("tidegate_concurrency_limit", version="only")

    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address, 40, rest=0.0) as traffic:
        traffic.more(200)
        wait_for(lambda: limit() >= 20, "a limit that lets most of them through", 30)
        service.tell(latency=0.3)
        wait_for(lambda: limit() <= 8, "a limit that fits", 30)
        proxy.wait_metric(0, "tidegate_limited_total")
        service.tell(latency=0.03)
        wait_for(lambda: limit() >= 20, "the limit to rise", 30)
        seen = traffic.stop()
        assert seen.statuses() == {200: len(seen)}
        assert service.counts().most_at_once <= 60


def test_admission_spares_a_version_that_fails_and_ends_with_its_failure(tmp_path: Path, services: Open) -> None:
    (service,) = services("only")
    admission = {"success_percent": 95, "window": "2s", "maximum_percent": 80, "minimum_rate": 1}
    with (
        Proxy(one_version(service, route={"admission": admission}), tmp_path) as proxy,
        Traffic(proxy.address) as traffic,
    ):
        assert not traffic.more(200).bad()
        service.tell(status=500)
        refused = traffic.until(lambda seen: seen.last(200).statuses()[503] >= 150, "a large share to be refused")
        assert set(refused.statuses()) <= {200, 500, 503}
        shed = refused.only(lambda one: one.status == 503)
        assert {(*one.flags,) for one in shed} == {("LS",)}
        assert all(one.retry_after == "1" for one in shed)
        service.forget()
        during = traffic.more(500)
        assert 0.1 <= during.statuses()[500] / len(during) <= 0.4, "a fifth goes on asking"
        service.well()
        traffic.until(lambda seen: len(seen) >= 200 and not seen.last(200).bad(), "nobody to be refused")
        assert proxy.metrics().by("tidegate_limited_total", "cause").keys() == {"admission"}
