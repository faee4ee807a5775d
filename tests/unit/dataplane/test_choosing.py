"""Which endpoint gets a request: policies, units, zones, health, drains, panic, warmth, and what was tried before."""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from proxy.core.balance import Member
from proxy.core.plan import Endpoint
from proxy.dataplane.mirror import Copy
from proxy.dataplane.pool import Pool
from proxy.telemetry.counters import E_DRAINED, E_IN_FLIGHT, E_UNHEALTHY, U_PANIC
from tests.specs import version_spec
from tests.unit.dataplane.stage import GET, OK, Spec, Stage, answer, endpoint_spec, get, mirror_spec, pool_spec, shop

StageOf = Callable[..., Stage]

SLOW = {"window": 30.0, "aggression": 1.0, "minimum_percent": 10.0}
LAST = "Connection: close"


def upstream(*hosts: str, **parts: Any) -> Spec:
    return pool_spec("u", *hosts, **parts)


def key(host: str) -> str:
    return f"{host}:80:False:"


def visit(stage: Stage, *fields: str) -> str:
    """One request, answered on a connection of its own; the host that it went to, or what the client got instead."""
    client = stage.client()
    client.send(get("/", LAST, *fields))
    if not stage.dialling():
        return client.take().decode()
    dial = stage.dial()
    wire = dial.accept()
    stage.wires.append(wire)
    wire.send(answer(200, LAST, body=b"x"))
    stage.settle()
    return dial.address.partition(":")[0]


def visits(stage: Stage, count: int) -> Counter[str]:
    return Counter(visit(stage, f"x-user-id: {number}") for number in range(count))


def homes(stage: Stage, count: int = 60) -> dict[str, str]:
    return {str(number): visit(stage, f"x-user-id: {number}") for number in range(count)}


def of_endpoints(stage: Stage, slot: int) -> dict[str, int]:
    stage.upstreams.write_down()
    found = {key[1]: stage.cells.view[offset + slot] for key, offset in stage.ledger.blocks("endpoint")}
    return {label.removeprefix("http://").removesuffix(":80"): value for label, value in found.items() if value}


def panic(stage: Stage) -> int:
    stage.upstreams.write_down()
    return stage.cells.view[dict(stage.ledger.blocks("upstream"))["u",] + U_PANIC]


def build(pool: Pool) -> None:
    while not pool.build():
        pass


# Policies.


def test_first_usable_endpoint_of_the_file_has_all(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", "b", "c", balance="first")]))
    assert visits(stage, 5) == {"a": 5}
    stage.upstreams.mark("u", [key("a")], [])
    assert visits(stage, 5) == {"b": 5}
    stage.upstreams.mark("u", [], [])
    assert visits(stage, 5) == {"a": 5}


def test_random_goes_to_all(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", "b", balance="random")]))
    found = visits(stage, 200)
    assert 60 < found["a"] < 140


def test_least_request_passes_over_the_busy(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", "b", balance="least_request")]))
    busy = stage.client()
    busy.send(GET)
    host = stage.dial().address.partition(":")[0]  # it waits for its connection
    other = "b" if host == "a" else "a"
    assert visits(stage, 10) == {other: 10}


def test_idle_connections_are_no_load(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", "b", balance="least_request")]))
    clients = [stage.client() for _ in range(4)]
    for client in clients:
        client.send(GET)
    wires = [stage.accept() for _ in clients]
    assert sorted(of_endpoints(stage, E_IN_FLIGHT).values()) == [2, 2]
    for wire in wires:
        wire.send(OK)
    assert [state.load() for state in stage.pool().states] == [0, 0]
    assert of_endpoints(stage, E_IN_FLIGHT) == {}


@pytest.mark.parametrize("balance", ["ring_hash", "maglev"])
class TestByUnit:
    """Balancing that goes by the unit."""

    def stage(self, stage_of: StageOf, balance: str, *hosts: str, **parts: Any) -> Stage:
        return stage_of(shop(upstreams=[upstream(*hosts or ("a", "b", "c"), balance=balance, **parts)]))

    def test_unit_keeps_its_endpoint(self, stage_of: StageOf, balance: str) -> None:
        stage = self.stage(stage_of, balance)
        before = homes(stage)
        assert set(before.values()) == {"a", "b", "c"}
        assert homes(stage) == before
        assert homes(self.stage(stage_of, balance, "c", "b", "a")) == before  # another worker, another order

    def test_endpoint_that_is_out_gives_its_units_to_all_others_and_gets_them_back(
        self, stage_of: StageOf, balance: str
    ) -> None:
        stage = self.stage(stage_of, balance)
        before = homes(stage)
        stage.upstreams.mark("u", [key("a")], [])
        meanwhile = homes(stage)
        assert {unit: host for unit, host in meanwhile.items() if before[unit] != "a"} == {
            unit: host for unit, host in before.items() if host != "a"
        }
        assert {meanwhile[unit] for unit, host in before.items() if host == "a"} == {"b", "c"}
        stage.upstreams.mark("u", [], [])
        assert homes(stage) == before

    def test_request_without_a_unit_goes_to_the_less_busy(self, stage_of: StageOf, balance: str) -> None:
        stage = self.stage(stage_of, balance, "a", "b")
        busy = stage.client()
        busy.send(GET)
        host = stage.dial().address.partition(":")[0]
        assert {visit(stage) for _ in range(6)} == {"b" if host == "a" else "a"}

    def test_new_endpoint_takes_its_share_once_the_table_has_it(self, stage_of: StageOf, balance: str) -> None:
        stage = self.stage(stage_of, balance)
        before = homes(stage)
        pool = stage.pool()
        endpoints = [Endpoint(endpoint_spec(host, slot=5000), 0) for host in ("a", "b", "c", "d")]
        pool.update(pool.upstream, endpoints, pool.tls)
        assert homes(stage) == before  # by the table from before
        build(pool)
        moved = {host for unit, host in homes(stage).items() if host != before[unit]}
        assert "d" in moved
        kept = sum(1 for unit, host in homes(stage).items() if host == before[unit])
        assert kept >= 35

    def test_endpoint_that_left_is_not_asked_while_the_table_still_names_it(
        self, stage_of: StageOf, balance: str
    ) -> None:
        stage = self.stage(stage_of, balance)
        pool = stage.pool()
        pool.update(pool.upstream, [state.endpoint for state in pool.states[1:]], pool.tls)
        assert set(homes(stage).values()) == {"b", "c"}
        build(pool)
        assert set(homes(stage).values()) == {"b", "c"}

    def test_table_is_built_when_the_endpoints_change_and_only_then(self, stage_of: StageOf, balance: str) -> None:
        stage = self.stage(stage_of, balance)
        table = stage.pool()._chooser._table
        stage.bring(shop(upstreams=[upstream("c", "b", "a", balance=balance)], generation=2))
        stage.upstreams.mark("u", [key("a")], [])
        homes(stage, 5)
        assert stage.pool()._chooser._table is table
        stage.bring(shop(upstreams=[upstream("a", "b", balance=balance)], generation=3))
        assert stage.pool()._chooser._table is not table
        stage.bring(shop(upstreams=[upstream("a", "b")], generation=4))
        assert stage.pool()._chooser._table is None

    def test_building_a_table_takes_many_bites(self, stage_of: StageOf, balance: str) -> None:
        stage = self.stage(stage_of, balance)
        hosts = [f"10.1.0.{number}" for number in range(100)]
        spec = shop(upstreams=[upstream(*hosts, balance=balance)], generation=2)
        from proxy.core.build import build_plan

        steps = sum(1 for _ in stage.upstreams.bring(build_plan(stage.ledger.place(spec)), {}))
        assert steps > 5

    def test_shadow_goes_by_the_unit_too(self, stage_of: StageOf, balance: str) -> None:
        spec = shop(
            route={"mirror": [mirror_spec("shadow")]},
            upstreams=[upstream("a"), pool_spec("shadow", "x", "y", "z", balance=balance)],
        )
        stage = stage_of(spec)

        def shadowed(unit: str) -> str:
            client = stage.client()
            client.send(get("/", LAST, f"x-user-id: {unit}"))
            dials = [stage.dial(), stage.dial()]
            for dial in dials:
                wire = dial.accept()
                stage.wires.append(wire)
                wire.send(answer(200, LAST, body=b"x"))
            return next(dial.address for dial in dials if not dial.address.startswith("a"))

        units = [str(number) for number in range(20)]
        before = [shadowed(unit) for unit in units]
        assert len(set(before)) == 3
        assert [shadowed(unit) for unit in units] == before


# Zones.


def zoned(*hosts: tuple[str, str], balance: str = "round_robin", own: str = "near") -> Spec:
    spec = upstream(balance=balance, own_zone=own)
    spec["endpoints"] = [endpoint_spec(host, zone=zone) for host, zone in hosts]
    return spec


NEAR_AND_FAR = (("a", "near"), ("b", "near"), ("c", "near"), ("d", "far"), ("e", "far"))


@pytest.mark.parametrize("balance", ["round_robin", "least_request", "random"])
def test_own_zone_has_all_while_it_can_take_it(stage_of: StageOf, balance: str) -> None:
    stage = stage_of(shop(upstreams=[zoned(*NEAR_AND_FAR, balance=balance)]))
    assert set(visits(stage, 60)) == {"a", "b", "c"}


@pytest.mark.parametrize("balance", ["round_robin", "least_request", "random"])
def test_what_the_own_zone_cannot_take_spills_over(stage_of: StageOf, balance: str) -> None:
    stage = stage_of(shop(upstreams=[zoned(*NEAR_AND_FAR, balance=balance) | {"panic_threshold": 0.0}]))
    stage.upstreams.mark("u", [key("a"), key("b")], [])
    found = visits(stage, 600)
    assert found["c"] / 600 == pytest.approx(1.4 / 3, abs=0.06)
    assert found["d"] / 600 == pytest.approx((1 - 1.4 / 3) / 2, abs=0.06)
    stage.upstreams.mark("u", [key("a"), key("b"), key("c")], [])
    assert set(visits(stage, 20)) == {"d", "e"}


def test_one_of_three_out_spills_little(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[zoned(*NEAR_AND_FAR)]))
    stage.upstreams.mark("u", [key("a")], [])
    found = visits(stage, 600)
    assert (found["d"] + found["e"]) / 600 == pytest.approx(1 - 1.4 * 2 / 3, abs=0.04)


@pytest.mark.parametrize("balance", ["ring_hash", "maglev", "first"])
def test_unit_and_order_do_not_hang_on_where_the_proxy_runs(stage_of: StageOf, balance: str) -> None:
    here = stage_of(shop(upstreams=[zoned(*NEAR_AND_FAR, balance=balance)]))
    there = stage_of(shop(upstreams=[zoned(*NEAR_AND_FAR, balance=balance, own="far")]))
    assert homes(here) == homes(there)


def test_zone_without_endpoints_changes_nothing(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[zoned(*NEAR_AND_FAR, own="elsewhere")]))
    assert visits(stage, 10) == dict.fromkeys("abcde", 2)


# Health and drains, as control says.


def test_unhealthy_endpoint_gets_nothing_and_then_again(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", "b", "c")]))
    stage.upstreams.mark("u", [key("b")], [])
    assert visits(stage, 8) == {"a": 4, "c": 4}
    assert of_endpoints(stage, E_UNHEALTHY) == {"b": 1}
    stage.upstreams.mark("u", [], [])
    assert visits(stage, 9)["b"] == 3
    assert of_endpoints(stage, E_UNHEALTHY) == {}


def test_drained_endpoint_finishes_what_it_has_and_gets_no_more(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", balance="first")]))
    idle, busy = stage.client(), stage.client()
    idle.send(GET)
    busy.send(GET)
    first, second = stage.accept(), stage.accept()
    first.send(OK)
    stage.upstreams.mark("u", [], [key("a")])
    assert first.ended
    assert not second.ended
    assert b"(UH)" in visit(stage).encode()  # also as the last resort
    second.send(OK)
    assert busy.take().endswith(b"hello")
    assert second.ended
    assert of_endpoints(stage, E_DRAINED) == {"a": 1}
    stage.upstreams.mark("u", [], [])
    assert visit(stage) == "a"


def test_who_waits_is_not_served_by_a_drained_endpoint(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", "b", balance="first", limits={"connections": 1})]))
    clients = [stage.client(), stage.client()]
    for client in clients:
        client.send(GET)
    wire = stage.accept()
    stage.upstreams.mark("u", [], [key("a")])
    wire.send(OK)
    assert wire.ended
    dial = stage.dial()
    assert dial.address == "b:80"
    dial.accept().send(OK)
    assert [client.take().count(b"hello") for client in clients] == [1, 1]


def test_marks_survive_plans_and_hold_for_endpoints_that_come_later(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", "b")]))
    stage.upstreams.mark("u", [key("a")], [key("z")])
    stage.bring(shop(upstreams=[upstream("a", "b", "z")], generation=2))
    assert visits(stage, 6) == {"b": 6}
    assert (of_endpoints(stage, E_UNHEALTHY), of_endpoints(stage, E_DRAINED)) == ({"a": 1}, {"z": 1})


def test_marks_hold_for_shadows_that_come_later_and_are_written_down_once(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a"), pool_spec("shadow", "x", "y")]))
    stage.upstreams.mark("shadow", [key("x")], [])
    mirrored = {"mirror": [mirror_spec("shadow")]}
    stage.bring(shop(route=mirrored, upstreams=[upstream("a"), pool_spec("shadow", "x", "y")], generation=2))
    assert [state.unhealthy for state in stage.upstreams.shadows["shadow"].states] == [True, False]
    assert of_endpoints(stage, E_UNHEALTHY) == {"x": 1}


def test_marks_hold_for_an_upstream_that_the_next_plan_has(stage_of: StageOf) -> None:
    before = {"versions": [version_spec("stable", 100.0, upstream="v")]}
    stage = stage_of(shop(upstreams=[pool_spec("v", "b")], route=before))
    stage.upstreams.mark("u", [key("a")], [])
    stage.bring(shop(upstreams=[upstream("a", "z")], generation=2))
    assert visits(stage, 4) == {"z": 4}


def test_marks_go_with_the_upstream_and_with_the_word_that_all_is_well(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a"), pool_spec("v", "b")]))
    for name in ("u", "v", "nobody"):
        stage.upstreams.mark(name, [key("x")], [])
    stage.upstreams.mark("u", [], [])
    assert set(stage.upstreams._marks) == {"v", "nobody"}
    stage.bring(shop(upstreams=[upstream("a")], generation=2))
    assert stage.upstreams._marks == {}


def test_marks_leave_no_numbers_when_the_endpoint_leaves(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", "b")]))
    stage.upstreams.mark("u", [key("a")], [key("a")])
    stage.bring(shop(upstreams=[upstream("b")], generation=2))
    assert (of_endpoints(stage, E_UNHEALTHY), of_endpoints(stage, E_DRAINED)) == ({}, {})


# Panic.


def test_health_is_ignored_where_too_few_are_well(stage_of: StageOf, caplog: pytest.LogCaptureFixture) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", "b", "c")]))
    stage.upstreams.mark("u", [key("a")], [])
    assert panic(stage) == 0
    with caplog.at_level(logging.INFO, "tidegate.worker"):
        stage.upstreams.mark("u", [key("a"), key("b")], [])
        assert visits(stage, 9) == {"a": 3, "b": 3, "c": 3}
        assert panic(stage) == 1
        stage.upstreams.mark("u", [key("a")], [])
        assert set(visits(stage, 6)) == {"b", "c"}
    assert panic(stage) == 0
    assert [record.getMessage() for record in caplog.records] == [
        "too few endpoints are well: health is ignored",
        "enough endpoints are well again: health counts",
    ]


def test_threshold_of_zero_never_panics(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", "b", "c", panic_threshold=0.0)]))
    stage.upstreams.mark("u", [key("a"), key("b")], [])
    assert visits(stage, 4) == {"c": 4}
    stage.upstreams.mark("u", [key("a"), key("b"), key("c")], [])
    assert "(UH)" in visit(stage)
    assert panic(stage) == 0


def test_panic_does_not_bring_back_the_drained(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", "b", "c")]))
    stage.upstreams.mark("u", [key("a"), key("b")], [key("c")])
    assert visits(stage, 4) == {"a": 2, "b": 2}


def test_fallback_comes_before_a_panic_in_which_nobody_is_well(stage_of: StageOf) -> None:
    from tests.unit.dataplane.stage import two_versions

    stage = stage_of(two_versions())
    stage.upstreams.mark("new", [key("10.0.0.2")], [])
    assert visit(stage) == "10.0.0.1"
    stage.upstreams.mark("old", [key("10.0.0.1")], [])
    assert visit(stage) == "10.0.0.1"  # nobody else would answer


def test_panic_passes_over_who_could_not_be_reached(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", "b", balance="first")]))
    stage.upstreams.mark("u", [key("a"), key("b")], [])
    client = stage.client()
    client.send(get("/", LAST))
    stage.refuse()
    assert stage.dial().address == "b:80"
    assert visits(stage, 3) == {"b": 3}


# Slow start.


def test_newcomer_starts_slowly_and_the_first_endpoints_do_not(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", "b", slow_start=SLOW)]))
    assert visits(stage, 20) == {"a": 10, "b": 10}
    stage.bring(shop(upstreams=[upstream("a", "b", "c", slow_start=SLOW)], generation=2))
    assert [state.warming(stage.time) for state in stage.pool().states] == [False, False, True]
    shares = []
    for _ in range(4):
        shares.append(visits(stage, 210)["c"] / 210)
        stage.pass_time(10.1)
    assert shares == pytest.approx([0.1 / 2.1, 0.337 / 2.337, 0.673 / 2.673, 1 / 3], abs=0.02)
    assert [state.warming(stage.time) for state in stage.pool().states] == [False, False, False]


@pytest.mark.parametrize("marks", [([key("a")], []), ([], [key("a")])])
def test_endpoint_that_comes_back_starts_slowly(stage_of: StageOf, marks: tuple[list[str], list[str]]) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", "b", "c", slow_start=SLOW)]))
    stage.upstreams.mark("u", *marks)
    visits(stage, 5)
    stage.upstreams.mark("u", [], [])
    assert visits(stage, 210)["a"] == pytest.approx(10, abs=2)


def test_endpoint_that_was_gone_for_a_while_starts_slowly(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", slow_start=SLOW)]))
    for _ in range(2):
        stage.client().send(get("/", LAST))
        stage.refuse()
    stage.pass_time(1.0)
    assert visit(stage) == "a"
    assert stage.pool().states[0].warming(stage.time)


def test_connection_knows_whether_its_endpoint_is_warming(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", slow_start=SLOW)]))
    stage.upstreams.mark("u", [], [key("a")])
    stage.upstreams.mark("u", [], [])
    stage.client().send(GET)
    connection = stage.accept().protocol
    assert connection.endpoint.warming(stage.time)
    assert not connection.endpoint.warming(stage.time + 30.0)


def test_other_window_counts_from_when_the_endpoint_became_usable(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", "b")]))
    stage.bring(shop(upstreams=[upstream("a", "b", "c")], generation=2))
    assert not stage.pool().states[2].warming(stage.time)
    stage.pass_time(10.0)
    stage.bring(shop(upstreams=[upstream("a", "b", "c", slow_start=SLOW)], generation=3))
    assert stage.pool().states[2].warming(stage.time + 19.0)
    assert not stage.pool().states[2].warming(stage.time + 21.0)


def test_warming_endpoint_alone_has_all(stage_of: StageOf) -> None:
    stage = stage_of(shop(upstreams=[upstream("a", slow_start=SLOW)]))
    stage.upstreams.mark("u", [key("a")], [])
    stage.upstreams.mark("u", [], [])
    assert visits(stage, 3) == {"a": 3}


# What was tried before.


@pytest.fixture
def trying(stage_of: StageOf) -> Iterator[Callable[..., str]]:
    """Asks a pool for an endpoint, as an exchange that tries again does."""

    def ask(stage: Stage, avoid: list[Member] | None, unit: int | None = None) -> str:
        plan = stage.plan
        copy = Copy(stage.upstreams, plan.routes[0].mirrors[0], _request(), b"")
        claim = stage.pool().acquire(copy, False, True, unit, avoid)
        dial = stage.dial()
        assert claim is not None
        claim.cancel()  # type: ignore[union-attr]
        dial.refuse()
        stage.pool().finished()
        for state in stage.pool().states:
            state.down_until = 0.0
        stage.pool()._chooser.stir()
        return dial.address.partition(":")[0]

    return ask


def _request() -> Any:
    from tests.specs import request_head

    return request_head()


@pytest.mark.parametrize("balance", ["round_robin", "least_request", "ring_hash", "maglev", "random", "first"])
def test_endpoint_that_was_tried_is_chosen_only_where_there_is_no_other(
    stage_of: StageOf, trying: Callable[..., str], balance: str
) -> None:
    spec = shop(
        route={"mirror": [mirror_spec("shadow")]},
        upstreams=[upstream("a", "b", "c", balance=balance), pool_spec("shadow")],
    )
    stage = stage_of(spec)
    a, b, c = stage.pool().states
    for unit in (None, 1, 2, 3):
        assert {trying(stage, [a, b], unit) for _ in range(4)} == {"c"}
        assert trying(stage, [b], unit) in ("a", "c")
        assert trying(stage, [a, b, c], unit) in ("a", "b", "c")
        assert trying(stage, [], unit) in ("a", "b", "c")
