import pytest

from proxy.core.build import build_plan
from tests.specs import plan_spec, request_head, route_spec, upstream_spec, version_spec


def test_plan_finds_routes_and_carries_what_the_spec_says() -> None:
    plan = build_plan(plan_spec(route_spec("api", path_prefix="/api"), route_spec("shop"), generation=7))
    found = plan.find(request_head(b"/api/x"))
    assert found is plan.routes[0]
    assert plan.generation == 7
    assert plan.trusted.contains("127.0.0.1")
    assert not plan.cookies.enabled
    assert build_plan(plan_spec(secrets={"cookie": ["k"], "unit_hash": "h"})).cookies.enabled


def test_fallbacks_make_a_chain_and_a_circle_ends() -> None:
    versions = [
        version_spec("a", 1.0, fallback="b"),
        version_spec("b", 1.0, fallback="c"),
        version_spec("c", 1.0, fallback="a"),
        version_spec("d", 1.0),
    ]
    route = build_plan(plan_spec(route_spec(versions=versions, default="d"))).routes[0]
    assert [[one.name for one in chain] for chain in route.chains] == [
        ["a", "b", "c"],
        ["b", "c", "a"],
        ["c", "a", "b"],
        ["d"],
    ]
    assert route.default.name == "d"


def test_rules_are_sorted_by_kind_and_keep_their_labels() -> None:
    where = {"source": "path", "test": "is", "value": "/"}
    rules = [
        {"label": "rules[0]", "where": where, "version": "canary"},
        {"label": "rules[1]", "units": ["al"], "version": "canary"},
        {"label": "rules[2]", "where": where, "deny": "canary"},
    ]
    route = build_plan(plan_spec(route_spec(rules=rules))).routes[0]
    assert [rule.label for rule in route.denies] == ["rules[2]"]
    assert [rule.label for rule in route.overrides] == ["rules[1]"]
    assert [rule.label for rule in route.segment_rules] == ["rules[0]"]
    assert not route.plain


def test_segments_may_name_earlier_segments() -> None:
    segments = [
        {"name": "al", "where": {"source": "header", "name": "x-user-id", "test": "is", "value": "al"}},
        {"name": "not-al", "where": {"not": {"segment": "al"}}},
    ]
    plan = build_plan(plan_spec(route_spec(where={"segment": "not-al"}), segments=segments))
    assert plan.find(request_head(fields={b"x-user-id": b"al"})) is None
    assert plan.find(request_head()) is plan.routes[0]


def test_slots_start_at_the_base() -> None:
    spec = plan_spec(route_spec(), upstreams=[upstream_spec("u", slot=5)], none_slot=2, none_codes=3)
    plan = build_plan(spec, base=1000)
    assert (plan.upstreams["u"].slot, plan.none_slot, plan.none_codes) == (1005, 1002, 1003)


def test_mirror_samples_by_a_threshold_on_its_own_purpose() -> None:
    mirror = {
        "upstream": "u",
        "percent": 100.0,
        "sample": "unit",
        "methods": ["GET"],
        "body_limit": 1,
        "in_flight": 1,
        "buffer": 1,
        "response_limit": 1,
        "timeout": 1.0,
        "strip_credentials": False,
    }
    built = build_plan(plan_spec(route_spec(mirror=[mirror]))).routes[0].mirrors[0]
    assert built.threshold == 2**32
    assert built.prefix == b"shop\0mirror\0u\0"


def test_name_that_nothing_defines_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        build_plan(plan_spec(route_spec(versions=[version_spec("stable", 1.0, upstream="nowhere")])))
