"""Exchanges that are disturbed on purpose: what the client gets, what is counted, and what stops it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from proxy.telemetry.counters import FAULT_OUTCOMES, V_FAULTS, V_MARKED_ERRORS, V_MARKED_REQUESTS
from tests.specs import version_spec
from tests.unit.dataplane.reading import read_answer
from tests.unit.dataplane.stage import GET, OK, Stage, answer, get, shop

StageOf = Callable[..., Stage]
Spec = dict[str, Any]

ALL = {"enabled": True, "max_percent": 100.0}
POST = b"POST / HTTP/1.1\r\nHost: shop.example.com\r\nContent-Length: 4\r\n\r\n"


def fault(kind: str, **parts: Any) -> Spec:
    return {
        "label": "faults[0]", "kind": kind, "delay": 2.0, "status": 503, "bytes_per_second": 1000, "percent": 100.0,
        "versions": [], "header": None, "until": 0.0, "salt": "shop",
    } | parts  # fmt: skip


def disturbed(*faults: Spec, bounds: Spec | None = None, **parts: Any) -> Spec:
    route = {"faults": list(faults), "errors": {"codes": list(range(500, 600)), "flags": ["UT", "UC"]}}
    return shop(route=route | parts.pop("route", {}), faults=bounds or ALL, access_log=True, **parts)


def counted(stage: Stage, version: str = "stable") -> dict[str, int]:
    found = {name: stage.of_version(V_FAULTS + index, version) for index, name in enumerate(FAULT_OUTCOMES)}
    return {name: count for name, count in found.items() if count}


def line(stage: Stage) -> Spec:
    """The last line of the access log."""
    said: Spec = json.loads(stage.runtime._lines[-1])
    return said


def test_aborted_request_gets_the_status_and_never_reaches_the_upstream(stage_of: StageOf) -> None:
    stage = stage_of(disturbed(fault("abort", status=418)))
    client = stage.client()
    client.send(GET)
    status, _, body, whole = read_answer(client.take())
    assert (status, whole) == (418, True)
    assert b"(FI)" in body
    assert stage.dialling() == 0
    assert not client.ended
    assert counted(stage) == {"abort": 1}
    assert stage.flags() == {}
    assert (line(stage)["flag"], line(stage)["marked"]) == ("FI", "fault")


def test_injected_5xx_is_no_error_but_marked(stage_of: StageOf) -> None:
    stage = stage_of(disturbed(fault("abort", status=503)))
    client = stage.client()
    client.send(GET)
    assert client.take().startswith(b"HTTP/1.1 503 ")
    assert stage.flags() == {}
    assert stage.of_version(V_MARKED_REQUESTS) == 1
    assert stage.of_version(V_MARKED_ERRORS) == 0


def test_delayed_request_goes_on_when_its_time_has_come(stage_of: StageOf) -> None:
    stage = stage_of(disturbed(fault("delay", delay=2.0)))
    client = stage.client()
    client.send(GET)
    stage.pass_time(1.9)
    assert stage.dialling() == 0
    stage.pass_time(0.15)
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")
    assert counted(stage) == {"delay": 1}
    assert (line(stage)["flag"], line(stage)["marked"]) == ("DI", "fault")
    assert line(stage)["duration_ms"] >= 2000


def test_error_behind_a_delay_is_the_upstreams_and_counts(stage_of: StageOf) -> None:
    stage = stage_of(disturbed(fault("delay", delay=0.1)))
    client = stage.client()
    client.send(GET)
    stage.pass_time(0.2)
    stage.accept().eof()
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert stage.flags() == {"UC": 1}
    assert stage.of_version(V_MARKED_ERRORS) == 1
    assert line(stage)["flag"] == "UC,DI"


def test_route_may_call_a_delay_an_error(stage_of: StageOf) -> None:
    stage = stage_of(disturbed(fault("delay", delay=0.1), route={"errors": {"codes": [], "flags": ["DI"]}}))
    client = stage.client()
    client.send(GET)
    stage.pass_time(0.2)
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")
    assert stage.flags() == {"DI": 1}


def test_delay_comes_before_an_abort(stage_of: StageOf) -> None:
    stage = stage_of(disturbed(fault("abort"), fault("delay", delay=1.0)))
    client = stage.client()
    client.send(GET)
    stage.pass_time(0.9)
    assert client.take() == b""
    stage.pass_time(0.2)
    assert client.take().startswith(b"HTTP/1.1 503 ")
    assert counted(stage) == {"delay": 1, "abort": 1}
    assert line(stage)["flag"] == "FI,DI"


def test_client_that_leaves_during_a_delay_is_let_go(stage_of: StageOf) -> None:
    stage = stage_of(disturbed(fault("delay", delay=30.0)))
    client = stage.client()
    client.send(GET)
    stage.pass_time(1.0)
    client.reset()
    assert stage.codes() == {("stable", "none", 499): 1}
    stage.pass_time(30.0)
    assert stage.dialling() == 0
    stage.assert_nothing_left()


def test_body_that_comes_during_a_delay_is_sent_after_it(stage_of: StageOf) -> None:
    stage = stage_of(disturbed(fault("delay", delay=1.0)))
    client = stage.client()
    client.send(POST + b"bo")
    assert not client.reading
    stage.pass_time(1.1)
    upstream = stage.accept()
    client.send(b"dy")
    assert upstream.take().endswith(b"\r\n\r\nbody")
    upstream.send(OK)
    assert client.take().endswith(b"hello")


def test_reset_request_loses_its_connection(stage_of: StageOf) -> None:
    stage = stage_of(disturbed(fault("reset")))
    client = stage.client()
    client.send(GET)
    assert client.take() == b""
    assert client.ended == "abort"
    assert counted(stage) == {"reset": 1}
    assert stage.codes() == {("stable", "none", 0): 1}
    assert stage.flags() == {}
    assert (line(stage)["status"], line(stage)["flag"], line(stage)["marked"]) == (0, "FI", "fault")
    stage.end_everything()
    stage.assert_nothing_left()


# Slow bodies.


def test_slow_body_comes_at_its_rate_after_a_head_that_comes_at_once(stage_of: StageOf) -> None:
    stage = stage_of(disturbed(fault("slow_body", bytes_per_second=1000)))
    client = stage.client()
    client.send(GET)
    stage.accept().send(answer(200, "Content-Length: 3000") + b"x" * 3000)
    head = client.take()
    assert head.endswith(b"\r\n\r\n")
    got = 0
    for _ in range(2):
        stage.pass_time(1.0)
        bite = client.take()
        assert len(bite) == pytest.approx(1000, abs=60)
        got += len(bite)
    assert stage.codes() == {}  # it is under way
    stage.pass_time(1.1)
    assert got + len(client.take()) == 3000
    assert stage.codes() == {("stable", "stable", 200): 1}
    assert counted(stage) == {"slow_body": 1}
    assert (line(stage)["flag"], line(stage)["marked"]) == ("DI", "fault")
    assert line(stage)["duration_ms"] >= 2900
    client.send(GET)  # the connection carries the next
    assert stage.of_version(V_FAULTS + FAULT_OUTCOMES.index("slow_body")) == 2


def test_slow_body_stops_reading_the_upstream_and_goes_on(stage_of: StageOf) -> None:
    stage = stage_of(disturbed(fault("slow_body", bytes_per_second=100_000)))
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(answer(200, "Content-Length: 400000") + b"x" * 50_000)
    assert upstream.reading
    upstream.send(b"x" * 50_000)
    assert not upstream.reading
    sent = 100_000
    while sent < 400_000:
        stage.pass_time(0.1)
        if upstream.reading:
            upstream.send(b"x" * 50_000)
            sent += 50_000
    assert 2.5 < stage.time - 1000.0 < 4.0
    stage.pass_time(1.5)
    assert client.take().endswith(b"\r\n\r\n" + b"x" * 400_000)
    assert stage.codes() == {("stable", "stable", 200): 1}


def test_upstream_that_is_not_read_is_not_late(stage_of: StageOf) -> None:
    stage = stage_of(disturbed(fault("slow_body", bytes_per_second=500)))
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(answer(200, "Content-Length: 200000") + b"x" * 100_000)
    stage.pass_time(70.0)  # silence is 60
    assert not upstream.reading
    assert not upstream.ended
    assert len(client.take()) > 34_000


def test_slow_client_of_a_slow_body_is_not_written_to(stage_of: StageOf) -> None:
    stage = stage_of(disturbed(fault("slow_body", bytes_per_second=1_000_000)))
    client = stage.client()
    client.stall()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(answer(200, "Content-Length: 2000000") + b"x" * 300_000)
    assert not upstream.reading
    stage.pass_time(5.0)
    assert client.pausing
    written = client.unsent
    stage.pass_time(5.0)
    assert client.unsent == written
    client.drain()
    stage.pass_time(0.5)
    assert upstream.reading
    for _ in range(17):
        upstream.send(b"x" * 100_000)
        stage.pass_time(0.2)
    assert client.take().endswith(b"x" * 1000)
    assert stage.codes() == {("stable", "stable", 200): 1}


@pytest.mark.parametrize("takes", [False, True])
def test_client_has_its_time_to_take_what_is_held_after_the_upstream_has_said_it_all(
    stage_of: StageOf, takes: bool
) -> None:
    stage = stage_of(disturbed(fault("slow_body", bytes_per_second=4000)))
    client = stage.client()
    client.stall()
    client.send(GET)
    stage.accept().send(answer(200, body=b"x" * 400_000))
    stage.pass_time(20.0)
    assert client.pausing
    if takes:
        client.drain()
        stage.pass_time(85.0)
        assert stage.codes() == {("stable", "stable", 200): 1}
        assert not client.ended
    else:
        stage.pass_time(60.0)  # silence is 60
        assert stage.codes() == {("stable", "stable", 499): 1}
        assert client.ended == "abort"


def test_slow_chunked_body_keeps_its_framing(stage_of: StageOf) -> None:
    stage = stage_of(disturbed(fault("slow_body", bytes_per_second=20)))
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(answer(200, "Transfer-Encoding: chunked") + b"5\r\nhello\r\n")
    stage.pass_time(0.2)
    upstream.send(b"6\r\n world\r\n0\r\n\r\n")
    stage.pass_time(5.0)
    _, _, body, whole = read_answer(client.take())
    assert (body, whole) == (b"hello world", True)


@pytest.mark.parametrize("said", [answer(204), answer(304), answer(200, "Content-Length: 0")])
def test_answer_without_a_body_is_not_slowed(stage_of: StageOf, said: bytes) -> None:
    stage = stage_of(disturbed(fault("slow_body", bytes_per_second=1)))
    client = stage.client()
    client.send(GET)
    stage.accept().send(said)
    assert len(stage.codes()) == 1
    client.send(GET)
    assert stage.of_version(V_FAULTS + FAULT_OUTCOMES.index("slow_body")) == 2


@pytest.mark.parametrize("who", ["client", "upstream"])
def test_whoever_leaves_ends_a_slow_body(stage_of: StageOf, who: str) -> None:
    stage = stage_of(disturbed(fault("slow_body", bytes_per_second=10)))
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(answer(200, "Content-Length: 2000") + b"x" * 1000)
    stage.pass_time(1.0)
    (client if who == "client" else upstream).reset()
    assert len(stage.codes()) == 1
    stage.end_everything()
    stage.assert_nothing_left()


def test_tunnel_is_not_slowed(stage_of: StageOf) -> None:
    stage = stage_of(disturbed(fault("slow_body", bytes_per_second=1)))
    client = stage.client()
    client.send(get("/", "Connection: upgrade", "Upgrade: x"))
    upstream = stage.accept()
    upstream.send(answer(101, "Connection: upgrade", "Upgrade: x"))
    client.take()
    upstream.send(b"y" * 1000)
    assert client.take() == b"y" * 1000


# Bounds and switches.


def test_cap_keeps_the_share_of_a_version_that_is_disturbed(stage_of: StageOf) -> None:
    stage = stage_of(disturbed(fault("abort"), bounds={"enabled": True, "max_percent": 10.0}))
    client = stage.client()
    client.send(GET)
    client.send(GET)
    assert client.take().count(b"HTTP/1.1 503 ") == 2
    client.send(GET)
    upstream = stage.accept()
    upstream.take()
    upstream.send(OK)
    for _ in range(97):
        client.send(GET)
        if upstream.take():
            upstream.send(OK)
    assert stage.codes() == {("stable", "none", 503): 10, ("stable", "stable", 200): 90}
    assert counted(stage) == {"abort": 10, "capped": 90}
    assert stage.of_version(V_MARKED_REQUESTS) == 10


def test_cap_does_not_count_those_who_ask(stage_of: StageOf) -> None:
    asking = {"name": "x-tidegate-fault", "from": ["192.0.2.0/24"]}
    bounds = {"enabled": True, "max_percent": 0.0}
    stage = stage_of(disturbed(fault("abort", header=asking), bounds=bounds))
    client = stage.client()
    for _ in range(5):
        client.send(get("/", "X-Tidegate-Fault: abort"))
    assert client.take().count(b"HTTP/1.1 503 ") == 5
    client.send(GET)
    upstream = stage.accept()
    upstream.send(OK)
    stranger = stage.client("198.51.100.1")
    stranger.send(get("/", "X-Tidegate-Fault: abort"))
    asked = upstream.take()
    assert b"x-tidegate-fault" not in asked.lower()
    assert counted(stage) == {"abort": 5}


def test_cap_outlives_the_plan(stage_of: StageOf) -> None:
    spec = disturbed(fault("abort"), bounds={"enabled": True, "max_percent": 10.0})
    stage = stage_of(spec)
    client = stage.client()
    client.send(GET)
    client.send(GET)
    stage.bring(spec | {"generation": 2})
    client.send(GET)
    stage.accept()
    assert counted(stage) == {"abort": 2, "capped": 1}


def test_only_the_version_named_is_disturbed(stage_of: StageOf) -> None:
    versions = [version_spec("stable", 0.0), version_spec("canary", 0.0)]
    rules = [{"label": "rules[0]", "units": ["alice"], "version": "canary"}]
    stage = stage_of(disturbed(fault("abort", versions=["canary"]), route={"versions": versions, "rules": rules}))
    client = stage.client()
    client.send(get("/", "X-User-Id: alice"))
    assert client.take().startswith(b"HTTP/1.1 503 ")
    client.send(get("/", "X-User-Id: bob"))
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")


@pytest.mark.parametrize("share", [0.0, 50.0])
def test_without_a_unit_the_percentage_is_of_requests(stage_of: StageOf, share: float) -> None:
    stage = stage_of(disturbed(fault("abort", percent=share)))
    client = stage.client()
    upstream = None
    for _ in range(200):
        client.send(GET)
        if stage.dialling():
            upstream = stage.accept()
        if upstream is not None and upstream.take():
            upstream.send(OK)
    aborted = stage.codes().get(("stable", "none", 503), 0)
    assert abs(aborted - 2 * share) < 30


def test_fault_past_its_end_does_nothing(stage_of: StageOf) -> None:
    stage = stage_of(disturbed(fault("abort", until=1.7e9 + 1005.0)))
    client = stage.client()
    client.send(GET)
    assert client.take().startswith(b"HTTP/1.1 503 ")
    stage.pass_time(5.0)
    client.send(GET)
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")


@pytest.mark.parametrize("how", ["file", "switch"])
def test_switched_off_nothing_is_disturbed_any_more(stage_of: StageOf, how: str) -> None:
    held, slow = fault("delay", delay=600.0), fault("slow_body", bytes_per_second=1)
    spec = disturbed(held | {"where": {"source": "path", "test": "is", "value": "/late"}}, slow)
    stage = stage_of(spec)
    late, slowly = stage.client(), stage.client()
    late.send(get("/late"))
    slowly.send(GET)
    upstream = stage.accept()
    upstream.send(answer(200, body=b"x" * 1000))
    stage.pass_time(2.0)
    assert len(slowly.take().partition(b"\r\n\r\n")[2]) <= 2
    if how == "switch":
        stage.runtime.faults_killed = True
    else:
        stage.bring(spec | {"generation": 2, "faults": {"enabled": False, "max_percent": 100.0}})
    stage.pass_time(0.3)
    assert stage.codes() == {("stable", "stable", 200): 1}
    assert upstream.take().endswith(b"\r\n\r\n")  # the late one, on the same connection
    upstream.send(OK)
    slowly.send(GET)
    upstream = stage.accept() if stage.dialling() else upstream
    upstream.send(OK)
    assert stage.codes() == {("stable", "stable", 200): 3}


def test_route_without_faults_remembers_nothing(stage_of: StageOf) -> None:
    stage = stage_of(shop())
    assert not stage.arms.arms
    assert not stage.plan.routes[0].guarded
    stage.bring(disturbed(fault("abort")))
    assert set(stage.arms.arms) == {("shop", "stable")}
    stage.bring(shop())
    assert not stage.arms.arms
