"""One endpoint of several fails: it is left alone, the others carry its share, and it comes back."""

import json
from pathlib import Path
from typing import Any

from tests.e2e.harness.proxy import Config, Proxy
from tests.e2e.harness.services import Service
from tests.e2e.harness.traffic import Seen, Traffic
from tests.e2e.harness.wait import wait_for
from tests.e2e.resilience.configs import at_endpoint, one_version
from tests.e2e.resilience.conftest import Open

TIMEOUT = 0.5
"""Seconds that an upstream has to answer. Slow is what took at least that long."""
EJECTION = 4.0
"""Seconds of an ejection: within one of them the answers must be quick again. It also has to last for 300 requests."""


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
        assert max(one.at for one in traffic.since(mark).only(slow)) < mark[1] + EJECTION
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


def test_endpoint_that_fails_more_often_than_the_others_is_ejected(tmp_path: Path, services: Open) -> None:
    """Every second request, so that there are never many failures in a row: only the comparison shows it."""
    found = services("first", "second", "third")
    config = ejecting(*found)
    config["upstreams"]["origin"]["outlier"].update(
        consecutive_5xx=0,
        consecutive_gateway=0,
        base_ejection="60s",
        max_ejection="60s",
        success_rate={"minimum_endpoints": 3, "minimum_requests": 20, "stdev_factor": 1.0},
    )
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address) as traffic:
        traffic.more(100)
        found[2].tell(status=500, share=0.5)
        wait_for(lambda: ejections(proxy) == 1, "the ejection")
        assert proxy.metrics().value("tidegate_ejections_total", cause="success_rate") == 1
        traffic.more(40)  # what was under way has ended
        seen = traffic.more(200)
        assert not seen.bad()
        assert set(seen.bodies()) == {"first", "second"}


def test_endpoint_that_is_much_slower_than_the_others_is_ejected(tmp_path: Path, services: Open) -> None:
    found = services("first", "second", "third")
    config = ejecting(*found)
    config["upstreams"]["origin"]["timeouts"]["response"] = "30s"
    config["upstreams"]["origin"]["outlier"].update(
        interval="1s",
        base_ejection="60s",
        max_ejection="60s",
        latency={"minimum_endpoints": 3, "minimum_requests": 10, "factor": 3},
    )
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address) as traffic:
        # Answers that take their time do so on a loaded machine, too: 3 x 30 ms is more than it adds to an endpoint's mean.
        for one in found:
            one.tell(latency=0.03)
        traffic.more(100)
        mark = traffic.mark()
        found[2].tell(latency=0.6)
        wait_for(lambda: ejections(proxy) == 1, "the ejection")
        assert proxy.metrics().value("tidegate_ejections_total", cause="latency") == 1
        ejected = traffic.mark()
        seen = traffic.more(200)
        late = [one for one in seen if one.body == "third"]
        assert len(late) <= 1, "a request may have been on its way to the worker when it was ejected"
        traffic.stop()
        assert not traffic.since(mark).bad(), "slow is not wrong: nobody is cut off"
        assert set(traffic.since(ejected).bodies()) >= {"first", "second"}


def test_endpoint_that_comes_back_starts_slowly_and_its_answers_are_marked(tmp_path: Path, services: Open) -> None:
    first, second, third = services("first", "second", "third")
    config = one_version(first, second, third, policy={"slow_start": {"window": "10m", "minimum_percent": 10}})
    with Proxy(config, tmp_path) as proxy, Traffic(proxy.address) as traffic:
        assert traffic.more(100).bodies()["third"] >= 30
        assert proxy.metrics().value("tidegate_marked_requests_total") == 0, "who was there from the start is warm"
        at_endpoint(proxy, "origin", third, "POST")
        traffic.until(lambda seen: "third" not in seen.last(100).bodies() and len(seen) >= 100, "the drain")
        third.forget()
        at_endpoint(proxy, "origin", third, "DELETE")
        traffic.until(lambda seen: "third" in seen.bodies(), "the endpoint to be asked again")
        # A tenth of its weight of 1, beside two of 1: one in 21. A third would be its whole share.
        warming = traffic.more(420)
        assert 10 <= warming.bodies()["third"] <= 42
        proxy.edit(lambda config: config["upstreams"]["origin"].pop("slow_start"))
        traffic.until(lambda seen: seen.last(100).bodies()["third"] >= 30, "its whole share")
        marked = proxy.metrics().value("tidegate_marked_requests_total")
        assert warming.bodies()["third"] <= marked
        traffic.more(100)
        seen = traffic.stop()
        assert not seen.bad()
        assert proxy.metrics().value("tidegate_marked_requests_total") == marked < third.counts().requests


def test_drain_of_an_endpoint_under_load_fails_nothing(tmp_path: Path, services: Open) -> None:
    """Two workers, and answers that take a while, so that there is always something under way where the drain begins."""
    found = services("first", "second", "third")
    for one in found:
        one.tell(latency=0.05)
    with Proxy(one_version(*found, workers=2), tmp_path) as proxy, Traffic(proxy.address, 40) as traffic:
        for leaving in found:
            traffic.until(lambda seen, name=leaving.name: seen.bodies()[name] >= 20, "requests everywhere")
            leaving.wait(lambda counts: counts.at_once > 0, "something under way")
            at_endpoint(proxy, "origin", leaving, "POST")
            wait_for(lambda one=leaving: in_flight(proxy, one) == 0, "the end of what was under way")
            leaving.wait(lambda counts: counts.at_once == 0, "the end of what was under way")
            leaving.forget()
            seen = traffic.more(200)
            assert leaving.name not in seen.bodies()
            assert leaving.counts().requests == 0
            # Nothing is left of it: it can be taken away.
            leaving.wait(lambda counts: counts.open == 0, "its idle connections to be closed")
            leaving.down()
            assert not traffic.more(100).bad()
            leaving.up()
            at_endpoint(proxy, "origin", leaving, "DELETE")
        seen = traffic.stop()
        assert seen.statuses() == {200: len(seen)}
        assert proxy.metrics().value("tidegate_errors_total") == 0


def in_flight(proxy: Proxy, service: Service) -> int:
    """How many requests it has, as the API says."""
    found = proxy.api("/api/v1/upstreams/origin")["endpoints"]
    [count] = [one["in_flight"] for one in found if one["endpoint"] == service.url]
    return int(count)


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
