"""Why a flag gives what it gives: every kind on the path, what would have been next, and the route that it follows."""

import json
from typing import Any

import pytest

from proxy.core.flag_explanation import explain_flag
from proxy.core.flags import FlagSet
from proxy.core.request import Request
from tests.specs import route_spec
from tests.unit.core.test_flags import CASES, END, NORWAY, Spec, asked, flag, flags, rule

WHOLE = {
    "prerequisites": {"base": ["on"], "theme": ["dark", "light"]},
    "rules": [
        rule(0, units=["alice"], variant="on", until=END),
        rule(1, where=NORWAY, split={"on": 1.0, "off": 0.0}),
        rule(2, units=["alice"], split={"on": 0.0}),
        rule(3, units=["bob"], variant="on"),
    ],
    "split": {"on": 0.0, "off": 1.0},
    "until": END + 10,
}


def whole(**parts: Any) -> FlagSet:
    theme = flag("theme", variants={"dark": "d", "light": "l"}, default="dark", off="light")
    return flags(flag("base"), theme, flag(**WHOLE | parts))


def steps(found: FlagSet, request: Request) -> list[tuple[str, ...]]:
    trace = explain_flag(found, "f", request, request.unit, "asked", {})
    (decides,) = [one for one in trace["path"] if one["outcome"] == "decides"]
    evaluated = found.evaluate("f", request, request.unit)
    assert decides["variant"] == trace["variant"] == evaluated.variant
    assert (trace["reason"], trace["detail"], trace["rule"]) == (evaluated.reason, evaluated.detail, evaluated.rule)
    assert json.loads(json.dumps(trace)) == trace
    return [(one["kind"], one["rule"], one["outcome"], one["variant"] or "") for one in trace["path"]]


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_path_decides_as_the_evaluation_does(case: tuple[Spec, Request, tuple[str, str, str, str]]) -> None:
    assert steps(flags(case[0]), case[1])


def test_path_goes_through_every_kind_and_says_what_would_have_been_next() -> None:
    assert steps(whole(), asked(country="NO")) == [
        ("off", "", "does not hold", ""),
        ("over", "", "does not hold", ""),
        ("prerequisite", "prerequisites.base", "is met", ""),
        ("prerequisite", "prerequisites.theme", "is met", ""),
        ("rule", "rules[0]", "decides", "on"),
        ("rule", "rules[1]", "would have been next", "on"),
        ("rule", "rules[2]", "passed over", ""),
        ("rule", "rules[3]", "does not hold", ""),
        ("split", "", "would have come later", "off"),
        ("default", "", "would have come later", "on"),
    ]


def test_path_of_what_is_off_over_and_lacks_something() -> None:
    request = asked(at=END + 10)
    found = flags(flag("base", on=False), flag(on=False, until=END, prerequisites={"base": ["on"]}, split={"on": 1.0}))
    assert steps(found, request) == [
        ("off", "", "decides", "off"),
        ("over", "", "would have been next", "off"),
        ("prerequisite", "prerequisites.base", "would have come later", "off"),
        ("rule", "", "not configured", ""),
        ("split", "", "would have come later", "on"),
        ("default", "", "would have come later", "on"),
    ]
    assert ("rule", "rules[0]", "is over", "") in steps(whole(until=0.0), request)
    trace = explain_flag(found, "f", request, request.unit, "asked", {})
    assert trace["path"][2]["why"] == "base comes to off (DISABLED, off), wanted: on"
    assert trace["next"] == {"variant": "off", "reason": "DISABLED", "detail": "over", "rule": ""}


def test_draw_without_a_unit_says_what_is_missing() -> None:
    trace = explain_flag(whole(), "f", asked(None, country="NO"), None, "", {})
    (decides,) = [one for one in trace["path"] if one["outcome"] == "decides"]
    assert (decides["rule"], decides["why"]) == ("rules[1]", "a draw is due, and there is no unit")
    assert (trace["unit_missing"], trace["bucket"], trace["variant"]) == (True, -1, "on")


def test_rules_show_what_they_looked_at_and_the_draw_its_times() -> None:
    trace = explain_flag(whole(), "f", asked(country="NO"), b"alice", "asked", {})
    assert trace["rules"][1]["where"]["saw"] == "NO"
    assert [one["time"] is None for one in trace["rules"][1]["scores"]] == [False, True]
    assert [(one["variant"], one["weight"]) for one in trace["scores"]] == [("on", 0.0), ("off", 1.0)]


def test_flag_that_follows_a_route_brings_its_path_and_what_it_would_have_decided_next() -> None:
    route = route_spec(
        weights={"stable": 1.0, "canary": 0.0},
        rules=[{"label": "rules[0]", "units": ["alice"], "version": "canary"}],
    )
    found = flags(
        flag(route="shop", variants={"stable": 1, "canary": 2}, default="stable", off="stable"), routes=[route]
    )
    trace = explain_flag(found, "f", asked(), b"alice", "asked", {})
    assert (trace["variant"], trace["value"], trace["reason"], trace["rule"]) == (
        "canary", 2, "TARGETING_MATCH", "rules[0]",
    )  # fmt: skip
    assert trace["path"][-1]["kind"] == "route"
    assert trace["route"]["version"] == "canary"
    assert trace["next"] == {"variant": "stable", "reason": "SPLIT", "detail": "split", "rule": ""}
