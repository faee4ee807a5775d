"""The clock of the whole exchange: who sets it, what is on it, and what happens when it has run out."""

from collections.abc import Callable
from typing import Any

import pytest

from proxy.telemetry.counters import W_DEADLINES_IGNORED
from tests.specs import version_spec
from tests.unit.dataplane.stage import GET, OK, Stage, answer, breaker_spec, get, pool_spec, retry_spec, shop
from tests.unit.dataplane.test_concurrency import ADMISSION
from tests.unit.dataplane.test_ejecting import POLICY
from tests.unit.dataplane.test_faults import fault, line

StageOf = Callable[..., Stage]
Spec = dict[str, Any]

PEER = "10.1.1.1"
FIELD = {"header": "x-request-timeout"}
ALL = {"enabled": True, "max_percent": 100.0}


def timed(timeout: float = 0.0, **parts: Any) -> Spec:
    route = {"timeout": timeout, "deadline": FIELD, "errors": {"codes": [], "flags": ["UT"]}}
    return shop(route=route | parts.pop("route", {}), trusted_proxies=["10.0.0.0/8"], access_log=True, **parts)


def test_answer_that_does_not_begin_in_time_gives_504(stage_of: StageOf) -> None:
    stage = stage_of(timed(2.0))
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    stage.pass_time(1.95)
    assert client.take() == b""
    stage.pass_time(0.15)
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert upstream.ended == "abort"
    assert stage.flags() == {"UT": 1}
    assert not client.ended


def test_answer_that_does_not_end_in_time_is_cut_off(stage_of: StageOf) -> None:
    stage = stage_of(timed(2.0))
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    for _ in range(5):  # never silent
        stage.pass_time(0.45)
        if not upstream.ended:
            upstream.send(answer(200, "Content-Length: 100") if not client.sent else b"x")
    assert client.ended == "abort"
    assert stage.flags() == {"UT": 1}
    assert stage.codes() == {("stable", "stable", 200): 1}


def test_answer_in_time_takes_the_clock_off(stage_of: StageOf) -> None:
    stage = stage_of(timed(2.0))
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(OK)
    stage.pass_time(1.5)
    client.send(GET)
    stage.pass_time(1.0)
    upstream.send(OK)
    assert client.take().count(b"hello") == 2
    stage.end_everything()
    stage.assert_nothing_left()


def test_client_too_slow_for_its_answer_is_the_one_to_blame(stage_of: StageOf) -> None:
    stage = stage_of(timed(2.0))
    client = stage.client()
    client.stall()
    client.send(GET)
    stage.accept().send(answer(200, "Content-Length: 500000") + b"x" * 100_000)
    stage.pass_time(2.1)
    assert client.ended == "abort"
    assert stage.flags() == {}
    assert (line(stage)["flag"], line(stage)["status"]) == ("DC", 499)


def test_client_too_slow_for_its_body_is_the_one_to_blame(stage_of: StageOf) -> None:
    stage = stage_of(timed(2.0))
    client = stage.client()
    client.send(get("/", "Content-Length: 100", method="POST", body=b"some"))
    stage.accept()
    stage.pass_time(2.1)
    assert client.take().startswith(b"HTTP/1.1 408 ")
    assert stage.flags() == {}
    assert line(stage)["flag"] == "SI"


def test_upstream_too_slow_for_the_body_is_the_one_to_blame(stage_of: StageOf) -> None:
    stage = stage_of(timed(2.0))
    client = stage.client()
    client.send(get("/", "Content-Length: 200000", method="POST", body=b"x" * 1000))
    upstream = stage.accept(stalled=True)
    client.send(b"x" * 100_000)
    assert upstream.pausing
    stage.pass_time(2.1)
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert stage.flags() == {"UT": 1}


def test_waiting_for_a_connection_is_on_the_clock(stage_of: StageOf) -> None:
    stage = stage_of(timed(1.0))
    client = stage.client()
    client.send(GET)
    stage.pass_time(1.1)
    assert client.take().startswith(b"HTTP/1.1 504 ")
    stage.end_everything()
    stage.assert_nothing_left()


def test_waiting_in_the_queue_is_on_the_clock(stage_of: StageOf) -> None:
    stage = stage_of(timed(1.0, upstreams=[pool_spec("u", limits={"connections": 1})]))
    first, second = stage.client(), stage.client()
    first.send(GET)
    upstream = stage.accept()
    stage.pass_time(0.5)
    second.send(GET)
    stage.pass_time(0.4)
    upstream.send(answer(200, "Content-Length: 100") + b"x")
    stage.pass_time(0.8)
    assert first.ended == "abort"
    assert second.take().startswith(b"HTTP/1.1 504 ")


def test_other_endpoint_is_tried_with_what_is_left(stage_of: StageOf) -> None:
    stage = stage_of(timed(1.0, upstreams=[pool_spec("u", "10.0.0.1", "10.0.0.2")]))
    client = stage.client()
    client.send(GET)
    stage.pass_time(0.25)
    stage.refuse()
    upstream = stage.accept()
    assert b"\r\nx-request-timeout: 750ms\r\n" in upstream.take()
    stage.pass_time(0.9)
    assert client.take().startswith(b"HTTP/1.1 504 ")


def test_injected_delay_is_on_the_clock(stage_of: StageOf) -> None:
    stage = stage_of(timed(1.0, route={"faults": [fault("delay", delay=30.0)]}, faults=ALL))
    client = stage.client()
    client.send(GET)
    stage.pass_time(1.1)
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert (line(stage)["flag"], line(stage)["marked"]) == ("UT,DI", "fault")
    assert stage.flags() == {}  # nobody's error
    assert stage.dialling() == 0
    stage.end_everything()
    stage.assert_nothing_left()


def test_slow_body_is_on_the_clock(stage_of: StageOf) -> None:
    stage = stage_of(timed(1.0, route={"faults": [fault("slow_body", bytes_per_second=10)]}, faults=ALL))
    client = stage.client()
    client.send(GET)
    stage.accept().send(OK.replace(b"5", b"100", 1) + b"x" * 95)
    stage.pass_time(1.1)
    assert client.ended == "abort"
    assert stage.flags() == {}


def test_upstream_that_hangs_after_an_injected_delay_has_failed_by_itself(stage_of: StageOf) -> None:
    stage = stage_of(timed(1.0, route={"faults": [fault("delay", delay=0.1)]}, faults=ALL))
    client = stage.client()
    client.send(GET)
    stage.pass_time(0.2)
    stage.accept()
    stage.pass_time(0.9)
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert stage.flags() == {"UT": 1}


def test_tunnel_is_not_on_the_clock(stage_of: StageOf) -> None:
    stage = stage_of(timed(1.0))
    client = stage.client()
    client.send(get("/", "Connection: upgrade", "Upgrade: x"))
    upstream = stage.accept()
    upstream.send(answer(101, "Connection: upgrade", "Upgrade: x"))
    client.take()
    stage.pass_time(5.0)
    upstream.send(b"still")
    assert client.take() == b"still"


# What peers ask.


def ask(stage: Stage, value: str, peer: str = PEER, name: str = "X-Request-Timeout") -> Any:
    client = stage.client(peer)
    client.send(get("/", f"{name}: {value}"))
    return client


@pytest.mark.parametrize("value", ["1", "1s", "1000ms", "1.0"])
def test_trusted_peer_lowers_the_time(stage_of: StageOf, value: str) -> None:
    stage = stage_of(timed(5.0))
    client = ask(stage, value)
    upstream = stage.accept()
    assert upstream.take().lower().count(b"\r\nx-request-timeout: 1000ms\r\n") == 1
    stage.pass_time(1.1)
    assert client.take().startswith(b"HTTP/1.1 504 ")


def test_trusted_peer_sets_the_time_where_the_route_has_none(stage_of: StageOf) -> None:
    stage = stage_of(timed())
    client = ask(stage, "1")
    stage.accept()
    stage.pass_time(1.1)
    assert client.take().startswith(b"HTTP/1.1 504 ")


def test_trusted_peer_cannot_raise_the_time(stage_of: StageOf) -> None:
    stage = stage_of(timed(1.0))
    client = ask(stage, "60")
    assert b"x-request-timeout: 1000ms\r\n" in stage.accept().take()
    stage.pass_time(1.1)
    assert client.take().startswith(b"HTTP/1.1 504 ")


@pytest.mark.parametrize("value", ["0", "0ms", "-3"])
def test_time_that_is_over_already_touches_no_upstream(stage_of: StageOf, value: str) -> None:
    stage = stage_of(timed(5.0))
    client = ask(stage, value)
    got = client.take()
    assert got.startswith(b"HTTP/1.1 504 ")
    assert b"(UT)" in got
    assert stage.dialling() == 0
    assert not client.ended


@pytest.mark.parametrize("value", ["soon", "1h", "1, 2", "1e9"])
def test_what_cannot_be_read_is_counted_and_otherwise_not_there(stage_of: StageOf, value: str) -> None:
    stage = stage_of(timed())
    ask(stage, value)
    assert b"timeout" not in stage.accept().take()
    assert stage.of_worker(W_DEADLINES_IGNORED) == 1
    stage.pass_time(5.0)
    assert stage.codes() == {}


@pytest.mark.parametrize("name", ["X-Request-Timeout", "x_request_timeout"])
def test_untrusted_peer_changes_nothing_and_its_field_goes_nowhere(stage_of: StageOf, name: str) -> None:
    stage = stage_of(timed())
    ask(stage, "1", peer="192.0.2.9", name=name)
    upstream = stage.accept()
    assert b"timeout" not in upstream.take().lower()
    stage.pass_time(5.0)
    upstream.send(OK)
    assert stage.codes() == {("stable", "stable", 200): 1}
    assert stage.of_worker(W_DEADLINES_IGNORED) == 0


def test_without_the_key_the_field_is_any_other(stage_of: StageOf) -> None:
    stage = stage_of(timed(1.0, route={"deadline": None}))
    ask(stage, "9")
    assert b"X-Request-Timeout: 9\r\n" in stage.accept().take()


def test_sent_again_the_request_says_what_is_left_then(stage_of: StageOf) -> None:
    stage = stage_of(timed(4.0))
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(OK)
    upstream.take()
    client.send(GET)
    assert b"x-request-timeout: 4000ms\r\n" in upstream.take()
    stage.pass_time(1.0)
    upstream.eof()  # the kept connection turns out to be closed
    assert b"x-request-timeout: 3000ms\r\n" in stage.accept().take()


# Who is to blame: an endpoint that hangs is ejected and the breaker opens, but not at the word of a caller.


def judged(timeout: float = 1.0, **route: Any) -> Spec:
    """One endpoint, ejected after one failure; a breaker that opens at the first."""
    version = version_spec("stable", 100.0, breaker=breaker_spec(minimum_requests=1))
    policy = POLICY | {"consecutive_gateway": 1}
    return timed(timeout, route={"versions": [version]} | route, upstreams=[pool_spec("u", outlier=policy)])


def blamed(stage: Stage) -> tuple[bool, bool]:
    """Whether the endpoint was ejected, and whether the breaker has opened."""
    breaker = stage.arms.arms["shop", "stable"].breaker
    assert breaker is not None
    assert stage.pool().requests == 0
    return stage.pool().states[0].standing.ejected, breaker.shut


def test_endpoint_that_hangs_for_the_time_of_the_route_is_to_blame(stage_of: StageOf) -> None:
    stage = stage_of(judged())
    client = stage.client()
    client.send(GET)
    stage.accept()
    stage.pass_time(1.1)
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert blamed(stage) == (True, True)


def test_endpoint_that_hangs_for_the_time_of_a_caller_is_not(stage_of: StageOf) -> None:
    stage = stage_of(judged(route_timeout := 1.0, admission=ADMISSION))
    client = ask(stage, str(route_timeout - 0.1))
    stage.accept()
    stage.pass_time(1.0)
    got = client.take()
    assert got.startswith(b"HTTP/1.1 504 ")
    assert b"(UT)" in got
    assert blamed(stage) == (False, False)
    assert stage.flags() == {"UT": 1}
    admission = stage.arms.arms["shop", "stable"].admission
    assert admission is not None
    assert admission.requests == 0


def test_endpoint_whose_answer_does_not_end_is_to_blame(stage_of: StageOf) -> None:
    stage = stage_of(judged())
    client = stage.client()
    client.send(GET)
    stage.accept().send(answer(200, "Content-Length: 10", body=b"half "))
    stage.pass_time(1.1)
    assert client.ended == "abort"
    assert blamed(stage) == (True, True)


@pytest.mark.parametrize("how", ["caller", "client", "stream"])
def test_answer_that_does_not_end_for_another_reason_blames_nobody(stage_of: StageOf, how: str) -> None:
    stage = stage_of(judged(20.0 if how == "stream" else 2.0))
    client = stage.client(PEER)
    client.send(get("/", *(["X-Request-Timeout: 1"] if how == "caller" else [])))
    upstream = stage.accept()
    upstream.send(answer(200, "Content-Length: 1000000", body=b"half "))
    if how == "client":
        client.stall()
        upstream.send(b"x" * 200_000)
        client.drain()
    stage.pass_time(2.1)
    if how == "stream":
        for _ in range(10):
            upstream.send(b"more ")
            stage.pass_time(2.0)
    assert client.ended == "abort"
    assert blamed(stage) == (False, False)
    assert stage.flags() == {"UT": 1}


def test_client_that_is_slow_with_its_body_leaves_the_endpoint_too_little_time(stage_of: StageOf) -> None:
    stage = stage_of(judged())
    client = stage.client()
    client.send(get("/", "Content-Length: 5", method="POST"))
    stage.accept()
    stage.pass_time(0.6)
    client.send(b"hello")
    stage.pass_time(0.5)
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert blamed(stage) == (False, False)


def test_second_try_that_had_too_little_time_is_not_to_blame(stage_of: StageOf) -> None:
    stage = stage_of(judged(retry=retry_spec("timeout", per_try_timeout=0.7, back_off={"base": 0.0, "max": 0.0})))
    client = stage.client()
    client.send(GET)
    stage.accept()
    stage.pass_time(0.75)
    standing = stage.pool().states[0].standing
    assert standing.requests == 1
    stage.pass_time(0.35)
    assert client.take().startswith(b"HTTP/1.1 5")
    assert standing.requests == 1


@pytest.mark.parametrize("waits", ["connect", "pending"])
def test_version_that_cannot_be_connected_to_in_time(stage_of: StageOf, waits: str) -> None:
    spec = judged()
    spec["upstreams"][0]["limits"] |= {"connections": 1 if waits == "pending" else 10}
    stage = stage_of(spec)
    if waits == "pending":
        stage.client().send(get("/", "Content-Length: 5", method="POST"))
        stage.accept()
    client = stage.client()
    client.send(GET)
    stage.pass_time(1.1)
    assert client.take().startswith(b"HTTP/1.1 50")
    breaker = stage.arms.arms["shop", "stable"].breaker
    assert breaker is not None
    assert breaker.shut is (waits == "connect")


@pytest.mark.parametrize("fails", [True, False])
def test_admission_hears_of_a_try_that_failed_before_the_time_was_over(stage_of: StageOf, fails: bool) -> None:
    retry = retry_spec("reset", back_off={"base": 0.0, "max": 0.0})
    stage = stage_of(judged(20.0, retry=retry, admission=ADMISSION))
    client = ask(stage, "1")
    first = stage.accept()
    if fails:
        first.reset()
        stage.accept()
    stage.pass_time(1.1)
    assert client.take().startswith(b"HTTP/1.1 50")
    admission = stage.arms.arms["shop", "stable"].admission
    assert admission is not None
    assert (admission.requests, admission.good) == ((1, 0) if fails else (0, 0))
