"""Who is served by whom and what is counted for it; the ids by which a request is found again."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.plan import DENY, HOLDOUT, KILL, LAYER, OVERRIDE, REASONS, RING, STICKY, Rule
from proxy.core.request import Request
from proxy.telemetry.counters import (
    BUCKETS,
    V_DURATION,
    V_IN_FLIGHT,
    V_REASONS,
    V_UPSTREAM,
)
from tests.specs import version_spec
from tests.unit.dataplane.stage import GET, OK, Stage, answer, get, pool_spec, shop, two_versions

Spec = dict[str, Any]
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


@pytest.mark.parametrize("timed", [False, True])
def test_matchers_know_the_unit_and_where_the_plan_has_to_do_with_time_also_the_time(
    stage_of: StageOf, timed: bool
) -> None:
    rules = [{"label": "rules[0]", "where": {"source": "path", "test": "is", "value": "/x"}, "version": "stable"}]
    stage = stage_of(two_versions(route={"rules": rules}, timed=timed))
    route = stage.plan.routes[0]
    seen: list[tuple[bytes | None, float]] = []

    def look(request: Request) -> bool:
        seen.append((request.unit, request.at))
        return False

    route.segment_rules.append(Rule(rules[0] | {"label": "look"}, route.by_name, route.salt, look))
    stage.client().send(get("/", "X-User-Id: alice"))
    stage.accept().send(OK)
    assert seen == [(b"alice", stage.runtime.wall() if timed else 0.0)]


ALL_CANARY = [version_spec("stable", 0.0, upstream="old"), version_spec("canary", 100.0, upstream="new")]
KILLED = [ALL_CANARY[0], ALL_CANARY[1] | {"kill": {"until": 0.0}}]
IN_NOBODY = {"label": "rings[0]", "version": "canary", "order": ["all"], "open": "all", "until": 0.0}
KEPT_OUT: list[tuple[int, str, Spec]] = [
    (KILL, "stable", {"kill": [{"label": "kill", "until": 0.0}]}),
    (KILL, "stable", {"versions": KILLED}),
    (RING, "canary", {"rings": [IN_NOBODY]}),
    (HOLDOUT, "stable", {"holdout": {"name": "h", "salt": "h", "percent": 100.0, "until": 0.0}}),
    (LAYER, "stable", {"layer": {"name": "l", "salt": "l", "from": 99.999, "to": 100.0}}),
]


@pytest.mark.parametrize(
    ("reason", "version", "parts"), KEPT_OUT, ids=[f"{REASONS[one[0]]}-{one[1]}" for one in KEPT_OUT]
)
def test_who_is_kept_in_or_out_is_counted_and_logged_by_the_reason(
    stage_of: StageOf, reason: int, version: str, parts: Spec
) -> None:
    everybody = {"name": "all", "where": {"source": "header", "name": "x-user-id", "test": "exists", "value": True}}
    route = {"versions": ALL_CANARY, "default": "stable"} | parts
    stage = stage_of(two_versions(route=route, segments=[everybody], access_log=True))
    client = stage.client()
    client.send(get("/", "X-User-Id: alice"))
    upstream = stage.accept()
    assert f"x-tidegate-version: {version}\r\n".encode() in upstream.take()
    upstream.send(OK)
    assert stage.of_version(V_REASONS + reason, version) == 1
    assert stage.codes() == {(version, version, 200): 1}
    (line,) = stage.runtime._lines
    logged = json.loads(line)
    assert (logged["assigned"], logged["reason"]) == (version, REASONS[reason])


def test_an_end_takes_effect_while_the_plan_stays(stage_of: StageOf) -> None:
    """The time of day is looked at for each request, in a plan that has to do with time."""
    stage = stage_of(two_versions())
    until = stage.runtime.wall() + 5.0
    kill = [{"label": "kill", "until": until}]
    stage.bring(two_versions(route={"versions": ALL_CANARY, "default": "stable", "kill": kill}, timed=True))
    for version in ("stable", "canary", "canary"):
        client = stage.client()
        client.send(get("/", "X-User-Id: alice", "Connection: close"))
        upstream = stage.accept()
        assert f"x-tidegate-version: {version}\r\n".encode() in upstream.take()
        upstream.send(answer(200, "Connection: close", body=b"x"))
        stage.pass_time(5.0)


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


@pytest.mark.parametrize(("trusted", "served"), [(["10.0.0.0/8"], "canary"), (["192.0.2.0/24"], "stable")])
def test_field_counts_as_trusted_where_the_peer_is(stage_of: StageOf, trusted: list[str], served: str) -> None:
    where = {"source": "header", "name": "x-geo-city", "trusted": True, "test": "is", "value": "Oslo"}
    route = {
        "versions": [version_spec("stable", 100.0), version_spec("canary")],
        "rules": [{"label": "rules[0]", "where": where, "version": "canary"}],
    }
    stage = stage_of(shop(route=route, trusted_proxies=trusted))
    client = stage.client("10.1.2.3")
    client.send(get("/", "X-Geo-City: Oslo", "X-Forwarded-For: 192.0.2.9"))
    assert stage.of_version(V_IN_FLIGHT, served) == 1


# Records of what was given.


def keeping(stable: float, canary: float, mode: str = "pinned", **parts: Any) -> Spec:
    return shop(
        route={
            "versions": [version_spec("stable", stable), version_spec("canary", canary)],
            "stickiness": {"mode": mode, "cookie": "kept", "max_age": 800.0, "drain": 100.0, "until": "", "step": 0},
        }
        | parts,
        secrets={"cookie": ["secret"], "unit_hash": "k"},
        timed=True,
    )


def visit(stage: Stage, unit: str, cookie: str = "", *, tls: bool = False) -> tuple[str, list[str], bytes]:
    """The version asked, the cookie lines of the answer without names, and its head."""
    client = stage.client(tls=tls)
    fields = [f"X-User-Id: {unit}", "Connection: close"] + ([f"Cookie: kept={cookie}"] if cookie else [])
    client.send(get("/", *fields))
    upstream = stage.accept()
    version = upstream.take().partition(b"x-tidegate-version: ")[2].partition(b"\r\n")[0].decode()
    upstream.send(answer(200, "Cache-Control: public, max-age=60", "Connection: close", body=b"x"))
    head = client.take()
    lines = [line.decode() for line in head.split(b"\r\n") if line.startswith(b"set-cookie: ")]
    return version, [line.removeprefix("set-cookie: kept=") for line in lines], head


def test_unit_keeps_its_version_when_the_weights_change(stage_of: StageOf) -> None:
    stage = stage_of(keeping(0.0, 100.0))
    version, (line,), head = visit(stage, "ann")
    cookie, _, attributes = line.partition("; ")
    assert (version, attributes) == ("canary", "Path=/; HttpOnly; SameSite=Lax; Max-Age=800")
    assert b"\r\ncache-control: no-store\r\n" in head
    stage.bring(keeping(99.0, 1.0))
    assert visit(stage, "ann", cookie)[:2] == ("canary", [])
    assert stage.of_version(V_REASONS + STICKY, "canary") == 1
    assert b"no-store" not in visit(stage, "ann", cookie)[2]
    assert visit(stage, "bob", cookie)[0] == "stable"  # signed for ann
    stage.bring(keeping(99.0, 1.0, salt="other"))
    assert visit(stage, "ann", cookie)[0] == "stable"  # and for this deal of the route


def test_record_is_secure_under_tls_and_hash_mode_writes_none(stage_of: StageOf) -> None:
    assert visit(stage_of(keeping(0.0, 100.0), secure=True), "ann", tls=True)[1][0].endswith("; Secure")
    _, lines, head = visit(stage_of(keeping(0.0, 100.0, stickiness=None)), "ann")
    assert (lines, b"no-store" in head) == ([], False)


def test_sessions_cookie_ends_with_the_browser_and_is_renewed_while_its_version_has_a_weight(stage_of: StageOf) -> None:
    stage = stage_of(keeping(0.0, 100.0, "new_sessions"))
    _, (line,), _ = visit(stage, "ann")
    cookie, _, attributes = line.partition("; ")
    assert attributes == "Path=/; HttpOnly; SameSite=Lax"
    stage.pass_time(99.0)
    assert visit(stage, "ann", cookie)[1] == []
    stage.pass_time(2.0)
    _, (line,), _ = visit(stage, "ann", cookie)
    renewed = line.partition("; ")[0]
    assert renewed != cookie
    stage.bring(keeping(100.0, 0.0, "new_sessions"))
    stage.pass_time(98.0)
    assert visit(stage, "ann", renewed)[:2] == ("canary", [])  # it keeps it while it drains, and no longer
    stage.pass_time(3.0)
    version, (line,), _ = visit(stage, "ann", renewed)
    assert version == "stable"
    assert line.startswith("stable.0.")


def test_killed_version_frees_its_units_for_good(stage_of: StageOf) -> None:
    stage = stage_of(keeping(0.0, 100.0))
    cookie = visit(stage, "ann")[1][0].partition("; ")[0]
    killed = [version_spec("stable", 99.0), version_spec("canary", 1.0, kill={"until": 0.0})]
    stage.bring(keeping(0.0, 0.0, versions=killed))
    version, (line,), _ = visit(stage, "ann", cookie)
    assert version == "stable"
    assert stage.of_version(V_REASONS + KILL, "stable") == 1
    assert line.startswith("stable.0.")
    stage.bring(keeping(1.0, 99.0))
    assert visit(stage, "ann", line.partition("; ")[0])[:2] == ("stable", [])


def test_denied_unit_gets_another_version_and_keeps_its_record(stage_of: StageOf) -> None:
    stage = stage_of(keeping(0.0, 100.0))
    cookie = visit(stage, "ann")[1][0].partition("; ")[0]
    denied = [{"label": "rules[0]", "units": ["ann"], "deny": "canary"}]
    stage.bring(keeping(1.0, 99.0, rules=denied))
    assert visit(stage, "ann", cookie)[:2] == ("stable", [])
    stage.bring(keeping(99.0, 1.0))
    assert visit(stage, "ann", cookie)[:2] == ("canary", [])
