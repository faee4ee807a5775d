"""Requests at once: who gets a place, who waits how long, who is shed, and what is left of it when they have gone."""

from collections.abc import Callable

import pytest

from proxy.core.admission import Admission
from proxy.errors import LS, UO
from proxy.telemetry.counters import (
    LIMITED_ADMISSION,
    LIMITED_QUEUE_FULL,
    LIMITED_QUEUE_TIMEOUT,
    LIMITED_SHED,
    REGION_SLOTS,
    V_ADMITTED,
    V_FLAGS,
    V_LIMIT,
    V_LIMITED,
    V_QUEUED,
)
from tests.specs import version_spec
from tests.unit.dataplane.stage import OK, Spec, Stage, answer, breaker_spec, get, pool_spec, shop, two_versions
from tests.unit.dataplane.wires import Wire

StageOf = Callable[..., Stage]
ADAPTIVE = {
    "minimum": 2, "maximum": 100, "buffer_percent": 25.0, "samples": 4, "interval": 60.0, "jitter_percent": 0.0,
}  # fmt: skip


def concurrency(limit: int = 2, **parts: object) -> Spec:
    return {
        "limit": limit, "queue": 2, "queue_timeout": 0.5, "shed_at_percent": 80.0, "shed_first": [], "adaptive": None,
    } | parts  # fmt: skip


def limited(limit: int = 2, *, route: Spec | None = None, **parts: object) -> Spec:
    return shop(route={"concurrency": concurrency(limit, **parts)} | (route or {}))


def two(limit: int = 5, **parts: object) -> Spec:
    """Users whose name begins with c are the canary's."""
    versions = [version_spec("stable", 100.0), version_spec("canary", 0.0, fallback="stable")]
    rules = [{"label": "rules[0]", "units": [f"c{number}" for number in range(20)], "version": "canary"}]
    return limited(limit, route={"versions": versions, "rules": rules}, **parts)


def come(stage: Stage, *fields: str) -> Wire:
    client = stage.client()
    client.send(get("/", *fields))
    stage.settle()
    return client


def upstreams(stage: Stage) -> list[Wire]:
    """Who is asked now."""
    return [stage.accept() for _ in range(stage.dialling())]


def other_worker(stage: Stage, slot: int, value: int, version: str = "stable") -> None:
    """What the second worker has written down of a version."""
    stage.cells.view[REGION_SLOTS + dict(stage.ledger.blocks("version"))["shop", version] + slot] = value


def leave_nothing(stage: Stage) -> None:
    stage.end_everything()
    stage.pass_time(1.0)
    for _, offset in stage.ledger.blocks("version"):
        stage.cells.view[offset + V_LIMIT] = 0  # it stays: what was learned is no business under way
    stage.assert_nothing_left()


def test_beyond_the_limit_requests_wait_in_the_order_of_coming(stage_of: StageOf):
    stage = stage_of(limited(2))
    clients = [come(stage) for _ in range(4)]
    first, second = upstreams(stage)
    assert stage.of_version(V_ADMITTED) == 2
    assert stage.of_version(V_QUEUED) == 2
    first.send(OK)
    assert clients[0].take().endswith(b"hello")
    assert stage.of_version(V_QUEUED) == 1
    first.send(OK)  # the third has the connection
    assert clients[2].take().endswith(b"hello")
    assert not clients[3].take()
    second.send(OK)
    first.send(OK)
    assert clients[3].take().endswith(b"hello")
    assert stage.of_version(V_ADMITTED) == stage.of_version(V_QUEUED) == 0
    leave_nothing(stage)


def test_where_too_many_wait_a_request_is_refused(stage_of: StageOf):
    stage = stage_of(limited(1, queue=1))
    come(stage)
    come(stage)
    refused = come(stage).take()
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 1\r\n" in refused
    assert b"(UO)" in refused
    assert stage.of_version(V_LIMITED + LIMITED_QUEUE_FULL) == 1
    assert stage.of_version(V_QUEUED) == 1
    assert stage.codes() == {("stable", "none", 503): 1}
    leave_nothing(stage)


def test_without_a_queue_the_limit_is_the_end(stage_of: StageOf):
    stage = stage_of(limited(1, queue=0))
    come(stage)
    assert come(stage).take().startswith(b"HTTP/1.1 503 ")


def test_who_waited_too_long_is_refused_with_his_flag_in_the_log(stage_of: StageOf):
    stage = stage_of(limited(1, queue_timeout=1.5) | {"access_log": True})
    come(stage)
    waiting = come(stage)
    stage.pass_time(1.4)
    assert not waiting.take()
    stage.pass_time(0.2)
    refused = waiting.take()
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 2\r\n" in refused
    assert stage.of_version(V_LIMITED + LIMITED_QUEUE_TIMEOUT) == 1
    assert stage.of_version(V_QUEUED) == 0
    assert b'"status":503,"flag":"UO"' in stage.runtime._lines[-1]
    waiting.send(get())  # the connection is as good as before
    upstreams(stage)[0].send(OK)
    stage.accept().send(OK) if stage.dialling() else None
    leave_nothing(stage)


def test_overflow_counts_as_an_error_only_where_the_route_says_so(stage_of: StageOf):
    errors = {"codes": [], "flags": ["UO"]}
    stage = stage_of(limited(1, queue=0, route={"errors": errors}))
    come(stage)
    come(stage)
    assert stage.of_version(V_FLAGS + UO.index) == 1


def test_client_that_leaves_gives_up_its_turn(stage_of: StageOf):
    stage = stage_of(limited(1))
    come(stage)
    leaving, staying = come(stage), come(stage)
    leaving.reset()
    assert stage.of_version(V_QUEUED) == 1
    upstream = upstreams(stage)[0]
    upstream.send(OK)
    upstream.send(OK)
    assert staying.take().endswith(b"hello")
    leave_nothing(stage)


def test_client_that_leaves_gives_up_its_place(stage_of: StageOf):
    stage = stage_of(limited(1))
    leaving, staying = come(stage), come(stage)
    leaving.reset()
    stage.settle()
    assert stage.of_version(V_ADMITTED) == 1
    assert stage.of_version(V_QUEUED) == 0
    for upstream in upstreams(stage):
        upstream.send(OK)
    assert staying.take().endswith(b"hello")


def test_body_comes_through_after_the_wait(stage_of: StageOf):
    stage = stage_of(limited(1))
    come(stage)
    client = stage.client()
    client.send(get("/", "Content-Length: 10", method="POST", body=b"hello"))
    assert not client.reading
    upstream = upstreams(stage)[0]
    upstream.send(OK)
    upstream.take()
    assert client.reading
    client.send(b"world")
    upstream.send(OK)
    assert client.take().endswith(b"hello")
    leave_nothing(stage)


def test_failing_upstream_gives_the_place_back(stage_of: StageOf):
    stage = stage_of(limited(1))
    first, second = come(stage), come(stage)
    stage.refuse()
    assert first.take().startswith(b"HTTP/1.1 503 ")
    stage.settle()
    assert stage.of_version(V_QUEUED) == 0
    stage.end_everything()
    assert second.lost
    leave_nothing(stage)


def test_tunnel_holds_no_place(stage_of: StageOf):
    stage = stage_of(limited(1))
    come(stage, "Connection: upgrade", "Upgrade: websocket")
    stage.accept().send(answer(101, "Connection: upgrade", "Upgrade: websocket"))
    assert stage.of_version(V_ADMITTED) == 0


# Canary first.


def test_canary_is_shed_first_and_the_rest_goes_on_up_to_the_limit(stage_of: StageOf):
    stage = stage_of(two(5, shed_first=["canary"]))
    clients = [come(stage, f"x-user-id: c{number}") for number in range(5)]
    assert [bool(client.take()) for client in clients] == [False] * 4 + [True]  # from 80 % of 5 on
    shed = come(stage, "x-user-id: c7").take()
    assert shed.startswith(b"HTTP/1.1 503 ")
    assert b"(LS)" in shed
    assert b"\r\nretry-after: 1\r\n" in shed
    assert stage.of_version(V_LIMITED + LIMITED_SHED, "canary") == 2
    assert stage.of_version(V_FLAGS + LS.index, "canary") == 0  # not an error of the canary's
    assert not come(stage, "x-user-id: s").take()
    assert stage.of_version(V_ADMITTED) == 1
    come(stage, "x-user-id: s")
    assert stage.of_version(V_QUEUED) == 1
    assert stage.of_version(V_LIMITED + LIMITED_SHED) == 0
    leave_nothing(stage)


# Several workers.


def test_limit_is_a_total_over_the_workers(stage_of: StageOf):
    stage = stage_of(two(3), workers=2)
    other_worker(stage, V_ADMITTED, 1)
    other_worker(stage, V_ADMITTED, 1, "canary")
    come(stage)
    come(stage)
    assert stage.of_version(V_ADMITTED) == 1
    assert stage.of_version(V_QUEUED) == 1


def test_place_that_another_worker_left_is_found_by_the_clock(stage_of: StageOf):
    stage = stage_of(limited(2), workers=2)
    other_worker(stage, V_ADMITTED, 2)
    client = come(stage)
    stage.arms.look_round()
    assert stage.dialling() == 0
    other_worker(stage, V_ADMITTED, 1)
    stage.arms.look_round()
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")


def test_place_that_another_worker_left_is_found_by_who_comes_but_not_for_himself(stage_of: StageOf):
    stage = stage_of(limited(1), workers=2)
    other_worker(stage, V_ADMITTED, 1)
    first = come(stage)
    other_worker(stage, V_ADMITTED, 0)
    second = come(stage)
    stage.accept().send(OK)
    assert first.take().endswith(b"hello")
    assert not second.take()


def test_place_that_another_worker_left_is_found_at_the_last_moment(stage_of: StageOf):
    stage = stage_of(limited(1), workers=2)
    other_worker(stage, V_ADMITTED, 1)
    client = come(stage)
    other_worker(stage, V_ADMITTED, 0)
    stage.pass_time(0.6)
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")


def test_nobody_goes_beyond_his_share_while_others_wait(stage_of: StageOf):
    stage = stage_of(limited(4), workers=2)
    clients = [come(stage) for _ in range(3)]
    assert stage.of_version(V_ADMITTED) == 3  # nobody else wanted them
    other_worker(stage, V_QUEUED, 1)
    come(stage)
    assert stage.of_version(V_ADMITTED) == 3
    assert stage.of_version(V_QUEUED) == 1
    upstream = upstreams(stage)[0]
    upstream.send(OK)
    assert clients[0].take()
    assert stage.of_version(V_ADMITTED) == 2  # of the two free ones none is beyond the share
    other_worker(stage, V_QUEUED, 0)
    stage.arms.look_round()
    assert stage.of_version(V_ADMITTED) == 3


def test_one_place_for_two_workers_goes_round(stage_of: StageOf):
    stage = stage_of(limited(1), workers=2)
    come(stage)
    come(stage)
    other_worker(stage, V_QUEUED, 1)
    stage.accept().send(OK)
    assert stage.of_version(V_ADMITTED) == 0  # left to the other, though one of ours waits
    stage.arms.look_round()
    assert stage.of_version(V_ADMITTED) == 0
    stage.arms.look_round()  # the other did not want it after all
    assert stage.of_version(V_ADMITTED) == 1


def test_queue_is_a_total_over_the_workers(stage_of: StageOf):
    stage = stage_of(limited(1, queue=3), workers=2)
    other_worker(stage, V_ADMITTED, 1)
    other_worker(stage, V_QUEUED, 2)
    assert not come(stage).take()
    assert come(stage).take().startswith(b"HTTP/1.1 503 ")
    assert stage.of_version(V_QUEUED) == 1


# Reloads.


def test_places_and_queue_survive_a_reload(stage_of: StageOf):
    stage = stage_of(limited(1))
    first, second = come(stage), come(stage)
    stage.bring(limited(2) | {"generation": 2})
    third = come(stage)  # it waits behind the second, which now finds a place
    assert stage.of_version(V_ADMITTED) == 2
    one, other = upstreams(stage)
    one.send(OK)
    one.send(OK)
    other.send(OK)
    assert [client.take().count(b"hello") for client in (first, second, third)] == [1, 1, 1]
    leave_nothing(stage)


def test_limit_taken_away_by_a_reload_leaves_nobody_behind(stage_of: StageOf):
    stage = stage_of(limited(1))
    come(stage)
    waiting = come(stage)
    stage.bring(shop() | {"generation": 2})
    stage.pass_time(0.6)
    assert waiting.take().startswith(b"HTTP/1.1 503 ")
    leave_nothing(stage)


# Following the latency.


def served(stage: Stage, seconds: float, times: int) -> None:
    """So many requests, one after another, each answered after so many seconds."""
    client = stage.client()
    for _ in range(times):
        client.send(get())
        upstream = next((wire for wire in reversed(stage.wires) if b"x-tidegate-route" in b"".join(wire.sent)), None)
        if upstream is None:
            upstream = stage.accept()
        upstream.take()
        stage.time += seconds
        upstream.send(OK)
        assert client.take().endswith(b"hello")


def test_limit_that_follows_is_shared_and_survives_a_reload(stage_of: StageOf):
    spec = limited(4, adaptive=ADAPTIVE)
    stage = stage_of(spec)
    served(stage, 0.1, 40)
    arm = stage.plan.routes[0].versions[0].arm
    assert arm is not None
    assert arm.adaptive is not None
    assert arm.adaptive.floor == pytest.approx(0.1)
    assert stage.of_version(V_LIMIT) == 4
    served(stage, 0.4, 12)  # one at a time, but four times as slow: the limit goes down
    assert stage.of_version(V_LIMIT) == 2
    stage.bring(spec | {"generation": 2})
    assert stage.plan.routes[0].versions[0].arm is arm
    clients = [come(stage) for _ in range(3)]
    assert stage.of_version(V_ADMITTED) == 2
    assert stage.of_version(V_QUEUED) == 1
    assert len(clients) == 3
    stage.bring(limited(4) | {"generation": 3})
    assert stage.of_version(V_LIMIT) == 0
    leave_nothing(stage)


def test_version_at_its_own_limit_does_not_hold_up_the_other(stage_of: StageOf):
    stage = stage_of(two(2, adaptive=ADAPTIVE))
    for number in range(3):
        come(stage, f"x-user-id: c{number}")
    assert stage.of_version(V_QUEUED, "canary") == 1
    come(stage, "x-user-id: s")
    assert stage.of_version(V_ADMITTED) == 1
    leave_nothing(stage)


def test_shedding_looks_at_the_sum_of_limits_that_follow(stage_of: StageOf):
    stage = stage_of(two(2, adaptive=ADAPTIVE, shed_first=["canary"], shed_at_percent=50.0))
    come(stage, "x-user-id: s1")
    assert not come(stage, "x-user-id: c1").take()
    assert come(stage, "x-user-id: c2").take().startswith(b"HTTP/1.1 503 ")  # two of four are taken


def test_timeouts_are_samples_and_failed_connects_are_not(stage_of: StageOf):
    spec = shop(
        route={"concurrency": concurrency(4, adaptive=ADAPTIVE)},
        upstreams=[pool_spec("u", timeouts={"response": 2.0})],
    )
    stage = stage_of(spec)
    served(stage, 0.1, 40)
    for _ in range(12):
        client = come(stage)
        for _ in upstreams(stage):
            pass
        stage.pass_time(2.2)
        assert client.take().startswith(b"HTTP/1.1 504 ")
    assert stage.of_version(V_LIMIT) == 2


def test_a_plan_with_more_places_lets_those_in_who_wait(stage_of: StageOf):
    stage = stage_of(limited(1, queue_timeout=30.0))
    come(stage)
    waiting = come(stage)
    assert stage.of_version(V_QUEUED) == 1
    stage.bring(limited(2, queue_timeout=30.0) | {"generation": 2})
    assert stage.of_version(V_QUEUED) == 0
    assert stage.of_version(V_ADMITTED) == 2
    for wire in upstreams(stage):
        wire.send(OK)
    assert waiting.take().endswith(b"hello")
    leave_nothing(stage)


# Admission.


ADMISSION = {
    "success_percent": 95.0, "aggression": 1.0, "window": 10.0, "maximum_percent": 80.0, "minimum_rate": 0.5,
}  # fmt: skip


def visits(stage: Stage, times: int, said: bytes = OK) -> list[int]:
    statuses = []
    for _ in range(times):
        client = come(stage)
        for upstream in upstreams(stage):
            upstream.send(said)
        for wire in stage.wires:
            if wire is not client and not wire.ended and wire.take():
                wire.send(said)
        statuses.append(int(client.take()[9:12]))
        client.reset()
    return statuses


def test_version_that_fails_gets_less_until_it_is_well_again(stage_of: StageOf):
    stage = stage_of(shop(route={"admission": ADMISSION}))
    failed = answer(500, body=b"no")
    assert visits(stage, 20) == [200] * 20
    statuses = visits(stage, 300, failed)
    refused = statuses.count(503)
    assert stage.of_version(V_LIMITED + LIMITED_ADMISSION) == refused
    assert 180 < refused < 230  # 4 of 5 at the end, none at the beginning: 205 in the mean of many seeds
    assert 0.7 < statuses[-100:].count(503) / 100 < 0.9
    assert stage.of_version(V_FLAGS + LS.index) == 0
    stage.time += 11.0
    assert visits(stage, 50) == [200] * 50
    stage.end_everything()
    stage.assert_nothing_left()


def test_share_refused_survives_a_reload(stage_of: StageOf):
    spec = shop(route={"admission": ADMISSION})
    stage = stage_of(spec)
    visits(stage, 100, answer(500, body=b"no"))
    stage.bring(spec | {"generation": 2})
    assert visits(stage, 50).count(503) > 15


def test_refusal_says_when_to_come_again(stage_of: StageOf):
    stage = stage_of(shop(route={"admission": ADMISSION}))
    visits(stage, 100, answer(500, body=b"no"))
    said = b""
    while not said:
        said = come(stage).take()
    assert b"\r\nretry-after: 1\r\n" in said
    assert b"(LS)" in said


def test_clients_faults_say_nothing_of_the_version(stage_of: StageOf):
    stage = stage_of(shop(route={"admission": ADMISSION}))
    for _ in range(30):
        client = come(stage)
        client.reset()
        stage.settle()
    arm = stage.plan.routes[0].versions[0].arm
    assert arm is not None
    assert arm.admission is not None
    assert arm.admission.requests == 0
    assert visits(stage, 3, answer(404, body=b"no")) == [404] * 3
    assert (arm.admission.requests, arm.admission.good) == (3, 3)


def of_canary(stage: Stage) -> Admission:
    arm = stage.arms.arms["shop", "canary"]
    assert arm.admission is not None
    return arm.admission


def test_version_that_was_not_asked_is_not_judged(stage_of: StageOf):
    stage = stage_of(two_versions(route={"admission": ADMISSION}))
    stage.upstreams.mark("new", frozenset({stage.pool("new").states[0].endpoint.key}), frozenset())
    assert visits(stage, 60) == [200] * 60
    assert stage.codes() == {("canary", "stable", 200): 60}
    assert of_canary(stage).requests == 0
    stage.upstreams.mark("new", frozenset(), frozenset())
    assert visits(stage, 5, answer(500, body=b"no")) == [500] * 5
    assert (of_canary(stage).requests, of_canary(stage).good) == (5, 0)


def test_admission_leaves_a_version_to_its_breaker_and_begins_anew_when_that_closes(stage_of: StageOf):
    versions = [
        version_spec("stable", 0.0, upstream="old"),
        version_spec("canary", 100.0, upstream="new", fallback="stable", breaker=breaker_spec(minimum_requests=20)),
    ]
    stage = stage_of(two_versions(route={"versions": versions, "admission": ADMISSION | {"window": 30.0}}))
    assert visits(stage, 100, answer(500, body=b"no")).count(503) < 40  # until the breaker opens
    assert of_canary(stage).refused_share(stage.time) > 0.5
    assert stage.codes()["canary", "stable", 500] > 40  # nobody is turned away any more, and the fallback is asked
    assert visits(stage, 50) == [200] * 50
    stage.time += 5.1
    assert visits(stage, 2) == [200] * 2  # the probes
    assert of_canary(stage).requests <= 1
    assert visits(stage, 50) == [200] * 50
    assert stage.codes()["canary", "canary", 200] == 52


def test_both_at_once(stage_of: StageOf):
    stage = stage_of(limited(2, route={"admission": ADMISSION}))
    assert 503 in visits(stage, 50, answer(500, body=b"no"))
    assert stage.of_version(V_ADMITTED) == 0
    leave_nothing(stage)
