"""Tried again: every way to fail, and what decides whether there is another try."""

from collections.abc import Callable
from typing import Any

import pytest

from proxy.dataplane.upstream import UpstreamConnection
from proxy.errors import FLAG_BY_CODE, FLAGS
from proxy.telemetry.counters import V_FLAGS, V_IN_FLIGHT, V_RETRYING
from tests.unit.dataplane.stage import GET, OK, Spec, Stage, answer, get, pool_spec, retry_spec, shop, two_versions
from tests.unit.dataplane.test_faults import line
from tests.unit.dataplane.wires import Wire

StageOf = Callable[..., Stage]

BAD = answer(503, body=b"sorry")
PUT = get("/", "X-User-Id: u1", "Content-Length: 3", method="PUT", body=b"abc")
LONG = get("/", "X-User-Id: u1", "Content-Length: 200", method="PUT", body=b"x" * 200)
POST = get("/", "X-User-Id: u1", "Content-Length: 3", method="POST", body=b"abc")
ONE_ENDPOINT = [pool_spec("u", "10.0.0.1")]


def again(*on: str, hosts: tuple[str, ...] = ("10.0.0.1",), limits: Spec | None = None, **parts: Any) -> Spec:
    """One version that is tried again."""
    return shop(route={"retry": retry_spec(*on, **parts)}, upstreams=[pool_spec("u", *hosts, limits=limits)])


def next_one(stage: Stage) -> Wire:
    """The connection of the next try, once its back-off is over."""
    stage.pass_time(0.3)
    return asked(stage)


def asked(stage: Stage) -> Wire:
    """A connection on which a request came that nobody has looked at: a new one, or one that was used before."""
    if stage.dialling():
        return stage.accept()
    return next(
        wire
        for wire in stage.wires
        if wire.sent and not wire.is_closing() and isinstance(wire.protocol, UpstreamConnection)
    )


# Every way to fail.


def connect_fails(stage: Stage, wire: Wire | None) -> None:
    stage.refuse()


def test_a_refused_connection_is_a_condition_of_its_own(stage_of: StageOf) -> None:
    stage = stage_of(again("refused"))
    client = stage.client()
    client.send(GET)
    stage.refuse()
    stage.pass_time(0.3)
    stage.dial().refuse(TimeoutError(110, "timed out"))
    assert b"(UH)" in client.take()
    assert stage.retries() == {"failure": 1}


def closed(stage: Stage, wire: Wire | None) -> None:
    assert wire is not None
    wire.eof()


def reset(stage: Stage, wire: Wire | None) -> None:
    assert wire is not None
    wire.reset()


def half_a_head(stage: Stage, wire: Wire | None) -> None:
    assert wire is not None
    wire.send(b"HTTP/1.1 200 OK\r\n")
    wire.reset()


def no_http(stage: Stage, wire: Wire | None) -> None:
    assert wire is not None
    wire.send(b"nonsense\r\n\r\n")


def silent(stage: Stage, wire: Wire | None) -> None:
    stage.pass_time(15.2)


def bad_answer(stage: Stage, wire: Wire | None) -> None:
    assert wire is not None
    wire.send(BAD)


FAILURES: dict[str, tuple[Callable[[Stage, Wire | None], None], str, int]] = {
    "connect": (connect_fails, "connect_failure", 503),
    "close": (closed, "reset", 502),
    "reset": (reset, "reset", 502),
    "half a head": (half_a_head, "reset", 502),
    "no http": (no_http, "gateway_error", 502),
    "silence": (silent, "timeout", 504),
    "503": (bad_answer, "gateway_error", 503),
    "500 and beyond": (bad_answer, "5xx", 503),
}

FLAGGED = {
    "connect": "UH", "close": "UC", "reset": "UR", "half a head": "UR", "no http": "UPE", "silence": "UT", "503": "5xx",
    "500 and beyond": "5xx",
}  # fmt: skip
"""How the last try failed."""

ERRORS = {"codes": list(range(500, 600)), "flags": [flag.code for flag in FLAGS if flag.error]}


def fail(stage: Stage, name: str) -> None:
    """The try under way fails in this way."""
    wire = None
    if name != "connect":
        wire = asked(stage)
        wire.take()
    FAILURES[name][0](stage, wire)


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize("request_bytes", [GET, PUT], ids=["no body", "body held"])
def test_what_failed_is_tried_again_where_its_condition_is_named(
    stage_of: StageOf, name: str, request_bytes: bytes
) -> None:
    stage = stage_of(again(FAILURES[name][1]))
    client = stage.client()
    client.send(request_bytes)
    fail(stage, name)
    assert client.take() == b""
    assert stage.of_version(V_RETRYING) == 1
    second = next_one(stage)
    assert second.take().endswith(b"\r\n\r\nabc" if request_bytes is PUT else b"\r\n\r\n")
    second.send(OK)
    assert client.take().endswith(b"hello")
    assert stage.retries() == {"success": 1}
    assert stage.codes() == {("stable", "stable", 200): 1}
    assert stage.flags() == {}
    assert stage.of_version(V_RETRYING) == 0


@pytest.mark.parametrize("name", FAILURES)
def test_what_failed_is_not_tried_again_where_its_condition_is_not_named(stage_of: StageOf, name: str) -> None:
    others = {condition for _, condition, _ in FAILURES.values()} - {FAILURES[name][1]}
    if name in ("503", "no http"):
        others -= {"5xx"}
    if name == "500 and beyond":
        others -= {"gateway_error"}
    stage = stage_of(again(*others))
    client = stage.client()
    client.send(GET)
    fail(stage, name)
    assert client.take().startswith(b"HTTP/1.1 %d " % FAILURES[name][2])
    stage.pass_time(1)
    assert stage.dialling() == 0
    assert stage.retries() == {}


@pytest.mark.parametrize("name", FAILURES)
def test_the_last_failure_is_passed_on_and_marked(stage_of: StageOf, name: str) -> None:
    spec = again(FAILURES[name][1])
    spec["routes"][0]["debug"] = ["192.0.2.0/24"]
    stage = stage_of(spec)
    client = stage.client()
    client.send(GET)
    fail(stage, name)
    stage.pass_time(0.3)
    fail(stage, name)
    got = client.take()
    assert got.startswith(b"HTTP/1.1 %d " % FAILURES[name][2])
    flags = got.partition(b"x-tidegate-flags: ")[2].partition(b"\r\n")[0].split(b",")
    assert b"URX" in flags
    assert stage.retries() == {"failure": 1}
    assert sum(stage.codes().values()) == 1
    stage.pass_time(1)
    assert stage.dialling() == 0
    assert stage.of_version(V_RETRYING) == 0


@pytest.mark.parametrize("name", FAILURES)
@pytest.mark.parametrize(
    ("request_bytes", "parts"),
    [(POST, {}), (LONG, {"body_limit": 100}), (LONG, {"body_limit": 0})],
    ids=["method", "body too long", "no body held"],
)
def test_what_cannot_be_repeated_is_not(
    stage_of: StageOf, name: str, request_bytes: bytes, parts: dict[str, Any]
) -> None:
    stage = stage_of(again(FAILURES[name][1], **parts))
    client = stage.client()
    client.send(request_bytes)
    fail(stage, name)
    assert client.take().startswith(b"HTTP/1.1 %d " % FAILURES[name][2])
    assert stage.retries() == {"not_repeatable": 1}
    stage.pass_time(1)
    assert stage.dialling() == 0


@pytest.mark.parametrize("name", FAILURES)
def test_a_method_that_is_named_is_tried_again(stage_of: StageOf, name: str) -> None:
    stage = stage_of(again(FAILURES[name][1], methods=["POST"]))
    client = stage.client()
    client.send(POST)
    fail(stage, name)
    second = next_one(stage)
    assert second.take().endswith(b"\r\n\r\nabc")
    second.send(OK)
    assert client.take().endswith(b"hello")
    client.send(GET)  # and one that is not named is not
    second.send(BAD)
    assert stage.retries() == {"success": 1} | (
        {"not_repeatable": 1} if FAILURES[name][1] in ("gateway_error", "5xx") else {}
    )


@pytest.mark.parametrize("name", FAILURES)
def test_nothing_is_tried_again_beyond_the_budget(stage_of: StageOf, name: str) -> None:
    stage = stage_of(again(FAILURES[name][1], budget={"percent": 0.0, "minimum": 1}))
    first, second = stage.client(), stage.client()
    first.send(GET)
    fail(stage, name)
    second.send(GET)
    stage.settle()
    if stage.runtime.loop.dials:  # type: ignore[attr-defined]
        fail(stage, name)
    else:
        wire = next(wire for wire in stage.wires if wire.sent and wire.protocol is not first.protocol)
        FAILURES[name][0](stage, wire)
    stage.pass_time(0.0)
    assert stage.retries().get("budget_exhausted", 0) == (0 if name == "silence" else 1)
    stage.end_everything()
    stage.assert_nothing_left()


@pytest.mark.parametrize("name", FAILURES)
def test_another_version_answers_when_the_tries_of_the_first_are_used_up(stage_of: StageOf, name: str) -> None:
    stage = stage_of(two_versions(route={"retry": retry_spec(FAILURES[name][1]), "errors": ERRORS}, access_log=True))
    client = stage.client()
    client.send(PUT)
    fail(stage, name)
    if name != "connect":  # its only endpoint rests then, so that nobody is left
        stage.pass_time(0.3)
        fail(stage, name)
    stage.pass_time(0.05)
    third = stage.accept()
    got = third.take()
    assert b"x-tidegate-version: stable\r\n" in got
    assert got.endswith(b"\r\n\r\nabc")
    third.send(OK)
    assert client.take().endswith(b"hello")
    assert stage.codes() == {("canary", "stable", 200): 1}
    assert stage.flags() == {FLAGGED[name]: 1}  # the version assigned has failed, whoever answered
    assert stage.of_version(V_FLAGS + FLAG_BY_CODE[FLAGGED[name]].index, "canary") == 1
    assert line(stage)["flag"] == f"{FLAGGED[name]},FB"
    assert stage.retries("canary") == {"success": 1} | ({} if name == "connect" else {"failure": 1})
    assert stage.retries("stable") == {}
    stage.end_everything()
    stage.assert_nothing_left()


@pytest.mark.parametrize("name", FAILURES)
def test_the_next_version_is_asked_once_and_its_failure_is_passed_on(stage_of: StageOf, name: str) -> None:
    stage = stage_of(two_versions(route={"retry": retry_spec(FAILURES[name][1], attempts=1)}))
    client = stage.client()
    client.send(PUT)
    fail(stage, name)
    fail(stage, name)
    assert client.take().startswith(b"HTTP/1.1 %d " % FAILURES[name][2])
    stage.pass_time(1)
    assert stage.dialling() == 0
    assert stage.retries("canary") == {"failure": 1}
    assert sum(stage.flags().values()) <= 1


@pytest.mark.parametrize("how", ["unreachable", "unusable"])
def test_a_version_whose_fallback_answers_because_nobody_could_be_asked_has_failed(stage_of: StageOf, how: str) -> None:
    stage = stage_of(two_versions(route={"errors": ERRORS}, access_log=True))
    client = stage.client()
    if how == "unusable":
        stage.upstreams.mark("new", frozenset({stage.pool("new").states[0].endpoint.key}), frozenset())
    client.send(get("/", "X-User-Id: u1"))
    if how == "unreachable":
        stage.refuse()
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")
    flag = "UF" if how == "unreachable" else "UH"
    assert stage.flags() == {flag: 1}
    assert line(stage)["flag"] == f"{flag},FB"


def test_what_is_no_error_of_the_route_is_none_where_a_fallback_answers(stage_of: StageOf) -> None:
    stage = stage_of(two_versions(route={"retry": retry_spec("5xx", attempts=1), "errors": {"codes": [], "flags": []}}))
    client = stage.client()
    client.send(get("/", "X-User-Id: u1"))
    stage.accept().send(BAD)
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")
    assert stage.codes() == {("canary", "stable", 200): 1}
    assert stage.flags() == {}


def test_without_fallback_a_version_that_fails_is_not_left(stage_of: StageOf) -> None:
    stage = stage_of(two_versions(route={"retry": retry_spec("5xx", attempts=1, fallback=False)}))
    client = stage.client()
    client.send(get("/", "X-User-Id: u1"))
    stage.accept().send(BAD)
    assert client.take().endswith(b"sorry")
    assert stage.codes() == {("canary", "canary", 503): 1}


# Between two tries.


def test_back_off_is_waited_for(stage_of: StageOf) -> None:
    stage = stage_of(again("5xx", back_off={"base": 2.0, "max": 2.0}))
    stage.runtime.rng.random = lambda: 0.5  # type: ignore[method-assign]
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.take()
    upstream.send(BAD)
    stage.pass_time(0.95)
    assert upstream.take() == b""
    stage.pass_time(0.1)
    assert upstream.take().startswith(b"GET / ")
    upstream.send(OK)
    assert client.take().endswith(b"hello")


@pytest.mark.parametrize("seconds", [0.4, 1])
def test_retry_after_is_honoured(stage_of: StageOf, seconds: float) -> None:
    stage = stage_of(again("rate_limited"))
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.take()
    upstream.send(answer(429, "Retry-After: 1", body=b"slowly"))
    stage.pass_time(0.9)
    assert upstream.take() == b""
    stage.pass_time(0.2)
    assert upstream.take().startswith(b"GET / ")
    upstream.send(OK)
    assert client.take().endswith(b"hello")


def test_retry_after_beyond_the_limit_is_passed_on(stage_of: StageOf) -> None:
    stage = stage_of(again("rate_limited"))
    client = stage.client()
    client.send(GET)
    stage.accept().send(answer(429, "Retry-After: 2", body=b"slowly"))
    assert client.take().endswith(b"slowly")
    assert stage.retries() == {"retry_after": 1}
    assert stage.codes() == {("stable", "stable", 429): 1}


def test_a_version_that_wants_rest_is_left_to_it_where_there_is_another(stage_of: StageOf) -> None:
    stage = stage_of(two_versions(route={"retry": retry_spec("gateway_error")}))
    client = stage.client()
    client.send(get("/", "X-User-Id: u1"))
    stage.accept().send(answer(503, "Retry-After: Fri, 13 Dec 2999 00:00:00 GMT", body=b"later"))
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")
    assert stage.codes() == {("canary", "stable", 200): 1}


def test_a_client_that_leaves_between_two_tries_leaves_nothing_behind(stage_of: StageOf) -> None:
    stage = stage_of(again("5xx", back_off={"base": 2.0, "max": 2.0}))
    client = stage.client()
    client.send(GET)
    stage.accept().send(BAD)
    assert stage.of_version(V_RETRYING) == 1
    client.reset()
    assert stage.retries() == {"abandoned": 1}
    assert stage.codes() == {("stable", "stable", 499): 1}
    stage.end_everything()
    stage.assert_nothing_left()


def test_the_whole_ends_between_two_tries(stage_of: StageOf) -> None:
    stage = stage_of(again("5xx", back_off={"base": 2.0, "max": 2.0}))
    stage.runtime.rng.random = lambda: 0.9  # type: ignore[method-assign]
    client = stage.client()
    client.send(GET)
    exchange = client.protocol.exchange
    exchange.end_within(10.0)
    stage.accept().send(BAD)
    exchange.end_within(0.5)
    stage.pass_time(0.6)
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert stage.retries() == {"failure": 1}
    stage.end_everything()
    stage.assert_nothing_left()


def test_no_try_begins_that_would_begin_too_late(stage_of: StageOf) -> None:
    stage = stage_of(again("5xx", back_off={"base": 2.0, "max": 2.0}))
    stage.runtime.rng.random = lambda: 0.9  # type: ignore[method-assign]
    client = stage.client()
    client.send(GET)
    client.protocol.exchange.end_within(1.0)
    stage.accept().send(BAD)
    assert client.take().endswith(b"sorry")
    assert stage.retries() == {"deadline": 1}


def test_a_try_has_its_own_time(stage_of: StageOf) -> None:
    stage = stage_of(again("timeout", per_try_timeout=1.0))
    client = stage.client()
    client.send(GET)
    first = stage.accept()
    stage.pass_time(1.4)
    assert first.ended
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")
    assert stage.retries() == {"success": 1}


def test_the_time_of_a_try_bounds_its_connect(stage_of: StageOf) -> None:
    stage = stage_of(again("connect_failure", per_try_timeout=0.5))
    client = stage.client()
    client.send(GET)
    stage.settle()
    stage.pass_time(0.6)
    assert client.take() == b""
    assert stage.of_version(V_RETRYING) == 1
    next_one(stage).send(OK)
    assert client.take().endswith(b"hello")


def test_the_time_of_a_try_is_one_for_its_connect_and_its_answer(stage_of: StageOf) -> None:
    stage = stage_of(again("timeout", per_try_timeout=1.0))
    client = stage.client()
    client.send(GET)
    stage.pass_time(0.7)
    first = stage.accept()
    stage.pass_time(0.25)
    assert not first.ended
    stage.pass_time(0.2)
    assert first.ended
    assert stage.of_version(V_RETRYING) == 1
    next_one(stage).send(OK)
    assert client.take().endswith(b"hello")


def test_the_time_of_a_try_is_one_for_all_endpoints_dialled(stage_of: StageOf) -> None:
    spec = again("connect_failure", per_try_timeout=0.5)
    spec["upstreams"] = [pool_spec("u", "10.0.0.1", "10.0.0.2", "10.0.0.3", timeouts={"connect": 0.3})]
    stage = stage_of(spec)
    client = stage.client()
    client.send(GET)
    stage.pass_time(0.45)
    assert stage.dialling() == 1  # the second
    assert stage.of_version(V_RETRYING) == 0
    stage.pass_time(0.1)
    assert stage.of_version(V_RETRYING) == 1
    next_one(stage).send(OK)
    assert client.take().endswith(b"hello")


def test_a_client_that_sends_its_body_slowly_takes_nothing_of_the_time_of_a_try(stage_of: StageOf) -> None:
    stage = stage_of(again("timeout", per_try_timeout=1.0))
    client = stage.client()
    client.send(get("/", "Content-Length: 6", method="PUT", body=b"abc"))
    first = stage.accept()
    stage.pass_time(3.0)
    client.send(b"def")
    stage.pass_time(0.9)
    assert not first.ended
    first.send(OK)
    assert client.take().endswith(b"hello")


def test_a_used_up_budget_is_in_nobodys_way_where_nothing_had_been_sent(stage_of: StageOf) -> None:
    retry = retry_spec(budget={"percent": 0.0, "minimum": 0})
    stage = stage_of(two_versions(route={"retry": retry}))
    client = stage.client()
    client.send(PUT)
    connect_fails(stage, None)
    wire = stage.accept()
    assert b"x-tidegate-version: stable\r\n" in wire.take()
    wire.send(OK)
    assert client.take().endswith(b"hello")
    assert stage.retries("canary") == {"budget_exhausted": 1}


def test_a_body_that_is_still_coming_waits_for_the_next_try(stage_of: StageOf) -> None:
    stage = stage_of(again("5xx"))
    client = stage.client()
    client.send(get("/", "Content-Length: 6", method="PUT", body=b"abc"))
    first = stage.accept()
    first.send(BAD)
    assert not client.reading
    assert first.ended  # it waits for the rest of a request that goes elsewhere
    second = next_one(stage)
    assert second.take().endswith(b"\r\n\r\nabc")
    client.send(b"def")
    assert second.take() == b"def"
    second.send(OK)
    assert client.take().endswith(b"hello")


def test_a_body_that_outgrew_its_limit_is_passed_through_and_not_repeated(stage_of: StageOf) -> None:
    stage = stage_of(again("5xx", body_limit=10))
    client = stage.client()
    client.send(get("/", "Content-Length: 20", method="PUT", body=b"x" * 8))
    upstream = stage.accept()
    client.send(b"x" * 12)
    assert upstream.take().endswith(b"x" * 20)
    upstream.send(BAD)
    assert client.take().endswith(b"sorry")
    assert stage.retries() == {"not_repeatable": 1}


# The answer that is held back.


def test_nothing_of_an_answer_that_is_tried_again_reaches_the_client(stage_of: StageOf) -> None:
    stage = stage_of(again("5xx"))
    client = stage.client()
    client.send(GET)
    first = stage.accept()
    first.send(answer(503, "Content-Length: 10", "X-Odd: 1", body=b"hal"))
    first.send(b"f")
    assert client.take() == b""
    stage.pass_time(0.3)
    second = stage.accept()  # the first is still busy with its body
    first.send(b"-empty")
    assert not first.ended
    second.send(OK)
    got = client.take()
    assert got.endswith(b"hello")
    assert b"X-Odd" not in got
    client.send(GET)
    assert stage.dialling() == 0  # both connections can be used again
    assert first.take() + second.take()


def test_a_connection_whose_answer_was_read_to_its_end_carries_the_next_try(stage_of: StageOf) -> None:
    stage = stage_of(again("5xx"))
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.take()
    upstream.send(answer(503, "Content-Length: 4", body=b"ba"))
    upstream.send(b"d!")
    stage.pass_time(0.3)
    assert upstream.take().startswith(b"GET / ")
    upstream.send(OK)
    assert client.take().endswith(b"hello")


@pytest.mark.parametrize("how", ["long", "late", "broken"])
def test_the_rest_of_an_answer_is_not_read_for_ever(stage_of: StageOf, how: str) -> None:
    stage = stage_of(again("5xx"))
    client = stage.client()
    client.send(GET)
    first = stage.accept()
    first.send(answer(503, "Content-Length: 1000000", body=b"x"))
    if how == "long":
        first.send(b"x" * 70_000)
    elif how == "late":
        for _ in range(12):
            stage.pass_time(0.1)
            if not first.is_closing():
                first.send(b"x")
    else:
        first.reset()
    assert first.is_closing()
    next_one(stage).send(OK)
    assert client.take().endswith(b"hello")
    stage.end_everything()
    stage.assert_nothing_left()


def test_an_answer_that_has_begun_is_cut_off_and_not_tried_again(stage_of: StageOf) -> None:
    stage = stage_of(again())
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(answer(200, "Content-Length: 10", body=b"hal"))
    assert client.take().endswith(b"hal")
    upstream.reset()
    assert client.ended == "abort"
    assert stage.retries() == {}
    assert stage.dialling() == 0


def test_interim_answers_do_not_stand_in_the_way(stage_of: StageOf) -> None:
    stage = stage_of(again("5xx"))
    client = stage.client()
    client.send(GET)
    first = stage.accept()
    first.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    first.send(BAD)
    stage.pass_time(0.3)
    first.send(OK)
    got = client.take()
    assert got.startswith(b"HTTP/1.1 103 ")
    assert got.endswith(b"hello")


# Together with what is built in.


def test_a_pooled_connection_that_was_closed_costs_no_try(stage_of: StageOf) -> None:
    stage = stage_of(again("reset"))
    client = stage.client()
    client.send(GET)
    pooled = stage.accept()
    pooled.send(OK)
    client.take()
    client.send(GET)
    pooled.eof()
    stage.accept().reset()  # the first try
    next_one(stage).send(OK)  # the second
    assert client.take().endswith(b"hello")
    assert stage.retries() == {"stale_connection": 1, "success": 1}


def test_a_version_at_its_limit_is_not_tried_again(stage_of: StageOf) -> None:
    stage = stage_of(again(limits={"requests": 1}))
    first, second = stage.client(), stage.client()
    first.send(GET)
    second.send(GET)
    assert b"(UO)" in second.take()
    assert stage.retries() == {}


def test_a_version_that_is_full_at_the_second_try_refuses(stage_of: StageOf) -> None:
    stage = stage_of(again("5xx", limits={"requests": 1}))
    first, second = stage.client(), stage.client()
    first.send(GET)
    upstream = stage.accept()
    upstream.send(BAD)
    second.send(GET)  # takes the only place meanwhile
    stage.pass_time(0.3)
    assert b"(UO)" in first.take()
    upstream.send(OK)
    assert second.take().endswith(b"hello")
    assert stage.retries() == {"failure": 1}
    stage.end_everything()
    stage.assert_nothing_left()


def test_a_version_that_has_nobody_left_at_the_second_try_falls_back(stage_of: StageOf) -> None:
    stage = stage_of(two_versions(route={"retry": retry_spec("5xx", fallback=False)}))
    client = stage.client()
    client.send(get("/", "X-User-Id: u1"))
    stage.accept().send(BAD)
    stage.pool("new").states.clear()
    stage.bring(two_versions(route={"retry": retry_spec("5xx", fallback=False)}, upstreams=[
        pool_spec("old", "10.0.0.1"), pool_spec("new", "10.0.0.2") | {"endpoints": []}], generation=2))  # fmt: skip
    stage.pass_time(0.3)
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")
    assert stage.codes() == {("canary", "stable", 200): 1}


def test_an_upgrade_is_tried_again_and_then_switches(stage_of: StageOf) -> None:
    stage = stage_of(again("5xx"))
    client = stage.client()
    client.send(get("/", "Connection: upgrade", "Upgrade: websocket"))
    upstream = stage.accept()
    upstream.send(BAD)
    stage.pass_time(0.3)
    upstream.send(answer(101, "Connection: upgrade", "Upgrade: websocket"))
    assert client.take().startswith(b"HTTP/1.1 101 ")
    assert stage.retries() == {"success": 1}
    assert stage.of_version(V_RETRYING) == 0
    stage.end_everything()
    stage.assert_nothing_left()


def test_a_storm_of_retries_stays_within_the_budget(stage_of: StageOf) -> None:
    """Everything fails: of a hundred requests that are under way, a fifth of the others may be retries."""
    stage = stage_of(again("5xx", back_off={"base": 2.0, "max": 2.0}, budget={"percent": 20.0, "minimum": 1}))
    clients = [stage.client() for _ in range(100)]
    for client in clients:
        client.send(GET)
    upstreams = [stage.accept() for _ in clients]
    assert stage.of_version(V_IN_FLIGHT) == 100
    for upstream in upstreams:
        upstream.take()
        upstream.send(BAD)
    stage.pass_time(10)
    for _ in range(3):
        for wire in stage.wires:
            if wire not in clients and not wire.is_closing() and wire.take():
                wire.send(BAD)
    outcomes = stage.retries()
    assert outcomes["failure"] <= 17  # 20 % of the first tries under way
    assert outcomes["failure"] + outcomes["budget_exhausted"] == 100
    assert all(client.take().endswith(b"sorry") for client in clients)
