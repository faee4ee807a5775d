"""The client's side of a connection: heads, bodies, order, coming and going."""

import socket
from collections.abc import Callable

import pytest

from proxy.telemetry.counters import REGION_SLOTS, W_ACCEPTED, W_CONNECTIONS, W_REFUSED, W_REQUESTS
from tests.specs import plan_spec
from tests.unit.dataplane.stage import GET, OK, Stage, answer, get, shop

StageOf = Callable[..., Stage]


def small_limits(**limits: int) -> dict[str, object]:
    base = plan_spec()["client"]
    return {"timeouts": base["timeouts"], "limits": base["limits"] | limits}


def test_one_request_and_its_answer(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    assert upstream.take().startswith(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\n")
    upstream.send(OK)
    assert client.take() == b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nvia: 1.1 tidegate\r\n\r\nhello"
    assert stage.codes() == {("stable", "stable", 200): 1}
    assert not client.ended


def test_connection_carries_one_request_after_the_other_on_one_upstream_connection(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(OK)
    for _ in range(5):
        client.send(GET)
        assert upstream.take()
        upstream.send(OK)
    assert client.take().count(b"hello") == 6
    assert stage.dialling() == 0
    assert stage.of_worker(W_REQUESTS) == 6
    assert stage.of_worker(W_ACCEPTED) == 1


@pytest.mark.parametrize("size", [1, 2, 3, 7, 50])
def test_head_may_come_in_any_pieces(stage: Stage, size: int) -> None:
    client = stage.client()
    for start in range(0, len(GET), size):
        client.send(GET[start : start + size])
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")


def test_pipelined_requests_are_answered_in_order_with_local_answers_between(stage_of: StageOf) -> None:
    spec = shop(route={"path_prefix": "/shop"})
    stage = stage_of(spec)
    client = stage.client()
    client.send(get("/shop/1") + get("/nowhere") + get("/shop/2") + get("/nowhere") + get("/shop/3"))
    upstream = stage.accept()
    for number in (1, 2, 3):
        assert upstream.take().startswith(b"GET /shop/%d " % number)
        upstream.send(answer(body=b"<%d>" % number))
    got = client.take()
    order = [
        got.find(b"<1>"),
        got.find(b"404 Not Found"),
        got.find(b"<2>"),
        got.rfind(b"404 Not Found"),
        got.find(b"<3>"),
    ]
    assert order == sorted(order)
    assert min(order) > 0
    assert stage.codes() == {("stable", "stable", 200): 3, ("none", "none", 404): 2}


def test_pipelined_request_behind_a_body_waits_for_its_turn(stage: Stage) -> None:
    client = stage.client()
    client.send(
        get(method="POST", body=b"", version="1.1").replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\nabc")
        + get("/second")
    )
    upstream = stage.accept()
    assert upstream.take().endswith(b"\r\n\r\nabc")
    upstream.send(OK)
    assert upstream.take().startswith(b"GET /second")


def test_pipelined_requests_behind_a_chunked_body_wait_for_their_turn(stage: Stage) -> None:
    client = stage.client()
    client.send(
        get("/", "Transfer-Encoding: chunked", method="POST", body=b"3\r\nabc\r\n0\r\n\r\n") + get("/2") + get("/3")
    )
    upstream = stage.accept()
    assert upstream.take().endswith(b"3\r\nabc\r\n0\r\n\r\n")
    upstream.send(OK)
    assert upstream.take().startswith(b"GET /2")
    upstream.send(OK)
    assert upstream.take().startswith(b"GET /3")


def test_reading_stops_while_too_many_pipelined_bytes_wait_and_goes_on_afterwards(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    client.send(GET * 2000)
    assert not client.reading
    upstream.send(OK)
    for _ in range(1999):
        upstream.send(OK)
    assert client.reading
    upstream.send(OK)
    assert client.take().count(b"hello") == 2001


def test_client_that_reads_no_answers_cannot_make_requests_pile_up(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    client.stall()
    upstream.send(answer(body=b"x" * 100_000))
    sent = 0
    while client.reading and sent < 10_000_000:
        client.send(GET * 100)
        sent += len(GET) * 100
    assert sent < 200_000
    client.drain()
    assert client.reading
    upstream.send(OK)
    assert upstream.take().count(b"GET / HTTP/1.1") == 3


def test_half_a_head_that_waited_behind_a_stalled_answer_is_completed(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    client.stall()
    upstream.send(answer(body=b"x" * 100_000))
    upstream.take()
    client.send(GET[:-7])
    client.drain()
    client.send(GET[-7:])
    assert upstream.take().startswith(b"GET / HTTP/1.1")


@pytest.mark.parametrize("step", [1, 1000, 100_000])
def test_head_that_is_too_long_is_refused_however_it_comes(stage_of: StageOf, step: int) -> None:
    stage = stage_of(shop(client=small_limits(head=2000)))
    client = stage.client()
    data = get("/", "X-Long: " + "y" * 3000)
    for start in range(0, len(data), step):
        if client.eof_written:
            break
        client.send(data[start : start + step])
    assert client.take().startswith(b"HTTP/1.1 431 ")
    assert client.eof_written
    assert stage.codes() == {("none", "none", 431): 1}


def test_too_many_fields_are_refused(stage_of: StageOf) -> None:
    stage = stage_of(shop(client=small_limits(fields=3)))
    client = stage.client()
    client.send(get("/", "A: 1", "B: 1", "C: 1"))
    assert client.take().startswith(b"HTTP/1.1 431 ")


@pytest.mark.parametrize("whole", [True, False])
def test_target_that_is_too_long_is_refused(stage_of: StageOf, whole: bool) -> None:
    stage = stage_of(shop(client=small_limits(target=100, head=400)))
    client = stage.client()
    client.send(get("/" + "a" * 200) if whole else b"GET /" + b"a" * 500)
    assert client.take().startswith(b"HTTP/1.1 414 ")


def test_bad_head_is_refused_and_the_connection_ends(stage: Stage) -> None:
    client = stage.client()
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nBad Name: x\r\n\r\n" + GET)
    got = client.take()
    assert got.startswith(b"HTTP/1.1 400 Bad Request\r\n")
    assert b"connection: close\r\n" in got
    assert client.eof_written
    client.send(GET)
    assert client.take() == b""
    client.eof()
    stage.settle()
    assert stage.of_worker(W_CONNECTIONS) == 0
    assert stage.codes() == {("none", "none", 400): 1}


def test_request_without_a_route_keeps_the_connection(stage_of: StageOf) -> None:
    stage = stage_of(shop(route={"path": "/only"}))
    client = stage.client()
    client.send(GET)
    got = client.take()
    assert got.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"connection: close" not in got
    client.send(get("/only"))
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")


def test_request_with_a_body_but_without_a_route_ends_the_connection(stage_of: StageOf) -> None:
    stage = stage_of(shop(route={"path": "/only"}))
    client = stage.client()
    client.send(get("/", "Content-Length: 5", method="POST", body=b"he"))
    got = client.take()
    assert got.startswith(b"HTTP/1.1 404 Not Found\r\n")
    assert b"connection: close" in got
    assert client.eof_written
    client.send(b"llo" + GET)
    assert client.take() == b""


def test_path_that_two_servers_could_read_differently_is_refused(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/a/../b"))
    assert client.take().startswith(b"HTTP/1.1 400 ")
    assert stage.codes() == {("none", "none", 400): 1}


def test_old_client_is_kept_only_when_it_asks(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Connection: keep-alive", version="1.0"))
    upstream = stage.accept()
    upstream.send(OK)
    assert b"connection: keep-alive\r\n" in client.take()
    client.send(get("/", version="1.0"))
    upstream.send(OK)
    got = client.take()
    assert b"connection: close\r\n" in got
    assert got.endswith(b"hello")
    assert client.ended == "close"


def test_client_that_asks_to_close_is_closed_after_its_answer(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Connection: close") + GET)
    stage.accept().send(OK)
    stage.settle()
    assert client.take().count(b"hello") == 1
    assert client.ended or client.eof_written


# Coming and going.


def test_more_connections_than_allowed_are_refused_and_counted(stage_of: StageOf) -> None:
    stage = stage_of(shop(client=small_limits(connections=2)))
    first, second, third = stage.client(), stage.client(), stage.client()
    assert (first.ended, second.ended, third.ended) == ("", "", "abort")
    assert stage.of_worker(W_REFUSED) == 1
    assert stage.of_worker(W_CONNECTIONS) == 2
    first.eof()
    assert not stage.client().ended


def test_limit_of_connections_is_a_total_over_the_workers(stage_of: StageOf) -> None:
    stage = stage_of(shop(client=small_limits(connections=2)), workers=2)
    stage.cells.view[REGION_SLOTS + W_CONNECTIONS] = 1  # in the other worker
    first, second = stage.client(), stage.client()
    assert (first.ended, second.ended) == ("", "abort")
    stage.cells.view[REGION_SLOTS + W_CONNECTIONS] = 0
    assert not stage.client().ended


def test_connection_is_counted_while_it_is_open(stage: Stage) -> None:
    client = stage.client()
    assert stage.of_worker(W_CONNECTIONS) == 1
    client.eof()
    stage.settle()
    assert stage.of_worker(W_CONNECTIONS) == 0
    assert stage.listening.clients == set()


def test_draining_closes_connections_between_requests_and_tells_the_others(stage: Stage) -> None:
    idle, busy = stage.client(), stage.client()
    busy.send(GET)
    upstream = stage.accept()
    stage.runtime.draining = True
    for client in (idle, busy):
        client.protocol.close_if_idle()
    assert idle.ended == "close"
    assert not busy.ended
    upstream.send(OK)
    assert b"connection: close\r\n" in busy.take()
    assert busy.ended == "close"


def test_draining_leaves_a_connection_open_on_which_a_request_lies_unread(stage: Stage) -> None:
    client = stage.client()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        client._extra["socket"] = ours  # type: ignore[attr-defined]
        stage.runtime.draining = True
        theirs.send(GET)
        client.protocol.close_if_idle()
        assert not client.ended
        client.send(ours.recv(4096))
        stage.accept().send(OK)
        assert b"connection: close\r\n" in client.take()
        quiet = stage.client()
        quiet._extra["socket"] = ours  # type: ignore[attr-defined]
        quiet.protocol.close_if_idle()
        assert quiet.ended == "close"


def test_time_to_drain_is_over_for_what_is_under_way(stage: Stage) -> None:
    idle, busy = stage.client(), stage.client()
    busy.send(GET)
    stage.accept()
    assert idle.protocol.cut_short() == 0
    assert busy.protocol.cut_short() == 1
    assert busy.ended == "abort"
    assert stage.codes() == {("stable", "stable", 499): 1}
