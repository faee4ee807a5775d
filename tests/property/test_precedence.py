"""The order of precedence: total, deterministic, deny wins; and who is kept in, out or apart moves nobody else.

`expected` says once more what a decision is, in the plainest words there are: a list of wishes in order, of which the first
that may be granted is.
"""

from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.build import build_plan
from proxy.core.cookies import Kept
from proxy.core.decide import Decision, decide
from proxy.core.explanation import explain
from proxy.core.hashing import Dealer, hash32
from proxy.core.plan import (
    DEFAULT,
    DENY,
    HOLDOUT,
    KILL,
    LAYER,
    OVERRIDE,
    PREVIEW,
    REASONS,
    RING,
    SEGMENT,
    SPLIT,
    STICKY,
    Route,
)
from proxy.core.request import Request
from tests.specs import plan_spec, request_head, route_spec, version_spec

Spec = dict[str, Any]

UNITS = [b"unit-%d" % number for number in range(60)]
MANY = [b"unit-%d" % number for number in range(20_000)]
VERSIONS = ("v0", "v1", "v2", "v3")
SEGMENTS = ("s0", "s1", "s2")
NOW = 1_800_000_000.0

versions = st.sampled_from(VERSIONS)
ends = st.sampled_from([0.0, 0.0, NOW - 1, NOW, NOW + 1])
weights = st.lists(st.sampled_from([0.0, 1.0, 5.0, 94.0]), min_size=4, max_size=4)
rule_targets = st.one_of(
    st.fixed_dictionaries({"deny": versions}),
    st.fixed_dictionaries({"version": versions}),
    st.fixed_dictionaries({"split": st.dictionaries(versions, st.sampled_from([1.0, 3.0]), min_size=1)}),
)
rule_subjects = st.one_of(
    st.fixed_dictionaries({"units": st.lists(st.sampled_from([unit.decode() for unit in UNITS[:8]]), min_size=1)}),
    st.fixed_dictionaries({"where": st.fixed_dictionaries({"segment": st.sampled_from(SEGMENTS)})}),
)
rules = st.lists(
    st.builds(lambda who, what, until: who | what | {"until": until}, rule_subjects, rule_targets, ends), max_size=6
)
rings = st.lists(
    st.builds(
        lambda version, order, opened, until: {
            "version": version,
            "order": order,
            "open": order[opened] if opened < len(order) else "",
            "until": until,
        },
        versions,
        st.permutations(SEGMENTS),
        st.integers(0, 3),
        ends,
    ),
    max_size=2,
)
holdouts = st.none() | st.builds(
    lambda percent, until: {"name": "h", "salt": "h", "percent": percent, "until": until},
    st.sampled_from([0.0, 5.0, 50.0, 100.0]),
    ends,
)
layers = st.none() | st.builds(
    lambda pair: {"name": "l", "salt": "l", "from": min(pair), "to": max(pair)},
    st.lists(st.floats(0, 100), min_size=2, max_size=2, unique=True),
)
stickinesses = st.none() | st.builds(
    lambda mode, ages: {
        "mode": mode,
        "cookie": "kept",
        "max_age": max(ages),
        "drain": min(ages),
        "until": "",
        "step": 0,
    },
    st.sampled_from(["pinned", "new_sessions"]),
    st.lists(st.sampled_from([0.0, 60.0, 3600.0]), min_size=2, max_size=2),
)
records = st.none() | st.builds(
    lambda version, epoch, age: Kept(version.encode(), epoch, int(NOW) - age),
    versions | st.just("gone"),
    st.sampled_from([0, 0, 0, 3]),
    st.sampled_from([0, 59, 60, 3599, 3600]),
)
choices = st.none() | st.builds(
    lambda names, segment: {
        "versions": sorted(names),
        "segment": segment,
        "path": "/c",
        "cookie": "c",
        "rate": 1.0,
        "burst": 30,
    },
    st.sets(versions, min_size=1),
    st.none() | st.sampled_from(SEGMENTS),
)
chosen_ones = st.none() | st.builds(lambda name: Kept(name.encode(), 0, 1), versions | st.just("gone"))
routes = st.builds(
    lambda weights, killed, kills, rules, rings, preview, holdout, layer, default, epoch, stickiness, choice: (
        route_spec(
            versions=[
                version_spec(name, weight, kill=None if end is None else {"until": end})
                for name, weight, end in zip(VERSIONS, weights, killed, strict=True)
            ],
            kill=[{"label": f"kill{place}", "until": until} for place, until in enumerate(kills)],
            rules=[{"label": f"rules[{place}]"} | one for place, one in enumerate(rules)],
            rings=[{"label": f"rings[{place}]"} | one for place, one in enumerate(rings)],
            preview=None if preview is None else {"header": "x-v", "from": ["192.0.2.0/24"], "until": preview},
            holdout=holdout,
            layer=layer,
            default=default,
            epoch=epoch,
            stickiness=stickiness,
            choice=choice,
        )
    ),
    weights,
    st.lists(st.none() | ends, min_size=4, max_size=4),
    st.just([]) | st.just([]) | st.just([]) | st.lists(ends, max_size=2),
    rules,
    rings,
    st.none() | ends,
    holdouts,
    layers,
    versions,
    st.sampled_from([0, 0, 3]),
    stickinesses,
    choices,
)
requests = st.builds(
    lambda inside, asked, client, unit, kept, chosen: (inside, asked, client, unit, kept, chosen),
    st.sets(st.sampled_from(SEGMENTS)),
    st.none() | versions | st.just("v9"),
    st.sampled_from(["192.0.2.1", "198.51.100.1"]),
    st.none() | st.sampled_from(UNITS),
    records,
    chosen_ones,
)


INSIDE: list[Spec] = [
    {"name": name, "where": {"source": "header", "name": name, "test": "exists", "value": True}} for name in SEGMENTS
]


def built(spec: Spec) -> Route:
    return build_plan(plan_spec(spec, segments=INSIDE)).routes[0]


def head(
    inside: set[str],
    asked: str | None,
    client: str,
    unit: bytes | None,
    kept: Kept | None = None,
    chosen: Kept | None = None,
) -> Request:
    fields = {name.encode(): b"1" for name in inside} | ({} if asked is None else {b"x-v": asked.encode()})
    request = request_head(fields=fields, client=client)
    request.unit, request.at, request.kept, request.chosen = unit, NOW, kept, chosen
    return request


def outcome(decision: Decision) -> tuple[str | None, int, str]:
    return (None if decision.version is None else decision.version.name, decision.reason, decision.rule)


def lasts(entry: Spec) -> bool:
    return not entry["until"] or entry["until"] > NOW


def draw(spec: Spec, shares: dict[str, float], unit: bytes | None, without: set[str]) -> str | None:
    salt = spec["salt"] + (f"\0{spec['epoch']}" if spec["epoch"] else "")
    arms = [(place, name, shares.get(name, 0.0)) for place, name in enumerate(VERSIONS) if name in shares]
    if unit is None:
        return None
    left = [arm for arm in arms if arm[1] not in without]
    index = Dealer(salt, "split", left).deal(unit)
    return None if index < 0 else VERSIONS[index]


def expected(
    spec: Spec,
    inside: set[str],
    asked: str | None,
    client: str,
    unit: bytes | None,
    kept: Kept | None,
    chosen: Kept | None,
) -> tuple[str | None, int, str]:
    def holds(rule: Spec) -> bool:
        subject = (
            unit is not None and unit.decode() in rule["units"]
            if "units" in rule
            else rule["where"]["segment"] in inside
        )
        return subject and lasts(rule)

    held = [rule for rule in spec["rules"] if holds(rule)]
    denied = {rule["deny"]: rule["label"] for rule in reversed(held) if "deny" in rule}
    first_denier = next((rule["label"] for rule in held if "deny" in rule), "")
    killed = {one["name"] for one in spec["versions"] if one["kill"] is not None and lasts(one["kill"])}
    out = killed | denied.keys()
    left = [name for name in (spec["default"], *VERSIONS) if name not in out]
    safe = left[0] if left else None
    killer = ""

    def kill_of(name: str) -> str:
        return f"versions.{name}.kill" if name in killed and name not in denied else ""

    for kill in spec["kill"]:
        if lasts(kill):
            return safe, KILL, kill["label"]
    preview = spec["preview"]
    if preview and lasts(preview) and asked in VERSIONS and asked not in out and client == "192.0.2.1":
        return asked, PREVIEW, ""
    choice = spec["choice"]
    may_choose = choice and chosen and chosen.version.decode() in choice["versions"]
    may_choose = may_choose and (choice["segment"] is None or choice["segment"] in inside)
    gifts: list[tuple[int, str, Spec]] = [
        *((OVERRIDE, rule["label"], rule) for rule in held if "units" in rule and "deny" not in rule),
        *([(OVERRIDE, "choice", {"version": chosen.version.decode()})] if chosen and may_choose else []),
        *(
            (RING, f"{one['label']}.{name}", {"version": one["version"]})
            for one in spec["rings"]
            if lasts(one) and one["open"]
            for name in [*(ring for ring in one["order"][: one["order"].index(one["open"]) + 1] if ring in inside)][:1]
        ),
        *((SEGMENT, rule["label"], rule) for rule in held if "where" in rule and "deny" not in rule),
    ]
    for reason, label, gift in gifts:
        if "version" in gift:
            if gift["version"] not in out:
                return gift["version"], reason, label
            killer = killer or kill_of(gift["version"])
            continue
        free = draw(spec, gift["split"], unit, set(denied))
        killer = killer or (kill_of(free) if free else "")
        drawn = draw(spec, gift["split"], unit, out)
        if drawn is not None:
            return drawn, KILL if killer else reason, killer or label
    default = spec["default"]
    kept_out: tuple[int, str] | None = None
    if unit is not None:
        holdout, layer = spec["holdout"], spec["layer"]
        if layer and not layer["from"] <= hash32(b"l\0layer\0l\0" + unit) / 2**32 * 100 < layer["to"]:
            kept_out = LAYER, "layers.l"
        if holdout and lasts(holdout) and hash32(b"h\0holdout\0h\0" + unit) / 2**32 * 100 < holdout["percent"]:
            kept_out = HOLDOUT, "holdouts.h"
    if kept_out and default not in out:
        return default, *kept_out
    split = {one["name"]: one["weight"] for one in spec["versions"]}
    sticky = spec["stickiness"]
    if sticky and kept and unit is not None and not kept_out and kept.version.decode() in VERSIONS:
        name = kept.version.decode()
        bound = sticky["max_age"] if split[name] else min(sticky["max_age"], sticky["drain"])
        if kept.epoch == spec["epoch"] and NOW - kept.at < bound:
            if name not in out:
                return name, STICKY, ""
            killer = killer or kill_of(name)
    if not kept_out:
        free = draw(spec, split, unit, set(denied))
        killer = killer or (kill_of(free) if free else "")
        drawn = draw(spec, split, unit, out)
        if drawn is not None:
            return (drawn, KILL, killer) if killer else (drawn, DENY if denied else SPLIT, first_denier)
    if default in out:
        killer = killer or (f"versions.{default}.kill" if default in killed else "")
        return safe, KILL if killer else DENY, killer or first_denier
    if killer:
        return default, KILL, killer
    if denied and unit is not None and any(split.values()):
        return default, DENY, first_denier
    return default, DEFAULT, ""


@settings(max_examples=600)
@given(routes, requests)
def test_a_decision_is_the_first_wish_that_may_be_granted(spec: Spec, asked: tuple[Any, ...]) -> None:
    route = built(spec)
    decision = decide(route, head(*asked), asked[3])
    assert outcome(decision) == expected(spec, *asked)
    # Total: there is an answer, and one reason of the list for it. Deterministic: it is the same once more, and elsewhere.
    assert 0 <= decision.reason < len(REASONS)
    assert outcome(decide(route, head(*asked), asked[3])) == outcome(decide(built(spec), head(*asked), asked[3]))


@settings(max_examples=200)
@given(routes, requests)
def test_the_path_of_an_explanation_decides_as_the_decision_does(spec: Spec, asked: tuple[Any, ...]) -> None:
    route = built(spec)
    trace = explain(route, head(*asked), asked[3], "header", {one["name"]: one["where"] for one in INSIDE})
    decides = [place for place, one in enumerate(trace["path"]) if one["outcome"] == "decides"]
    assert [trace["path"][place]["version"] for place in decides] == [trace["version"]]
    assert outcome(decide(route, head(*asked), asked[3])) == (
        trace["version"],
        REASONS.index(trace["reason"]),
        trace["rule"],
    )
    after = [
        one
        for one in trace["path"][decides[0] + 1 :]
        if one["outcome"] in {"would have been next", "would have come later"}
    ]
    assert [one["outcome"] for one in after] == ["would have been next", *["would have come later"] * (len(after) - 1)][
        : len(after)
    ]
    assert {one["kind"] for one in trace["path"]} == set(REASONS)


@settings(max_examples=300)
@given(routes, requests)
def test_nothing_gives_what_is_denied_or_killed(spec: Spec, asked: tuple[Any, ...]) -> None:
    decision = decide(built(spec), head(*asked), asked[3])
    out = {one["name"] for one in spec["versions"] if one["kill"] is not None and lasts(one["kill"])}
    for rule in spec["rules"]:
        if "deny" in rule and lasts(rule):
            unit = asked[3]
            about = (
                unit is not None and unit.decode() in rule["units"]
                if "units" in rule
                else rule["where"]["segment"] in asked[0]
            )
            out |= {rule["deny"]} if about else set()
    assert decision.version is None or decision.version.name not in out
    assert (decision.version is None) == (out == set(VERSIONS))
    assert decision.denied == sum(1 << VERSIONS.index(name) for name in out)


plain_splits = st.lists(st.sampled_from([0.0, 1.0, 5.0, 94.0]), min_size=4, max_size=4).filter(any)


def simple(weights: list[float], killed: str = "", **parts: Any) -> Route:
    arms = [
        version_spec(name, weight, kill={"until": 0.0} if name == killed else None)
        for name, weight in zip(VERSIONS, weights, strict=True)
    ]
    return built(route_spec(versions=arms, default="v0", **parts))


def given_to(route: Route, unit: bytes, *inside: str) -> str:
    request = head(set(inside), None, "", unit)
    version = decide(route, request, unit).version
    assert version is not None
    return version.name


@given(plain_splits, versions)
def test_a_kill_moves_the_units_of_its_version_and_nobody_else(weights: list[float], killed: str) -> None:
    before, after = simple(weights), simple(weights, killed)
    for unit in UNITS:
        had = given_to(before, unit)
        assert given_to(after, unit) != killed
        if had != killed:
            assert given_to(after, unit) == had


@given(plain_splits, versions, st.permutations(SEGMENTS), st.sets(st.sampled_from(SEGMENTS)))
def test_opening_one_more_ring_moves_units_into_its_version_only(
    weights: list[float], version: str, order: list[str], inside: set[str]
) -> None:
    ramp = [
        simple(weights, rings=[{"label": "r", "version": version, "order": order, "open": opened, "until": 0.0}])
        for opened in ("", *order)
    ]
    for unit in UNITS[:20]:
        for before, after in pairwise(ramp):
            had, has = given_to(before, unit, *inside), given_to(after, unit, *inside)
            assert has in {had, version}
            if had == version:
                assert has == version


shares = st.floats(0.0, 100.0)


@given(plain_splits, shares, shares)
def test_a_larger_holdout_holds_out_those_of_the_smaller_and_more(weights: list[float], one: float, two: float) -> None:
    small, large = (
        simple(weights, holdout={"name": "h", "salt": "h", "percent": percent, "until": 0.0})
        for percent in sorted((one, two))
    )
    free = simple(weights)
    for unit in UNITS:
        few, many = (decide(route, head(set(), None, "", unit), unit).reason == HOLDOUT for route in (small, large))
        assert many or not few
        if not many:
            assert given_to(large, unit) == given_to(small, unit) == given_to(free, unit)


@given(plain_splits, st.lists(shares, min_size=3, max_size=3, unique=True))
def test_a_wider_part_of_a_layer_lets_nobody_go(weights: list[float], edges: list[float]) -> None:
    low, middle, high = sorted(edges)
    narrow, wide = (simple(weights, layer={"name": "l", "salt": "l", "from": low, "to": to}) for to in (middle, high))
    beside = simple(weights, layer={"name": "l", "salt": "l", "from": middle, "to": high})
    for unit in UNITS:
        inside = [decide(route, head(set(), None, "", unit), unit).reason != LAYER for route in (narrow, wide, beside)]
        assert inside[1] == (inside[0] or inside[2])  # the parts are all of it,
        assert not (inside[0] and inside[2])  # and nobody is in both
        if inside[0]:
            assert given_to(wide, unit) == given_to(narrow, unit)


@settings(max_examples=100)
@given(routes, requests)
def test_no_unit_is_dealt_at_random_per_request(spec: Spec, asked: tuple[Any, ...]) -> None:
    """Another request of the same unit, to another path, by another method, at another time without ends: the same."""
    inside, wish, client, unit, kept, chosen = asked
    if spec["stickiness"]:
        spec["stickiness"] |= {"max_age": 1e9, "drain": 1e9}
    for part in (*spec["rules"], *spec["rings"], *spec["kill"], spec["holdout"] or {}, spec["preview"] or {}):
        if "until" in part:
            part["until"] = 0.0
    for version in spec["versions"]:
        if version["kill"]:
            version["kill"]["until"] = 0.0
    route = built(spec)
    first = decide(route, head(inside, wish, client, unit, kept, chosen), unit)
    fields = {name.encode(): b"1" for name in inside} | ({} if wish is None else {b"x-v": wish.encode()})
    again = request_head(
        b"/other", method=b"POST", fields=fields | {b"x-request-id": b"7"}, client=client, query=b"q=1"
    )
    again.unit, again.at, again.kept, again.chosen = unit, NOW + 12345.0, kept, chosen
    assert outcome(decide(route, again, unit)) == outcome(first)


def test_holdout_layer_split_and_epochs_are_independent_of_each_other() -> None:
    """Chi-square of 2 x 2 tables: above 15.1 once in 10,000 fair tries; the sample is fixed, all salts and names are equal."""
    same: Spec = {"name": "v1", "salt": "shop"}
    weights = [70.0, 30.0, 0.0, 0.0]
    held = simple(weights, holdout=same | {"percent": 30.0, "until": 0.0})
    layered = simple(weights, layer=same | {"from": 0.0, "to": 30.0})
    sets = {
        "split": {unit for unit in MANY if given_to(simple(weights), unit) == "v1"},
        "epoch": {unit for unit in MANY if given_to(ANEW, unit) == "v1"},
        "holdout": {unit for unit in MANY if decide(held, HEAD, unit).reason == HOLDOUT},
        "layer": {unit for unit in MANY if decide(layered, HEAD, unit).reason != LAYER},
    }
    total = len(MANY)
    names = list(sets)
    for place, one in enumerate(names):
        assert abs(len(sets[one]) / total - 0.3) < 0.01
        for other in names[place + 1 :]:
            a, b = sets[one], sets[other]
            both = len(a & b)
            cells = [
                (both, len(a) * len(b)),
                (len(a) - both, len(a) * (total - len(b))),
                (len(b) - both, (total - len(a)) * len(b)),
                (total - len(a) - len(b) + both, (total - len(a)) * (total - len(b))),
            ]
            assert sum((seen - fair / total) ** 2 / (fair / total) for seen, fair in cells) < 15.1, (one, other)


HEAD = head(set(), None, "", None)
ANEW = simple([70.0, 30.0, 0.0, 0.0], epoch=1)
