"""Sent once more, tried elsewhere, fallen back: how an exchange comes to a connection, or does not."""

from collections.abc import Callable

import pytest

from proxy.core.plan import SPLIT
from proxy.telemetry.counters import (
    V_REASONS,
    V_RETRY_OUTCOMES,
)
from tests.specs import version_spec
from tests.unit.dataplane.stage import GET, OK, Stage, answer, get, pool_spec, shop, two_versions

StageOf = Callable[..., Stage]


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
    assert stage.of_version(V_RETRY_OUTCOMES) == 1
    assert stage.codes() == {("stable", "stable", 200): 2}


def test_request_that_cannot_be_sent_once_more_is_served_by_nobody(stage: Stage) -> None:
    client, upstream = stale(stage, GET)
    pool = stage.pool()
    pool.update(pool.upstream, [], pool.tls)
    upstream.eof()  # type: ignore[attr-defined]
    assert b"(UH)" in client.take()  # type: ignore[attr-defined]
    assert stage.codes() == {("stable", "stable", 200): 1, ("stable", "none", 503): 1}


def test_request_is_sent_once_more_only_once(stage: Stage) -> None:
    client, upstream = stale(stage, GET)
    upstream.eof()  # type: ignore[attr-defined]
    stage.accept().eof()
    assert client.take().startswith(b"HTTP/1.1 502 ")  # type: ignore[attr-defined]
    assert stage.dialling() == 0
    assert stage.of_version(V_RETRY_OUTCOMES) == 1


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


THREE = ("stable", "middle", "last")


@pytest.mark.parametrize("how", ["denied", "killed"])
@pytest.mark.parametrize(
    ("out", "asked", "served"),
    [
        ([], ["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"], "last"),
        (["middle"], ["10.0.0.1:80", "10.0.0.3:80"], "last"),
        (["last"], ["10.0.0.1:80", "10.0.0.2:80"], "middle"),
        (["middle", "last"], ["10.0.0.1:80"], "none"),
    ],
)
def test_nobody_falls_back_to_what_is_denied_or_killed(
    stage_of: StageOf, how: str, out: list[str], asked: list[str], served: str
) -> None:
    chain = [(name, following) for name, following in zip(THREE, (*THREE[1:], None), strict=True)]
    kill = {"until": 0.0} if how == "killed" else None
    versions = [
        version_spec(
            name, 100.0 * (name == "stable"), upstream=name, fallback=following, kill=kill if name in out else None
        )
        for name, following in chain
    ]
    rules = [{"label": f"rules[{place}]", "units": ["u1"], "deny": name} for place, name in enumerate(out)]
    pools = [pool_spec(name, f"10.0.0.{place}") for place, name in enumerate(THREE, 1)]
    stage = stage_of(shop(route={"versions": versions, "rules": rules if how == "denied" else []}, upstreams=pools))
    client = stage.client()
    client.send(get("/", "X-User-Id: u1"))
    for address in asked:
        dial = stage.dial()
        assert dial.address == address
        if address == asked[-1] and served != "none":
            wire = dial.accept()
            stage.settle()
            wire.send(OK)
        else:
            dial.refuse()
            stage.settle()
    assert stage.dialling() == 0
    assert stage.codes() == {("stable", served, 503 if served == "none" else 200): 1}
    assert client.take().startswith(b"HTTP/1.1 503" if served == "none" else b"HTTP/1.1 200")


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
