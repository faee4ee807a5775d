"""Laws of flags: the route and its flag agree, raising a share takes nobody out, and one flag says nothing of another."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.build import build_flags, build_plan
from proxy.core.decide import decide
from proxy.core.flag_explanation import explain_flag
from proxy.settings.flag_changes import compare_flags
from tests.families import SPECS
from tests.specs import plan_spec, request_head, route_spec, version_spec
from tests.unit.core.test_flags import asked, flag, flags

UNITS = [b"unit-%d" % number for number in range(200)]
MANY = [b"unit-%d" % number for number in range(20_000)]
weights = st.sampled_from([0.0, 1.0, 5.0, 50.0])


def agreed(route: dict[str, Any], unit: bytes | None) -> None:
    """What an application is told, what an upstream is told in a field, and what the route decides are one."""
    variants = {version["name"]: version["name"] for version in route["versions"]}
    shop = flag("shop", route="shop", variants=variants, default=route["default"], off=route["default"])
    spec = plan_spec(route | {"inject_flags": ["shop"]}, flags=[shop])
    plan, found = build_plan(spec), build_flags(spec)
    request = request_head()
    request.unit = unit
    version = decide(plan.routes[0], request, unit).version
    assert found.evaluate("shop", asked(unit), unit).value == (None if version is None else version.name)
    assert plan.flags is not None
    told = b"" if version is None else b"x-tidegate-flag-shop: " + version.name.encode() + b"\r\n"
    assert plan.flags.lines(["shop"], request, unit) == told


@settings(max_examples=60, deadline=None)
@given(
    st.none() | st.sampled_from(SPECS),
    st.tuples(weights, weights, weights),
    st.lists(st.sampled_from(UNITS), max_size=3),
    st.sampled_from(["version", "deny"]),
    st.lists(st.booleans(), min_size=3, max_size=3),
    st.none() | st.sampled_from([5.0, 50.0]),
    st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40), max_size=20),
)
def test_route_and_flag_agree_for_every_unit_and_every_hash_family(
    family: dict[str, Any] | None,
    shares: tuple[float, ...],
    about: list[bytes],
    effect: str,
    killed: list[bool],
    held_out: float | None,
    texts: list[str],
) -> None:
    versions = [
        version_spec(name, share, kill={"until": 0.0} if dead else None)
        for name, share, dead in zip("abc", shares, killed, strict=True)
    ]
    rules: list[dict[str, Any]] = [{"label": "rules[0]", "units": [one.decode() for one in about], effect: "b"}]
    holdout = None if held_out is None else {"name": "h", "salt": "h", "percent": held_out, "until": 0.0}
    route = route_spec(versions=versions, rules=rules if about else [], hash=family, holdout=holdout, default="a")
    for unit in (None, *UNITS[:40], *(text.encode() for text in texts)):
        agreed(route, unit)


RULES = [
    {"units": ["unit-1"], "variant": "on", "until": 5.0},
    {"where": {"source": "attribute", "name": "country", "test": "in", "value": ["NO"]}, "split": {"on": 1.0}},
    {"units": ["unit-1"], "split": {"on": 0.0}},
    {"units": ["unit-2"], "variant": "off"},
]
made = st.fixed_dictionaries(
    {
        "on": st.sampled_from([True, True, False]),
        "until": st.sampled_from([0.0, 5.0]),
        "rules": st.lists(st.sampled_from(RULES), max_size=3).map(
            lambda rules: [{"label": f"rules[{place}]"} | one for place, one in enumerate(rules)]
        ),
        "split": st.sampled_from([None, {"on": 1.0, "off": 1.0}, {"on": 0.0}]),
        "prerequisites": st.sampled_from([{}, {"base": ["on"]}, {"base": ["off"]}]),
    }
)


@settings(max_examples=200, deadline=None)
@given(made, st.sampled_from([None, b"unit-1", b"unit-2", b"unit-3"]), st.sampled_from([0.0, 5.0]), st.booleans())
def test_the_path_of_an_explanation_decides_as_the_evaluation_does(
    parts: dict[str, Any], unit: bytes | None, at: float, norway: bool
) -> None:
    found = flags(flag("base", rules=[{"label": "rules[0]", "units": ["unit-2"], "variant": "off"}]), flag(**parts))
    request = asked(unit, at, **({"country": "NO"} if norway else {}))
    trace = explain_flag(found, "f", request, unit, "asked", {})
    came = found.evaluate("f", request, unit)
    assert [one["variant"] for one in trace["path"] if one["outcome"] == "decides"] == [came.variant]
    assert (trace["reason"], trace["detail"], trace["rule"]) == (came.reason, came.detail, came.rule)
    after = [one["outcome"] for one in trace["path"] if one["outcome"].startswith("would have")]
    assert after == ["would have been next", *["would have come later"] * (len(after) - 1)][: len(after)]
    assert {one["kind"] for one in trace["path"]} == {"off", "over", "prerequisite", "rule", "split", "default"}


@settings(max_examples=25, deadline=None)
@given(st.floats(1, 90), st.floats(0, 10))
def test_nobody_leaves_a_variant_whose_share_is_raised(before: float, more: float) -> None:
    old = flags(flag(split={"on": before, "off": 100 - before}))
    new = flags(flag(split={"on": before + more, "off": 100 - before - more}))
    for unit in UNITS:
        if old.evaluate("f", asked(unit), unit).variant == "on":
            assert new.evaluate("f", asked(unit), unit).variant == "on"


def test_two_flags_and_a_route_are_dealt_apart() -> None:
    found = flags(flag("a", split={"on": 50.0, "off": 50.0}), flag("b", split={"on": 50.0, "off": 50.0}))
    same = route_spec("a", weights={"on": 50.0, "off": 50.0})
    route = build_plan(plan_spec(same)).routes[0]
    both = with_route = 0
    for unit in MANY:
        request = asked(unit)
        a = found.evaluate("a", request, unit).variant
        both += a == found.evaluate("b", request, unit).variant
        version = decide(route, request, unit).version
        with_route += version is not None and version.name == a
    assert abs(both / len(MANY) - 0.5) < 0.015
    assert abs(with_route / len(MANY) - 0.5) < 0.015


splits = st.none() | st.fixed_dictionaries({"on": weights, "off": weights, "other": weights})
sides = st.fixed_dictionaries(
    {
        "split": splits,
        "default": st.sampled_from(["on", "off"]),
        "on": st.sampled_from([True, True, True, False]),
        "salt": st.sampled_from(["one", "one", "two"]),
        "route": st.sampled_from(["", "", "shop"]),
    }
)


@settings(max_examples=30, deadline=None)
@given(sides, sides, st.tuples(weights, weights, weights), st.tuples(weights, weights, weights))
def test_as_many_units_get_another_variant_as_was_told(
    one: dict[str, Any], other: dict[str, Any], before: tuple[float, ...], after: tuple[float, ...]
) -> None:
    variants = {name: name for name in ("on", "off", "other")}
    specs = [
        plan_spec(
            route_spec(weights=dict(zip(variants, shares, strict=True)), default="off"),
            flags=[flag(variants=variants, **(side | ({"split": None, "default": "off"} if side["route"] else {})))],
        )
        for side, shares in ((one, before), (other, after))
    ]
    told = {change.flag: change.moved for change in compare_flags(*specs, 0.0)}
    was, now = (build_flags(spec) for spec in specs)
    moved = sum(
        was.evaluate("f", asked(unit), unit).variant != now.evaluate("f", asked(unit), unit).variant for unit in MANY
    )
    assert abs(moved / len(MANY) - told.get("f", 0.0)) < 0.02
