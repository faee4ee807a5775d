"""One request and its answer: what is sent up, what comes down, what is counted, and every way it can go wrong."""

from collections.abc import Callable

import h11
import pytest

from proxy.core.plan import DENY, OVERRIDE, SPLIT
from proxy.telemetry.counters import (
    BUCKETS,
    V_DURATION,
    V_IN_FLIGHT,
    V_REASONS,
    V_REQUEST_BYTES,
    V_RESPONSE_BYTES,
    V_RETRIES,
    V_UPSTREAM,
)
from tests.specs import version_spec
from tests.unit.dataplane.stage import GET, OK, Stage, answer, get, pool_spec, shop, two_versions

StageOf = Callable[..., Stage]


def observed(stage: Stage, histogram: int, version: str = "stable") -> int:
    return sum(stage.of_version(histogram + 1 + bucket, version) for bucket in range(BUCKETS))


def read_answer(data: bytes, method: str = "GET") -> tuple[int, dict[bytes, bytes], bytes, bool]:
    """Status, fields, body, and whether the answer is whole, as an independent reader sees it."""
    reader = h11.Connection(h11.CLIENT)
    reader.send(h11.Request(method=method, target="/", headers=[("Host", "a")]))
    reader.send(h11.EndOfMessage())
    reader.receive_data(data)
    status, fields, body = 0, {}, b""
    while True:
        event = reader.next_event()
        if event is h11.NEED_DATA:
            return status, fields, body, False
        if isinstance(event, h11.Response):
            status, fields = event.status_code, dict(event.headers)
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return status, fields, body, True


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


# Once more.


def stale(stage: Stage, request: bytes) -> tuple[object, object]:
    """A request on a pooled connection that the upstream closed just then."""
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(OK)
    client.take()
    client.send(request)
    assert upstream.take()
    return client, upstream


@pytest.mark.parametrize("method", ["GET", "HEAD", "OPTIONS", "PUT", "DELETE", "TRACE"])
@pytest.mark.parametrize("how", ["eof", "reset"])
def test_request_on_a_connection_just_closed_is_sent_once_more_where_that_is_safe(
    stage: Stage, method: str, how: str
) -> None:
    client, upstream = stale(stage, get("/", "Content-Length: 3", method=method, body=b"abc"))
    getattr(upstream, how)()
    again = stage.accept()
    got = again.take()
    assert got.startswith(method.encode())
    assert got.endswith(b"abc")
    again.send(answer(200, "Content-Length: 0"))
    assert client.take().startswith(b"HTTP/1.1 200 ")  # type: ignore[attr-defined]
    assert stage.of_version(V_RETRIES) == 1
    assert stage.codes() == {("stable", "stable", 200): 2}


def test_request_that_cannot_be_sent_once_more_is_served_by_nobody(stage: Stage) -> None:
    client, upstream = stale(stage, GET)
    stage.pool().states.clear()
    upstream.eof()  # type: ignore[attr-defined]
    assert b"(UH)" in client.take()  # type: ignore[attr-defined]
    assert stage.codes() == {("stable", "stable", 200): 1, ("stable", "none", 503): 1}


def test_request_is_sent_once_more_only_once(stage: Stage) -> None:
    client, upstream = stale(stage, GET)
    upstream.eof()  # type: ignore[attr-defined]
    stage.accept().eof()
    assert client.take().startswith(b"HTTP/1.1 502 ")  # type: ignore[attr-defined]
    assert stage.dialling() == 0
    assert stage.of_version(V_RETRIES) == 1


@pytest.mark.parametrize("method", ["POST", "PATCH"])
def test_request_that_may_have_had_an_effect_is_never_sent_again(stage: Stage, method: str) -> None:
    client, upstream = stale(stage, get("/", "Content-Length: 3", method=method, body=b"abc"))
    upstream.eof()  # type: ignore[attr-defined]
    assert client.take().startswith(b"HTTP/1.1 502 ")  # type: ignore[attr-defined]
    assert stage.dialling() == 0


def test_request_is_not_sent_again_after_a_byte_of_an_answer(stage: Stage) -> None:
    client, upstream = stale(stage, GET)
    upstream.send(b"H")  # type: ignore[attr-defined]
    upstream.eof()  # type: ignore[attr-defined]
    assert client.take().startswith(b"HTTP/1.1 502 ")  # type: ignore[attr-defined]


def test_request_is_not_sent_again_after_a_timeout(stage: Stage) -> None:
    client, _ = stale(stage, GET)
    stage.pass_time(15.2)
    assert client.take().startswith(b"HTTP/1.1 504 ")  # type: ignore[attr-defined]


def test_body_too_long_to_be_kept_is_not_sent_again(stage: Stage) -> None:
    client, upstream = stale(stage, get("/", "Content-Length: 200000", method="PUT"))
    client.send(b"x" * 70_000)  # type: ignore[attr-defined]
    upstream.eof()  # type: ignore[attr-defined]
    assert client.take().startswith(b"HTTP/1.1 502 ")  # type: ignore[attr-defined]


def test_body_that_goes_on_coming_is_sent_behind_what_is_sent_again(stage: Stage) -> None:
    client, upstream = stale(stage, get("/", "Content-Length: 6", method="PUT", body=b"abc"))
    upstream.eof()  # type: ignore[attr-defined]
    assert not client.reading  # type: ignore[attr-defined]
    again = stage.accept()
    assert client.reading  # type: ignore[attr-defined]
    client.send(b"def")  # type: ignore[attr-defined]
    assert again.take().endswith(b"\r\n\r\nabcdef")
    again.send(OK)
    assert client.take().endswith(b"hello")  # type: ignore[attr-defined]


# Where no connection is to be had.


def test_refused_connection_without_a_fallback_gives_503(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    stage.refuse()
    got = client.take()
    assert got.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"(UF)" in got
    assert stage.codes() == {("stable", "none", 503): 1}
    assert stage.flags() == {"UF": 1}
    assert not client.ended


def test_upstream_without_endpoints_gives_503(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[pool_spec("u") | {"endpoints": []}]))
    client = stage.client()
    client.send(GET)
    assert b"(UH)" in client.take()
    assert stage.codes() == {("stable", "none", 503): 1}
    assert stage.flags() == {"UH": 1}


def test_other_endpoints_are_tried_before_giving_up(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[pool_spec("u", "10.0.0.1", "10.0.0.2", "10.0.0.3", "10.0.0.4")]))
    client = stage.client()
    client.send(GET)
    addresses = []
    for _ in range(3):
        dial = stage.dial()
        addresses.append(dial.address)
        dial.refuse()
    assert len(set(addresses)) == 3
    assert client.take().startswith(b"HTTP/1.1 503 ")


def test_version_that_cannot_be_reached_falls_back_and_both_are_counted(stage_of: StageOf) -> None:
    stage = stage_of(two_versions())
    client = stage.client()
    client.send(get("/", "X-User-Id: u1"))
    dial = stage.dial()
    assert dial.address == "10.0.0.2:80"
    dial.refuse()
    upstream = stage.accept()
    assert b"x-tidegate-version: stable\r\n" in upstream.take()
    upstream.send(OK)
    assert client.take().endswith(b"hello")
    assert stage.codes() == {("canary", "stable", 200): 1}
    assert stage.of_version(V_REASONS + SPLIT, "canary") == 1
    assert stage.of_version(V_REASONS + SPLIT, "stable") == 0


def test_body_follows_to_the_fallback_whole(stage_of: StageOf) -> None:
    stage = stage_of(two_versions())
    client = stage.client()
    client.send(get("/", "X-User-Id: u1", "Content-Length: 6", method="POST", body=b"abc"))
    stage.refuse()
    upstream = stage.accept()
    client.send(b"def")
    assert upstream.take().endswith(b"\r\n\r\nabcdef")


def test_nobody_left_in_the_chain_gives_503_and_no_server_is_counted(stage_of: StageOf) -> None:
    stage = stage_of(two_versions())
    client = stage.client()
    client.send(get("/", "X-User-Id: u1"))
    stage.refuse()
    stage.refuse()
    assert client.take().startswith(b"HTTP/1.1 503 ")
    assert stage.codes() == {("canary", "none", 503): 1}


def test_version_that_answers_an_error_does_not_fall_back(stage_of: StageOf) -> None:
    stage = stage_of(two_versions())
    client = stage.client()
    client.send(get("/", "X-User-Id: u1"))
    stage.accept().send(answer(500, body=b"sorry"))
    assert client.take().startswith(b"HTTP/1.1 500 ")
    assert stage.codes() == {("canary", "canary", 500): 1}
    assert stage.flags() == {"5xx": 1}


def test_upstream_at_its_limit_of_requests_refuses(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[pool_spec("u", limits={"requests": 1})]))
    first, second = stage.client(), stage.client()
    first.send(GET)
    second.send(GET)
    assert b"(UO)" in second.take()
    assert stage.codes() == {("stable", "none", 503): 1}
    assert stage.flags() == {"UO": 1}


def test_late_connection_gives_503(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    stage.settle()
    stage.pass_time(2.2)
    assert b"(UF)" in client.take()
    assert stage.codes() == {("stable", "none", 503): 1}


# The decision.


def test_reason_and_assignment_are_counted(stage_of: StageOf) -> None:
    rules = [{"label": "rules[0]", "units": ["qa"], "version": "stable"}]
    stage = stage_of(two_versions(route={"rules": rules}))
    client = stage.client()
    client.send(get("/", "X-User-Id: qa"))
    assert stage.of_version(V_REASONS + OVERRIDE, "stable") == 1
    assert stage.of_version(V_IN_FLIGHT, "stable") == 1
    stage.accept().send(OK)
    assert stage.of_version(V_IN_FLIGHT, "stable") == 0
    assert stage.codes() == {("stable", "stable", 200): 1}
    assert observed(stage, V_DURATION) == 1
    assert observed(stage, V_UPSTREAM) == 1


def test_unit_to_whom_every_version_is_denied_gets_403(stage_of: StageOf) -> None:
    rules = [{"label": f"rules[{n}]", "units": ["u1"], "deny": name} for n, name in enumerate(("stable", "canary"))]
    stage = stage_of(two_versions(route={"rules": rules}))
    client = stage.client()
    client.send(get("/", "X-User-Id: u1"))
    assert client.take().startswith(b"HTTP/1.1 403 ")
    assert stage.codes() == {("canary", "none", 403): 1}
    assert stage.of_version(V_REASONS + DENY, "canary") == 1
    assert stage.gauges() == {"worker()[0]": 1}


def test_newcomer_gets_a_signed_cookie_that_keeps_its_version(stage_of: StageOf) -> None:
    spec = shop(
        route={
            "unit": [{"kind": "mint_cookie", "name": "tid"}],
            "versions": [version_spec("stable", 50.0), version_spec("canary", 50.0)],
        },
        secrets={"cookie": ["secret"], "unit_hash": "k"},
    )
    stage = stage_of(spec)
    versions = set()
    for _ in range(20):
        client = stage.client()
        client.send(get("/", "Connection: close"))
        upstream = stage.accept()
        version = upstream.take().partition(b"x-tidegate-version: ")[2].partition(b"\r\n")[0]
        upstream.send(answer(200, "Connection: close", body=b"x"))
        head = client.take()
        cookie = head.partition(b"set-cookie: ")[2].partition(b";")[0].decode()
        assert cookie.startswith("tid=")
        again = stage.client()
        again.send(get("/", f"Cookie: {cookie}", "Connection: close"))
        upstream = stage.accept()
        assert version == upstream.take().partition(b"x-tidegate-version: ")[2].partition(b"\r\n")[0]
        upstream.send(answer(200, "Connection: close", body=b"x"))
        assert b"set-cookie" not in again.take()
        versions.add(version)
    assert versions == {b"stable", b"canary"}


def test_request_goes_on_under_the_plan_it_came_under(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    stage.bring(shop(route={"versions": [version_spec("other", 1.0)], "default": "other"}, generation=2))
    upstream.send(OK)
    assert client.take().endswith(b"hello")
    assert stage.codes() == {("stable", "stable", 200): 1}
    client.send(GET)
    upstream.send(OK)
    assert stage.codes() == {("stable", "stable", 200): 1, ("other", "other", 200): 1}


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


# Ids.


def test_request_id_and_trace_are_kept_where_they_are_valid(stage: Stage) -> None:
    client = stage.client()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    client.send(get("/", "X-Request-Id: abc-1", f"Traceparent: {trace}", "Tracestate: a=b"))
    got = stage.accept().take()
    assert b"X-Request-Id: abc-1\r\n" in got
    assert f"Traceparent: {trace}\r\n".encode() in got
    assert b"Tracestate: a=b\r\n" in got
    assert got.lower().count(b"x-request-id") == got.lower().count(b"traceparent") == 1


def test_request_id_and_trace_are_replaced_where_they_are_not(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "X-Request-Id: not one", "Traceparent: nonsense", "Tracestate: a=b"))
    got = stage.accept().take()
    assert b"not one" not in got
    assert b"nonsense" not in got
    assert b"Tracestate" not in got
    assert got.count(b"x-request-id: ") == got.count(b"traceparent: ") == 1


def test_debug_fields_are_for_those_who_may_see_them(stage_of: StageOf) -> None:
    stage = stage_of(two_versions(route={"debug": ["192.0.2.0/24"]}))
    insider, outsider = stage.client("192.0.2.9"), stage.client("198.51.100.1")
    insider.send(get("/", "X-User-Id: u1"))
    stage.refuse()
    stage.accept().send(OK)
    got = insider.take()
    for line in (b"x-tidegate-version: canary", b"x-tidegate-served: stable", b"x-tidegate-flags: FB"):
        assert line + b"\r\n" in got
    outsider.send(get("/", "X-User-Id: u1"))
    stage.loop.run()
    for wire in stage.wires:
        wire.protocol.data_received(OK) if wire.take().startswith(b"GET") else None
    assert b"x-tidegate" not in outsider.take()


def test_failure_shows_its_request_id_once_in_the_head(stage_of: StageOf) -> None:
    stage = stage_of(shop(route={"debug": ["0.0.0.0/0"]}, upstreams=[pool_spec("u") | {"endpoints": []}]))
    client = stage.client()
    client.send(GET)
    assert client.take().partition(b"\r\n\r\n")[0].count(b"x-request-id: ") == 1
