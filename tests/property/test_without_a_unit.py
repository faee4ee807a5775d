"""Nobody is dealt at random per request: a request without a unit gets what the file says, again and again, and no draw."""

from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.build import build_flags
from proxy.core.cookies import UnitCookies
from proxy.core.decide import decide, find_unit
from proxy.core.plan import DEFAULT, HOLDOUT, LAYER, SPLIT, STICKY
from proxy.core.request import Request
from tests.property.test_precedence import INSIDE, SEGMENTS, Spec, built, outcome, routes
from tests.specs import plan_spec, request_head, version_spec
from tests.unit.core.test_flags import flag
from tests.unit.dataplane.stage import Stage, answer, get, pool_spec, shop

SOURCES: list[Spec] = [
    {"kind": "header", "name": "x-user"},
    {"kind": "cookie", "name": "user"},
    {"kind": "query", "name": "user"},
    {"kind": "claim", "name": "sub"},
    {"kind": "mint_cookie", "name": "tg_unit"},
]
NO_KEYS = UnitCookies([])
NOWHERE: list[tuple[dict[bytes, bytes], bytes, dict[bytes, list[bytes]] | None]] = [
    ({}, b"", None),
    ({b"x-user": b"", b"cookie": b"user="}, b"user=", {b"sub": [b""]}),
    ({b"x-users": b"ann", b"cookie": b"users=ann"}, b"users=ann", {b"sub": [b"ann", b"bob"]}),
    ({b"cookie": b"tg_unit=forged.AAAAAAAAAAAAAAAAAAAAAA"}, b"", {b"sup": [b"ann"]}),
]
"""What has no unit in it: nothing, empty values, other names, a list of several, a cookie that nobody signed."""


def without(place: int, number: int, inside: set[str]) -> Request:
    """A request without a unit, the `number`th: each with other noise."""
    fields, query, claims = NOWHERE[place]
    noise = Random(number).randbytes(8).hex().encode()
    request = request_head(
        b"/" + noise,
        method=[b"GET", b"POST"][number % 2],
        fields=fields | {name.encode(): b"1" for name in inside} | {b"x-request-id": noise},
        query=query,
    )
    request.claims = claims
    request.at = 1_800_000_000.0
    return request


@settings(max_examples=150)
@given(
    routes,
    st.lists(st.sampled_from(SOURCES), max_size=4),
    st.sampled_from(range(len(NOWHERE))),
    st.sets(st.sampled_from(SEGMENTS)),
)
def test_requests_without_a_unit_are_all_decided_alike_and_never_by_a_draw(
    spec: Spec, chain: list[Spec], place: int, inside: set[str]
) -> None:
    route = built(spec | {"unit": chain})
    outcomes = set()
    for number in range(8):
        request = without(place, number, inside)
        unit, _, minted = find_unit(route, request, NO_KEYS)
        assert (unit, minted) == (None, b"")
        decision = decide(route, request, unit)
        assert decision.reason not in {SPLIT, HOLDOUT, LAYER, STICKY}
        outcomes.add(outcome(decision))
    assert len(outcomes) == 1
    ((version, reason, _),) = outcomes
    if reason == DEFAULT:
        assert version == spec["default"]


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from([None, {"on": 50.0, "off": 50.0}, {"on": 0.0}]),
    st.lists(
        st.sampled_from(
            [
                {"units": ["unit-1"], "variant": "on"},
                {"where": {"segment": "s0"}, "split": {"on": 50.0, "off": 50.0}},
                {"where": {"segment": "s1"}, "variant": "on"},
            ]
        ),
        max_size=3,
    ),
    st.sets(st.sampled_from(SEGMENTS)),
)
def test_flags_without_a_unit_are_alike_and_never_drawn(
    split: dict[str, float] | None, rules: list[dict[str, Any]], inside: set[str]
) -> None:
    labelled = [{"label": f"rules[{place}]"} | one for place, one in enumerate(rules)]
    found = build_flags(plan_spec(flags=[flag(split=split, rules=labelled)], segments=INSIDE))
    came = [found.evaluate("f", without(0, number, inside), None) for number in range(8)]
    assert len({(one.variant, one.reason, one.detail, one.rule, one.unit_missing) for one in came}) == 1
    assert came[0].reason != "SPLIT"


@pytest.mark.parametrize("fields", [(), ("X-User: ",), ("Cookie: tg_unit=forged.AAAAAAAAAAAAAAAAAAAAAA",)])
@pytest.mark.parametrize("chain", [[], [SOURCES[0]], [SOURCES[0], SOURCES[1], SOURCES[4]]])
def test_worker_deals_nobody_at_random(chain: list[Spec], fields: tuple[str, ...]) -> None:
    """Through the whole data plane, without keys for cookies, whatever its random numbers are."""
    versions = [version_spec("stable", 50.0, upstream="old"), version_spec("canary", 50.0, upstream="new")]
    route = {"versions": versions, "unit": chain, "default": "stable"}
    stage = Stage(shop(route=route, upstreams=[pool_spec("old", "10.0.0.1"), pool_spec("new", "10.0.0.2")]))
    try:
        served = set()
        for number in range(20):
            stage.runtime.rng.seed(number)
            client = stage.client()
            client.send(get(f"/{number}", "Connection: close", *fields))
            upstream = stage.accept()
            head = upstream.take()
            served.add(head.partition(b"x-tidegate-version: ")[2].partition(b"\r\n")[0])
            upstream.send(answer(200, "Connection: close", body=b"x"))
            assert b"set-cookie" not in client.take()
        assert served == {b"stable"}
    finally:
        stage.close()


def test_minted_unit_is_a_device_and_no_request() -> None:
    """Its first request draws an id; every one that brings it back gets the same version, whatever the random numbers."""
    versions = [version_spec("stable", 50.0), version_spec("canary", 50.0)]
    route = {"versions": versions, "unit": [SOURCES[4]]}
    stage = Stage(shop(route=route, secrets={"cookie": ["secret"], "unit_hash": "k"}))

    def served(*fields: str) -> tuple[str, str]:
        client = stage.client()
        client.send(get("/", "Connection: close", *fields))
        upstream = stage.accept()
        version = upstream.take().partition(b"x-tidegate-version: ")[2].partition(b"\r\n")[0].decode()
        upstream.send(answer(200, "Connection: close", body=b"x"))
        cookie = client.take().partition(b"set-cookie: ")[2].partition(b";")[0].decode()
        return version, cookie

    try:
        seen = set()
        for number in range(12):
            stage.runtime.rng.seed(number)
            version, cookie = served()
            assert cookie.startswith("tg_unit=")
            seen.add(version)
            for again in range(3):
                stage.runtime.rng.seed(1000 * number + again)
                assert served(f"Cookie: {cookie}") == (version, "")
        assert seen == {"stable", "canary"}
    finally:
        stage.close()
