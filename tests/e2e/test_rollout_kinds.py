"""The kinds of rollout with real processes: a baseline beside, blue/green, A/B, zones; and what thresholds see."""

import contextlib
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness.message import Message
from .harness.origin import Connection, Origin, answer
from .harness.proxy import Config, Proxy, upstream
from .harness.wait import wait_for
from .test_evidence import ERRORS, Users, failing, rolled, served, verdict, versions
from .test_rollouts import act, causes, in_force, kill_control, rollout, route, shop, state

pytestmark = pytest.mark.slow


@pytest.fixture
def origins() -> Iterator[tuple[Origin, Origin]]:
    with Origin(failing(0), record=False) as stable, Origin(failing(0), record=False) as canary:
        yield stable, canary


def transitions(proxy: Proxy) -> list[Any]:
    """The oldest first."""
    return list(reversed(proxy.api("/api/v1/rollouts/shop/history")["transitions"]))


def test_the_new_version_is_held_against_a_baseline_that_is_as_fresh(tmp_path: Path) -> None:
    """Both fresh ones err as often, and the old one never: the step passes. Then the new one errs more often than the baseline."""
    steps = [{"weight": 20, "hold": "1s"}, {"weight": 30, "hold": "10m"}, 100]
    with (
        Origin(failing(0), record=False) as stable,
        Origin(failing(10), record=False) as base,
        Origin(failing(10), record=False) as canary,
    ):
        config = rolled(stable, canary, [ERRORS], steps, brake=False, baseline="base")
        config["upstreams"]["v1b"] = upstream(base)
        config["routes"][0]["versions"]["base"] = {"upstream": "v1b", "weight": 0}
        with Proxy(config, tmp_path) as proxy:
            wait_for(lambda: in_force(proxy) == 20, "the first step")
            assert in_force(proxy, version="base") == 20
            with Users(proxy):
                wait_for(lambda: in_force(proxy) == 30, "the second step", 90.0)
                assert in_force(proxy, version="base") == 30
            canary.respond = failing(2)
            with Users(proxy, 10_000_000):
                wait_for(lambda: state(proxy) == "aborted", "the end of it", 90.0)
            assert (in_force(proxy), in_force(proxy, version="base")) == (0, 0)
            assert causes(proxy) == ["created", "begin", "step_passed", "step_failed"]
            assert "`base`" in transitions(proxy)[-1]["reason"]


def asked(proxy: Proxy, *fields: str) -> bytes:
    """The version that answers somebody with these fields."""
    return proxy.get("/", "a.test", "x-user-id: user-1", *fields).get(b"x-tidegate-version") or b""


def test_blue_green_is_previewed_flipped_and_taken_back_at_once(origins: tuple[Origin, Origin], tmp_path: Path) -> None:
    stable, canary = origins
    steps = [{"preview": True, "hold": "1h"}, 100]
    config = rolled(stable, canary, [], steps, kind="blue_green", fast_rollback="1h", minimum={"requests": 0})
    config["routes"][0]["preview"] = {"header": "x-tidegate-version", "from": ["127.0.0.0/8"]}
    with Proxy(config, tmp_path) as proxy:
        wait_for(lambda: state(proxy) == "progressing", "the preview")
        assert asked(proxy, "x-tidegate-version: canary") == b"canary"
        assert served(proxy) == {b"stable"}
        act(proxy, "skip")
        assert state(proxy) == "watching"
        assert served(proxy) == {b"canary"}
        kill_control(proxy)
        assert served(proxy) == {b"canary"}
        canary.respond = failing(1)  # all of it, long after the flip: nobody is asked first

        def back() -> bool:
            versions(proxy, range(1, 200))
            return state(proxy) == "aborted"

        wait_for(back, "the brake", 30.0)
        assert served(proxy) == {b"stable"}
        assert causes(proxy) == ["created", "begin", "skip", "brake"]


def test_an_ab_test_is_decided_at_its_end_and_not_before(tmp_path: Path) -> None:
    with (
        Origin(failing(100), record=False) as stable,
        Origin(failing(4), record=False) as canary,
    ):
        config = rolled(stable, canary, [ERRORS], [{"weight": 50}, 100], kind="ab", hold="10s", brake=False)
        with Proxy(config, tmp_path) as proxy, Users(proxy):
            wait_for(lambda: verdict(proxy, "errors") == "fail", "a verdict", 30.0)
            assert state(proxy) == "progressing"  # it has failed, and the test goes on
            wait_for(lambda: state(proxy) == "aborted", "the end of it", 60.0)
            begun, ended = transitions(proxy)[-2:]
            assert (begun["cause"], ended["cause"]) == ("begin", "step_failed")
            assert ended["numbers"]["seconds"] >= 10.0


def test_one_zone_begins_after_another(origins: tuple[Origin, Origin], tmp_path: Path) -> None:
    """Two proxies with one file, but for the zone that each is in."""
    plan = route(steps=[50, 100], zones=["north", {"zone": "south", "after": "4s"}])
    places = {name: tmp_path / name for name in ("north", "south")}
    for place in places.values():
        place.mkdir()
    with (
        Proxy(shop(origins, plan, zone="north"), places["north"]) as north,
        Proxy(shop(origins, plan, zone="south"), places["south"]) as south,
    ):
        wait_for(lambda: state(north) == "progressing", "the first zone")
        waits = rollout(south)["waits_for"]
        assert state(south) == "progressing" or waits.startswith("its zone's turn, in ")
        wait_for(lambda: state(south) == "progressing", "the second zone", 30.0)
        assert [one["cause"] for one in transitions(south)] == ["created", "begin"]
        first, second = (transitions(one)[1]["at"] - transitions(one)[0]["at"] for one in (north, south))
        assert first < second
        assert second >= 4.0 - 1.0  # wall clock against seconds that were watched
        assert (in_force(north), in_force(south)) == (50, 50)


def threshold(**given: Any) -> Config:
    return {"name": "limit", "judge": "threshold", "weight": "critical", **given}


def test_a_version_that_is_nearly_full_is_stopped(tmp_path: Path) -> None:
    """Three of the four requests that its upstream takes at once are under way, and do not end."""
    metric = threshold(of="saturation_percent", at_most=50)

    def hang(connection: Connection, _: Message) -> None:
        connection.hold()

    with Origin(failing(0), record=False) as stable, Origin(hang, record=False) as canary:
        config = rolled(stable, canary, [metric], [{"weight": 50, "hold": "10m"}, 100], brake=False)
        config["upstreams"]["v2"] = upstream(canary, limits={"requests": 4})
        with Proxy(config, tmp_path) as proxy, contextlib.ExitStack() as stack:
            wait_for(lambda: state(proxy) == "progressing", "the first step")
            for user in range(100, 120):  # some of them get it
                if proxy.metrics().value("tidegate_in_flight", route="shop", version="canary") >= 3:
                    break
                wire = stack.enter_context(proxy.connect(record=False))
                wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-User-Id: user-%d\r\n\r\n" % user)
                threading.Event().wait(0.05)
            wait_for(lambda: state(proxy) == "aborted", "the end of it", 60.0)
            assert "limit: 75, allowed at most 50" in transitions(proxy)[-1]["reason"]


def test_traffic_that_is_missing_is_no_good_news(origins: tuple[Origin, Origin], tmp_path: Path) -> None:
    metric = threshold(of="requests_per_second", at_least=1)
    config = rolled(*origins, [metric], [{"weight": 50, "hold": "10m"}, 100])
    with Proxy(config, tmp_path) as proxy:
        with Users(proxy):
            wait_for(lambda: verdict(proxy, "limit") == "pass", "a verdict", 60.0)
            assert state(proxy) == "progressing"
        wait_for(lambda: state(proxy) == "aborted", "the end of it", 60.0)
        assert "limit: 0, allowed at least 1" in transitions(proxy)[-1]["reason"]


def test_events_that_only_prometheus_knows_guard_a_rollout(origins: tuple[Origin, Origin], tmp_path: Path) -> None:
    """How often users of the new version buy, beside those of the old one: the query says it as one number."""
    said = {"status": "success", "data": {"resultType": "vector", "result": [{"metric": {}, "value": [1.0, "1.02"]}]}}
    with Origin(answer(json.dumps(said).encode(), "200 OK", "Content-Type: application/json")) as prometheus:
        metric = threshold(
            query='sum(rate(purchases_total{version="canary"}[5m])) / sum(rate(purchases_total{version="stable"}[5m]))',
            prometheus=prometheus.url,
            at_least=0.9,
        )
        config = rolled(*origins, [metric], [{"weight": 50, "hold": "10m"}, 100])
        with Proxy(config, tmp_path) as proxy:
            wait_for(lambda: verdict(proxy, "limit") == "pass", "a verdict", 60.0)
            assert b"purchases_total" in prometheus.requests[0].body
            said["data"] = {"resultType": "vector", "result": [{"metric": {}, "value": [1.0, "0.5"]}]}
            prometheus.respond = answer(json.dumps(said).encode(), "200 OK", "Content-Type: application/json")
            wait_for(lambda: state(proxy) == "aborted", "the end of it", 60.0)
            assert "limit: 0.5, allowed at least 0.9" in transitions(proxy)[-1]["reason"]


def test_in_a_ring_one_client_that_fails_stops_nothing_and_three_do(tmp_path: Path) -> None:
    """The ring is all that the new version has: nobody was dealt it."""
    plan = route(steps=[{"ring": "staff"}, 100], brake={"minimum": 20})
    plan["rings"] = [{"version": "canary", "order": ["staff"], "open": "none"}]
    with Origin(failing(0), record=False) as stable, Origin(failing(1), record=False) as canary:
        config = shop((stable, canary), plan, segments={"staff": {"header": "x-ring", "is": "staff"}})
        with Proxy(config, tmp_path) as proxy, proxy.connect(record=False) as wire:
            wait_for(lambda: rollout(proxy)["ring"] == "staff", "the ring")
            proxy.wait_in_force()

            def ask(user: int) -> int:
                return wire.get("/shop", "a.test", f"x-user-id: user-{user}", "x-ring: staff").status

            for number in range(200):
                assert ask(1 + number % 2) == 500
            looked = rollout(proxy)["held"]
            wait_for(lambda: ask(1) and rollout(proxy)["held"] > looked + 3, "some looks")
            assert state(proxy) == "progressing"
            wait_for(lambda: ask(3) and state(proxy) == "aborted", "the brake", 30.0)
            assert causes(proxy)[-1] == "brake"
            assert transitions(proxy)[-1]["numbers"]["units"] == 3


def test_what_another_version_has_got_is_braked_while_the_next_waits(tmp_path: Path) -> None:
    """The newer revision brings in another version, and waits for its hour; the share of the older one's fails meanwhile."""
    frozen = {"freeze": [{"from": "2000-01-01T00:00:00Z", "to": "2099-01-01T00:00:00Z"}]}
    with Origin(failing(0), record=False) as stable, Origin(failing(0), record=False) as canary:
        config = rolled(stable, canary, [], [25, 100], minimum={"requests": 0}, hold="1h")
        config["routes"][0]["versions"]["next"] = {"upstream": "v1", "weight": 0}
        config["routes"][0]["rollout"] |= {"from": "stable", "to": "canary"}

        def newer(config: Config) -> None:
            config["routes"][0]["rollout"].update(revision="v3", to="next", schedule=frozen)

        with Proxy(config, tmp_path) as proxy:
            wait_for(lambda: in_force(proxy) == 25, "the first step")
            proxy.edit(newer)
            wait_for(lambda: rollout(proxy)["revision"] == "v3", "the newer revision")
            assert (state(proxy), in_force(proxy)) == ("pending", 25)
            kill_control(proxy)
            canary.respond = failing(1)

            def braked() -> bool:
                versions(proxy, range(1, 200))
                return state(proxy) == "aborted"

            wait_for(braked, "the brake", 30.0)
            assert served(proxy) == {b"stable"}
            assert causes(proxy)[-2:] == ["created", "brake"]
            assert transitions(proxy)[-1]["reason"].startswith("`canary`: ")
