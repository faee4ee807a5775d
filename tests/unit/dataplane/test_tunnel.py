"""After 101: bytes both ways, until one side ends; longer than any plan."""

from collections.abc import Callable

import pytest

from proxy.dataplane.tunnel import review
from proxy.telemetry.counters import (
    V_REQUEST_BYTES,
    V_RESPONSE_BYTES,
    W_CONNECTIONS,
    W_TUNNELS,
    W_TUNNELS_RETIRED,
)
from tests.specs import version_spec
from tests.unit.dataplane.stage import OK, Stage, answer, get, pool_spec, shop
from tests.unit.dataplane.wires import Wire

StageOf = Callable[..., Stage]

ASK = get("/chat", "Connection: Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Key: abc")
SWITCH = answer(101, "Connection: Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Accept: def")


def opened(stage: Stage) -> tuple[Wire, Wire]:
    client = stage.client()
    client.send(ASK)
    upstream = stage.accept()
    upstream.take()
    upstream.send(SWITCH)
    client.take()
    return client, upstream


def test_handshake_passes_and_bytes_follow_both_ways(stage: Stage) -> None:
    client = stage.client()
    client.send(ASK)
    upstream = stage.accept()
    asked = upstream.take()
    assert b"connection: upgrade\r\nupgrade: websocket\r\n" in asked
    assert b"Sec-WebSocket-Key: abc\r\n" in asked
    assert asked.lower().count(b"upgrade: ") == 1
    upstream.send(SWITCH)
    said = client.take()
    assert said.startswith(b"HTTP/1.1 101 Said\r\nSec-WebSocket-Accept: def\r\n")
    assert b"connection: upgrade\r\nupgrade: WebSocket\r\n" in said
    client.send(b"\x81\x01up")
    assert upstream.take() == b"\x81\x01up"
    upstream.send(b"\x81\x01down")
    assert client.take() == b"\x81\x01down"
    assert stage.of_worker(W_TUNNELS) == 1
    assert stage.codes() == {("stable", "stable", 101): 1}


def test_bytes_that_came_along_with_the_heads_are_not_lost(stage: Stage) -> None:
    client = stage.client()
    client.send(ASK + b"early")
    upstream = stage.accept()
    assert b"early" not in upstream.take()
    upstream.send(SWITCH + b"greeting")
    assert client.take().endswith(b"\r\n\r\ngreeting")
    assert upstream.take() == b"early"


@pytest.mark.parametrize("side", [0, 1])
@pytest.mark.parametrize("how", ["eof", "reset"])
def test_end_of_one_side_is_the_end_of_both(stage: Stage, side: int, how: str) -> None:
    ends = opened(stage)
    ends[0].send(b"12345")
    ends[1].send(b"123")
    getattr(ends[side], how)()
    stage.settle()
    assert ends[1 - side].lost
    assert stage.of_worker(W_TUNNELS) == 0
    assert stage.of_worker(W_CONNECTIONS) == 0
    assert stage.of_version(V_REQUEST_BYTES) == 5
    assert stage.of_version(V_RESPONSE_BYTES) == 3
    stage.assert_nothing_left()


def test_what_one_side_said_last_still_reaches_the_other(stage: Stage) -> None:
    client, upstream = opened(stage)
    client.stall()
    upstream.send(b"goodbye")
    upstream.eof()
    stage.settle()
    assert client.ended == "close"
    assert client.take() == b"goodbye"
    client.drain()
    stage.settle()
    stage.assert_nothing_left()


def test_what_the_client_said_last_still_reaches_the_upstream(stage: Stage) -> None:
    client, upstream = opened(stage)
    upstream.stall()
    client.send(b"goodbye")
    client.eof()
    assert upstream.ended == "close"
    assert upstream.take() == b"goodbye"


@pytest.mark.parametrize("side", [0, 1])
def test_side_that_takes_nothing_does_not_keep_a_closed_tunnel_open(stage: Stage, side: int) -> None:
    ends = opened(stage)
    ends[side].stall()
    ends[1 - side].send(b"goodbye")
    ends[1 - side].eof()
    stage.settle()
    assert not ends[side].lost
    stage.pass_time(70.0)
    assert ends[side].lost
    stage.assert_nothing_left()


def test_silent_tunnel_ends_after_its_time(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[pool_spec("u", timeouts={"tunnel": 30.0})]))
    client, upstream = opened(stage)
    for number in range(6):
        stage.pass_time(20.0)
        (client, upstream)[number % 2].send(b"ping")
    assert not client.ended
    stage.pass_time(30.2)
    assert client.lost
    assert upstream.lost


def test_tunnel_outlives_a_plan_that_no_longer_knows_its_upstream(stage: Stage) -> None:
    client, upstream = opened(stage)
    stage.bring(
        shop(
            route={"versions": [version_spec("b", 1.0, upstream="v")], "default": "b"},
            upstreams=[pool_spec("v")],
            generation=2,
        )
    )
    stage.pass_time(100.0)
    client.send(b"still")
    assert upstream.take() == b"still"
    assert client.protocol.generation() == 1
    client.eof()
    stage.settle()
    stage.assert_nothing_left()


def test_upstream_that_does_not_want_to_switch_answers_as_usual(stage: Stage) -> None:
    client = stage.client()
    client.send(ASK)
    upstream = stage.accept()
    upstream.send(OK)
    assert client.take().endswith(b"hello")
    client.send(get())
    upstream.send(OK)
    assert client.take().endswith(b"hello")
    assert stage.of_worker(W_TUNNELS) == 0


def test_tunnel_counts_as_a_request_of_its_upstream(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[pool_spec("u", limits={"requests": 1})]))
    client, _ = opened(stage)
    other = stage.client()
    other.send(get())
    assert b"(UO)" in other.take()
    client.eof()
    stage.settle()
    other.send(get())
    stage.accept().send(OK)
    assert other.take().endswith(b"hello")


def test_time_to_drain_is_over_for_a_tunnel_too(stage: Stage) -> None:
    client, upstream = opened(stage)
    client.protocol.close_if_idle()
    assert not client.ended
    assert client.protocol.cut_short() == 1
    stage.settle()
    assert client.lost
    assert upstream.lost
    stage.assert_nothing_left()


# What a plan means for tunnels that are open.


def blue_green(blue: float, green: float, generation: int = 1, age: float = 60.0, **route: object) -> dict[str, object]:
    """Blue at `u`, green at `v`, with these weights; the default is whoever has more."""
    default = "blue" if blue > green else "green"
    made = {"versions": [version_spec("blue", blue), version_spec("green", green, upstream="v")], "default": default}
    pools = [pool_spec("u", timeouts={"tunnel_max_age": age}), pool_spec("v", "10.0.0.2")]
    return shop(route=made | route, upstreams=pools, generation=generation)


def change(stage: Stage, spec: dict[str, object]) -> int:
    """Bring a plan into force as the worker does; how many tunnels have got an end."""
    return review(list(stage.upstreams.tunnels), stage.bring(spec))


def lasts(stage: Stage, client: Wire, longest: float) -> float:
    """Seconds until the tunnel ends, in which both sides are never silent for long."""
    begun = stage.time
    while not client.lost and stage.time < begun + longest:
        client.send(b"ping")
        stage.pass_time(0.5)
    return stage.time - begun


def test_tunnel_of_a_version_that_gets_no_more_traffic_ends_within_its_age(stage_of: StageOf) -> None:
    stage = stage_of(blue_green(100.0, 0.0))
    client, upstream = opened(stage)
    stage.pass_time(500.0)
    assert not client.ended
    assert change(stage, blue_green(0.0, 100.0, 2)) == 1
    assert 30.0 <= lasts(stage, client, 100.0) <= 60.6
    assert upstream.lost
    assert stage.of_worker(W_TUNNELS_RETIRED) == 1
    stage.assert_nothing_left()


def test_tunnels_do_not_all_end_at_once(stage_of: StageOf) -> None:
    stage = stage_of(blue_green(100.0, 0.0))
    clients = [opened(stage)[0] for _ in range(40)]
    assert change(stage, blue_green(0.0, 100.0, 2)) == 40
    stage.pass_time(29.9)
    assert not any(client.lost for client in clients)
    stage.pass_time(15.0)
    assert 10 <= sum(client.lost for client in clients) <= 30
    stage.pass_time(15.2)
    assert all(client.lost for client in clients)


def test_tunnel_stays_where_its_version_is_back_in_service_in_time(stage_of: StageOf) -> None:
    stage = stage_of(blue_green(100.0, 0.0))
    client, _ = opened(stage)
    assert change(stage, blue_green(0.0, 100.0, 2)) == 1
    stage.pass_time(20.0)
    assert change(stage, blue_green(100.0, 0.0, 3)) == 0
    assert lasts(stage, client, 100.0) >= 100.0
    assert change(stage, blue_green(0.0, 100.0, 4)) == 1
    stage.pass_time(10.0)
    assert change(stage, blue_green(0.0, 99.0, 5)) == 0, "the first of these plans counts"
    assert lasts(stage, client, 100.0) <= 50.6


@pytest.mark.parametrize(
    "plan",
    [
        blue_green(1.0, 99.0, 2),
        blue_green(0.0, 100.0, 2, default="blue"),
        blue_green(0.0, 100.0, 2, rules=[{"label": "rules[0]", "units": ["alice"], "version": "blue"}]),
        blue_green(
            0.0, 100.0, 2, rules=[{"label": "rules[0]", "units": ["alice"], "split": {"blue": 1.0, "green": 1.0}}]
        ),
        blue_green(0.0, 100.0, 2, age=0.0),
    ],
)
def test_tunnel_is_let_be_while_its_version_gets_anything_or_no_age_is_set(
    stage_of: StageOf, plan: dict[str, object]
) -> None:
    stage = stage_of(blue_green(100.0, 0.0))
    client, _ = opened(stage)
    assert change(stage, plan) == 0
    stage.pass_time(100.0)
    assert not client.ended


@pytest.mark.parametrize(
    "plan",
    [
        blue_green(0.0, 100.0, 2) | {"routes": []},
        blue_green(0.0, 100.0, 2, versions=[version_spec("green", 1.0, upstream="v")]),
        blue_green(
            0.0, 0.0, 2, versions=[version_spec("blue", 1.0, upstream="v"), version_spec("green", 1.0, upstream="v")]
        ),
        blue_green(
            0.0, 100.0, 2, rules=[{"label": "rules[0]", "units": ["alice"], "split": {"blue": 0.0, "green": 1.0}}]
        ),
    ],
)
def test_tunnel_is_out_of_service_without_route_version_or_upstream(stage_of: StageOf, plan: dict[str, object]) -> None:
    stage = stage_of(blue_green(100.0, 0.0))
    client, _ = opened(stage)
    assert change(stage, plan) == 1
    stage.pass_time(60.2)
    assert client.lost


def test_tunnel_opened_over_a_flip_is_out_of_service_from_its_beginning(stage_of: StageOf) -> None:
    stage = stage_of(blue_green(100.0, 0.0))
    client = stage.client()
    client.send(ASK)
    upstream = stage.accept()
    assert change(stage, blue_green(0.0, 100.0, 2)) == 0
    upstream.send(SWITCH)
    assert 30.0 <= lasts(stage, client, 100.0) <= 60.6


def test_tunnel_of_a_worker_that_drains_has_its_age_at_most(stage_of: StageOf) -> None:
    stage = stage_of(blue_green(100.0, 0.0))
    client, _ = opened(stage)
    stage.runtime.draining = True
    assert review(list(stage.upstreams.tunnels), None) == 1
    assert 30.0 <= lasts(stage, client, 100.0) <= 60.6
