import json
from typing import Any

import pytest

from proxy.core.build import build_plan
from proxy.core.cookies import Kept
from proxy.core.decide import decide
from proxy.core.explanation import explain
from proxy.core.plan import Route
from tests.specs import plan_spec, request_head, route_spec, version_spec

OSLO = {"source": "header", "name": "x-geo-city", "test": "is", "value": "Oslo"}
PLAN = build_plan(
    plan_spec(
        route_spec(
            rules=[
                {"label": "rules[0]", "where": {"segment": "oslo"}, "version": "canary"},
                {"label": "rules[1]", "units": ["bob"], "deny": "canary"},
                {"label": "rules[2]", "units": ["al"], "split": {"stable": 1.0, "canary": 1.0}},
            ],
            preview={"header": "x-tidegate-version", "from": ["192.0.2.0/24"], "until": 0.0},
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


def steps(route: Route, unit: bytes | None, *inside: str, at: float = 0.0, **fields: str) -> list[tuple[str, ...]]:
    """The path: kind, rule, outcome and version of each step that is configured."""
    wanted = {name.replace("_", "-").encode(): value.encode() for name, value in fields.items()}
    request = request_head(fields=wanted | {f"x-{name}".encode(): b"1" for name in inside})
    request.unit, request.at = unit, at
    trace = explain(route, request, unit, "header", {one["name"]: one["where"] for one in AUDIENCE})
    decision = decide(route, request, unit)
    (decides,) = [one for one in trace["path"] if one["outcome"] == "decides"]
    assert decides["version"] == trace["version"] == (None if decision.version is None else decision.version.name)
    nexts = [one for one in trace["path"] if one["outcome"] == "would have been next"]
    assert [one["version"] for one in nexts] == ([] if trace["next"] is None else [trace["next"]["version"]])
    assert json.loads(json.dumps(trace)) == trace
    return [
        (one["kind"], one["rule"], one["outcome"], one["version"] or "")
        for one in trace["path"]
        if one["outcome"] != "not configured"
    ]


END = 1_800_000_000.0
AUDIENCE = [
    {"name": name, "where": {"source": "header", "name": f"x-{name}", "test": "exists", "value": True}}
    for name in ("staff", "beta")
]
EVERYTHING: dict[str, Any] = {
    "versions": [version_spec("stable", 90.0), version_spec("canary", 5.0), version_spec("other", 5.0)],
    "rules": [
        {"label": "rules[0]", "units": ["bob"], "deny": "canary"},
        {"label": "rules[1]", "units": ["al"], "version": "canary"},
        {"label": "rules[2]", "units": ["al"], "version": "stable", "until": END},
        {"label": "rules[3]", "where": {"segment": "beta"}, "split": {"canary": 1.0}},
    ],
    "preview": {"header": "x-tidegate-version", "from": ["192.0.2.0/24"], "until": END},
    "rings": [{"label": "rings[0]", "version": "canary", "order": ["staff", "beta"], "open": "staff", "until": 0.0}],
    "holdout": {"name": "q4", "percent": 100.0, "salt": "q4", "until": END},
    "layer": {"name": "checkout", "salt": "checkout", "from": 0.0, "to": 100.0},
}


def everything(**parts: Any) -> Route:
    return build_plan(plan_spec(route_spec(**EVERYTHING | parts), segments=AUDIENCE)).routes[0]


def test_path_goes_through_every_kind_and_says_what_would_have_been_next() -> None:
    assert steps(everything(), b"al", "staff", "beta", x_tidegate_version="other") == [
        ("deny", "rules[0]", "does not hold", ""),
        ("preview", "", "decides", "other"),
        ("override", "rules[1]", "would have been next", "canary"),
        ("override", "rules[2]", "would have come later", "stable"),
        ("ring", "rings[0].staff", "would have come later", "canary"),
        ("segment", "rules[3]", "would have come later", "canary"),
        ("holdout", "holdouts.q4", "would have come later", "stable"),
        ("layer", "layers.checkout", "does not hold", ""),
        ("split", "", "would have come later", "stable"),
        ("default", "", "would have come later", "stable"),
    ]


def test_path_of_what_was_taken_out_and_passed_over() -> None:
    versions = [dict(one) for one in EVERYTHING["versions"]]
    versions[2]["kill"] = {"until": 0.0}
    rules = [*EVERYTHING["rules"], {"label": "rules[4]", "units": ["bob"], "version": "other"}]
    route = everything(versions=versions, rules=rules, holdout=None)
    assert steps(route, b"bob", "staff", "beta", x_tidegate_version="canary") == [
        ("kill", "versions.other.kill", "takes out", "other"),
        ("deny", "rules[0]", "takes out", "canary"),
        ("preview", "", "does not hold", ""),
        ("override", "rules[1]", "does not hold", ""),
        ("override", "rules[2]", "does not hold", ""),
        ("override", "rules[4]", "passed over", "other"),
        ("ring", "rings[0].staff", "passed over", "canary"),
        ("segment", "rules[3]", "passed over", ""),
        ("layer", "layers.checkout", "does not hold", ""),
        ("split", "", "decides", "stable"),
        ("default", "", "would have been next", "stable"),
    ]


def test_path_of_what_is_over() -> None:
    kills = [{"label": "kill", "until": END}, {"label": "route.kill", "until": 0.0}]
    path = steps(everything(kill=kills), b"al", at=END)
    assert [step[:3] for step in path if step[2] == "is over"] == [
        ("kill", "kill", "is over"),
        ("preview", "", "is over"),
        ("override", "rules[2]", "is over"),
        ("holdout", "holdouts.q4", "is over"),
    ]
    assert ("kill", "route.kill", "decides", "stable") in path
    assert ("override", "rules[1]", "would have been next", "canary") in path


def test_both_kills_of_a_route_are_on_its_path() -> None:
    kills = [{"label": "kill", "until": 0.0}, {"label": "route.kill", "until": 0.0}]
    assert steps(everything(kill=kills), b"zoe")[:2] == [
        ("kill", "kill", "decides", "stable"),
        ("kill", "route.kill", "would have been next", "stable"),
    ]


def test_path_without_a_unit() -> None:
    path = steps(everything(rings=[]), None, "beta")
    assert [step[:3] for step in path[-5:]] == [
        ("segment", "rules[3]", "passed over"),
        ("holdout", "holdouts.q4", "does not hold"),
        ("layer", "layers.checkout", "does not hold"),
        ("split", "", "does not hold"),
        ("default", "", "decides"),
    ]


def test_path_of_a_plain_route_names_every_kind() -> None:
    route = build_plan(plan_spec(route_spec())).routes[0]
    path = explain(route, request_head(), b"al", "header", {})["path"]
    assert [one["kind"] for one in path] == [
        "kill", "deny", "preview", "override", "ring", "segment", "holdout", "layer", "sticky", "split", "default",
        "fallback",
    ]  # fmt: skip


def test_draw_that_a_killed_version_would_have_won_says_so() -> None:
    versions = [
        version_spec("stable", 0.0),
        version_spec("canary", 1.0, kill={"until": 0.0}),
        version_spec("other", 1e-9),
    ]
    route = build_plan(plan_spec(route_spec(versions=versions))).routes[0]
    trace = explain(route, request_head(), b"al", "header", {})
    (decides,) = [one for one in trace["path"] if one["outcome"] == "decides"]
    assert (trace["version"], trace["reason"], trace["rule"]) == ("other", "kill", "versions.canary.kill")
    assert (trace["killed"], trace["denied"]) == (["canary"], ["canary"])
    assert decides["why"] == "canary won the draw, and was taken out; drawn again among the rest"


def test_fallbacks_stand_by_until_one_that_was_taken_out() -> None:
    versions = [
        version_spec("stable", 90.0),
        version_spec("canary", 5.0, fallback="other"),
        version_spec("other", 5.0, fallback="stable"),
    ]

    def chain(unit: bytes, *rules: dict[str, Any]) -> tuple[list[str], list[tuple[str, ...]]]:
        given = [{"label": "rules[0]", "units": ["al", "bob"], "version": "canary"}, *rules]
        route = everything(versions=versions, rules=given, rings=[])
        trace = explain(route, request_head(), unit, "header", {})
        return trace["fallbacks"], [
            (one["rule"], one["outcome"], one["version"]) for one in trace["path"] if one["kind"] == "fallback"
        ]

    both = [
        ("versions.canary.fallback", "stands by", "other"),
        ("versions.other.fallback", "stands by", "stable"),
    ]
    assert chain(b"al") == (["other", "stable"], both)
    denied = {"label": "rules[1]", "units": ["bob"], "deny": "stable"}
    assert chain(b"bob", denied) == (["other"], [both[0], ("versions.other.fallback", "passed over", "stable")])
    assert chain(b"zoe") == ([], [("", "not configured", None)])


def test_rings_are_traced_one_by_one() -> None:
    route = everything()
    request = request_head(fields={b"x-beta": b"1"})
    (rings,) = explain(route, request, b"al", "header", {one["name"]: one["where"] for one in AUDIENCE})["rings"]
    assert (rings["label"], rings["version"], rings["open"]) == ("rings[0]", "canary", "staff")
    assert [(one["name"], one["open"], one["matched"]) for one in rings["rings"]] == [
        ("staff", True, False),
        ("beta", False, True),
    ]
    nobody = everything(rings=[EVERYTHING["rings"][0] | {"open": ""}])
    assert (
        explain(nobody, request, b"al", "header", {one["name"]: one["where"] for one in AUDIENCE})["rings"][0]["open"]
        == "none"
    )


def test_preview_that_is_killed_or_over_says_so() -> None:
    def asked(route: Route, at: float = 0.0) -> object:
        request = request_head(fields={b"x-tidegate-version": b"canary"})
        request.at = at
        return explain(route, request, b"zoe", "header", {one["name"]: one["where"] for one in AUDIENCE})["preview"][
            "outcome"
        ]

    versions = [
        version_spec("stable", 90.0),
        version_spec("canary", 5.0, kill={"until": 0.0}),
        version_spec("other", 5.0),
    ]
    assert asked(everything(versions=versions)) == "killed"
    assert asked(everything(), END) == "previews are over"
    assert asked(everything()) == "given"


def kept_path(
    kept: Kept | None = None, chosen: Kept | None = None, *inside: str, **parts: Any
) -> list[tuple[Any, ...]]:
    """The steps of a choice and of stickiness, each with its why, an hour after the records of epoch 0 were given."""
    versions = [
        version_spec("stable", 1.0),
        version_spec("canary", 0.0),
        version_spec("dead", 1e-9, kill={"until": 0.0}),
    ]
    route = route_spec(
        versions=versions,
        choice={
            "versions": ["canary", "dead"],
            "segment": "beta",
            "path": "/c",
            "cookie": "mine",
            "rate": 1.0,
            "burst": 30,
        },
        stickiness={"mode": "pinned", "cookie": "kept", "max_age": 7200.0, "drain": 1800.0, "until": "", "step": 0},
    )
    where = {"source": "header", "name": "beta", "test": "exists", "value": True}
    spec = plan_spec(route | parts, segments=[{"name": "beta", "where": where}])
    request = request_head(fields={name.encode(): b"1" for name in inside})
    request.unit, request.at, request.kept, request.chosen = b"al", 3600.0, kept, chosen
    path = explain(build_plan(spec).routes[0], request, b"al", "header", {"beta": where})["path"]
    return [
        (one["outcome"], one["version"], one["why"])
        for one in path
        if one["kind"] == "sticky" or one["rule"] == "choice"
    ]


GIVEN = "given Thu, 01 Jan 1970 00:00:00 GMT"
CHOSEN = "chosen Thu, 01 Jan 1970 00:00:00 GMT"
NOTHING_CHOSEN = ("does not hold", None, "the unit has chosen nothing")
NO_RECORD = ("does not hold", None, "no record of this unit came in the cookie kept")


@pytest.mark.parametrize(
    ("version", "epoch", "step"),
    [
        ("stable", 0, ("decides", "stable", f"a record of stable, {GIVEN}")),
        ("stable", 3, ("is over", "stable", f"a record of stable, {GIVEN}: it is of epoch 3")),
        ("gone", 0, ("does not hold", None, f"a record of gone, {GIVEN}: there is no such version any more")),
        ("dead", 0, ("passed over", "dead", f"a record of dead, {GIVEN}: dead was taken out")),
        (
            "canary",
            0,
            (
                "is over",
                "canary",
                f"a record of canary, {GIVEN}: it is 3600 s old, and its version, which has no weight, is let go after 1800 s",
            ),
        ),
    ],
)
def test_record_says_why_it_counts_or_does_not(version: str, epoch: int, step: tuple[Any, ...]) -> None:
    assert kept_path(Kept(version.encode(), epoch, 0)) == [NOTHING_CHOSEN, step]


def test_record_that_is_too_old_says_so() -> None:
    why = f"a record of stable, given {GIVEN.removeprefix('given ')}: it is 3600 s old, 3600 s are the most"
    sticky = {"mode": "pinned", "cookie": "kept", "max_age": 3600.0, "drain": 0.0, "until": "", "step": 0}
    assert kept_path(Kept(b"stable", 0, 0), stickiness=sticky)[1] == ("is over", "stable", why)


@pytest.mark.parametrize(
    ("version", "inside", "step"),
    [
        ("canary", ("beta",), ("decides", "canary", f"canary, {CHOSEN}")),
        ("canary", (), ("does not hold", None, f"canary, {CHOSEN}: not in segment beta, which may choose")),
        ("stable", ("beta",), ("does not hold", None, f"stable, {CHOSEN}, is not to be chosen any more")),
        ("dead", ("beta",), ("passed over", "dead", f"dead, {CHOSEN}, was taken out")),
    ],
)
def test_choice_says_why_it_counts_or_does_not(version: str, inside: tuple[str, ...], step: tuple[Any, ...]) -> None:
    assert kept_path(None, Kept(version.encode(), 0, 0), *inside) == [step, NO_RECORD]
