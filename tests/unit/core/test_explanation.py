import json

from proxy.core.build import build_plan
from proxy.core.decide import decide
from proxy.core.explanation import explain
from tests.specs import plan_spec, request_head, route_spec

OSLO = {"source": "header", "name": "x-geo-city", "test": "is", "value": "Oslo"}
PLAN = build_plan(
    plan_spec(
        route_spec(
            rules=[
                {"label": "rules[0]", "where": {"segment": "oslo"}, "version": "canary"},
                {"label": "rules[1]", "units": ["bob"], "deny": "canary"},
                {"label": "rules[2]", "units": ["al"], "split": {"stable": 1.0, "canary": 1.0}},
            ],
            preview={"header": "x-tidegate-version", "from": ["192.0.2.0/24"]},
        ),
        segments=[{"name": "oslo", "where": OSLO}],
    )
)
ROUTE = PLAN.routes[0]
SEGMENTS = {"oslo": OSLO}
IN_OSLO = request_head(fields={b"x-geo-city": b"Oslo"})


def test_explanation_shows_the_family_the_bucket_and_whose_buckets_are_which() -> None:
    # UnleashClient 6.9.1 says 10 for alice in the group checkout.
    route = build_plan(
        plan_spec(
            route_spec(
                weights={"canary": 10.0, "stable": 90.0},
                hash={"family": "unleash", "group": "checkout", "variants": False, "total": 1000},
                rules=[{"label": "rules[0]", "units": ["alice"], "split": {"stable": 95.0, "canary": 5.0}}],
            )
        )
    ).routes[0]
    trace = explain(route, IN_OSLO, b"bob", "header", {})
    assert trace["hash"] == {"family": "unleash", "bucket": 40.0, "first": 1.0, "last": 100.0, "whole": True}
    assert [(one["version"], one["from"], one["below"]) for one in trace["scores"]] == [
        ("canary", 1.0, 11.0),
        ("stable", 11.0, 101.0),
    ]
    assert (trace["version"], trace["reason"]) == ("stable", "split")
    ruled = explain(route, IN_OSLO, b"alice", "header", {})
    assert (ruled["version"], ruled["reason"]) == ("stable", "override")  # 10 is not among the first 5
    assert ruled["rules"][0]["hash"]["bucket"] == 10.0
    assert ruled["rules"][0]["scores"][0] == {
        "version": "canary", "weight": 5.0, "denied": False, "from": 1.0, "below": 6.0,
        "time": ruled["rules"][0]["scores"][0]["time"],
    }  # fmt: skip
    assert explain(route, IN_OSLO, None, "", {})["hash"]["bucket"] is None
    assert explain(ROUTE, IN_OSLO, b"bob", "header", SEGMENTS)["hash"] is None


def test_explanation_has_the_decision_and_all_it_stands_on() -> None:
    trace = explain(ROUTE, IN_OSLO, b"bob", "header", SEGMENTS)
    decision = decide(ROUTE, IN_OSLO, b"bob")
    assert decision.version is not None
    assert (trace["route"], trace["unit"], trace["unit_kind"]) == ("shop", "bob", "header")
    assert (trace["version"], trace["reason"], trace["rule"]) == (decision.version.name, "deny", "rules[1]")
    assert trace["bucket"] == decision.bucket(ROUTE)
    assert trace["denied"] == ["canary"]
    assert [(rule["label"], rule["kind"], rule["matched"]) for rule in trace["rules"]] == [
        ("rules[1]", "deny", True),
        ("rules[2]", "override", False),
        ("rules[0]", "segment", True),
    ]
    assert trace["rules"][2]["where"]["where"]["saw"] == "Oslo"
    assert json.loads(json.dumps(trace)) == trace


def test_smallest_time_among_those_not_denied_is_the_split() -> None:
    for number in range(50):
        unit = b"user-%d" % number
        trace = explain(ROUTE, request_head(), unit, "header", SEGMENTS)
        best = min((score for score in trace["scores"] if not score["denied"]), key=lambda score: score["time"])
        assert (trace["version"], trace["reason"]) == (best["version"], "split")


def test_rule_with_a_split_shows_its_own_scores() -> None:
    rule = explain(ROUTE, request_head(), b"al", "header", SEGMENTS)["rules"][1]
    assert rule["split"] == {"stable": 1.0, "canary": 1.0}
    assert [score["version"] for score in rule["scores"]] == ["stable", "canary"]


def test_without_unit_there_are_no_times_and_no_bucket() -> None:
    trace = explain(ROUTE, request_head(), None, "", SEGMENTS)
    assert (trace["version"], trace["reason"], trace["bucket"], trace["unit"]) == ("stable", "default", -1, None)
    assert [score["time"] for score in trace["scores"]] == [None, None]


def test_preview_says_why_it_was_or_was_not_given() -> None:
    def asked(version: bytes, unit: bytes = b"al", client: str = "192.0.2.1") -> object:
        request = request_head(fields={b"x-tidegate-version": version}, client=client)
        preview = explain(ROUTE, request, unit, "header", SEGMENTS)["preview"]
        return preview["outcome"]

    assert explain(ROUTE, request_head(), b"al", "header", SEGMENTS)["preview"] is None
    assert asked(b"canary") == "given"
    assert asked(b"nobody") == "no such version"
    assert asked(b"canary", unit=b"bob") == "denied"
    assert asked(b"canary", client="198.51.100.1") == "not from this address"
