"""What goes wrong while an upstream answers, and clients that go away: statuses, flags, and what each side can tell."""

import socket
from collections.abc import Callable

import pytest

from tests.unit.dataplane.reading import read_answer
from tests.unit.dataplane.stage import GET, OK, Stage, answer, get, shop

StageOf = Callable[..., Stage]


# What goes wrong upstream.


def test_upstream_that_closes_without_an_answer_gives_502(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    stage.accept().eof()
    assert client.take().startswith(b"HTTP/1.1 502 ")
    assert stage.codes() == {("stable", "stable", 502): 1}
    client.send(GET)
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")


def test_upstream_that_resets_without_an_answer_gives_502(stage_of: StageOf) -> None:
    stage = stage_of(shop(route={"errors": {"codes": [], "flags": ["UR", "UC", "UPE"]}}))
    client = stage.client()
    client.send(GET)
    stage.accept().reset()
    assert b"(UR)" in client.take()
    assert stage.flags() == {"UR": 1}


PUT = get("/", "Content-Length: 500000", method="PUT", body=b"x" * 1000)


@pytest.mark.parametrize(
    ("left", "status", "whole"),
    [
        (answer(413, "Connection: close", body=b"big"), 413, True),
        (answer(413, "Content-Length: 9", body=b"big"), 413, False),
        (b"HTTP/1.1 413 To", 502, True),
        (b"", 502, True),
    ],
)
def test_answer_that_lies_unread_when_a_write_fails_is_the_answer(
    stage: Stage, left: bytes, status: int, whole: bool
) -> None:
    """An upstream that refuses a body, answers, and closes while more of it comes: the reset must not take the answer away."""
    client = stage.client()
    client.send(PUT)
    upstream = stage.accept()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        upstream._extra["socket"] = ours
        theirs.sendall(left)
        upstream.reset()
    said = read_answer(client.take())
    assert (said[0], said[3]) == (status, whole)
    assert stage.codes() == {("stable", "stable", status): 1}
    stage.end_everything()
    stage.assert_nothing_left()


@pytest.mark.parametrize(
    "said",
    [
        b"NONSENSE\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nX: a\nY: b\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 70_000,
        b"HTTP/1.1 103 Early\r\n\r\n" * 40,
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
)
def test_answer_that_is_not_valid_gives_502_and_nothing_of_it_reaches_the_client(stage: Stage, said: bytes) -> None:
    client = stage.client()
    client.send(get("/", "Accept: application/json"))
    upstream = stage.accept()
    upstream.send(said)
    got = client.take().replace(b"HTTP/1.1 103 Early\r\nvia: 1.1 tidegate\r\n\r\n", b"")
    assert got.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert b'"flag": "UPE"' in got
    assert upstream.ended == "abort"
    assert stage.codes() == {("stable", "stable", 502): 1}
    assert not client.ended


@pytest.mark.parametrize(
    ("head", "body"),
    [
        (answer(200, "Content-Length: 10"), b"hell"),
        (answer(200, "Transfer-Encoding: chunked"), b"4\r\nhell\r\n"),
        (answer(200, "Transfer-Encoding: chunked"), b"9\r\nhell"),
        (answer(200, "Transfer-Encoding: chunked"), b"4\r\nhell\r\n0\r\n"),
    ],
)
@pytest.mark.parametrize("how", ["eof", "reset"])
def test_answer_cut_short_upstream_is_cut_short_for_the_client_so_that_it_can_tell(
    stage: Stage, head: bytes, body: bytes, how: str
) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(head + body)
    getattr(upstream, how)()
    assert client.ended == "abort"
    assert not read_answer(client.take())[3]
    assert stage.codes() == {("stable", "stable", 200): 1}
    stage.settle()
    stage.assert_nothing_left()


def test_answer_until_the_end_of_the_connection_that_is_reset_is_cut_short(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(answer() + b"hell")
    upstream.reset()
    assert client.ended == "abort"
    assert not read_answer(client.take())[3]


def test_bad_chunk_in_the_midst_of_an_answer_cuts_it_short(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(answer(200, "Transfer-Encoding: chunked", body=b"4\r\nhell\r\n"))
    upstream.send(b"zz\r\n")
    assert client.ended == "abort"


@pytest.mark.parametrize(
    "said",
    [
        OK + b"X",
        OK + OK,
        answer(200, "Transfer-Encoding: chunked", body=b"0\r\n\r\nX"),
        answer(204) + OK,
        answer(304) + OK,
    ],
)
def test_bytes_behind_an_answer_never_become_the_next_one(stage: Stage, said: bytes) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(said)
    assert upstream.ended
    assert read_answer(client.take())[3]
    client.send(GET)
    stage.accept().send(answer(200, body=b"right"))
    assert client.take().endswith(b"right")


def test_bytes_that_nobody_asked_for_end_an_idle_connection(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(OK)
    upstream.send(OK)
    assert upstream.ended == "abort"
    client.take()
    client.send(GET)
    stage.accept().send(answer(200, body=b"right"))
    assert client.take().endswith(b"right")


def test_silent_upstream_gives_504_in_time(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    stage.pass_time(14.9)
    assert client.take() == b""
    stage.pass_time(0.3)
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert upstream.ended == "abort"
    assert stage.codes() == {("stable", "stable", 504): 1}
    assert stage.flags() == {"UT": 1}
    assert not client.ended


def test_time_for_the_answer_runs_from_the_end_of_the_request(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "Content-Length: 3", method="POST", body=b"a"))
    stage.accept()
    for _ in range(2):
        stage.pass_time(14.0)
        assert client.take() == b""
        client.send(b"b")
    stage.pass_time(14.9)
    assert client.take() == b""
    stage.pass_time(0.3)
    assert client.take().startswith(b"HTTP/1.1 504 ")


def test_answer_that_stalls_midway_is_cut_off_after_the_idle_time(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(answer(200, "Content-Length: 10") + b"1")
    for _ in range(3):
        stage.pass_time(50.0)
        upstream.send(b"2")
    stage.pass_time(60.2)
    assert client.ended == "abort"
    assert upstream.ended == "abort"


# The client goes.


@pytest.mark.parametrize("moment", ["dialling", "waiting", "answering", "sending"])
@pytest.mark.parametrize("how", ["eof", "reset"])
def test_client_that_goes_away_takes_its_exchange_along(stage: Stage, moment: str, how: str) -> None:
    client = stage.client()
    client.send(get("/", "Content-Length: 9", method="POST") if moment == "sending" else GET)
    upstream = None if moment == "dialling" else stage.accept()
    if moment == "answering":
        assert upstream is not None
        upstream.send(answer(200, "Content-Length: 10") + b"1")
    getattr(client, how)()
    stage.settle()
    served = "stable"
    assert stage.codes() == {("stable", served, 499): 1}
    assert stage.flags() == {}
    if upstream is not None:
        assert upstream.ended == "abort"
    else:
        stage.accept().eof()
        stage.settle()
    stage.assert_nothing_left()
