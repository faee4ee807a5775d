"""Which endpoint, which connection, how many, who waits, and what a new plan leaves alone."""

import errno
from collections.abc import Callable

import pytest

from proxy.core.plan import Endpoint
from proxy.dataplane.pool import Pool
from proxy.telemetry.counters import (
    E_DOWN,
    E_EJECTED,
    E_FAILURES,
    REGION_SLOTS,
    U_ACTIVE,
    U_CONNECTING,
    U_IDLE,
    U_PENDING,
    U_REQUESTS,
    V_BREAKER_OPENED,
)
from tests.specs import version_spec
from tests.unit.dataplane.stage import GET, OK, Stage, answer, breaker_spec, endpoint_spec, get, pool_spec, shop
from tests.unit.dataplane.wires import Wire

StageOf = Callable[..., Stage]

CLOSE = get("/", "Connection: close")


def of_upstream(stage: Stage, slot: int, name: str = "u") -> int:
    for pool in stage.all_pools():
        pool.write_down()
    return stage.cells.view[dict(stage.ledger.blocks("upstream"))[(name,)] + slot]


def of_endpoint(stage: Stage, slot: int) -> int:
    return sum(stage.cells.view[offset + slot] for _, offset in stage.ledger.blocks("endpoint"))


def asking(stage: Stage, count: int) -> list[Wire]:
    clients = [stage.client() for _ in range(count)]
    for client in clients:
        client.send(GET)
    return clients


def limited(stage_of: StageOf, **limits: int) -> Stage:
    return stage_of(shop(upstreams=[pool_spec("u", limits=limits)]))


# Connections.


def test_connection_used_last_is_taken_first(stage: Stage) -> None:
    clients = asking(stage, 3)
    wires = [stage.accept() for _ in clients]
    for wire in (wires[1], wires[2], wires[0]):
        wire.take()
        wire.send(OK)
    for _ in range(3):
        clients[0].send(GET)
        assert wires[0].take()
        wires[0].send(OK)
    assert of_upstream(stage, U_IDLE) == 3


def test_idle_connection_is_closed_when_it_has_grown_old(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(OK)
    stage.pass_time(3.9)
    assert not upstream.ended
    stage.pass_time(0.3)
    assert upstream.ended
    assert of_upstream(stage, U_IDLE) == 0


def test_use_gives_an_idle_connection_its_time_anew(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    for _ in range(5):
        upstream.send(OK)
        stage.pass_time(3.0)
        client.send(GET)
    assert not upstream.ended


def test_old_age_does_not_end_a_connection_at_work(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(OK)
    client.send(GET)
    stage.pass_time(10.0)
    upstream.send(OK)
    assert client.take().count(b"hello") == 2


def test_idle_connection_that_the_upstream_closed_is_not_used(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(OK)
    upstream.eof()
    client.send(GET)
    stage.accept().send(OK)
    assert client.take().count(b"hello") == 2


def test_more_idle_connections_than_allowed_are_closed(stage_of: StageOf) -> None:
    stage = limited(stage_of, idle=1)
    asking(stage, 3)
    for wire in [stage.accept() for _ in range(3)]:
        wire.send(OK)
    assert of_upstream(stage, U_IDLE) == 1


def test_as_many_idle_connections_are_kept_as_there_may_be(stage: Stage) -> None:
    clients = asking(stage, 300)
    for wire in [stage.accept() for _ in range(300)]:
        wire.send(OK)
    assert of_upstream(stage, U_IDLE) == 300
    for client in clients:
        client.send(GET)
    assert stage.dialling() == 0


@pytest.mark.parametrize("said", [answer(200, "Connection: close", body=b"x"), answer(200, body=b"x", version="1.0")])
def test_connection_the_upstream_will_not_keep_is_not_kept(stage: Stage, said: bytes) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(said)
    assert upstream.ended
    assert not client.ended


def test_connection_that_opened_for_one_who_left_is_kept_for_others(stage: Stage) -> None:
    gone, other = stage.client(), stage.client()
    gone.send(GET)
    dial = stage.dial()
    gone.reset()
    upstream = dial.accept()
    stage.wires.append(upstream)
    assert not upstream.ended
    other.send(GET)
    assert stage.dialling() == 0
    upstream.send(OK)
    assert other.take().endswith(b"hello")


def test_dial_for_one_who_left_still_has_its_deadline(stage: Stage) -> None:
    gone = stage.client()
    gone.send(GET)
    stage.settle()
    assert of_upstream(stage, U_CONNECTING) == 1
    gone.reset()
    stage.pass_time(2.2)
    assert of_upstream(stage, U_CONNECTING) == 0
    stage.assert_nothing_left()


def test_dial_whose_time_is_over_before_it_began_is_still_reported(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    stage.time += 10.0  # a loop that stood still
    stage.runtime.wheel.advance(stage.time)
    stage.settle()
    stage.pass_time(0.2)
    assert client.take().startswith(b"HTTP/1.1 503 ")
    assert of_upstream(stage, U_CONNECTING) == 0
    assert of_upstream(stage, U_REQUESTS) == 0


# Limits.


def test_requests_wait_for_a_connection_in_the_order_they_came(stage_of: StageOf) -> None:
    stage = limited(stage_of, connections=1)
    clients = asking(stage, 3)
    upstream = stage.accept()
    assert stage.dialling() == 0
    assert of_upstream(stage, U_PENDING) == 2
    for client in clients:
        assert client.take() == b""
        upstream.send(OK)
        assert client.take().endswith(b"hello")
    assert of_upstream(stage, U_PENDING) == 0


def test_connection_that_ends_makes_room_for_one_who_waits(stage_of: StageOf) -> None:
    stage = limited(stage_of, connections=1)
    first, second = asking(stage, 2)
    stage.accept().send(answer(200, "Connection: close", body=b"x"))
    assert first.take().endswith(b"x")
    stage.accept().send(OK)
    assert second.take().endswith(b"hello")


def test_failed_dial_makes_room_for_one_who_waits(stage_of: StageOf) -> None:
    stage = limited(stage_of, connections=1)
    first, second = asking(stage, 2)
    stage.refuse()
    assert first.take().startswith(b"HTTP/1.1 503 ")
    stage.accept().send(OK)
    assert second.take().endswith(b"hello")


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM])
def test_an_endpoint_does_not_suffer_for_what_this_process_has_not_got(stage_of: StageOf, number: int) -> None:
    """Clients who take all descriptors must not have endpoints rest or ejected, nor versions broken."""
    outlier = {
        "consecutive_5xx": 1, "consecutive_gateway": 1, "interval": 10.0, "base_ejection": 30.0, "max_ejection": 300.0,
        "max_ejected_percent": 100.0, "success_rate": None, "latency": None,
    }  # fmt: skip
    versions = [version_spec("stable", 100.0, breaker=breaker_spec(minimum_requests=1))]
    stage = stage_of(shop(route={"versions": versions}, upstreams=[pool_spec("u", "a", "b", outlier=outlier)]))
    for _ in range(3):
        (client,) = asking(stage, 1)
        stage.dial().refuse(OSError(number, "none left"))
        stage.settle()
        assert client.take().startswith(b"HTTP/1.1 503 ")
        assert not stage.dialling()
    assert stage.flags() == {} or set(stage.flags()) == {"UO"}
    assert of_endpoint(stage, E_FAILURES) == 3
    assert of_endpoint(stage, E_DOWN) == of_endpoint(stage, E_EJECTED) == 0
    assert stage.of_version(V_BREAKER_OPENED) == 0
    (client,) = asking(stage, 1)
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")


def test_who_waits_too_long_is_refused(stage_of: StageOf) -> None:
    stage = limited(stage_of, connections=1)
    _, second = asking(stage, 2)
    stage.accept()
    stage.pass_time(2.2)
    assert b"(UO)" in second.take()
    assert of_upstream(stage, U_PENDING) == 0


def test_no_more_may_wait_than_allowed(stage_of: StageOf) -> None:
    stage = limited(stage_of, connections=1, pending=1)
    _, second, third = asking(stage, 3)
    assert second.take() == b""
    assert b"(UO)" in third.take()


def test_who_leaves_the_queue_is_passed_over(stage_of: StageOf) -> None:
    stage = limited(stage_of, connections=1)
    first, second, third = asking(stage, 3)
    upstream = stage.accept()
    second.reset()
    assert of_upstream(stage, U_PENDING) == 1
    upstream.send(OK)
    upstream.send(OK)
    assert first.take().endswith(b"hello")
    assert third.take().endswith(b"hello")


def test_idle_connection_to_one_endpoint_gives_way_to_a_new_one_to_another(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[pool_spec("u", "10.0.0.1", "10.0.0.2", limits={"connections": 1})]))
    client = stage.client()
    client.send(GET)
    first = stage.accept()
    first.send(OK)
    client.send(GET)
    assert first.ended
    stage.accept().send(OK)
    assert client.take().count(b"hello") == 2


@pytest.mark.parametrize(("limit", "slot"), [("requests", U_REQUESTS), ("connections", U_ACTIVE)])
def test_limits_hold_over_all_workers(stage_of: StageOf, limit: str, slot: int) -> None:
    stage = stage_of(shop(upstreams=[pool_spec("u", limits={limit: 4, "pending": 0})]), workers=2)
    place = dict(stage.ledger.blocks("upstream"))["u",]
    stage.cells.view[REGION_SLOTS + place + slot] = 3  # what the other worker wrote down
    first, second = asking(stage, 2)
    assert first.take() == b""
    assert b"(UO)" in second.take()
    assert stage.cells.view[place + U_REQUESTS] == 1
    stage.accept().send(OK)
    assert first.take().endswith(b"hello")
    assert stage.cells.view[place + U_REQUESTS] == 0


def test_numbers_of_the_present_are_written_down(stage_of: StageOf) -> None:
    stage = limited(stage_of, connections=3)
    asking(stage, 4)
    stage.accept()
    stage.accept().send(OK)
    stage.settle()
    got = {slot: of_upstream(stage, slot) for slot in (U_CONNECTING, U_ACTIVE, U_IDLE, U_PENDING, U_REQUESTS)}
    assert got == {U_CONNECTING: 1, U_ACTIVE: 2, U_IDLE: 0, U_PENDING: 0, U_REQUESTS: 3}


# Endpoints.


def dealt(stage: Stage, count: int) -> list[str]:
    addresses = []
    for _ in range(count):
        client = stage.client()
        client.send(CLOSE)
        dial = stage.dial()
        addresses.append(dial.address.partition(":")[0])
        wire = dial.accept()
        stage.wires.append(wire)
        wire.send(answer(200, "Connection: close", body=b"x"))
    return addresses


def test_endpoints_take_turns_by_weight_and_smoothly(stage_of: StageOf) -> None:
    spec = pool_spec("u")
    spec["endpoints"] = [endpoint_spec("a", weight=5), endpoint_spec("b"), endpoint_spec("c")]
    stage = stage_of(shop(upstreams=[spec]))
    assert dealt(stage, 14) == ["a", "a", "b", "a", "c", "a", "a"] * 2


def test_endpoint_that_refused_rests_longer_each_time(stage: Stage) -> None:
    pool = stage.pool()
    rests = []
    for _ in range(7):
        client = stage.client()
        client.send(CLOSE)
        stage.refuse()
        rests.append(pool.states[0].down_until - stage.time)
    assert rests == pytest.approx([0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0])
    assert of_endpoint(stage, E_DOWN) == 1
    assert of_endpoint(stage, E_FAILURES) == 7


def test_resting_endpoint_is_passed_over(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[pool_spec("u", "a", "b")]))
    client = stage.client()
    client.send(CLOSE)
    stage.refuse()
    stage.accept().send(answer(200, "Connection: close", body=b"x"))
    assert dealt(stage, 3) == ["b"] * 3
    stage.pass_time(0.3)
    assert "a" in dealt(stage, 2)
    assert of_endpoint(stage, E_DOWN) == 0


def test_endpoint_whose_rest_ends_first_is_the_last_resort(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[pool_spec("u", "a", "b")]))
    client = stage.client()
    client.send(CLOSE)
    assert [stage.dial().refuse() for _ in range(2)] == [None, None]
    stage.pool().states[1].down_until += 1.0
    assert client.take().startswith(b"HTTP/1.1 503 ")
    assert dealt(stage, 1) == ["a"]


def test_endpoint_that_answers_again_is_up_again(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    stage.refuse()
    client.send(GET)
    stage.accept().send(OK)
    state = stage.pool().states[0]
    assert (state.failures, state.down_until) == (0, 0.0)
    assert of_endpoint(stage, E_DOWN) == 0


# A new plan.


def updated(pool: Pool, *specs: dict[str, object]) -> None:
    pool.update(pool.upstream, [Endpoint(spec, 0) for spec in specs], pool.tls)


def test_endpoints_that_stay_keep_their_connections_idle_or_busy(stage: Stage) -> None:
    idle, busy = stage.client(), stage.client()
    idle.send(GET)
    busy.send(GET)
    first, second = stage.accept(), stage.accept()
    first.send(OK)
    slot = stage.pool().states[0].endpoint.slot
    updated(stage.pool(), endpoint_spec("10.0.0.9", slot=slot + 2), endpoint_spec(weight=7, slot=slot))
    assert not first.ended
    second.send(OK)
    assert not second.ended
    assert busy.take().endswith(b"hello")
    assert sum(len(state.idle) for state in stage.pool().states) == 2


def test_endpoint_that_stays_keeps_its_rest(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    stage.refuse()
    state = stage.pool().states[0]
    until = state.down_until
    updated(stage.pool(), endpoint_spec(weight=2, slot=state.endpoint.slot))
    assert stage.pool().states[0].down_until == until
    assert of_endpoint(stage, E_DOWN) == 1


def test_endpoint_that_moves_to_another_counter_takes_its_state_along(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    stage.refuse()
    slot = stage.pool().states[0].endpoint.slot
    free = slot + 100_000
    updated(stage.pool(), endpoint_spec(slot=free))
    assert stage.cells.view[slot + E_DOWN] == 0
    assert stage.cells.view[free + E_DOWN] == 1


def test_endpoint_that_left_closes_idle_connections_and_busy_ones_when_they_are_done(stage: Stage) -> None:
    idle, busy = stage.client(), stage.client()
    idle.send(GET)
    busy.send(GET)
    first, second = stage.accept(), stage.accept()
    first.send(OK)
    updated(stage.pool(), endpoint_spec("10.0.0.9"))
    assert first.ended
    assert not second.ended
    second.send(OK)
    assert busy.take().endswith(b"hello")
    assert second.ended
    idle.send(GET)
    assert stage.dial().address == "10.0.0.9:80"


def test_endpoint_that_left_gets_nothing_from_the_queue(stage_of: StageOf) -> None:
    stage = limited(stage_of, connections=1)
    first, second = asking(stage, 2)
    old = stage.accept()
    old.take()
    updated(stage.pool(), endpoint_spec("10.0.0.9"))
    old.send(OK)
    assert first.take().endswith(b"hello")
    assert old.take() == b""
    dial = stage.dial()
    assert dial.address == "10.0.0.9:80"
    dial.accept().send(OK)
    assert second.take().endswith(b"hello")


def test_other_certificates_mean_other_connections(stage: Stage) -> None:
    import ssl

    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    upstream.send(OK)
    pool = stage.pool()
    pool.update(pool.upstream, pool.upstream.endpoints, ssl.create_default_context())
    assert upstream.ended


def test_higher_limit_lets_those_in_who_wait(stage_of: StageOf) -> None:
    stage = limited(stage_of, connections=1)
    asking(stage, 3)
    stage.accept()
    assert stage.dialling() == 0
    stage.bring(shop(upstreams=[pool_spec("u", limits={"connections": 2})], generation=2))
    assert stage.dialling() == 1


def test_upstream_that_left_the_plan_finishes_what_it_has_and_leaves_no_numbers(stage_of: StageOf) -> None:
    stage = limited(stage_of, connections=1)
    idle_later, waiting = asking(stage, 2)
    upstream = stage.accept()
    stage.bring(
        shop(
            route={
                "versions": [version_spec("other", 1.0, upstream="v")],
                "default": "other",
            },
            upstreams=[pool_spec("v")],
            generation=2,
        )
    )
    assert of_upstream(stage, U_ACTIVE) == 1
    upstream.send(OK)
    stage.settle()
    assert idle_later.take().endswith(b"hello")
    assert waiting.take().startswith(b"HTTP/1.1 503 ")
    assert [of_upstream(stage, slot) for slot in range(5)] == [0] * 5


def test_dial_of_an_upstream_that_left_the_plan_leaves_no_numbers(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    dial = stage.dial()
    pool = stage.upstreams.pools.pop("u")
    pool.write_down()
    pool.close()
    dial.refuse()
    assert client.take().startswith(b"HTTP/1.1 503 ")
    place = dict(stage.ledger.blocks("upstream"))["u",]
    assert [stage.cells.view[place + slot] for slot in range(5)] == [0] * 5
    assert pool.empty


def test_draining_keeps_no_connection_it_will_not_need(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    stage.runtime.draining = True
    upstream.send(OK)
    assert upstream.ended
