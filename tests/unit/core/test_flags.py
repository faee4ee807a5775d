"""Flags: which variant, in which order, and with which word for why."""

from typing import Any

import pytest

from proxy.core.build import build_flags, build_plan
from proxy.core.decide import decide
from proxy.core.flags import FLAG_REASONS, Evaluation, FlagSet
from proxy.core.request import Request
from tests.specs import plan_spec, request_head, route_spec, version_spec

Spec = dict[str, Any]
UNITS = [b"user-%d" % number for number in range(400)]
END = 1_800_000_000.0


def flag(name: str = "f", **parts: Any) -> Spec:
    return {
        "name": name,
        "type": "boolean",
        "variants": {"on": True, "off": False},
        "default": "on",
        "off": "off",
        "on": True,
        "until": 0.0,
        "salt": name,
        "route": "",
        "prerequisites": {},
        "rules": [],
        "split": None,
    } | parts


def flags(*specs: Spec, **parts: Any) -> FlagSet:
    return build_flags(plan_spec(*parts.pop("routes", ()), flags=list(specs), **parts))


def asked(unit: bytes | None = b"alice", at: float = 0.0, **attributes: str) -> Request:
    request = request_head()
    request.unit = unit
    request.at = at
    request.attributes = {name.encode(): value.encode() for name, value in attributes.items()}
    return request


def said(found: Evaluation) -> tuple[str, str, str, str]:
    assert found.reason in FLAG_REASONS
    return found.variant, found.reason, found.detail, found.rule


def rule(place: int = 0, **parts: Any) -> Spec:
    return {"label": f"rules[{place}]"} | parts


NORWAY = {"source": "attribute", "name": "country", "test": "in", "value": ["NO"]}

RULED = flag(rules=[rule(where=NORWAY, variant="off")])
ENDING = flag(rules=[rule(units=["alice"], variant="off", until=END)])

CASES: dict[str, tuple[Spec, Request, tuple[str, str, str, str]]] = {
    "static": (flag(), asked(), ("on", "STATIC", "static", "")),
    "off": (flag(on=False), asked(), ("off", "DISABLED", "off", "")),
    "over": (flag(until=END), asked(at=END), ("off", "DISABLED", "over", "")),
    "not yet over": (flag(until=END), asked(at=END - 1), ("on", "DEFAULT", "default", "")),
    "unit": (flag(rules=[rule(units=["alice"], variant="off")]), asked(), ("off", "TARGETING_MATCH", "rule", "rules[0]")),
    "other unit": (flag(rules=[rule(units=["bob"], variant="off")]), asked(), ("on", "DEFAULT", "default", "")),
    "attribute": (RULED, asked(country="NO"), ("off", "TARGETING_MATCH", "rule", "rules[0]")),
    "no attribute": (RULED, asked(), ("on", "DEFAULT", "default", "")),
    "rule over": (ENDING, asked(at=END), ("on", "DEFAULT", "default", "")),
    "rule with a split": (
        flag(rules=[rule(units=["alice"], split={"off": 1.0})]), asked(), ("off", "SPLIT", "rule", "rules[0]"),
    ),
    "rule that deals to nobody": (
        flag(rules=[rule(units=["alice"], split={"off": 0.0})]), asked(), ("on", "DEFAULT", "default", ""),
    ),
    "split": (flag(split={"off": 1.0}), asked(), ("off", "SPLIT", "split", "")),
    "split to nobody": (flag(split={"off": 0.0}), asked(), ("on", "DEFAULT", "default", "")),
    "no unit": (flag(split={"off": 1.0}), asked(None), ("on", "DEFAULT", "no_unit", "")),
    "no unit for a rule": (
        flag(rules=[rule(where={"not": NORWAY}, split={"off": 1.0})]), asked(None), ("on", "DEFAULT", "no_unit", "rules[0]"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_what_a_flag_comes_to_and_why(case: tuple[Spec, Request, tuple[str, str, str, str]]) -> None:
    spec, request, expected = case
    found = flags(spec).evaluate("f", request, request.unit)
    assert said(found) == expected
    assert found.unit_missing is (found.detail == "no_unit")
    assert found.value is (found.variant == "on")


@pytest.mark.parametrize(("first", "expected"), [(True, "on"), (False, "off")])
def test_prerequisite_that_is_not_there_turns_the_flag_off(first: bool, expected: str) -> None:
    found = flags(flag("base", on=first), flag(prerequisites={"base": ["on"]}))
    request = asked()
    assert found.evaluate("f", request, request.unit).variant == expected
    if not first:
        assert said(found.evaluate("f", request, None)) == ("off", "DISABLED", "prerequisite", "prerequisites.base")


def test_split_deals_by_weight_and_each_unit_the_same() -> None:
    found = flags(flag(split={"on": 25.0, "off": 75.0}))
    got = [found.evaluate("f", asked(unit), unit).variant for unit in UNITS]
    assert got == [found.evaluate("f", asked(unit), unit).variant for unit in UNITS]
    assert 0.17 < got.count("on") / len(got) < 0.33


def test_flag_that_follows_a_route_says_what_the_route_decides() -> None:
    route = route_spec(
        weights={"stable": 50.0, "canary": 50.0},
        rules=[rule(units=["user-1"], deny="canary"), rule(1, units=["user-2"], version="canary")]
    )  # fmt: skip
    spec = plan_spec(
        route, flags=[flag("shop", route="shop", variants={"stable": "old", "canary": "new"}, default="stable")]
    )
    plan = build_plan(spec)
    found = build_flags(spec)
    for unit in UNITS:
        decision = decide(plan.routes[0], asked(unit), unit)
        evaluation = found.evaluate("shop", asked(unit), unit)
        assert decision.version is not None
        assert (evaluation.variant, evaluation.detail) == (decision.version.name, decision.reason_name)
        assert evaluation.bucket(unit) == decision.bucket(plan.routes[0])
    assert found.evaluate("shop", asked(b"user-2"), b"user-2").reason == "TARGETING_MATCH"
    assert found.evaluate("shop", asked(None), None).unit_missing


def test_route_of_which_every_version_is_killed_leaves_the_flag_to_the_asker() -> None:
    route = route_spec()
    route["versions"] = [version_spec("stable", 1.0, kill={"until": 0.0})]
    found = flags(flag("shop", route="shop", variants={"stable": "s"}, default="stable"), routes=[route])
    evaluation = found.evaluate("shop", asked(), b"alice")
    assert (evaluation.variant, evaluation.reason, evaluation.value) == ("", "DISABLED", None)


def test_bucket_is_that_of_the_flags_salt() -> None:
    evaluation = flags(flag()).evaluate("f", asked(), b"alice")
    assert evaluation.bucket(None) == -1
    assert 0 <= evaluation.bucket(b"alice") < 10_000


def test_lines_for_the_upstream() -> None:
    found = flags(flag("New-Cart"), flag("theme", split={"off": 1.0}))
    assert found.lines(["New-Cart", "theme"], asked(), b"alice") == (
        b"x-tidegate-flag-new-cart: on\r\nx-tidegate-flag-theme: off\r\n"
    )
    killed = route_spec()
    killed["versions"] = [version_spec("stable", 1.0, kill={"until": 0.0})]
    followed = flags(flag("shop", route="shop", variants={"stable": "s"}, default="stable"), routes=[killed])
    assert followed.lines(["shop"], asked(), b"alice") == b""
