"""A first request that a hedge overtook goes on, so that its endpoint is known for what it does."""

from collections.abc import Callable
from typing import Any

from proxy.dataplane.overtaken import AT_ONCE
from tests.unit.dataplane.stage import OK, Spec, Stage, answer, breaker_spec, hedge_spec, pool_spec, shop
from tests.unit.dataplane.test_ejecting import POLICY
from tests.unit.dataplane.test_hedge import fired, known
from tests.unit.dataplane.wires import Wire

StageOf = Callable[..., Stage]


def watched(limits: Spec | None = None, seconds: float = 2.0, **policy: Any) -> Spec:
    route = {"hedge": hedge_spec(budget_percent=100.0)}
    pool = pool_spec(
        "u", "10.0.0.1", "10.0.0.2", outlier=POLICY | policy, timeouts={"response": seconds}, limits=limits
    )
    return shop(route=route, upstreams=[pool])


def overtaken(stage: Stage, client: Wire) -> Wire:
    """The connection of a first request whose hedge has answered."""
    first, second = fired(stage, client)
    second.send(OK)
    assert client.take().endswith(b"hello")
    return first


def end(stage: Stage) -> None:
    stage.end_everything()
    assert stage.pool().requests == 0
    assert stage.pool().empty
    assert [state.overtaken for state in stage.pool().states] == [0, 0]


def numbers(stage: Stage, wire: Wire) -> tuple[int, int]:
    """How many requests of the endpoint of this connection were reported, and how many of them had failed."""
    address = wire.protocol.endpoint
    standing = next(state.standing for state in stage.pool().states if state is address)
    return standing.requests, standing.errors


def test_endpoint_that_hangs_behind_a_hedge_fails_in_its_time(stage_of: StageOf) -> None:
    stage = stage_of(watched())
    client = known(stage)
    first = overtaken(stage, client)
    before, failed = numbers(stage, first)
    assert not first.ended
    assert stage.pool().requests == 1  # it counts as what it is
    stage.pass_time(1.7)
    assert numbers(stage, first) == (before, failed)
    stage.pass_time(0.3)
    assert first.ended == "abort"
    assert numbers(stage, first) == (before + 1, failed + 1)
    assert stage.pool().requests == 0
    assert stage.flags() == {}
    end(stage)


def test_endpoint_that_is_only_slower_has_answered(stage_of: StageOf) -> None:
    stage = stage_of(watched())
    client = known(stage)
    first = overtaken(stage, client)
    before, failed = numbers(stage, first)
    stage.pass_time(0.5)
    first.send(OK)
    assert numbers(stage, first) == (before + 1, failed)
    assert not first.ended  # it carries others
    assert stage.pool().requests == 0
    assert stage.codes() == {("stable", "stable", 200): 2}
    end(stage)


def test_rest_of_its_answer_is_read_and_forgotten(stage_of: StageOf) -> None:
    stage = stage_of(watched())
    client = known(stage)
    first = overtaken(stage, client)
    first.send(b"HTTP/1.1 103 Early Hints\r\n\r\n")
    first.send(answer(200, "Content-Length: 10", body=b"half "))
    assert stage.pool().requests == 0
    first.send(b"whole")
    assert not first.ended
    assert client.take() == b""
    end(stage)


def test_connection_that_breaks_is_a_failure(stage_of: StageOf) -> None:
    stage = stage_of(watched())
    client = known(stage)
    first = overtaken(stage, client)
    before, failed = numbers(stage, first)
    first.reset()
    stage.settle()
    assert numbers(stage, first) == (before + 1, failed + 1)
    assert client.ended == ""
    end(stage)


def test_answer_in_another_protocol_is_a_failure(stage_of: StageOf) -> None:
    stage = stage_of(watched())
    client = known(stage)
    first = overtaken(stage, client)
    _, failed = numbers(stage, first)
    first.send(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\n\r\n")
    assert first.ended
    assert numbers(stage, first)[1] == failed + 1
    end(stage)


def test_no_more_than_a_few_go_on(stage_of: StageOf) -> None:
    stage = stage_of(watched(seconds=60.0))
    known(stage)
    hanging: dict[Any, list[Wire]] = {state: [] for state in stage.pool().states}
    for _ in range(2 * AT_ONCE + 6):
        client = stage.client()
        client.send(b"GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n")
        while stage.dialling():
            stage.accept()
        first = next(wire for wire in stage.wires if wire is not client and wire.sent and not wire.ended)
        first.take()
        stage.time = max(stage.time, stage.loop.next_alarm())
        stage.loop.ring()
        stage.settle()
        while stage.dialling():
            stage.accept()
        second = next(wire for wire in stage.wires if wire is not client and wire.sent and not wire.ended)
        second.take()
        second.send(OK)
        assert client.take().endswith(b"hello")
        hanging[first.protocol.endpoint].append(first)
    for state, wires in hanging.items():
        assert len(wires) > AT_ONCE
        assert sum(not wire.ended for wire in wires) == AT_ONCE == state.overtaken


def test_none_goes_on_where_it_would_take_a_place_from_others(stage_of: StageOf) -> None:
    stage = stage_of(watched(limits={"requests": 4}))
    client = known(stage)
    first = overtaken(stage, client)  # two of four: the first and its hedge
    assert first.ended == "abort"
    assert stage.pool().requests == 0
    end(stage)


def test_its_end_is_not_heard_by_the_breaker(stage_of: StageOf) -> None:
    spec = watched()
    spec["routes"][0]["versions"][0]["breaker"] = breaker_spec(minimum_requests=1)
    stage = stage_of(spec)
    client = known(stage)
    overtaken(stage, client)
    stage.pass_time(2.1)
    breaker = stage.arms.arms["shop", "stable"].breaker
    assert breaker is not None
    assert (breaker.window.requests, breaker.window.errors) == (2, 0)
    end(stage)


PART = answer(200, "Content-Length: 10", body=b"half ")


def test_hedge_that_won_and_breaks_off_is_a_failure_of_its_endpoint(stage_of: StageOf) -> None:
    stage = stage_of(watched())
    client = known(stage)
    _, second = fired(stage, client)
    before, failed = numbers(stage, second)
    second.send(PART)
    assert numbers(stage, second) == (before, failed)
    second.reset()
    stage.settle()
    assert client.ended == "abort"
    assert numbers(stage, second) == (before + 1, failed + 1)
    end(stage)


def test_hedge_that_won_is_reported_once_it_is_whole_with_its_own_time(stage_of: StageOf) -> None:
    stage = stage_of(watched())
    client = known(stage)
    _, second = fired(stage, client)
    standing = second.protocol.endpoint.standing
    before, seconds = standing.requests, standing.seconds
    stage.pass_time(0.1)
    second.send(PART)
    second.send(b"whole")
    assert client.take().endswith(b"half whole")
    assert standing.requests == before + 1
    assert 0.09 < standing.seconds - seconds < 0.2  # from when the hedge was sent
    end(stage)


def test_hedge_whose_error_is_not_taken_is_reported_with_its_head(stage_of: StageOf) -> None:
    spec = watched()
    spec["routes"][0]["errors"] = {"codes": [404], "flags": []}
    stage = stage_of(spec)
    client = known(stage)
    first, second = fired(stage, client)
    before, failed = numbers(stage, second)
    second.send(answer(404, "Content-Length: 10", body=b"half "))
    assert numbers(stage, second) == (before + 1, failed)
    first.send(OK)
    assert client.take().endswith(b"hello")
    end(stage)
