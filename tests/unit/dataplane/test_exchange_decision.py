"""Who is served by whom and what is counted for it; the ids by which a request is found again."""

from collections.abc import Callable

from proxy.core.plan import DENY, OVERRIDE
from proxy.telemetry.counters import (
    BUCKETS,
    V_DURATION,
    V_IN_FLIGHT,
    V_REASONS,
    V_UPSTREAM,
)
from tests.specs import version_spec
from tests.unit.dataplane.stage import GET, OK, Stage, answer, get, pool_spec, shop, two_versions

StageOf = Callable[..., Stage]


def observed(stage: Stage, histogram: int, version: str = "stable") -> int:
    return sum(stage.of_version(histogram + 1 + bucket, version) for bucket in range(BUCKETS))


# The decision.


def test_reason_and_assignment_are_counted(stage_of: StageOf) -> None:
    rules = [{"label": "rules[0]", "units": ["qa"], "version": "stable"}]
    stage = stage_of(two_versions(route={"rules": rules}))
    client = stage.client()
    client.send(get("/", "X-User-Id: qa"))
    assert stage.of_version(V_REASONS + OVERRIDE, "stable") == 1
    assert stage.of_version(V_IN_FLIGHT, "stable") == 1
    stage.accept().send(OK)
    assert stage.of_version(V_IN_FLIGHT, "stable") == 0
    assert stage.codes() == {("stable", "stable", 200): 1}
    assert observed(stage, V_DURATION) == 1
    assert observed(stage, V_UPSTREAM) == 1


def test_unit_to_whom_every_version_is_denied_gets_403(stage_of: StageOf) -> None:
    rules = [{"label": f"rules[{n}]", "units": ["u1"], "deny": name} for n, name in enumerate(("stable", "canary"))]
    stage = stage_of(two_versions(route={"rules": rules}))
    client = stage.client()
    client.send(get("/", "X-User-Id: u1"))
    assert client.take().startswith(b"HTTP/1.1 403 ")
    assert stage.codes() == {("canary", "none", 403): 1}
    assert stage.of_version(V_REASONS + DENY, "canary") == 1
    assert stage.gauges() == {"worker()[0]": 1}


def test_newcomer_gets_a_signed_cookie_that_keeps_its_version(stage_of: StageOf) -> None:
    spec = shop(
        route={
            "unit": [{"kind": "mint_cookie", "name": "tid"}],
            "versions": [version_spec("stable", 50.0), version_spec("canary", 50.0)],
        },
        secrets={"cookie": ["secret"], "unit_hash": "k"},
    )
    stage = stage_of(spec)
    versions = set()
    for _ in range(20):
        client = stage.client()
        client.send(get("/", "Connection: close"))
        upstream = stage.accept()
        version = upstream.take().partition(b"x-tidegate-version: ")[2].partition(b"\r\n")[0]
        upstream.send(answer(200, "Connection: close", body=b"x"))
        head = client.take()
        cookie = head.partition(b"set-cookie: ")[2].partition(b";")[0].decode()
        assert cookie.startswith("tid=")
        again = stage.client()
        again.send(get("/", f"Cookie: {cookie}", "Connection: close"))
        upstream = stage.accept()
        assert version == upstream.take().partition(b"x-tidegate-version: ")[2].partition(b"\r\n")[0]
        upstream.send(answer(200, "Connection: close", body=b"x"))
        assert b"set-cookie" not in again.take()
        versions.add(version)
    assert versions == {b"stable", b"canary"}


def test_request_goes_on_under_the_plan_it_came_under(stage: Stage) -> None:
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    stage.bring(shop(route={"versions": [version_spec("other", 1.0)], "default": "other"}, generation=2))
    upstream.send(OK)
    assert client.take().endswith(b"hello")
    assert stage.codes() == {("stable", "stable", 200): 1}
    client.send(GET)
    upstream.send(OK)
    assert stage.codes() == {("stable", "stable", 200): 1, ("other", "other", 200): 1}


# Ids.


def test_request_id_and_trace_are_kept_where_they_are_valid(stage: Stage) -> None:
    client = stage.client()
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    client.send(get("/", "X-Request-Id: abc-1", f"Traceparent: {trace}", "Tracestate: a=b"))
    got = stage.accept().take()
    assert b"X-Request-Id: abc-1\r\n" in got
    assert f"Traceparent: {trace}\r\n".encode() in got
    assert b"Tracestate: a=b\r\n" in got
    assert got.lower().count(b"x-request-id") == got.lower().count(b"traceparent") == 1


def test_request_id_and_trace_are_replaced_where_they_are_not(stage: Stage) -> None:
    client = stage.client()
    client.send(get("/", "X-Request-Id: not one", "Traceparent: nonsense", "Tracestate: a=b"))
    got = stage.accept().take()
    assert b"not one" not in got
    assert b"nonsense" not in got
    assert b"Tracestate" not in got
    assert got.count(b"x-request-id: ") == got.count(b"traceparent: ") == 1


def test_debug_fields_are_for_those_who_may_see_them(stage_of: StageOf) -> None:
    stage = stage_of(two_versions(route={"debug": ["192.0.2.0/24"]}))
    insider, outsider = stage.client("192.0.2.9"), stage.client("198.51.100.1")
    insider.send(get("/", "X-User-Id: u1"))
    stage.refuse()
    stage.accept().send(OK)
    got = insider.take()
    for line in (b"x-tidegate-version: canary", b"x-tidegate-served: stable", b"x-tidegate-flags: UF,FB"):
        assert line + b"\r\n" in got
    outsider.send(get("/", "X-User-Id: u1"))
    stage.loop.run()
    for wire in stage.wires:
        wire.protocol.data_received(OK) if wire.take().startswith(b"GET") else None
    assert b"x-tidegate" not in outsider.take()


def test_failure_shows_its_request_id_once_in_the_head(stage_of: StageOf) -> None:
    stage = stage_of(shop(route={"debug": ["0.0.0.0/0"]}, upstreams=[pool_spec("u") | {"endpoints": []}]))
    client = stage.client()
    client.send(GET)
    assert client.take().partition(b"\r\n\r\n")[0].count(b"x-request-id: ") == 1
