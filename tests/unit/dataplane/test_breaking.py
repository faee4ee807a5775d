"""A version's breaker at work: who is sent where while it is open, what counts, and how workers agree."""

from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.breaker import State
from proxy.dataplane import breaking
from proxy.dataplane.upstream import UpstreamConnection
from proxy.telemetry.counters import (
    REGION_SLOTS,
    V_BREAKER_ERRORS,
    V_BREAKER_OPENED,
    V_BREAKER_REQUESTS,
    V_BREAKER_SLOW,
    V_BREAKER_STATE,
)
from tests.specs import version_spec
from tests.unit.dataplane.stage import (
    OK,
    Spec,
    Stage,
    answer,
    breaker_spec,
    get,
    pool_spec,
    retry_spec,
    shop,
    two_versions,
)
from tests.unit.dataplane.wires import Wire

StageOf = Callable[..., Stage]

ASK = get("/", "X-User-Id: u1")
BAD = answer(503, body=b"sorry")


def guarded(limits: Spec | None = None, route: Spec | None = None, **parts: Any) -> Spec:
    """All users belong to the canary, which has a breaker and falls back to stable."""
    versions = [
        version_spec("stable", 0.0, upstream="old"),
        version_spec("canary", 100.0, upstream="new", fallback="stable", breaker=breaker_spec(**parts)),
    ]
    pools = [pool_spec("old", "10.0.0.1"), pool_spec("new", "10.0.0.2", limits=limits)]
    return two_versions(route={"versions": versions} | (route or {}), upstreams=pools)


def asked(stage: Stage) -> Wire:
    """The connection on which the next request came."""
    while stage.dialling():
        stage.accept()
    return next(
        wire
        for wire in stage.wires
        if wire.sent and not wire.is_closing() and isinstance(wire.protocol, UpstreamConnection)
    )


def visit(stage: Stage, client: Wire, with_answer: bytes = OK, after: float = 0.0) -> tuple[str, bytes]:
    """One request: who was asked, and what the client got."""
    client.send(ASK)
    upstream = asked(stage)
    version = upstream.take().partition(b"x-tidegate-version: ")[2].partition(b"\r\n")[0].decode()
    if after:
        stage.pass_time(after)
    upstream.send(with_answer)
    return version, client.take()


def broken(stage: Stage) -> Wire:
    """The canary has failed four times in a row."""
    client = stage.client()
    for _ in range(4):
        version, got = visit(stage, client, BAD)
        assert version == "canary"
        assert got.endswith(b"sorry")
    return client


def state(stage: Stage) -> State:
    arm = stage.arms.arms["shop", "canary"]
    assert arm.breaker is not None
    return arm.breaker.state


def test_users_of_a_version_that_fails_go_to_its_fallback_and_come_back(stage_of: StageOf) -> None:
    stage = stage_of(guarded())
    client = broken(stage)
    assert state(stage) is State.OPEN
    assert stage.of_version(V_BREAKER_OPENED, "canary") == 1
    assert stage.of_version(V_BREAKER_STATE, "canary") == 1 << 32
    for _ in range(3):
        assert visit(stage, client)[0] == "stable"
    assert stage.codes() == {("canary", "canary", 503): 4, ("canary", "stable", 200): 3}
    stage.pass_time(5)
    assert [visit(stage, client)[0] for _ in range(3)] == ["canary"] * 3
    assert state(stage) is State.CLOSED
    assert stage.of_version(V_BREAKER_STATE, "canary") == 1
    stage.bring(two_versions(generation=2))
    stage.end_everything()
    stage.assert_nothing_left()


def test_the_fallback_is_marked_and_the_decision_stays(stage_of: StageOf) -> None:
    stage = stage_of(guarded(route={"debug": ["192.0.2.0/24"]}))
    client = broken(stage)
    got = visit(stage, client)[1]
    assert (
        b"x-tidegate-version: canary\r\nx-tidegate-served: stable\r\nx-tidegate-reason: split\r\nx-tidegate-flags: FB\r\n"
        in got
    )
    assert stage.flags() == {"5xx": 4}  # who is not asked has not failed


def test_a_failure_before_the_breaker_opened_counts_though_another_answers(stage_of: StageOf) -> None:
    retry = retry_spec("5xx", attempts=3, back_off={"base": 0.0, "max": 0.0})
    stage = stage_of(guarded(minimum_requests=2, route={"retry": retry}))
    client = stage.client()
    client.send(ASK)
    for _ in range(2):
        asked(stage).send(BAD)
    wire = asked(stage)
    while b"x-tidegate-version: stable" not in wire.take():
        wire = asked(stage)
    wire.send(OK)
    assert client.take().endswith(b"hello")
    assert state(stage) is State.OPEN
    assert stage.flags() == {"5xx": 1}


def test_without_a_fallback_an_open_breaker_answers_at_once(stage_of: StageOf) -> None:
    only = [version_spec("canary", 100.0, breaker=breaker_spec())]
    stage = stage_of(shop(route={"versions": only, "default": "canary", "errors": {"codes": [], "flags": ["UO"]}}))
    client = stage.client()
    for _ in range(4):
        visit(stage, client, answer(502, body=b"sorry"))
    stage.pass_time(0.1)
    assert state(stage) is State.CLOSED  # the route says that a 502 is no error
    stage.bring(shop(route={"versions": only, "default": "canary"}, generation=2))
    for _ in range(4):
        visit(stage, client, answer(502, body=b"sorry"))
    client.send(ASK)
    got = client.take()
    assert got.startswith(b"HTTP/1.1 503 ")
    assert b"(UO)" in got
    assert b"circuit breaker" in got
    assert stage.dialling() == 0
    assert stage.codes()["canary", "none", 503] == 1


@pytest.mark.parametrize("how", ["refuse", "reset", "silence", "cut off"])
def test_every_failure_of_the_upstream_counts(stage_of: StageOf, how: str) -> None:
    errors = {"codes": [], "flags": ["UF", "UT", "UC", "UR"]}
    stage = stage_of(guarded(minimum_requests=1, route={"errors": errors}))
    client = stage.client()
    client.send(ASK)
    if how == "refuse":
        stage.refuse()
    elif how == "silence":
        stage.accept()
        stage.pass_time(15.1)
    else:
        upstream = stage.accept()
        if how == "cut off":
            upstream.send(answer(200, "Content-Length: 9", body=b"hal"))
        upstream.reset()
    assert state(stage) is State.OPEN
    assert stage.of_version(V_BREAKER_OPENED, "canary") == 1


@pytest.mark.parametrize("how", ["reset", "silence", "cut off"])
def test_what_is_no_error_of_the_route_is_none_of_its_breakers(stage_of: StageOf, how: str) -> None:
    stage = stage_of(guarded(minimum_requests=1, route={"errors": {"codes": [503], "flags": ["UF"]}}))
    client = stage.client()
    client.send(ASK)
    upstream = stage.accept()
    if how == "silence":
        stage.pass_time(15.1)
    else:
        if how == "cut off":
            upstream.send(answer(200, "Content-Length: 9", body=b"hal"))
        upstream.reset()
    stage.settle()
    assert stage.flags() == {}
    assert state(stage) is State.CLOSED
    assert stage.of_version(V_BREAKER_REQUESTS, "canary") == 1


@pytest.mark.parametrize("how", ["leaves", "is refused"])
def test_what_the_client_or_a_limit_did_does_not(stage_of: StageOf, how: str) -> None:
    stage = stage_of(guarded(minimum_requests=1, limits={"requests": 1}))
    client, other = stage.client(), stage.client()
    client.send(ASK)
    stage.accept()
    if how == "leaves":
        client.reset()
    else:
        other.send(ASK)
        assert b"(UO)" in other.take()
    assert state(stage) is State.CLOSED
    assert stage.of_version(V_BREAKER_REQUESTS, "canary") == 0


def test_whole_exchanges_that_take_too_long_count(stage_of: StageOf) -> None:
    stage = stage_of(guarded(minimum_requests=1, route={"timeout": 1.0}))
    client = stage.client()
    client.send(ASK)
    stage.accept()
    stage.pass_time(1.1)
    assert client.take().startswith(b"HTTP/1.1 504 ")
    assert state(stage) is State.OPEN


def test_slow_answers_open_it_where_that_is_configured(stage_of: StageOf) -> None:
    stage = stage_of(guarded(error_percent=0.0, slow={"above": 1.0, "percent": 50.0}))
    client = stage.client()
    for seconds in (0.5, 0.5, 1.5):
        visit(stage, client, after=seconds)
    assert state(stage) is State.CLOSED
    assert stage.of_version(V_BREAKER_SLOW, "canary") == 1
    visit(stage, client, after=1.5)
    assert state(stage) is State.OPEN


def test_saturation_opens_it_where_that_is_configured(stage_of: StageOf) -> None:
    stage = stage_of(guarded(saturation_percent=50.0, limits={"requests": 4}))
    clients = [stage.client() for _ in range(3)]
    for client in clients[:2]:
        client.send(ASK)
        stage.pass_time(0.06)
    clients[2].send(ASK)
    assert state(stage) is State.OPEN
    assert any(b"x-tidegate-version: stable" in stage.accept().take() for _ in range(3))


def test_saturation_within_one_tick_opens_it_before_the_limit_refuses_anybody(stage_of: StageOf) -> None:
    stage = stage_of(guarded(saturation_percent=50.0, limits={"requests": 4}))
    clients = [stage.client() for _ in range(8)]
    for client in clients:
        client.send(ASK)
    assert state(stage) is State.OPEN
    asked = [stage.accept().take() for _ in clients]
    assert sum(b"x-tidegate-version: canary" in one for one in asked) == 2
    assert not any(client.take() for client in clients)


def test_a_probe_that_ends_without_a_verdict_makes_room_for_another(stage_of: StageOf) -> None:
    stage = stage_of(guarded(probes=1))
    client = broken(stage)
    stage.pass_time(5)
    leaver = stage.client()
    leaver.send(ASK)
    assert b"x-tidegate-version: canary" in asked(stage).take()
    assert state(stage) is State.HALF_OPEN
    assert visit(stage, client)[0] == "stable"  # one at a time
    leaver.reset()
    assert visit(stage, client)[0] == "canary"
    assert state(stage) is State.CLOSED


def test_a_failed_probe_opens_it_for_twice_as_long(stage_of: StageOf) -> None:
    stage = stage_of(guarded())
    client = broken(stage)
    stage.pass_time(5)
    assert visit(stage, client, BAD)[0] == "canary"
    stage.pass_time(9.9)
    assert visit(stage, client)[0] == "stable"
    stage.pass_time(0.2)
    assert visit(stage, client)[0] == "canary"
    assert stage.of_version(V_BREAKER_OPENED, "canary") == 2


def test_a_version_whose_breaker_opened_between_two_tries_is_left(stage_of: StageOf) -> None:
    stage = stage_of(guarded(minimum_requests=1, route={"retry": retry_spec("5xx", attempts=3)}))
    client = stage.client()
    client.send(ASK)
    upstream = stage.accept()
    upstream.take()
    upstream.send(BAD)
    stage.pass_time(0.3)
    again = asked(stage)
    assert b"x-tidegate-version: stable" in again.take()
    again.send(OK)
    assert client.take().endswith(b"hello")
    assert stage.codes() == {("canary", "stable", 200): 1}


# What outlives a plan, and what does not.


def test_a_reload_changes_nothing_about_an_open_breaker(stage_of: StageOf) -> None:
    stage = stage_of(guarded())
    client = broken(stage)
    stage.bring(guarded() | {"generation": 2})
    assert visit(stage, client)[0] == "stable"
    stage.bring(guarded(open=1.0) | {"generation": 3})
    assert state(stage) is State.OPEN


def test_a_breaker_that_is_configured_no_more_is_gone_with_its_numbers(stage_of: StageOf) -> None:
    stage = stage_of(guarded())
    client = broken(stage)
    client.send(ASK)
    busy = asked(stage)
    stage.bring(two_versions(generation=2))
    busy.send(OK)
    assert client.take().endswith(b"hello")
    for slot in (V_BREAKER_STATE, V_BREAKER_REQUESTS, V_BREAKER_ERRORS, V_BREAKER_SLOW):
        assert stage.of_version(slot, "canary") == 0
    assert visit(stage, client)[0] == "canary"
    assert stage.arms.arms == {}


def test_numbers_grow_old_by_the_clock(stage_of: StageOf) -> None:
    stage = stage_of(guarded())
    visit(stage, stage.client(), BAD)
    assert stage.of_version(V_BREAKER_ERRORS, "canary") == 1
    stage.pass_time(11)
    stage.arms.look()
    assert stage.of_version(V_BREAKER_REQUESTS, "canary") == 0
    assert stage.of_version(V_BREAKER_ERRORS, "canary") == 0


# Among workers.


def of_another(stage: Stage, slot: int, value: int) -> None:
    """The second worker writes this down."""
    stage.cells.view[REGION_SLOTS + dict(stage.ledger.blocks("version"))["shop", "canary"] + slot] = value


def test_shares_are_judged_on_the_totals_of_all_workers(stage_of: StageOf) -> None:
    stage = stage_of(guarded(minimum_requests=10), workers=2)
    client = stage.client()
    of_another(stage, V_BREAKER_REQUESTS, 9)
    of_another(stage, V_BREAKER_ERRORS, 3)
    visit(stage, client, BAD)
    assert state(stage) is State.CLOSED
    of_another(stage, V_BREAKER_ERRORS, 4)
    visit(stage, client, BAD)
    assert state(stage) is State.OPEN


def test_a_worker_follows_another_within_a_tick_and_counts_no_opening(stage_of: StageOf) -> None:
    stage = stage_of(guarded(), workers=2)
    client = stage.client()
    assert visit(stage, client)[0] == "canary"
    of_another(stage, V_BREAKER_OPENED, 1)
    of_another(stage, V_BREAKER_STATE, 1 << 32)
    stage.pass_time(0.1)
    assert visit(stage, client)[0] == "stable"
    assert stage.of_version(V_BREAKER_OPENED, "canary") == 0
    assert stage.of_version(V_BREAKER_STATE, "canary") == 1 << 32
    stage.pass_time(5)
    assert [visit(stage, client)[0] for _ in range(3)] == ["canary"] * 3  # it has heard of that opening already


def test_a_worker_without_traffic_closes_when_another_has(stage_of: StageOf) -> None:
    stage = stage_of(guarded(), workers=2)
    of_another(stage, V_BREAKER_OPENED, 1)
    of_another(stage, V_BREAKER_STATE, 1 << 32)
    stage.arms.look()
    assert state(stage) is State.OPEN
    stage.pass_time(5)
    stage.arms.look()
    assert state(stage) is State.HALF_OPEN
    of_another(stage, V_BREAKER_STATE, 1)
    stage.pass_time(0.1)
    stage.arms.look()
    assert state(stage) is State.CLOSED


def test_a_new_worker_begins_as_the_others_are(stage_of: StageOf) -> None:
    stage = stage_of(two_versions(), workers=2)
    of_another(stage, V_BREAKER_OPENED, 3)
    of_another(stage, V_BREAKER_STATE, 1 << 32)
    stage.bring(guarded() | {"generation": 2})
    assert state(stage) is State.OPEN


def test_what_is_told_of_a_version_without_a_breaker_is_not_heard(stage_of: StageOf) -> None:
    stage = stage_of(guarded())
    version = stage.plan.routes[0].by_name["canary"]
    arm = stage.arms.arms["shop", "canary"]
    stage.bring(two_versions(generation=2))
    assert breaking.admit(stage.runtime, version, arm, 0, stage.time) == 0
    breaking.ended(stage.runtime, version, arm, 0, True, 1.0, stage.time)
    breaking.spoiled(stage.runtime, version, arm, 0, stage.time)
    breaking.look(stage.runtime, version, arm, 0, stage.time)
    assert stage.of_version(V_BREAKER_REQUESTS, "canary") == 0


def test_workers_that_come_and_go_bring_no_openings_of_the_past(stage_of: StageOf) -> None:
    stage = stage_of(guarded())
    client = stage.client()
    assert visit(stage, client)[0] == "canary"
    of_another(stage, V_BREAKER_OPENED, 3)  # by a worker that left long ago
    stage.cells.share(2, [0, 1])
    stage.pass_time(0.1)
    assert [visit(stage, client)[0] for _ in range(2)] == ["canary"] * 2
    of_another(stage, V_BREAKER_OPENED, 4)
    stage.pass_time(0.1)
    assert visit(stage, client)[0] == "stable"


def test_a_worker_that_is_left_alone_sends_all_probes(stage_of: StageOf) -> None:
    stage = stage_of(guarded(probes=4), workers=2)
    breaker = stage.arms.arms["shop", "canary"].breaker
    assert breaker is not None
    assert breaker.wanted == 2
    stage.cells.share(1, [0])
    stage.arms.look()
    visit(stage, stage.client())
    assert breaker.wanted == 4
