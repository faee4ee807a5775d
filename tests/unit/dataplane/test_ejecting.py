"""Outlier ejection around real exchanges: what is reported, who is left alone, and what a plan leaves alone."""

import logging
import ssl
from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.outlier import CAUSES
from proxy.dataplane.pool import Pool
from proxy.telemetry.counters import E_EJECTED, E_EJECTIONS
from tests.specs import version_spec
from tests.unit.dataplane.stage import GET, OK, Spec, Stage, answer, get, mirror_spec, pool_spec, retry_spec, shop
from tests.unit.dataplane.wires import Wire

StageOf = Callable[..., Stage]

POLICY: Spec = {
    "consecutive_5xx": 3,
    "consecutive_gateway": 3,
    "interval": 10.0,
    "base_ejection": 30.0,
    "max_ejection": 300.0,
    "max_ejected_percent": 10.0,
    "success_rate": None,
    "latency": None,
}
LAST = "Connection: close"


def watched(*hosts: str, limits: Spec | None = None, slow_start: Spec | None = None, **policy: Any) -> Spec:
    return shop(
        upstreams=[pool_spec("u", *hosts, outlier=POLICY | policy, limits=limits, slow_start=slow_start)],
    )


def ask(stage: Stage, statuses: dict[str, int], seconds: float = 0.0) -> str:
    """One request; each host answers with its status. The host that was asked, or what the client got without one."""
    client = stage.client()
    client.send(get("/", LAST))
    if not stage.dialling():
        return client.take().decode()
    dial = stage.dial()
    host = dial.address.partition(":")[0]
    wire = dial.accept()
    stage.wires.append(wire)
    stage.time += seconds
    wire.send(answer(statuses.get(host, 200), LAST, body=b"x"))
    stage.settle()
    return host


def eject(stage: Stage, host: str, status: int = 500) -> None:
    """Have the endpoint answer badly until it is ejected."""
    state = next(state for state in stage.pool().states if state.endpoint.host == host)
    for _ in range(100):
        if state.standing.ejected:
            return
        ask(stage, {host: status})
    raise AssertionError("never ejected")


def ejected(stage: Stage) -> list[str]:
    found = [state.endpoint.host for state in stage.pool().states if state.standing.ejected]
    stage.upstreams.write_down()
    assert counted(stage, E_EJECTED) == len(found)
    return found


def counted(stage: Stage, slot: int) -> int:
    return sum(stage.cells.view[offset + slot] for _, offset in stage.ledger.blocks("endpoint"))


def causes(stage: Stage) -> dict[str, int]:
    found = {cause: counted(stage, E_EJECTIONS + place) for place, cause in enumerate(CAUSES)}
    return {cause: count for cause, count in found.items() if count}


def broken(stage: Stage, how: Callable[[Wire], Any]) -> None:
    """A request that the endpoint takes and does not answer."""
    client = stage.client()
    client.send(GET)
    how(stage.accept())
    stage.settle()


def test_endpoint_that_answers_badly_is_left_alone_for_its_time(
    stage_of: StageOf, caplog: pytest.LogCaptureFixture
) -> None:
    stage = stage_of(watched("a", "b", "c"))
    with caplog.at_level(logging.INFO, "tidegate.worker"):
        eject(stage, "a")
        assert ejected(stage) == ["a"]
        assert {ask(stage, {}) for _ in range(10)} == {"b", "c"}
        stage.pass_time(29.9)
        assert {ask(stage, {}) for _ in range(10)} == {"b", "c"}
        stage.pass_time(0.2)
    assert ejected(stage) == []
    assert [ask(stage, {}) for _ in range(9)].count("a") == 3
    assert causes(stage) == {"consecutive_5xx": 1}
    out, back = caplog.records
    assert (out.getMessage(), back.getMessage()) == ("endpoint ejected", "an ejected endpoint is back")
    said = out.__dict__
    assert (said["upstream"], said["endpoint"], said["cause"]) == ("u", "http://a:80", "consecutive_5xx")
    assert (said["seconds"], said["times"], said["value"], said["limit"]) == (30.0, 1, 3, 3)
    assert back.__dict__["why"] == "time"


def test_second_ejection_in_a_row_is_longer(stage_of: StageOf) -> None:
    stage = stage_of(watched("a", "b", "c"))
    eject(stage, "a")
    stage.pass_time(30.1)
    eject(stage, "a")
    stage.pass_time(59.8)
    assert ejected(stage) == ["a"]
    stage.pass_time(0.3)
    assert ejected(stage) == []


def test_healthy_intervals_are_forgiven_without_a_request(stage_of: StageOf) -> None:
    stage = stage_of(watched("a", "b", "c"))
    eject(stage, "a")
    stage.pass_time(30.1)
    assert stage.pool().states[0].standing.times == 1
    stage.pass_time(10.2)
    assert stage.pool().states[0].standing.times == 0
    assert [timed for entries in stage.runtime.wheel._turns.values() for timed in entries] == []


def test_no_more_than_the_cap_are_ejected(stage_of: StageOf) -> None:
    stage = stage_of(watched("a", "b", "c", "d"))
    for _ in range(40):
        ask(stage, dict.fromkeys("abcd", 500))
    assert len(ejected(stage)) == 1


def test_who_waits_for_a_place_among_the_ejected_gets_it_with_the_next_failure(stage_of: StageOf) -> None:
    stage = stage_of(watched("a", "b", "c"))
    for _ in range(20):
        ask(stage, {"a": 500, "b": 500})
    first = ejected(stage)
    stage.pass_time(30.1)
    while not ejected(stage):
        ask(stage, {"a": 500, "b": 500})
    assert ejected(stage) != first


@pytest.mark.parametrize(
    "how",
    [
        lambda stage, wire: wire.eof(),
        lambda stage, wire: wire.reset(),
        lambda stage, wire: wire.send(b"HTTP/1.1 nonsense\r\n\r\n"),
        lambda stage, wire: stage.pass_time(15.2),
        lambda stage, wire: wire.send(answer(503, LAST, body=b"x")),
    ],
)
def test_gateway_failures_in_a_row(stage_of: StageOf, how: Callable[[Stage, Wire], Any]) -> None:
    stage = stage_of(watched("a", consecutive_5xx=0))
    for _ in range(3):
        broken(stage, lambda wire: how(stage, wire))
    assert causes(stage) == {"consecutive_gateway": 1}


def test_connects_that_fail_are_gateway_failures(stage_of: StageOf) -> None:
    stage = stage_of(watched("a"))
    for _ in range(3):
        stage.client().send(GET)
        stage.refuse()
        stage.pass_time(2.0)
    assert causes(stage) == {"consecutive_gateway": 1}


def test_clients_that_leave_and_stale_connections_say_nothing(stage_of: StageOf) -> None:
    stage = stage_of(watched("a"))
    for _ in range(6):
        client = stage.client()
        client.send(GET)
        upstream = stage.accept()
        client.reset()
        stage.settle()
        assert upstream.ended
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    for _ in range(5):
        upstream.send(OK)
        client.send(GET)
        upstream.eof()
        upstream = stage.accept()
    assert stage.pool().states[0].standing.errors_in_row == 0


def test_only_endpoint_is_ejected_and_used_all_the_same(stage_of: StageOf) -> None:
    stage = stage_of(watched("a"))
    eject(stage, "a")
    assert ask(stage, {}) == "a"  # a panic, as the last resort


def test_share_of_successes_is_judged_at_the_end_of_the_interval(stage_of: StageOf) -> None:
    rate = {"minimum_endpoints": 3, "minimum_requests": 10, "stdev_factor": 1.0}
    stage = stage_of(watched("a", "b", "c", consecutive_5xx=0, consecutive_gateway=0, success_rate=rate))
    for number in range(60):
        ask(stage, {"b": 500 if number % 2 else 200})
    assert ejected(stage) == []
    stage.pass_time(10.2)
    assert ejected(stage) == ["b"]
    assert causes(stage) == {"success_rate": 1}


def test_endpoint_far_slower_than_the_others_is_ejected(stage_of: StageOf) -> None:
    slow = {"minimum_endpoints": 3, "minimum_requests": 5, "factor": 3.0}
    stage = stage_of(watched("a", "b", "c", interval=1000.0, latency=slow))
    for _ in range(18):
        client = stage.client()
        client.send(get("/", LAST))
        dial = stage.dial()
        wire = dial.accept()
        stage.wires.append(wire)
        stage.time += 2.0 if dial.address.startswith("c") else 0.1
        wire.send(answer(200, LAST, body=b"x"))
        stage.settle()
    stage.pass_time(1000.1)
    assert ejected(stage) == ["c"]
    assert causes(stage) == {"latency": 1}


def test_endpoint_that_is_back_starts_slowly(stage_of: StageOf) -> None:
    slow_start = {"window": 30.0, "aggression": 1.0, "minimum_percent": 10.0}
    stage = stage_of(watched("a", "b", "c", slow_start=slow_start))
    eject(stage, "a")
    stage.pass_time(30.1)
    assert stage.pool().states[0].warming(stage.time)
    assert [ask(stage, {}) for _ in range(42)].count("a") <= 4


def test_probe_that_passes_again_ends_an_ejection(stage_of: StageOf) -> None:
    stage = stage_of(watched("a", "b", "c"))
    key = stage.pool().states[0].endpoint.key
    eject(stage, "a")
    stage.upstreams.mark("u", [key], [])
    assert ejected(stage) == ["a"]
    stage.upstreams.mark("u", [], [])
    assert ejected(stage) == []


def test_who_waits_gets_the_place_of_an_ejected_endpoints_connection(stage_of: StageOf) -> None:
    stage = stage_of(watched("a", "b", limits={"connections": 1}, consecutive_5xx=1))
    clients = [stage.client(), stage.client()]
    for client in clients:
        client.send(GET)
    dial = stage.dial()
    assert dial.address == "a:80"
    wire = dial.accept()
    stage.wires.append(wire)
    wire.send(answer(500, body=b"x"))  # the connection is given back before the answer is judged: one more gets it
    assert ejected(stage) == ["a"]
    wire.send(OK)
    third = stage.client()
    third.send(GET)
    assert stage.dial().address == "b:80"
    assert wire.ended


# Plans.


def test_ejection_survives_a_plan_and_other_certificates(stage_of: StageOf) -> None:
    stage = stage_of(watched("a", "b", "c"))
    eject(stage, "a")
    stage.bring(watched("c", "a", "b", "d", base_ejection=5.0) | {"generation": 2})
    assert ejected(stage) == ["a"]
    pool = stage.pool()
    pool.update(pool.upstream, pool.upstream.endpoints, ssl.create_default_context())
    assert ejected(stage) == ["a"]
    stage.pass_time(30.1)
    assert ejected(stage) == []


def test_ejection_ends_where_it_is_configured_no_more(stage_of: StageOf) -> None:
    stage = stage_of(watched("a", "b", "c"))
    eject(stage, "a")
    stage.bring(shop(upstreams=[pool_spec("u", "a", "b", "c")], generation=2))
    assert ejected(stage) == []
    assert [timed for entries in stage.runtime.wheel._turns.values() for timed in entries] == []
    for _ in range(30):
        ask(stage, {"a": 500})
    assert ejected(stage) == []


def test_fewer_endpoints_have_fewer_ejected(stage_of: StageOf) -> None:
    hosts = [f"h{number}" for number in range(20)]
    stage = stage_of(watched(*hosts))
    eject(stage, "h0")
    stage.pass_time(1.0)
    eject(stage, "h1")
    assert ejected(stage) == ["h0", "h1"]
    stage.bring(watched(*hosts[:5]) | {"generation": 2})
    assert ejected(stage) == ["h1"]


def test_upstream_that_leaves_the_plan_leaves_nothing_behind(stage_of: StageOf) -> None:
    stage = stage_of(watched("a", "b", "c"))
    eject(stage, "a")
    other = {"versions": [version_spec("other", 1.0, upstream="v")], "default": "other"}
    stage.bring(shop(route=other, upstreams=[pool_spec("v")], generation=2))
    stage.end_everything()
    assert counted(stage, E_EJECTED) == 0
    stage.assert_nothing_left()


def test_answer_of_an_endpoint_that_left_ejects_nobody(stage_of: StageOf) -> None:
    stage = stage_of(watched("a", "b", consecutive_5xx=1))
    client = stage.client()
    client.send(GET)
    wire = stage.accept()
    stage.bring(watched("b", "c", consecutive_5xx=1) | {"generation": 2})
    wire.send(answer(500, body=b"x"))
    assert client.take().startswith(b"HTTP/1.1 500 ")
    assert causes(stage) == {}


# Where it is not configured, and shadows.


def test_nothing_is_kept_where_it_is_not_configured(stage: Stage) -> None:
    pool: Pool = stage.pool()
    assert pool._ejector is None
    for _ in range(10):
        ask(stage, {"10.0.0.1": 500})
    assert pool.states[0].standing.requests == 0


def test_shadow_ejects_only_where_its_upstream_says_so(stage_of: StageOf) -> None:
    def mirrored(outlier: Spec | None, generation: int) -> Spec:
        shadow = pool_spec("shadow", "x", "y", "z", outlier=outlier)
        return shop(
            route={"mirror": [mirror_spec("shadow")]}, upstreams=[pool_spec("u"), shadow], generation=generation
        )

    def shadowed(stage: Stage) -> list[bool]:
        for _ in range(20):
            client = stage.client()
            client.send(get("/", LAST))
            for _ in range(stage.dialling()):
                dial = stage.dial()
                wire = dial.accept()
                stage.wires.append(wire)
                wire.send(answer(500 if dial.address.startswith("x") else 200, LAST, body=b"x"))
            stage.settle()
        return [state.standing.ejected for state in stage.upstreams.shadows["shadow"].states]

    stage = stage_of(mirrored(None, 1))
    assert shadowed(stage) == [False, False, False]
    stage.bring(mirrored(POLICY, 2))
    assert shadowed(stage) == [True, False, False]
    assert [state.standing.ejected for state in stage.pool("shadow").states] == [False, False, False]


# One report for each try, at its end.


PART = answer(200, "Content-Length: 10", body=b"half ")


def reports(stage: Stage, host: str = "a") -> tuple[int, int, int]:
    """How many answers of the endpoint were reported, how many of them failed, and how many gateway failures are in a row."""
    standing = next(state.standing for state in stage.pool().states if state.endpoint.host == host)
    return standing.requests, standing.errors, standing.failures_in_row


def begun(stage: Stage, said: bytes = PART) -> tuple[Wire, Wire]:
    """A client, and the endpoint that has answered it in part."""
    client = stage.client()
    client.send(GET)
    wire = stage.accept()
    wire.send(said)
    assert client.take()
    return client, wire


@pytest.mark.parametrize("how", ["reset", "end", "silence", "nonsense"])
def test_endpoint_whose_good_answers_always_break_off_is_ejected(stage_of: StageOf, how: str) -> None:
    stage = stage_of(watched("a", consecutive_5xx=0))
    for _ in range(3):
        assert ejected(stage) == []
        client, wire = begun(stage, answer(200, "Transfer-Encoding: chunked", body=b"4\r\nhalf\r\n"))
        if how == "reset":
            wire.reset()
        elif how == "end":
            wire.eof()
        elif how == "silence":
            stage.pass_time(61.0)
        else:
            wire.send(b"nonsense\r\n")
        stage.settle()
        assert client.ended
    assert ejected(stage) == ["a"]
    assert causes(stage) == {"consecutive_gateway": 1}


def test_answer_is_reported_once_when_it_is_whole(stage_of: StageOf) -> None:
    stage = stage_of(watched("a", latency={"minimum_endpoints": 3, "minimum_requests": 100, "factor": 3.0}))
    broken(stage, lambda wire: wire.reset())
    assert reports(stage) == (1, 1, 1)
    client, wire = begun(stage)
    assert reports(stage) == (1, 1, 1)  # nobody knows yet
    stage.pass_time(2.0)
    wire.send(b"whole")
    assert client.take() == b"whole"
    assert reports(stage) == (2, 1, 0)
    standing = stage.pool().states[0].standing
    assert (standing.timed, standing.seconds) == (2, 0.0)  # to the head, not to the end


def test_error_is_known_with_its_head_and_reported_once(stage_of: StageOf) -> None:
    stage = stage_of(watched("a"))
    _, wire = begun(stage, answer(503, "Content-Length: 10", body=b"half "))
    assert reports(stage) == (1, 1, 1)
    wire.reset()
    stage.settle()
    assert reports(stage) == (1, 1, 1)


def test_stream_that_goes_on_is_good_after_a_while(stage_of: StageOf) -> None:
    stage = stage_of(watched("a"))
    broken(stage, lambda wire: wire.reset())
    _, wire = begun(stage, answer(200, "Transfer-Encoding: chunked", body=b"4\r\nhalf\r\n"))
    stage.time += 9.9
    wire.send(b"4\r\nmore\r\n")
    assert reports(stage) == (1, 1, 1)
    stage.time += 0.2
    wire.send(b"4\r\nmore\r\n")
    assert reports(stage)[2] == 0
    before = reports(stage)
    wire.reset()
    stage.settle()
    assert reports(stage) == before


@pytest.mark.parametrize("how", ["client", "drain"])
def test_answer_that_somebody_else_ended_says_nothing(stage_of: StageOf, how: str) -> None:
    stage = stage_of(watched("a"))
    client, _ = begun(stage)
    if how == "client":
        client.reset()
    else:
        for connection in [*stage.listening.clients]:
            connection.cut_short()
    stage.settle()
    assert reports(stage) == (0, 0, 0)
    assert stage.pool().requests == 0


def test_answer_that_is_held_back_for_a_retry_is_reported_with_its_head(stage_of: StageOf) -> None:
    spec = watched("a")
    spec["routes"][0]["retry"] = retry_spec("rate_limited", back_off={"base": 0.0, "max": 0.0})
    stage = stage_of(spec)
    client = stage.client()
    client.send(GET)
    first = stage.accept()
    first.send(answer(429, "Content-Length: 10", body=b"half "))
    assert reports(stage) == (1, 0, 0)
    stage.accept().send(OK)
    assert client.take().endswith(b"hello")
    first.reset()
    stage.settle()
    assert reports(stage) == (2, 0, 0)


def test_copy_is_reported_once(stage_of: StageOf) -> None:
    shadow = pool_spec("shadow", "b", outlier=POLICY)
    stage = stage_of(shop(route={"mirror": [mirror_spec()]}, upstreams=[pool_spec("u", "a"), shadow]))
    for _ in range(3):
        client = stage.client()
        client.send(GET)
        wires = [stage.accept() for _ in range(stage.dialling())]
        wires[-1].send(PART)
        wires[-1].reset()
        client.reset()
        stage.settle()
    standing = stage.upstreams.shadows["shadow"].states[0].standing
    assert (standing.requests, standing.ejected) == (3, True)


def test_connection_that_is_upgraded_is_a_success_of_its_endpoint(stage_of: StageOf) -> None:
    stage = stage_of(watched("a"))
    broken(stage, lambda wire: wire.reset())
    client = stage.client()
    client.send(get("/", "Connection: Upgrade", "Upgrade: websocket"))
    stage.accept().send(answer(101, "Connection: Upgrade", "Upgrade: websocket"))
    assert client.take().startswith(b"HTTP/1.1 101 ")
    assert reports(stage) == (2, 1, 0)
