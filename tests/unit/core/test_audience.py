"""Who is kept in, out or apart: kill switches, rings, holdouts, layers, the epoch, and their ends."""

from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.audience import Holdout, Layer, Rings, is_over
from proxy.core.build import build_plan
from proxy.core.decide import Decision, decide
from proxy.core.hashing import hash32
from proxy.core.plan import DEFAULT, DENY, HOLDOUT, KILL, LAYER, OVERRIDE, PREVIEW, RING, SEGMENT, SPLIT, Route
from proxy.core.request import Request
from tests.specs import plan_spec, request_head, route_spec, version_spec

Spec = dict[str, Any]

UNITS = [b"user-%d" % number for number in range(400)]
RING_NAMES = ("dev-team", "staff", "beta")
END = 1_800_000_000.0
PREVIEWED: Spec = {"header": "x-tidegate-version", "from": ["192.0.2.0/24"], "until": 0.0}


def segment(name: str) -> Spec:
    return {"name": name, "where": {"source": "header", "name": f"x-{name}", "test": "exists", "value": True}}


def rule(place: int, **parts: Any) -> Spec:
    return {"label": f"rules[{place}]"} | parts


def rings(opened: str, version: str = "canary", **parts: Any) -> Spec:
    return {"label": "rings[0]", "version": version, "order": list(RING_NAMES), "open": opened, "until": 0.0} | parts


def holdout(percent: float = 100.0, **parts: Any) -> Spec:
    return {"name": "q4", "percent": percent, "salt": "q4", "until": 0.0} | parts


def layer(low: float, high: float, **parts: Any) -> Spec:
    return {"name": "checkout", "salt": "checkout", "from": low, "to": high} | parts


def make_route(
    *rules: Spec, weights: dict[str, float] | None = None, killed: dict[str, float] | None = None, **parts: Any
) -> Route:
    """A route whose `killed` versions are so until the time given (0: without end)."""
    weights = weights or {"stable": 95.0, "canary": 5.0}
    ends = killed or {}
    versions = [
        version_spec(name, weight, kill={"until": ends[name]} if name in ends else None)
        for name, weight in weights.items()
    ]
    spec = route_spec(**({"versions": versions, "rules": list(rules), "default": versions[0]["name"]} | parts))
    return build_plan(plan_spec(spec, segments=[segment(name) for name in RING_NAMES])).routes[0]


def head(*names: str, at: float = 0.0) -> Request:
    request = request_head(fields={f"x-{name}".encode(): b"1" for name in names})
    request.at = at
    return request


def asking_for(version: bytes, at: float = 0.0) -> Request:
    request = request_head(fields={b"x-tidegate-version": version})
    request.at = at
    return request


def outcome(decision: Decision) -> tuple[str | None, int, str]:
    return (None if decision.version is None else decision.version.name, decision.reason, decision.rule)


def drawn(route: Route, name: str) -> bytes:
    """A unit whose draw is the version."""
    return next(unit for unit in UNITS if route.versions[route.split.deal(unit)].name == name)


def test_what_has_no_end_is_never_over() -> None:
    assert not is_over(0.0, 0.0)
    assert not is_over(0.0, END)
    assert [is_over(END, at) for at in (0.0, END - 1, END, END + 1)] == [False, False, True, True]


# Kill switches.


@pytest.mark.parametrize("label", ["kill", "route.kill"])
def test_killed_route_serves_its_default_version_to_everybody(label: str) -> None:
    route = make_route(
        rule(0, units=["al"], version="canary"),
        rule(1, where={"segment": "staff"}, version="canary"),
        kill=[{"label": label, "until": 0.0}],
        rings=[rings("beta")],
        preview=PREVIEWED,
        weights={"stable": 0.0, "canary": 100.0},
    )
    for request in (head(), head("staff", "beta"), asking_for(b"canary")):
        for unit in (None, b"al", b"bo"):
            assert outcome(decide(route, request, unit)) == ("stable", KILL, label)


def test_the_kill_of_the_file_is_told_before_that_of_the_route() -> None:
    kills = [{"label": "kill", "until": END}, {"label": "route.kill", "until": 0.0}]
    route = make_route(kill=kills)
    assert decide(route, head(at=END - 1), b"al").rule == "kill"
    assert decide(route, head(at=END), b"al").rule == "route.kill"


def test_nobody_gets_a_killed_version_and_only_its_units_move() -> None:
    weights = {"stable": 50.0, "canary": 30.0, "other": 20.0}
    free, killed = make_route(weights=weights), make_route(weights=weights, killed={"canary": 0.0})
    seen = set()
    for unit in UNITS:
        before, after = decide(free, head(), unit), decide(killed, head(), unit)
        assert after.version is not None
        assert after.version.name != "canary"
        assert after.denied == 0b010
        seen.add(after.reason)
        if outcome(before)[0] == "canary":
            assert (after.reason, after.rule) == (KILL, "versions.canary.kill")
            assert after.version.index == killed.split.deal(unit, 0b010)
        else:
            assert outcome(after) == outcome(before)
    assert seen == {SPLIT, KILL}


@pytest.mark.parametrize("unit", [b"al", None])
def test_nothing_overrides_the_kill_of_a_version(unit: bytes | None) -> None:
    route = make_route(
        rule(0, units=["al"], version="canary"),
        rule(1, units=["al"], split={"canary": 1.0}),
        rule(2, where={"segment": "staff"}, version="canary"),
        rule(3, where={"segment": "staff"}, split={"canary": 1.0}),
        rings=[rings("beta")],
        preview=PREVIEWED,
        killed={"canary": 0.0},
        weights={"stable": 0.0, "canary": 1.0},
        default="canary",
    )
    request = request_head(fields={b"x-staff": b"1", b"x-tidegate-version": b"canary"})
    assert outcome(decide(route, request, unit)) == ("stable", KILL, "versions.canary.kill")


def test_rule_whose_version_is_killed_is_passed_over_and_the_kill_is_the_reason() -> None:
    killed = {"canary": 0.0}
    override = make_route(rule(0, units=["al"], version="canary"), killed=killed)
    unit = drawn(override, "stable").decode()
    route = make_route(rule(0, units=[unit], version="canary"), killed=killed)
    assert outcome(decide(route, head(), unit.encode())) == ("stable", KILL, "versions.canary.kill")
    # Where another rule has something to give, that rule is the reason.
    both = make_route(
        rule(0, units=[unit], version="canary"), rule(1, where={"segment": "staff"}, version="stable"), killed=killed
    )
    assert outcome(decide(both, head("staff"), unit.encode())) == ("stable", SEGMENT, "rules[1]")


def test_split_of_a_rule_deals_what_a_kill_left() -> None:
    weights = {"stable": 1.0, "canary": 1.0, "other": 1.0}
    route = make_route(rule(0, where={"segment": "staff"}, split=weights), weights=weights, killed={"canary": 0.0})
    reasons = {}
    for unit in UNITS:
        decision = decide(route, head("staff"), unit)
        assert decision.version is not None
        reasons[decision.reason] = decision.rule
        assert (decision.reason == KILL) == (route.split.deal(unit) == 1)
    assert reasons == {SEGMENT: "rules[0]", KILL: "versions.canary.kill"}


def test_kill_that_empties_the_split_leaves_the_default() -> None:
    route = make_route(weights={"blue": 0.0, "green": 100.0}, killed={"green": 0.0})
    assert outcome(decide(route, head(), b"al")) == ("blue", KILL, "versions.green.kill")
    assert outcome(decide(route, head(), None)) == ("blue", DEFAULT, "")


@pytest.mark.parametrize("unit", [b"al", None])
def test_killed_default_gives_way_to_the_first_listed_that_is_left(unit: bytes | None) -> None:
    route = make_route(
        rule(0, where={"segment": "staff"}, deny="a"),
        weights={"stable": 1.0, "a": 0.0, "b": 0.0},
        killed={"stable": 0.0},
        kill=[],
    )
    assert outcome(decide(route, head("staff"), unit)) == ("b", KILL, "versions.stable.kill")
    assert outcome(decide(route, head(), unit)) == ("a", KILL, "versions.stable.kill")


def test_deny_wins_over_the_kill_of_a_route() -> None:
    """Who is denied the default is not given it because the rest is switched off."""
    route = make_route(
        rule(0, units=["bob"], deny="stable"),
        rule(1, units=["eve"], deny="stable"),
        rule(2, units=["eve"], deny="canary"),
        kill=[{"label": "kill", "until": 0.0}],
    )
    assert outcome(decide(route, head(), b"bob")) == ("canary", KILL, "kill")
    assert outcome(decide(route, head(), b"eve")) == (None, KILL, "kill")
    assert outcome(decide(route, head(), b"al")) == ("stable", KILL, "kill")


def test_everything_killed_is_no_version() -> None:
    route = make_route(killed={"stable": 0.0, "canary": 0.0}, preview=PREVIEWED)
    for unit in (None, b"al"):
        decision = decide(route, asking_for(b"canary"), unit)
        assert (decision.version, decision.reason, decision.denied) == (None, KILL, 0b11)


def test_denied_and_killed_together_are_no_version() -> None:
    route = make_route(rule(0, units=["bob"], deny="canary"), killed={"stable": 0.0})
    assert outcome(decide(route, head(), b"bob")) == (None, KILL, "versions.stable.kill")
    assert outcome(decide(route, head(), b"al"))[0] == "canary"


# Rings.


@pytest.mark.parametrize(
    ("opened", "inside"),
    [("", ()), ("dev-team", ("dev-team",)), ("staff", ("dev-team", "staff")), ("beta", RING_NAMES)],
)
def test_rings_up_to_the_open_one_get_the_version(opened: str, inside: tuple[str, ...]) -> None:
    route = make_route(rings=[rings(opened)], weights={"stable": 1.0, "canary": 0.0})
    for name in RING_NAMES:
        expected = ("canary", RING, f"rings[0].{name}") if name in inside else ("stable", SPLIT, "")
        assert outcome(decide(route, head(name), b"al")) == expected
        assert outcome(decide(route, head(name), None))[0] == expected[0]


def test_the_innermost_ring_is_told() -> None:
    route = make_route(rings=[rings("beta")])
    assert decide(route, head("beta", "staff"), b"al").rule == "rings[0].staff"


def test_the_first_rings_that_hold_decide() -> None:
    weights = {"stable": 1.0, "canary": 0.0, "next": 0.0}
    second = rings("beta", "next", label="rings[1]")
    route = make_route(rings=[rings("dev-team"), second], weights=weights)
    assert outcome(decide(route, head("dev-team", "beta"), b"al")) == ("canary", RING, "rings[0].dev-team")
    assert outcome(decide(route, head("staff", "beta"), b"al")) == ("next", RING, "rings[1].staff")
    killed = make_route(rings=[rings("dev-team"), second], weights=weights, killed={"canary": 0.0})
    assert outcome(decide(killed, head("dev-team"), b"al")) == ("next", RING, "rings[1].dev-team")


def test_override_wins_over_a_ring_and_a_ring_over_a_segment_rule() -> None:
    route = make_route(
        rule(0, where={"segment": "staff"}, version="stable"),
        rule(1, units=["al"], version="stable"),
        rule(2, units=["bob"], deny="canary"),
        rings=[rings("beta")],
    )
    assert outcome(decide(route, head("staff"), b"al")) == ("stable", OVERRIDE, "rules[1]")
    assert outcome(decide(route, head("staff"), b"bo")) == ("canary", RING, "rings[0].staff")
    assert outcome(decide(route, head("staff"), b"bob")) == ("stable", SEGMENT, "rules[0]")


def test_rings_name_segments_that_are_there() -> None:
    with pytest.raises(KeyError):
        Rings(rings("staff"), 1, {})
    with pytest.raises(ValueError, match="nobody"):
        Rings(rings("nobody"), 1, {})


# Holdouts.


def test_held_out_units_get_the_default_and_keep_doing_so_as_the_holdout_grows() -> None:
    routes = [make_route(holdout=holdout(percent), weights={"stable": 0.0, "canary": 1.0}) for percent in (5, 20, 100)]
    held = [{unit for unit in UNITS if decide(route, head(), unit).reason == HOLDOUT} for route in routes]
    assert held[0] < held[1] < held[2] == set(UNITS)
    assert abs(len(held[1]) - 80) < 25
    for route, out in zip(routes, held, strict=True):
        for unit in UNITS:
            expected = ("stable", HOLDOUT, "holdouts.q4") if unit in out else ("canary", SPLIT, "")
            assert outcome(decide(route, head(), unit)) == expected


def test_routes_that_name_one_holdout_hold_out_the_same_units() -> None:
    one, other = (make_route(holdout=holdout(20), name=name, salt=name) for name in ("shop", "search"))
    for unit in UNITS:
        assert (decide(one, head(), unit).reason == HOLDOUT) == (decide(other, head(), unit).reason == HOLDOUT)


def test_holdout_is_hashed_for_its_purpose() -> None:
    held = Holdout(holdout(30, salt="s", name="n"))
    for unit in UNITS:
        position = hash32(b"s\0holdout\0n\0" + unit) / 2**32 * 100
        assert held.position(unit) == position
        assert held.holds(unit, 0.0) == (position < 30)


def test_rings_and_rules_win_over_a_holdout_and_the_holdout_over_the_layer() -> None:
    route = make_route(
        rule(0, units=["al"], version="canary"),
        rule(1, where={"segment": "beta"}, version="canary"),
        rings=[rings("dev-team")],
        holdout=holdout(),
        layer=layer(0.0, 1e-7),
        preview=PREVIEWED,
    )
    assert outcome(decide(route, asking_for(b"canary"), b"bo"))[1] == PREVIEW
    assert outcome(decide(route, head(), b"al"))[1] == OVERRIDE
    assert outcome(decide(route, head("dev-team"), b"bo"))[1] == RING
    assert outcome(decide(route, head("beta"), b"bo"))[1] == SEGMENT
    assert outcome(decide(route, head(), b"bo"))[1] == HOLDOUT
    assert outcome(decide(route, head(), None)) == ("stable", DEFAULT, "")


@pytest.mark.parametrize(
    ("deny", "killed", "reason", "label"),
    [(True, {}, DENY, "rules[0]"), (False, {"stable": 0.0}, KILL, "versions.stable.kill")],
)
@pytest.mark.parametrize("apart", [{"holdout": holdout()}, {"layer": layer(99.9999, 100.0)}])
def test_who_is_kept_out_and_may_not_have_the_default_gets_the_first_that_is_left(
    apart: Spec, deny: bool, killed: dict[str, float], reason: int, label: str
) -> None:
    rules = [rule(0, units=["al"], deny="stable")] if deny else []
    route = make_route(*rules, weights={"stable": 1.0, "a": 0.0, "b": 100.0}, killed=killed, **apart)
    assert outcome(decide(route, head(), b"al")) == ("a", reason, label)


# Layers.


def test_a_layer_gives_each_route_units_of_its_own() -> None:
    weights = {"stable": 0.0, "canary": 1.0}
    parts = [(0.0, 40.0), (40.0, 50.0), (50.0, 100.0)]
    routes = [make_route(layer=layer(*part), weights=weights, salt=f"s{part}") for part in parts]
    counts = [0, 0, 0]
    for unit in UNITS:
        decisions = [outcome(decide(route, head(), unit)) for route in routes]
        inside = [place for place, one in enumerate(decisions) if one == ("canary", SPLIT, "")]
        assert len(inside) == 1  # in one experiment, and only one
        counts[inside[0]] += 1
        assert [one for one in decisions if one[0] == "stable"] == [("stable", LAYER, "layers.checkout")] * 2
    assert all(abs(count / 4 - (high - low)) < 8 for count, (low, high) in zip(counts, parts, strict=True))


def test_layer_is_hashed_for_its_purpose() -> None:
    part = Layer(layer(10.0, 60.0, salt="s", name="n"))
    for unit in UNITS:
        position = hash32(b"s\0layer\0n\0" + unit) / 2**32 * 100
        assert part.position(unit) == position
        assert part.has(unit) == (10 <= position < 60)


def test_a_layer_from_0_to_100_has_everybody() -> None:
    part = Layer(layer(0.0, 100.0))
    assert all(part.has(unit) for unit in UNITS)


def test_without_a_unit_nobody_is_in_a_layer_and_the_default_serves() -> None:
    assert outcome(decide(make_route(layer=layer(0.0, 1.0)), head(), None)) == ("stable", DEFAULT, "")


# Ends.

Make = Callable[[float], Route]
ENDING: list[tuple[str, Make, Request]] = [
    ("kill", lambda until: make_route(kill=[{"label": "kill", "until": until}], weights=EVEN), head()),
    ("version", lambda until: make_route(killed={"canary": until}, weights=EVEN), head()),
    ("deny", lambda until: make_route(rule(0, units=NAMES, deny="canary", until=until), weights=EVEN), head()),
    ("override", lambda until: make_route(rule(0, units=NAMES, version="stable", until=until), weights=EVEN), head()),
    ("ring", lambda until: make_route(rings=[rings("beta", "stable", until=until)], weights=EVEN), head("beta")),
    (
        "segment",
        lambda until: make_route(rule(0, where={"segment": "beta"}, version="stable", until=until), weights=EVEN),
        head("beta"),
    ),
    ("holdout", lambda until: make_route(holdout=holdout(until=until), weights=EVEN), head()),
    ("preview", lambda until: make_route(preview=PREVIEWED | {"until": until}, weights=EVEN), asking_for(b"stable")),
]
EVEN = {"stable": 1.0, "canary": 1.0}
NAMES = [unit.decode() for unit in UNITS]


@pytest.mark.parametrize(("name", "make", "request_"), ENDING, ids=[one[0] for one in ENDING])
def test_what_has_an_end_is_as_if_not_there_from_then_on(name: str, make: Make, request_: Request) -> None:
    free, route, endless = make_route(weights=EVEN), make(END), make(0.0)
    unit = drawn(free, "canary")
    for at, over in ((END - 1, False), (END, True), (END + 1e9, True)):
        request_.at = at
        assert outcome(decide(route, request_, unit))[0] == ("canary" if over else "stable"), name
        assert outcome(decide(endless, request_, unit))[0] == "stable"
        if over:
            assert outcome(decide(route, request_, unit)) == outcome(decide(free, head(), unit))


# The epoch.


def test_epoch_nought_is_the_salt_alone_and_another_deals_anew() -> None:
    weights = {"stable": 50.0, "canary": 50.0}
    routes = [make_route(weights=weights, epoch=epoch) for epoch in (0, 1, 2)]
    dealt = [[decide(route, head(), unit).version.name for unit in UNITS] for route in routes]  # type: ignore[union-attr]
    assert routes[0].salt_bytes == b"shop"
    for one, other in ((0, 1), (0, 2), (1, 2)):
        same = sum(a == b for a, b in zip(dealt[one], dealt[other], strict=True))
        assert 160 < same < 240  # as chance has it
    buckets = [decide(route, head(), b"al").bucket(route) for route in routes]
    assert len(set(buckets)) == 3


def test_epoch_deals_the_splits_of_rules_anew_too_and_leaves_holdouts_alone() -> None:
    def canaries(epoch: int) -> set[bytes]:
        route = make_route(rule(0, where={"segment": "beta"}, split={"stable": 1.0, "canary": 1.0}), epoch=epoch)
        return {unit for unit in UNITS if outcome(decide(route, head("beta"), unit))[0] == "canary"}

    def held(epoch: int) -> set[bytes]:
        route = make_route(holdout=holdout(20), epoch=epoch)
        return {unit for unit in UNITS if decide(route, head(), unit).reason == HOLDOUT}

    assert len(canaries(0) & canaries(1)) < 150 < len(canaries(0))
    assert held(0) == held(1)


@pytest.mark.parametrize(
    "parts",
    [
        {"kill": [{"label": "kill", "until": 0.0}]},
        {"killed": {"canary": 0.0}},
        {"rings": [rings("beta")]},
        {"holdout": holdout()},
        {"layer": layer(0.0, 1.0)},
    ],
)
def test_only_a_route_without_any_of_it_is_plain(parts: Spec) -> None:
    assert make_route(epoch=3).plain
    assert not make_route(**parts).plain
