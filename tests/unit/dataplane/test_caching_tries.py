"""Stored answers beside retries, hedges and the breaker: who is asked how often, and when the old answer stands in."""

from proxy.telemetry.counters import V_BREAKER_OPENED
from tests.specs import version_spec
from tests.unit.dataplane.stage import (
    Spec,
    answer,
    breaker_spec,
    get,
    hedge_spec,
    pool_spec,
    retry_spec,
    shop,
    two_versions,
)
from tests.unit.dataplane.test_caching import Play, cache_spec, fresh, outcomes, parts, play
from tests.unit.dataplane.test_ejecting import POLICY

__all__ = ["play"]  # the fixture

CACHE = {"cache": cache_spec(stale_if_error=300.0), "debug": ["0.0.0.0/0"]}


def route(**more: object) -> Spec:
    return shop(route=CACHE | more, upstreams=[pool_spec("u", "10.0.0.1", "10.0.0.2")])


def stale(p: Play) -> None:
    p.fetch(fresh('ETag: "1"'))
    p.upstream.eof()
    p.stage.pass_time(62)


def test_an_old_answer_stands_in_only_when_the_tries_are_used_up(play):
    p = play(route(retry=retry_spec("5xx", back_off={"base": 0.025, "max": 0.025})))
    stale(p)
    p.client.send(get())
    first = p.stage.accept()
    assert b'if-none-match: "1"' in first.take()
    first.send(answer(503, body=b"down"))
    p.stage.pass_time(0.1)
    assert p.client.take() == b""
    second = p.stage.accept()
    assert b'if-none-match: "1"' in second.take()
    second.send(answer(503, body=b"down"))
    _, fields, body = parts(p.client.take())
    assert body == b"hello"
    assert fields[b"x-tidegate-flags"] == b"5xx,URX,ST"
    assert outcomes(p.stage) == {"miss": 1, "stored": 1, "stale": 1}


def test_a_try_that_succeeds_needs_no_old_answer(play):
    p = play(route(retry=retry_spec("5xx", back_off={"base": 0.025, "max": 0.025})))
    stale(p)
    p.client.send(get())
    p.stage.accept().send(answer(503, body=b"down"))
    p.stage.pass_time(0.1)
    p.stage.accept().send(b"HTTP/1.1 304 Not Modified\r\n\r\n")
    _, fields, body = parts(p.client.take())
    assert (body, fields[b"x-tidegate-flags"]) == (b"hello", b"-")
    assert outcomes(p.stage) == {"miss": 1, "stored": 2, "revalidated": 1}


def test_a_hedge_asks_on_the_same_condition(play):
    p = play(route(hedge=hedge_spec(maximum_delay=0.05)))
    p.fetch(fresh('ETag: "1"', age=2))
    p.stage.pass_time(2.5)
    p.client.send(get("/", 'If-None-Match: "0"'))
    slow = p.stage.accept().take()
    p.stage.pass_time(0.2)
    hedge = p.upstream  # the pooled connection to the other endpoint
    for asked in (slow, hedge.take()):
        assert b'if-none-match: "1"' in asked
        assert b'"0"' not in asked
    hedge.send(b"HTTP/1.1 304 Not Modified\r\n\r\n")
    start, _, body = parts(p.client.take())
    assert (start, body) == (b"HTTP/1.1 200 Said", b"hello")


def test_failures_behind_old_answers_open_the_breaker_and_then_nobody_is_asked(play):
    p = play(
        shop(
            route=CACHE | {"versions": [version_spec("stable", 100.0) | {"breaker": breaker_spec(minimum_requests=3)}]},
        )
    )
    p.fetch(fresh())
    p.upstream.eof()
    p.stage.pass_time(62)
    p.client = p.stage.client()
    for _ in range(3):
        assert p.fetch(answer(503, body=b"down"))[2] == b"hello"
    assert p.stage.of_version(V_BREAKER_OPENED) == 1
    assert p.ask()[2] == b"hello"
    assert outcomes(p.stage) == {"miss": 1, "stored": 1, "stale": 4}
    p.stage.bring(route())  # without a breaker: its state is no number of the present any more


def test_an_open_breaker_is_asked_before_a_refresh(play):
    cache = CACHE | {"cache": cache_spec(stale_while_revalidate=300.0, stale_if_error=300.0)}
    versions = [version_spec("stable", 100.0) | {"breaker": breaker_spec(minimum_requests=3)}]
    p = play(shop(route=cache | {"versions": versions}))
    p.fetch(fresh())
    p.stage.pass_time(62)
    p.client = p.stage.client()
    for _ in range(3):
        p.fetch(answer(503, body=b"down"), path="/other")
    assert p.stage.of_version(V_BREAKER_OPENED) == 1
    assert p.ask()[2] == b"hello"  # and nothing in the background
    p.stage.bring(route(cache=cache_spec(stale_while_revalidate=300.0)))
    p.client.send(get())
    assert parts(p.client.take())[2] == b"hello"
    assert b"GET / " in p.take_request()


def test_an_old_answer_of_the_version_assigned_stands_in_where_its_fallback_fails_too(play):
    retry = retry_spec("5xx", attempts=1)
    p = play(two_versions(route=CACHE | {"retry": retry}))
    p.fetch(fresh(body=b"canary page"))
    p.upstream.eof()
    p.stage.pass_time(62)
    p.client.send(get())
    for _ in range(2):
        wire = p.stage.accept()
        wire.take()
        wire.send(answer(503, body=b"down"))
    _, fields, body = parts(p.client.take())
    assert body == b"canary page"
    assert fields[b"x-tidegate-served"] == b"canary"
    assert p.stage.flags() == {"5xx": 1}


def test_a_refresh_that_breaks_off_is_one_failure_of_its_endpoint(play):
    policy = POLICY | {"consecutive_5xx": 0}
    cache = {"cache": cache_spec(stale_while_revalidate=300.0)}
    p = play(shop(route=cache, upstreams=[pool_spec("u", outlier=policy)]))
    standing = p.stage.pool().states[0].standing
    p.fetch(fresh())
    assert (standing.requests, standing.errors) == (1, 0)
    p.stage.pass_time(62)
    for failures in (1, 2):
        seen = standing.errors
        p.client.send(get())
        p.client.take()
        p.take_request()
        p.upstream.send(answer(200, "Cache-Control: max-age=60", "Content-Length: 10", body=b"half "))
        assert standing.errors == seen
        p.upstream.reset()
        p.stage.settle()
        assert (standing.errors, standing.failures_in_row) == (failures, failures)
        p.stage.pass_time(1.5)
    p.stage.bring(shop(route=cache))  # nothing watches any more
