"""One endpoint of several fails: it is left alone, the others carry its share, and it comes back."""

import json
from pathlib import Path
from typing import Any

from tests.e2e.harness.proxy import Config, Proxy
from tests.e2e.harness.services import Service
from tests.e2e.harness.traffic import Seen, Traffic
from tests.e2e.harness.wait import wait_for
from tests.e2e.resilience.configs import one_version
from tests.e2e.resilience.conftest import Open

TIMEOUT = 0.5
"""Seconds that an upstream has to answer. Slow is what took at least that long."""
EJECTION = 1.5
"""Seconds of an ejection: within one of them the answers must be quick again."""


def slow(one: Seen) -> bool:
    return one.seconds >= TIMEOUT


def ejecting(*services: Service, **more: Any) -> Config:
    return one_version(
        *services,
        policy={
            "timeouts": {"response": f"{TIMEOUT}s"},
            "outlier": {
                "consecutive_5xx": 5,
                "consecutive_gateway": 3,
                "interval": "500ms",
                "base_ejection": f"{EJECTION}s",
                "max_ejection": f"{EJECTION}s",
                "max_ejected_percent": 34,
            },
        },
        **more,
    )


def ejections(proxy: Proxy) -> float:
    return proxy.metrics().value("tidegate_ejections_total", upstream="origin")


def test_hanging_endpoint_is_ejected_and_comes_back(tmp_path: Path, services: Open) -> None:
    first, second, third = services("first", "second", "third")
    with Proxy(ejecting(first, second, third), tmp_path) as proxy, Traffic(proxy.address) as traffic:
        calm = traffic.more(300)
        assert not calm.bad()
        assert {one: round(count / len(calm), 1) for one, count in calm.bodies().items()} == dict.fromkeys(
            ("first", "second", "third"), 0.3
        )

        mark = traffic.mark()
        third.tell(manner="hang")
        wait_for(lambda: ejections(proxy) == 1, "the ejection")
        ejected = traffic.mark()
        # Each user has one request on its way: more cannot have met the endpoint by the time it was ejected.
        before = traffic.since(mark)
        assert before.statuses().keys() <= {200, 504}
        recovered = traffic.more(300)
        assert recovered.share(slow) <= 0.01, "the 99th percentile is still that of the hanging endpoint"
        assert set(recovered.bodies()) == {"first", "second"}
        suffered = traffic.since(mark).bad()
        assert 3 <= len(suffered) <= 20 + 3
        assert suffered.statuses() == {504: len(suffered)}
        assert all(one.flags == {"UT"} for one in suffered)
        assert len(traffic.since(ejected).bad()) <= 20, "after the ejection only what was under way may still fail"

        third.well()
        back = traffic.until(lambda seen: "third" in seen.bodies(), "the endpoint to be asked again")
        assert not back.bad()
        again = traffic.more(300)
        assert again.bodies()["third"] >= 0.25 * len(again)
        assert ejections(proxy) == 1
        proxy.wait_metric(0, "tidegate_endpoint_state", upstream="origin", state="ejected")


def test_failing_endpoint_is_ejected_longer_each_time(tmp_path: Path, services: Open) -> None:
    first, second = services("first", "second")
    config = ejecting(first, second)
    config["upstreams"]["origin"]["outlier"].update(base_ejection="300ms", max_ejection="1s", max_ejected_percent=50)
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address) as traffic:
        traffic.more(50)
        second.tell(status=500)
        wait_for(lambda: ejections(proxy) == 3, "three ejections")
        second.well()
        seen = traffic.seen
        failed = [one for one in seen if one.status == 500]
        # Five in a row eject, each time; what was under way then comes on top.
        assert 15 <= len(failed) <= 15 + 3 * 20
        lines = [json.loads(line) for line in proxy.log().splitlines() if '"endpoint ejected"' in line]
        assert [(one["times"], round(one["seconds"], 1)) for one in lines] == [(1, 0.3), (2, 0.6), (3, 0.9)]
        assert {one["cause"] for one in lines} == {"consecutive_5xx"}
        traffic.until(lambda seen: "second" in seen.bodies(), "the endpoint to be asked again")


def test_panic_asks_all_where_most_are_ejected(tmp_path: Path, services: Open) -> None:
    """Everybody fails a part of the requests: to eject all but one would give that one a load it cannot carry."""
    found = services("first", "second", "third")
    config = ejecting(*found)
    config["upstreams"]["origin"]["outlier"].update(max_ejected_percent=100, base_ejection="20s", max_ejection="20s")
    config["upstreams"]["origin"]["panic_threshold"] = 50
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address) as traffic:
        traffic.more(50)
        for one in found[:2]:
            one.tell(status=500)
        wait_for(lambda: ejections(proxy) == 2, "two ejections")
        wait_for(lambda: proxy.metrics().value("tidegate_upstream_panic", upstream="origin") == 1, "panic")
        for one in found[:2]:
            one.well()
        seen = traffic.more(200)
        assert set(seen.bodies()) == {"first", "second", "third"}
        assert not seen.bad()


def test_ejection_outlives_an_edit(tmp_path: Path, services: Open) -> None:
    first, second, third = services("first", "second", "third")
    config = ejecting(first, second, third)
    config["upstreams"]["origin"]["outlier"].update(base_ejection="60s", max_ejection="60s")
    config["routes"][0]["versions"]["other"] = {"upstream": "origin", "weight": 0}
    config["routes"][0]["versions"]["only"]["weight"] = 100
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address) as traffic:
        traffic.more(50)
        third.tell(status=503)
        wait_for(lambda: ejections(proxy) == 1, "the ejection")
        third.well()
        third.forget()

        def shift(config: Config) -> None:
            versions = config["routes"][0]["versions"]
            versions["only"]["weight"], versions["other"]["weight"] = 50, 50

        traffic.more(40)  # what was under way has ended
        asked = third.counts().requests
        proxy.edit(shift)
        seen = traffic.more(200)
        assert set(seen.bodies()) == {"first", "second"}
        assert set(seen.served()) == {"only", "other"}
        assert third.counts().requests == asked
        assert not seen.bad()
        assert ejections(proxy) == 1
