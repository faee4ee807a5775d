"""One request and its answer: what is sent up, and what comes down."""

from collections.abc import Callable

import pytest

from proxy.telemetry.counters import (
    V_REQUEST_BYTES,
    V_RESPONSE_BYTES,
)
from tests.unit.dataplane.reading import read_answer
from tests.unit.dataplane.stage import GET, OK, Stage, answer, get, shop

StageOf = Callable[..., Stage]


# Bodies on their way up.


def test_body_of_known_length_goes_up_as_it_comes(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Content-Length: 10", method="POST", body=b"01234"))
    upstream = stage.accept()
    assert upstream.take().endswith(b"\r\n\r\n01234")
    client.send(b"56789")
    assert upstream.take() == b"56789"
    upstream.send(OK)
    assert client.take().endswith(b"hello")
    assert stage.of_version(V_REQUEST_BYTES) == 10
    assert stage.of_version(V_RESPONSE_BYTES) == 5


def test_chunked_body_goes_up_chunked_with_its_trailers(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Transfer-Encoding: chunked", method="POST", body=b"5;x=y\r\n01234\r\n"))
    upstream = stage.accept()
    got = upstream.take()
    assert got.endswith(b"\r\n\r\n5\r\n01234\r\n")
    assert got.count(b"transfer-encoding: chunked\r\n") == 1
    client.send(b"1\r\n5\r\n0\r\nX-Sum: 1\r\nContent-Length: 3\r\n\r\n")
    assert upstream.take() == b"1\r\n5\r\n0\r\nX-Sum: 1\r\n\r\n"
    assert stage.of_version(V_REQUEST_BYTES) == 0  # counted when it is over
    upstream.send(OK)
    assert stage.of_version(V_REQUEST_BYTES) == 6


def test_bad_chunk_is_refused_and_never_reaches_the_upstream(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Transfer-Encoding: chunked", method="POST", body=b"1\r\na\r\n"))
    upstream = stage.accept()
    upstream.take()
    client.send(b"zz\r\n")
    assert client.take().startswith(b"HTTP/1.1 400 ")
    assert upstream.take() == b""
    assert upstream.ended == "abort"
    assert stage.codes() == {("stable", "stable", 400): 1}


def test_body_larger_than_the_route_takes_is_refused_at_once(stage_of: StageOf) -> None:
    stage = stage_of(shop(route={"max_body": 10}))
    client = stage.client()
    client.send(get("/", "Content-Length: 11", method="POST"))
    got = client.take()
    assert got.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in got
    assert stage.dialling() == 0
    assert stage.codes() == {("stable", "none", 413): 1}


@pytest.mark.parametrize("last", [b"6\r\n567890\r\n", b"6\r\n567890\r\n0\r\n\r\n"])
def test_body_that_turns_out_larger_than_the_route_takes_is_refused_then(stage_of: StageOf, last: bytes) -> None:
    stage = stage_of(shop(route={"max_body": 10}))
    client = stage.client()
    client.send(get("/", "Transfer-Encoding: chunked", method="POST", body=b"5\r\n01234\r\n"))
    upstream = stage.accept()
    client.send(last)
    got = client.take()
    assert got.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in got
    assert upstream.ended == "abort"
    assert stage.codes() == {("stable", "stable", 413): 1}
    client.eof()
    stage.settle()
    assert stage.gauges() == {}


def test_body_of_exactly_the_size_the_route_takes_passes(stage_of: StageOf) -> None:
    stage = stage_of(shop(route={"max_body": 10}))
    client = stage.client()
    client.send(get("/", "Transfer-Encoding: chunked", method="POST", body=b"a\r\n0123456789\r\n0\r\n\r\n"))
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")


# Answers on their way down.


def test_chunked_answer_stays_chunked_with_its_trailers(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(answer(200, "Transfer-Encoding: chunked", body=b"5;q=1\r\nhello\r\n"))
    upstream.send(b"6\r\n world\r\n0\r\nX-Sum: 9\r\nSet-Cookie: no=1\r\n\r\n")
    got = client.take()
    assert got.endswith(b"\r\n\r\n5\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 9\r\n\r\n")
    assert got.count(b"transfer-encoding: chunked\r\n") == 1
    client.send(GET)
    assert upstream.take()  # the connection goes on


def test_old_client_gets_a_chunked_answer_plain_and_then_the_end(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Connection: keep-alive", version="1.0"))
    stage.accept().send(answer(200, "Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\nX-Sum: 9\r\n\r\n"))
    stage.settle()
    got = client.take()
    assert got.endswith(b"connection: close\r\n\r\nhello")
    assert b"chunked" not in got
    assert client.ended == "close"


def test_answer_that_ends_with_the_connection_becomes_chunked(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(answer() + b"hello")
    upstream.send(b" world")
    upstream.eof()
    assert read_answer(client.take())[2:] == (b"hello world", True)
    client.send(GET)
    assert stage.dialling() == 1
    assert not client.ended


def test_answer_that_ends_with_the_connection_does_so_for_an_old_client_too(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", version="1.0"))
    upstream = stage.accept()
    upstream.send(answer(version="1.0") + b"hello")
    assert not client.ended
    upstream.eof()
    assert client.take().endswith(b"\r\n\r\nhello")
    assert client.ended == "close"


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("HEAD", answer(200, "Content-Length: 100")),
        ("HEAD", answer(200, "Transfer-Encoding: chunked")),
        ("HEAD", answer(200)),
        ("GET", answer(204)),
        ("GET", answer(304, "Content-Length: 100")),
        ("GET", answer(304, "Transfer-Encoding: chunked")),
        ("GET", answer(200, "Content-Length: 0")),
    ],
)
def test_answer_without_a_body_ends_with_its_head(stage: Stage, method: str, said: bytes) -> None:
    client = stage.client()
    client.send(get(method=method))
    upstream = stage.accept()
    upstream.send(said)
    got = client.take()
    assert got.endswith(b"\r\n\r\n")
    assert read_answer(got, method)[3]
    assert b"transfer-encoding" not in got.lower()
    client.send(GET)
    upstream.take()
    upstream.send(OK)
    assert client.take().endswith(b"hello")
    assert stage.dialling() == 0


def test_interim_answers_are_passed_on(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Expect: 100-continue", "Content-Length: 4", method="POST"))
    upstream = stage.accept()
    assert b"Expect: 100-continue\r\n" in upstream.take()
    upstream.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert client.take() == b"HTTP/1.1 100 Continue\r\nvia: 1.1 tidegate\r\n\r\n"
    client.send(b"body")
    assert upstream.take() == b"body"
    upstream.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + OK)
    got = client.take()
    assert got.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n")
    assert got.endswith(b"hello")
    assert stage.codes() == {("stable", "stable", 200): 1}


def test_old_client_gets_no_interim_answers(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", version="1.0"))
    stage.accept().send(b"HTTP/1.1 100 Continue\r\n\r\n" + OK)
    assert client.take().startswith(b"HTTP/1.1 200 OK\r\n")


def test_answer_before_the_body_is_whole_ends_the_connection_but_lets_the_client_read(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Content-Length: 100", method="POST", body=b"abc"))
    upstream = stage.accept()
    upstream.send(answer(403, body=b"no"))
    got = client.take()
    assert b"connection: close\r\n" in got
    assert got.endswith(b"no")
    assert client.eof_written
    assert not client.ended
    assert upstream.ended  # the rest of the body would be the start of the next request there
    client.send(b"more")
    client.eof()
    stage.settle()
    assert stage.codes() == {("stable", "stable", 403): 1}
    stage.assert_nothing_left()


def test_body_goes_on_up_while_the_answer_comes_down(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Content-Length: 6", method="POST", body=b"abc"))
    upstream = stage.accept()
    upstream.take()
    upstream.send(answer(200, "Content-Length: 6") + b"ABC")
    client.send(b"def")
    assert upstream.take() == b"def"
    upstream.send(b"DEF")
    assert client.take().endswith(b"ABCDEF")


def test_long_upload_outlives_the_upstreams_idle_time_once_the_answer_has_begun(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Content-Length: 100", method="POST", body=b"abc"))
    upstream = stage.accept()
    upstream.send(answer(200, "Content-Length: 6"))
    for _ in range(5):
        stage.pass_time(30.0)
        client.send(b"x")
    assert not client.ended
    stage.pass_time(61.0)
    assert client.ended == "abort"
