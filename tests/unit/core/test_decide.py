from typing import Any

import pytest

from proxy.core.build import build_plan
from proxy.core.cookies import UnitCookies, sign
from proxy.core.decide import Decision, decide, find_unit
from proxy.core.hashing import bucket
from proxy.core.plan import DEFAULT, DENY, OVERRIDE, PREVIEW, REASONS, SEGMENT, SPLIT, Route
from proxy.core.request import Request
from tests.families import FLAGD_V1, UNLEASH
from tests.specs import plan_spec, request_head, route_spec

UNITS = [b"user-%d" % number for number in range(300)]
OSLO = {"source": "header", "name": "x-geo-city", "test": "is", "value": "Oslo"}
IN_OSLO = request_head(fields={b"x-geo-city": b"Oslo"})
PREVIEWED: dict[str, Any] = {"header": "X-Tidegate-Version", "from": ["192.0.2.0/24"], "until": 0.0}


def make_route(*rules: dict[str, Any], **parts: Any) -> Route:
    """A route with the rules numbered as in a file."""
    labelled = [{"label": f"rules[{place}]"} | rule for place, rule in enumerate(rules)]
    return build_plan(plan_spec(route_spec(rules=labelled, **parts))).routes[0]


def asking_for(version: bytes, client: str = "192.0.2.1") -> Request:
    return request_head(fields={b"x-tidegate-version": version}, client=client)


def outcome(decision: Decision) -> tuple[str | None, int, str]:
    return (None if decision.version is None else decision.version.name, decision.reason, decision.rule)


def in_canary(route: Route) -> bytes:
    """A unit whose draw is the canary."""
    return next(unit for unit in UNITS if route.versions[route.split.deal(unit)].name == "canary")


def test_split_gives_what_the_dealer_deals() -> None:
    route = make_route()
    for unit in UNITS:
        decision = decide(route, request_head(), unit)
        assert decision.version is route.versions[route.split.deal(unit)]
        assert (decision.reason, decision.rule, decision.unit, decision.denied) == (SPLIT, "", unit, 0)
        assert decision.bucket(route) == bucket(b"shop", unit)


def test_route_with_rules_that_do_not_hold_decides_as_one_without() -> None:
    plain, ruled = make_route(), make_route({"where": OSLO, "version": "canary"}, preview=PREVIEWED)
    assert plain.plain
    assert not ruled.plain
    for unit in UNITS:
        assert outcome(decide(plain, request_head(), unit)) == outcome(decide(ruled, request_head(), unit))


def test_without_unit_the_default_serves() -> None:
    decision = decide(make_route(default="canary"), request_head(), None)
    assert outcome(decision) == ("canary", DEFAULT, "")
    assert decision.bucket(make_route()) == -1
    assert REASONS[decision.reason] == decision.reason_name == "default"


@pytest.mark.parametrize("rules", [[], [{"units": ["bob"], "deny": "canary"}]])
def test_with_all_weights_zero_the_default_serves(rules: list[dict[str, Any]]) -> None:
    route = make_route(*rules, weights={"stable": 0.0, "canary": 0.0})
    assert outcome(decide(route, request_head(), b"alice")) == ("stable", DEFAULT, "")
    assert outcome(decide(route, request_head(), b"bob")) == ("stable", DEFAULT, "")


def test_denied_unit_draws_among_the_rest() -> None:
    weights = {"stable": 80.0, "canary": 10.0, "other": 10.0}
    route = make_route({"units": [unit.decode() for unit in UNITS], "deny": "canary"}, weights=weights)
    for unit in UNITS:
        decision = decide(route, request_head(), unit)
        assert decision.version is route.versions[route.split.deal(unit, 0b010)]
        assert decision.version.name != "canary"
        assert (decision.reason, decision.rule, decision.denied) == (DENY, "rules[0]", 0b010)


def test_deny_by_matcher_holds_for_requests() -> None:
    route = make_route({"where": OSLO, "deny": "canary"}, weights={"stable": 0.0, "canary": 1.0})
    assert outcome(decide(route, request_head(), b"alice")) == ("canary", SPLIT, "")
    assert outcome(decide(route, IN_OSLO, b"alice")) == ("stable", DENY, "rules[0]")


def test_deny_wins_over_preview_override_and_segment() -> None:
    route = make_route(
        {"units": ["bob"], "version": "canary"},
        {"where": OSLO, "version": "canary"},
        {"units": ["bob"], "deny": "canary"},
        preview=PREVIEWED,
    )
    request = request_head(fields={b"x-geo-city": b"Oslo", b"x-tidegate-version": b"canary"})
    assert outcome(decide(route, request, b"bob")) == ("stable", DENY, "rules[2]")
    assert outcome(decide(route, request, b"alice")) == ("canary", PREVIEW, "")


def test_kinds_are_ranked_whatever_their_order_in_the_file() -> None:
    weights = {"stable": 1.0, "a": 0.0, "b": 0.0, "c": 0.0}
    route = make_route(
        {"where": OSLO, "version": "a"}, {"units": ["al"], "version": "b"}, weights=weights, preview=PREVIEWED
    )
    everything = request_head(fields={b"x-geo-city": b"Oslo", b"x-tidegate-version": b"c"})
    assert outcome(decide(route, everything, b"al")) == ("c", PREVIEW, "")
    assert outcome(decide(route, IN_OSLO, b"al")) == ("b", OVERRIDE, "rules[1]")
    assert outcome(decide(route, IN_OSLO, b"bo")) == ("a", SEGMENT, "rules[0]")
    assert outcome(decide(route, request_head(), b"bo")) == ("stable", SPLIT, "")


def test_order_in_the_file_ranks_within_a_kind() -> None:
    route = make_route({"units": ["al"], "version": "canary"}, {"units": ["al"], "version": "stable"})
    assert outcome(decide(route, request_head(), b"al")) == ("canary", OVERRIDE, "rules[0]")


def test_rule_whose_version_is_denied_is_passed_over() -> None:
    route = make_route(
        {"units": ["al"], "version": "canary"},
        {"units": ["al"], "version": "stable"},
        {"units": ["al"], "deny": "canary"},
    )
    assert outcome(decide(route, request_head(), b"al")) == ("stable", OVERRIDE, "rules[1]")


def test_preview_wants_a_known_version_and_a_client_that_may() -> None:
    route = make_route(preview=PREVIEWED, weights={"stable": 1.0, "canary": 0.0})
    assert outcome(decide(route, asking_for(b"canary"), b"al")) == ("canary", PREVIEW, "")
    assert outcome(decide(route, asking_for(b"canary"), None)) == ("canary", PREVIEW, "")
    assert outcome(decide(route, asking_for(b"nobody"), b"al")) == ("stable", SPLIT, "")
    assert outcome(decide(route, asking_for(b"canary", "198.51.100.1"), b"al")) == ("stable", SPLIT, "")
    assert outcome(decide(route, asking_for(b"canary", ""), b"al")) == ("stable", SPLIT, "")


def test_rule_with_a_split_deals_on_the_same_salt() -> None:
    route = make_route({"where": OSLO, "split": {"stable": 50.0, "canary": 50.0}})
    in_rule = {unit for unit in UNITS if outcome(decide(route, IN_OSLO, unit))[0] == "canary"}
    in_split = {unit for unit in UNITS if outcome(decide(route, request_head(), unit))[0] == "canary"}
    assert in_split < in_rule
    assert {decide(route, IN_OSLO, unit).reason for unit in UNITS} == {SEGMENT}
    assert outcome(decide(route, IN_OSLO, None)) == ("stable", DEFAULT, "")


def test_rule_with_a_split_respects_a_deny() -> None:
    route = make_route(
        {"where": OSLO, "split": {"canary": 1.0}},
        {"where": OSLO, "split": {"stable": 1.0, "canary": 99.0}},
        {"units": ["bob"], "deny": "canary"},
    )
    assert outcome(decide(route, IN_OSLO, b"bob")) == ("stable", SEGMENT, "rules[1]")


def test_override_may_deal_too() -> None:
    route = make_route({"units": ["al"], "split": {"canary": 1.0}})
    assert outcome(decide(route, request_head(), b"al")) == ("canary", OVERRIDE, "rules[0]")


def test_denied_default_gives_way_to_the_first_listed_that_is_left() -> None:
    route = make_route(
        {"where": OSLO, "deny": "stable"}, {"where": OSLO, "deny": "a"}, weights={"stable": 1.0, "a": 0.0, "b": 0.0}
    )
    for unit in (None, b"al"):
        assert outcome(decide(route, IN_OSLO, unit)) == ("b", DENY, "rules[0]")


def test_deny_that_empties_the_split_leaves_the_default() -> None:
    """Blue/green: the inactive version is what is left."""
    route = make_route({"units": ["bob"], "deny": "green"}, weights={"blue": 0.0, "green": 100.0})
    assert outcome(decide(route, request_head(), b"bob")) == ("blue", DENY, "rules[0]")


def test_every_version_denied_is_no_version() -> None:
    route = make_route({"where": OSLO, "deny": "stable"}, {"where": OSLO, "deny": "canary"}, preview=PREVIEWED)
    for unit in (None, b"al"):
        decision = decide(route, IN_OSLO, unit)
        assert outcome(decision) == (None, DENY, "rules[0]")
        assert decision.denied == 0b11


def test_deny_of_units_needs_a_unit() -> None:
    route = make_route({"units": ["bob"], "deny": "stable"})
    assert outcome(decide(route, request_head(), None)) == ("stable", DEFAULT, "")


KEY = b"cookie key"
CHAIN = [
    {"kind": "header", "name": "x-user-id"},
    {"kind": "cookie", "name": "sid"},
    {"kind": "mint_cookie", "name": "tg_unit"},
    {"kind": "query", "name": "u"},
    {"kind": "client_ip"},
]


@pytest.mark.parametrize(
    ("fields", "found"),
    [
        ({b"x-user-id": b"al", b"cookie": b"sid=s1"}, (b"al", "header", b"")),
        ({b"x-user-id": b"", b"cookie": b"sid=s1"}, (b"s1", "cookie", b"")),
        ({b"cookie": b"sid=s1; tg_unit=" + sign(KEY, b"id1")}, (b"s1", "cookie", b"")),
        ({b"cookie": b"sid=; tg_unit=" + sign(KEY, b"id1")}, (b"id1", "mint_cookie", b"")),
        ({b"cookie": b"tg_unit=id1.forged"}, (None, "mint_cookie", b"tg_unit")),
        ({b"cookie": b"tg_unit="}, (None, "mint_cookie", b"tg_unit")),
        ({}, (None, "mint_cookie", b"tg_unit")),
    ],
)
def test_first_link_of_the_chain_that_is_there_is_the_unit(
    fields: dict[bytes, bytes], found: tuple[bytes | None, str, bytes]
) -> None:
    assert find_unit(make_route(unit=CHAIN), request_head(fields=fields), UnitCookies([KEY])) == found


def test_without_keys_minting_is_passed_over() -> None:
    route = make_route(unit=CHAIN)
    carried = {b"cookie": b"tg_unit=" + sign(KEY, b"id1")}
    assert find_unit(route, request_head(fields=carried, query=b"u=q+1"), UnitCookies([])) == (b"q 1", "query", b"")
    assert find_unit(route, request_head(), UnitCookies([])) == (b"192.0.2.1", "client_ip", b"")
    assert find_unit(route, request_head(client=""), UnitCookies([])) == (None, "", b"")


def test_route_without_chain_has_no_unit() -> None:
    assert find_unit(make_route(unit=[]), request_head(), UnitCookies([KEY])) == (None, "", b"")


def test_another_systems_hash_deals_the_route_and_the_splits_of_its_rules() -> None:
    weights = {"canary": 10.0, "stable": 90.0}
    rule = {"where": OSLO, "split": {"stable": 50.0, "canary": 50.0}}
    route = make_route(rule, {"units": ["bob"], "deny": "stable"}, weights=weights, hash=UNLEASH)
    # UnleashClient 6.9.1 says 10, 40 and 82 of alice, bob and søren in the group checkout.
    assert outcome(decide(route, request_head(), b"alice")) == ("canary", SPLIT, "")
    assert outcome(decide(route, request_head(), "søren".encode())) == ("stable", SPLIT, "")
    # The order of the versions counts, not that of the rule: the canary has the first 50 buckets.
    assert outcome(decide(route, IN_OSLO, b"alice")) == ("canary", SEGMENT, "rules[0]")
    assert outcome(decide(route, IN_OSLO, "søren".encode())) == ("stable", SEGMENT, "rules[0]")
    # Who is denied the version of his bucket is dealt among the rest.
    assert outcome(decide(route, request_head(), b"bob")) == ("canary", DENY, "rules[1]")


def test_unit_beyond_the_last_range_of_flagd_v1_gets_the_default_as_there() -> None:
    spec = FLAGD_V1 | {"cat": ""}
    route = make_route(weights={"canary": 10.0, "stable": 90.0}, hash=spec, default="canary")
    assert outcome(decide(route, request_head(), b"6LvT0")) == ("canary", DEFAULT, "")
