"""How a client's connection ends: in silence, with something still to be sent, before its request was whole."""

from collections.abc import Callable

from proxy.telemetry.counters import W_CONNECTIONS
from tests.unit.dataplane.stage import GET, OK, Stage, answer, get, pool_spec, shop

StageOf = Callable[..., Stage]


# Silence.


def test_silent_newcomer_is_let_go(stage: Stage) -> None:
    client = stage.client()
    stage.pass_time(9.9)
    assert not client.ended
    stage.pass_time(0.3)
    assert client.ended
    assert stage.of_worker(W_CONNECTIONS) == 0


def test_half_a_head_is_answered_408_in_time_however_it_drips(stage: Stage) -> None:
    client = stage.client()
    for byte in GET[:-4]:
        client.send(bytes((byte,)))
        stage.pass_time(0.5)
        if client.eof_written:
            break
    assert client.take().startswith(b"HTTP/1.1 408 ")
    assert stage.codes() == {("none", "none", 408): 1}


def test_dripping_a_second_head_gets_no_more_time_than_a_first(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    stage.accept().send(OK)
    client.take()
    stage.pass_time(60.0)
    client.send(GET[:5])
    stage.pass_time(10.2)
    assert client.take().startswith(b"HTTP/1.1 408 ")


def test_half_a_head_behind_a_body_gets_no_more_time_either(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[pool_spec("u") | {"endpoints": []}]))
    client = stage.client()
    client.send(get("/", "Content-Length: 3", method="POST", body=b"abc") + GET[:5])
    client.take()
    stage.pass_time(10.2)
    assert client.eof_written or client.ended


def test_idle_connection_is_closed_in_order_and_not_reset(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    stage.accept().send(OK)
    stage.pass_time(74.9)
    assert not client.ended
    stage.pass_time(0.3)
    assert client.ended == "close"


def test_body_that_stops_coming_is_answered_408(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Content-Length: 100", method="POST", body=b"some"))
    upstream = stage.accept()
    stage.pass_time(59.0)
    client.send(b"more")
    stage.pass_time(59.0)
    assert client.take() == b""
    stage.pass_time(1.2)
    assert client.take().startswith(b"HTTP/1.1 408 ")
    assert upstream.ended == "abort"
    assert stage.codes() == {("stable", "stable", 408): 1}
    assert stage.flags() == {}


def test_closed_connection_whose_client_reads_nothing_does_not_stay_for_ever(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Connection: close"))
    client.stall()
    stage.accept().send(answer(body=b"x" * 100_000))
    stage.settle()
    assert client.ended == "close"
    assert stage.of_worker(W_CONNECTIONS) == 1
    stage.pass_time(130.0)
    assert client.ended == "abort"
    assert stage.of_worker(W_CONNECTIONS) == 0


# The end of a connection on which something is still to be sent.


def test_slow_reader_gets_the_whole_answer_after_the_connection_was_closed(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Connection: close"))
    client.stall()
    stage.accept().send(answer(body=b"x" * 100_000))
    for _ in range(10):
        client.unsent -= 5000
        stage.pass_time(9.0)
    assert client.ended == "close"
    client.drain()
    stage.settle()
    assert client.lost
    assert stage.of_worker(W_CONNECTIONS) == 0


def test_slow_reader_of_an_early_answer_gets_it_whole(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Content-Length: 100000", method="POST", body=b"x"))
    client.stall()
    stage.accept().send(answer(413, body=b"x" * 50_000))
    stage.settle()
    assert client.eof_written
    for _ in range(5):
        client.unsent -= 5000
        stage.pass_time(9.0)
    assert not client.ended


def test_client_that_goes_on_sending_after_its_answer_is_read_for_a_while_only(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Content-Length: 100000000", method="POST", body=b"x"))
    stage.accept().send(answer(413, body=b"no"))
    stage.settle()
    assert client.eof_written
    assert client.take().endswith(b"no")
    sent = 0
    while client.reading:
        client.send(b"x" * 65536)
        sent += 65536
    assert sent < 2 << 20
    assert not client.ended
    stage.pass_time(2.2)
    assert client.ended == "abort"
    assert stage.of_worker(W_CONNECTIONS) == 0


def test_early_answer_over_tls_lets_the_client_read_it_too(stage_of: StageOf) -> None:
    stage = stage_of(secure=True)
    client = stage.client(tls=True)
    client.send(get("/", "Content-Length: 100000", method="POST", body=b"x"))
    stage.accept().send(answer(413, body=b"no"))
    stage.settle()
    assert not client.ended
    client.send(b"x" * 1000)
    client.eof()
    stage.settle()
    assert client.ended == "close"
    assert stage.of_worker(W_CONNECTIONS) == 0


def test_client_that_ends_its_side_gets_no_answer_that_looks_whole(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", version="1.0"))
    upstream = stage.accept()
    upstream.send(answer() + b"half of ")
    client.eof()
    assert client.ended == "abort"
    assert upstream.ended == "abort"
    assert stage.codes() == {("stable", "stable", 499): 1}


def test_client_that_ends_its_side_between_requests_still_gets_what_was_written(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    client.stall()
    stage.accept().send(answer(body=b"x" * 50_000))
    client.eof()
    assert client.ended == "close"
    assert stage.of_worker(W_CONNECTIONS) == 1
    client.drain()
    stage.settle()
    assert stage.of_worker(W_CONNECTIONS) == 0


def test_client_that_never_takes_leave_of_tls_is_cut_off(stage_of: Callable[..., Stage]) -> None:
    stage = stage_of(secure=True)
    client = stage.client(tls=True)
    client.send(get("/", "Connection: close"))
    upstream = stage.accept()
    client.taking_leave = True  # its end is not reported: the transport waits for the peer's
    upstream.send(OK)
    assert client.ended == "close"
    assert client.take().endswith(b"hello")
    stage.pass_time(1.9)
    assert client.ended == "close"
    stage.pass_time(0.2)
    assert client.ended == "abort"
    assert not stage.listening.clients
