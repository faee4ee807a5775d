"""A second request where the first takes longer than most: who wins, who is cut off, and what it may cost."""

from collections.abc import Callable
from typing import Any

import pytest

from proxy.telemetry.counters import V_HEDGING
from tests.specs import version_spec
from tests.unit.dataplane.stage import (
    GET,
    OK,
    Spec,
    Stage,
    answer,
    breaker_spec,
    get,
    hedge_spec,
    pool_spec,
    retry_spec,
    shop,
)
from tests.unit.dataplane.test_breaking import visit
from tests.unit.dataplane.wires import Wire

StageOf = Callable[..., Stage]

BAD = answer(503, body=b"sorry")


def hedging(retry: Spec | None = None, breaker: Spec | None = None, limits: Spec | None = None, **parts: Any) -> Spec:
    route = {
        "hedge": hedge_spec(**parts),
        "retry": retry,
        "versions": [version_spec("stable", 100.0, breaker=breaker)],
    }
    return shop(route=route, upstreams=[pool_spec("u", "10.0.0.1", "10.0.0.2", limits=limits)])


def known(stage: Stage) -> Wire:
    """A client of a version that is known to answer in 100 ms, over a connection that closes."""
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    stage.pass_time(0.1)
    upstream.send(answer(200, "Connection: close", body=b"hello"))
    client.take()
    stage.pass_time(0.3)
    return client


def fired(stage: Stage, client: Wire, request: bytes = GET) -> tuple[Wire, Wire]:
    """The first request and its hedge, both sent."""
    client.send(request)
    first = stage.accept()
    stage.pass_time(0.2)
    second = stage.accept()
    assert first.take().split(b"\r\n")[0] == second.take().split(b"\r\n")[0]
    return first, second


def end(stage: Stage) -> None:
    stage.end_everything()
    stage.assert_nothing_left()


def test_the_hedge_goes_elsewhere_after_the_percentile_and_wins(stage_of: StageOf) -> None:
    stage = stage_of(hedging())
    client = known(stage)
    client.send(GET)
    first = stage.dial()
    wire = first.accept()
    stage.wires.append(wire)
    stage.pass_time(0.09)
    assert stage.dialling() == 0
    stage.pass_time(0.05)
    second = stage.dial()
    assert second.address != first.address
    assert stage.of_version(V_HEDGING) == 1
    other = second.accept()
    stage.wires.append(other)
    other.send(OK)
    assert client.take().endswith(b"hello")
    assert wire.ended  # the loser is cut off
    assert not other.ended
    assert stage.hedges() == {"fired": 1, "won": 1}
    assert stage.codes() == {("stable", "stable", 200): 2}
    assert stage.flags() == {}
    client.send(GET)
    assert other.take().startswith(b"GET / ")  # the winner's connection carries on
    other.send(OK)
    client.take()
    end(stage)


def test_the_first_request_wins_and_the_hedge_is_cut_off(stage_of: StageOf) -> None:
    stage = stage_of(hedging())
    client = known(stage)
    first, second = fired(stage, client)
    first.send(OK)
    assert client.take().endswith(b"hello")
    assert second.ended
    assert stage.hedges() == {"fired": 1, "lost": 1}
    end(stage)


def test_a_hedge_that_is_still_connecting_is_given_up(stage_of: StageOf) -> None:
    stage = stage_of(hedging())
    client = known(stage)
    client.send(GET)
    first = stage.accept()
    stage.pass_time(0.2)
    first.send(OK)
    assert client.take().endswith(b"hello")
    assert stage.hedges() == {"fired": 1, "lost": 1}
    end(stage)


def test_an_answer_that_comes_in_pieces_is_taken_over(stage_of: StageOf) -> None:
    stage = stage_of(hedging())
    client = known(stage)
    first, second = fired(stage, client)
    second.send(answer(200, "Content-Length: 10", body=b"hal"))
    second.send(b"f-full!")
    assert client.take().endswith(b"half-full!")
    assert first.ended
    assert stage.hedges() == {"fired": 1, "won": 1}
    end(stage)


def test_an_answer_that_was_taken_over_can_be_cut_off(stage_of: StageOf) -> None:
    stage = stage_of(hedging())
    client = known(stage)
    _, second = fired(stage, client)
    second.send(answer(200, "Content-Length: 10", body=b"hal"))
    second.reset()
    assert client.ended == "abort"
    end(stage)


def test_a_client_that_takes_nothing_holds_the_winner_back(stage_of: StageOf) -> None:
    stage = stage_of(hedging())
    client = known(stage)
    _, second = fired(stage, client)
    client.stall()
    second.send(answer(200, "Content-Length: 100000", body=b"x" * 70_000))
    assert not second.reading
    client.drain()
    assert second.reading
    second.send(b"x" * 30_000)
    assert client.take().endswith(b"x" * 100)
    end(stage)


def test_an_error_does_not_beat_a_request_that_may_do_better(stage_of: StageOf) -> None:
    stage = stage_of(hedging())
    client = known(stage)
    first, second = fired(stage, client)
    second.send(BAD)
    assert client.take() == b""
    first.send(OK)
    assert client.take().endswith(b"hello")
    assert stage.hedges() == {"fired": 1, "lost": 1}
    end(stage)


@pytest.mark.parametrize("how", ["refuse", "reset"])
def test_a_hedge_that_fails_changes_nothing(stage_of: StageOf, how: str) -> None:
    stage = stage_of(hedging())
    client = known(stage)
    client.send(GET)
    first = stage.accept()
    stage.pass_time(0.2)
    if how == "refuse":
        stage.refuse()
    else:
        stage.accept().reset()
    first.send(OK)
    assert client.take().endswith(b"hello")
    assert stage.hedges() == {"fired": 1, "failed": 1}
    assert stage.flags() == {}
    end(stage)


def test_a_first_request_that_fails_leaves_it_to_the_hedge(stage_of: StageOf) -> None:
    stage = stage_of(hedging())
    client = known(stage)
    first, second = fired(stage, client)
    first.reset()
    assert client.take() == b""
    second.send(BAD)
    assert client.take().endswith(b"sorry")
    assert stage.hedges() == {"fired": 1, "won": 1}
    end(stage)


def test_when_both_fail_the_failure_of_the_first_is_told(stage_of: StageOf) -> None:
    stage = stage_of(hedging())
    client = known(stage)
    first, second = fired(stage, client)
    first.reset()
    second.send(b"nonsense\r\n\r\n")
    assert b"(UR)" in client.take()
    assert stage.hedges() == {"fired": 1, "failed": 1}
    end(stage)


def test_when_both_fail_the_request_is_tried_again_where_that_is_configured(stage_of: StageOf) -> None:
    stage = stage_of(hedging(retry_spec("reset")))
    client = known(stage)
    first, second = fired(stage, client)
    first.reset()
    second.reset()
    stage.pass_time(0.3)
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")
    assert stage.retries() == {"success": 1}
    end(stage)


def test_an_answer_of_the_hedge_can_be_held_back_for_another_try(stage_of: StageOf) -> None:
    stage = stage_of(hedging(retry_spec("5xx", "reset")))
    client = known(stage)
    first, second = fired(stage, client)
    first.reset()
    second.send(BAD)
    stage.pass_time(0.3)
    assert second.take().startswith(b"GET / ") or stage.accept().take().startswith(b"GET / ")
    end(stage)


def test_a_client_that_leaves_takes_both_along(stage_of: StageOf) -> None:
    stage = stage_of(hedging())
    client = known(stage)
    first, second = fired(stage, client)
    client.reset()
    stage.settle()
    assert first.ended
    assert second.ended
    assert stage.hedges() == {"fired": 1, "lost": 1}
    end(stage)


def test_a_client_that_leaves_before_is_not_hedged(stage_of: StageOf) -> None:
    stage = stage_of(hedging())
    client = known(stage)
    client.send(GET)
    stage.accept()
    client.reset()
    stage.pass_time(1)
    assert stage.hedges() == {}
    end(stage)


@pytest.mark.parametrize(
    "request_bytes",
    [
        get(method="DELETE"),
        get("/", "Content-Length: 3", body=b"abc"),
        get("/", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"),
        get("/", "Connection: upgrade", "Upgrade: websocket"),
    ],
    ids=["method", "body", "chunked", "upgrade"],
)
def test_what_is_not_safe_is_not_hedged(stage_of: StageOf, request_bytes: bytes) -> None:
    stage = stage_of(hedging())
    client = known(stage)
    client.send(request_bytes)
    stage.accept()
    stage.pass_time(1)
    assert stage.dialling() == 0
    assert stage.hedges() == {}


def test_nothing_is_hedged_before_enough_is_known(stage_of: StageOf) -> None:
    stage = stage_of(hedging(minimum_samples=2))
    client = known(stage)
    client.send(GET)
    stage.accept()
    stage.pass_time(2)
    assert stage.dialling() == 0
    assert stage.hedges() == {}


def test_hedges_stay_within_their_budget(stage_of: StageOf) -> None:
    stage = stage_of(hedging())
    known(stage)
    for _ in range(20):
        stage.client().send(GET)
        stage.accept()
    stage.pass_time(0.2)
    assert stage.dialling() == 2  # a tenth of twenty
    assert stage.hedges() == {"fired": 2, "budget": 18}
    end(stage)


def test_a_hedge_that_finds_no_place_is_not_sent(stage_of: StageOf) -> None:
    stage = stage_of(hedging(limits={"requests": 1}))
    client = known(stage)
    client.send(GET)
    stage.accept().take()
    stage.pass_time(0.2)
    assert stage.hedges() == {"unavailable": 1}
    end(stage)


def test_a_probe_of_a_breaker_is_not_hedged(stage_of: StageOf) -> None:
    stage = stage_of(hedging(breaker=breaker_spec(minimum_requests=1, error_percent=60.0)))
    client = known(stage)
    for _ in range(2):
        visit(stage, client, BAD)
    stage.pass_time(5.1)
    client.send(GET)
    stage.accept()
    stage.pass_time(0.3)
    assert stage.hedges() == {"unavailable": 1}


def test_what_the_hedge_hears_before_its_head_is_not_for_the_client(stage_of: StageOf) -> None:
    stage = stage_of(hedging())
    client = known(stage)
    _, second = fired(stage, client)
    second.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
    assert client.take() == b""
    second.send(answer(101, "Connection: upgrade", "Upgrade: websocket"))
    assert stage.hedges() == {"fired": 1, "failed": 1}
    end(stage)
