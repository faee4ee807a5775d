"""Back-pressure both ways: who is slow stops the other side, and nobody else."""

from collections.abc import Callable

import pytest

from proxy.dataplane.client import ClientConnection
from tests.unit.dataplane.stage import GET, OK, Stage, answer, get, pool_spec, shop
from tests.unit.dataplane.wires import HIGH_WATER

StageOf = Callable[..., Stage]

MUCH = b"x" * (HIGH_WATER + 1000)


def upload(method: str = "POST") -> bytes:
    return get("/", "Content-Length: 10000000", method=method)


def test_slow_client_stops_the_reading_of_its_answer(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    client.stall()
    upstream.send(answer(200, "Content-Length: 1000000") + MUCH)
    assert not upstream.reading
    client.drain()
    assert upstream.reading
    upstream.send(b"x" * (1_000_000 - len(MUCH)))
    assert len(client.take()) > 1_000_000
    assert stage.codes() == {("stable", "stable", 200): 1}


@pytest.mark.parametrize("pieces", [1, 2])
def test_slow_client_does_not_stop_a_connection_that_is_free_again(stage: Stage, pieces: int) -> None:
    slow, quick = stage.client(), stage.client()
    slow.send(GET)
    upstream = stage.accept()
    slow.stall()
    whole = answer(body=MUCH)
    cut = len(whole) if pieces == 1 else 200
    upstream.send(whole[:cut])
    if pieces == 2:
        upstream.send(whole[cut:])
    assert upstream.reading
    quick.send(GET)
    assert stage.dialling() == 0
    upstream.send(OK)
    assert quick.take().endswith(b"hello")


def test_slow_client_does_not_stop_the_exchange_its_connection_went_to(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[pool_spec("u", limits={"connections": 1})]))
    slow, waiting = stage.client(), stage.client()
    slow.send(GET)
    upstream = stage.accept()
    waiting.send(GET)
    slow.stall()
    upstream.take()
    upstream.send(answer(body=MUCH))
    assert upstream.take().startswith(b"GET / ")
    assert upstream.reading
    stage.pass_time(15.5)
    assert waiting.take().startswith(b"HTTP/1.1 504 ")


def test_slow_client_that_takes_nothing_is_cut_off(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    client.stall()
    upstream.send(answer(200, "Content-Length: 1000000") + MUCH)
    stage.pass_time(59.0)
    assert not client.ended
    stage.pass_time(1.2)
    assert client.ended == "abort"
    assert upstream.ended == "abort"
    assert stage.codes() == {("stable", "stable", 499): 1}
    stage.assert_nothing_left()


def test_slow_upstream_stops_the_reading_of_the_body(stage: Stage) -> None:
    client = stage.client()
    client.send(upload())
    upstream = stage.accept()
    upstream.stall()
    client.send(MUCH)
    assert not client.reading
    upstream.drain()
    assert client.reading


def test_upstream_that_takes_no_more_of_the_body_is_late_in_the_end(stage: Stage) -> None:
    client = stage.client()
    client.send(upload())
    upstream = stage.accept()
    upstream.stall()
    client.send(MUCH)
    stage.pass_time(59.5)
    assert client.take() == b""
    stage.pass_time(1.0)
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert upstream.ended == "abort"
    assert stage.codes() == {("stable", "stable", 504): 1}


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_body_that_waited_for_the_connection_presses_back_as_well(stage: Stage, method: str) -> None:
    client = stage.client()
    client.send(upload(method) + MUCH)
    assert not client.reading
    upstream = stage.accept(stalled=True)
    assert upstream.pausing
    assert not client.reading
    stage.pass_time(60.5)
    assert client.take().startswith(b"HTTP/1.1 504 ")


def test_reading_the_body_waits_for_the_connection(stage: Stage) -> None:
    client = stage.client()
    client.send(upload())
    assert not client.reading
    stage.accept()
    assert client.reading


def test_silence_of_a_client_that_may_not_send_is_not_held_against_it(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[pool_spec("u", timeouts={"connect": 90.0})]))
    client = stage.client()
    client.send(upload())
    stage.pass_time(80.0)
    assert client.take() == b""
    upstream = stage.accept()
    assert upstream.take().startswith(b"POST")
    assert client.reading


def test_client_is_read_again_for_its_next_request_after_an_early_answer(stage: Stage) -> None:
    client = stage.client()
    client.send(upload())
    upstream = stage.accept()
    upstream.stall()
    client.send(MUCH)
    upstream.send(answer(413, body=b"no"))
    assert client.reading
    assert client.take().endswith(b"no")


def test_tunnelled_bytes_press_back_both_ways(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Connection: upgrade", "Upgrade: websocket"))
    upstream = stage.accept()
    upstream.send(answer(101, "Connection: upgrade", "Upgrade: websocket"))
    assert isinstance(client.protocol, ClientConnection)
    client.stall()
    upstream.send(MUCH)
    assert not upstream.reading
    client.drain()
    assert upstream.reading
    upstream.stall()
    client.send(MUCH)
    assert not client.reading
    upstream.drain()
    assert client.reading
