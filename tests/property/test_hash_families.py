"""The laws of dealing as other systems do, and their own SDKs' word for it."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.build import build_plan
from proxy.core.decide import decide
from proxy.core.hash_families import make_family, parts_of, ranges_on_line
from proxy.settings.changes import compare
from tests.families import FLAGD_V1, FLAGD_V2, FLAGD_V3, LAUNCHDARKLY, SPECS, UNLEASH, VARIANTS, Spec, dealer
from tests.specs import plan_spec, request_head, route_spec, version_spec

MANY = [b"user-%d" % number for number in range(20_000)]
FEW = MANY[:300]

units = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60),
    st.integers(0, 10**12).map(str),
    st.uuids().map(str),
)
batches = st.lists(units, min_size=50, max_size=70)
texts = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=20)
# Unleash's engine writes groups into rules of a language of its own, and does not escape these in them.
groups = st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters='"\\'), min_size=1, max_size=20)


def whole(parts: int, most: int = 5) -> st.SearchStrategy[list[int]]:
    """Whole weights that add up to `parts`, some of them 0."""
    return st.lists(st.integers(0, parts), min_size=0, max_size=most - 1).map(
        lambda cuts: [b - a for a, b in zip([0, *sorted(cuts)], [*sorted(cuts), parts], strict=True)]
    )


def floats(weights: list[int]) -> list[float]:
    return [float(weight) for weight in weights]


# The laws.


@given(st.sampled_from(SPECS), st.integers(0, 100), st.integers(0, 100))
def test_with_two_versions_who_has_the_first_keeps_it_when_it_grows(spec: Spec, one: int, other: int) -> None:
    low, high = sorted((one, other))
    before, after = dealer(spec, floats([low, 100 - low])), dealer(spec, floats([high, 100 - high]))
    assert all(after.deal(unit) == 0 for unit in FEW if before.deal(unit) == 0)


@given(st.sampled_from(SPECS), whole(100), st.integers(0, 31))
def test_deny_leaves_everybody_else_in_place(spec: Spec, weights: list[int], denied: int) -> None:
    dealt = dealer(spec, floats(weights))
    for unit in FEW[:100]:
        free, left = dealt.deal(unit), dealt.deal(unit, denied)
        assert left == -1 or not denied >> left & 1
        if free >= 0 and not denied >> free & 1:
            assert left == free


@given(st.sampled_from(SPECS), whole(100))
def test_only_proportions_count(spec: Spec, weights: list[int]) -> None:
    one, ten = dealer(spec, floats(weights)), dealer(spec, floats([10 * weight for weight in weights]))
    assert [one.deal(unit) for unit in FEW] == [ten.deal(unit) for unit in FEW]


def a_route(family: Spec | None, weights: Sequence[float], killed: int = 0, **parts: Any) -> Spec:
    """A route of versions v0, v1, ..., those of a bit mask killed."""
    kill = {"until": 0.0}
    versions = [
        version_spec(f"v{place}", float(weight), kill=kill if killed >> place & 1 else None)
        for place, weight in enumerate(weights)
    ]
    return route_spec(versions=versions, default="v0", hash=family, **parts)


def told(old: Spec, new: Spec) -> tuple[float, dict[str, float], dict[str, float]]:
    """The share of units that moves, who comes and who goes, by version: as `tidegate diff` says."""
    changes = compare(plan_spec(old), plan_spec(new), at=0.0).changed_routes
    return (changes[0].moved, changes[0].entering, changes[0].leaving) if changes else (0.0, {}, {})


def counted(old: Spec, new: Spec) -> tuple[float, dict[str, float], dict[str, float]]:
    """The same of twenty thousand units, each decided before and after."""
    before, after = (build_plan(plan_spec(one)).routes[0] for one in (old, new))
    request = request_head()
    entering: Counter[str] = Counter()
    leaving: Counter[str] = Counter()
    for unit in MANY:
        was, now = decide(before, request, unit).version, decide(after, request, unit).version
        assert was is not None
        assert now is not None
        if was.name != now.name:
            leaving[was.name] += 1
            entering[now.name] += 1
    size = len(MANY)
    return (
        leaving.total() / size,
        {name: count / size for name, count in entering.items()},
        {name: count / size for name, count in leaving.items()},
    )


def check(old: Spec, new: Spec) -> None:
    """What is told is what is counted, within five standard deviations of a count."""
    said, seen = told(old, new), counted(old, new)
    assert seen[0] == pytest.approx(said[0], abs=5 * (said[0] / len(MANY)) ** 0.5 + 1e-9)
    for shares, counts in zip(said[1:], seen[1:], strict=True):
        assert set(counts) <= set(shares)
        for name, share in shares.items():
            assert counts.get(name, 0.0) == pytest.approx(share, abs=5 * (share / len(MANY)) ** 0.5 + 1e-9)


CHANGES = [
    ([90, 5, 5], [80, 10, 10]),
    ([95, 5], [0, 100]),
    ([10, 20, 30, 40], [40, 30, 20, 10]),
    ([50, 0, 50], [40, 30, 30]),
    ([0, 100], [0, 100]),
    ([0, 0, 0], [20, 30, 50]),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["family"])
def test_movement_told_is_that_of_twenty_thousand_units(spec: Spec, old: list[int], new: list[int]) -> None:
    check(a_route(spec, old), a_route(spec, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (None, UNLEASH),
        (LAUNCHDARKLY, None),
        (UNLEASH, UNLEASH | {"group": "other"}),
        (UNLEASH, VARIANTS),
        (FLAGD_V1, FLAGD_V2),
        (FLAGD_V2, FLAGD_V3),
        (VARIANTS, VARIANTS | {"total": 40}),
        (VARIANTS | {"total": 10}, VARIANTS | {"total": 990}),
    ],
)
def test_movement_between_families_is_that_of_twenty_thousand_units(old: Spec | None, new: Spec | None) -> None:
    check(a_route(old, [60, 30, 10]), a_route(new, [60, 30, 10]))
    check(a_route(old, [20, 80]), a_route(new, [50, 50]))


@pytest.mark.parametrize(("before", "after"), [(0b000, 0b001), (0b010, 0b000), (0b001, 0b010), (0b100, 0b101)])
@pytest.mark.parametrize(("old", "new"), [(UNLEASH, UNLEASH), (None, UNLEASH), (FLAGD_V1, FLAGD_V2)])
def test_movement_by_kills_is_that_of_twenty_thousand_units(
    old: Spec | None, new: Spec | None, before: int, after: int
) -> None:
    check(a_route(old, [50, 20, 30], before), a_route(new, [50, 20, 30], after))
    check(a_route(old, [50, 20, 30], before, salt="a"), a_route(new, [20, 50, 30], after, salt="b"))


def test_movement_by_kill_and_holdout_is_that_of_twenty_thousand_units() -> None:
    held = {"name": "q4", "percent": 20.0, "salt": "q4", "until": 0.0}
    check(a_route(UNLEASH, [50, 20, 30], 0b010), a_route(UNLEASH, [40, 30, 30], 0b001, holdout=held))


@given(st.sampled_from(SPECS), st.data())
def test_movement_is_the_difference_of_the_shares(spec: Spec, data: st.DataObject) -> None:
    old, new = (data.draw(whole(100)) for _ in range(2))
    size = max(len(old), len(new))
    old, new = old + [0] * (size - len(old)), new + [0] * (size - len(new))
    moved, entering, leaving = told(a_route(spec, old), a_route(spec, new))
    slip = 1e-3 if spec["family"] == "growthbook" else 2e-6
    for place, (a, b) in enumerate(zip(old, new, strict=True)):
        net = entering.get(f"v{place}", 0.0) - leaving.get(f"v{place}", 0.0)
        assert abs(net - (b - a) / 100) < slip
    assert moved >= sum(abs(a - b) for a, b in zip(old, new, strict=True)) / 200 - slip


@given(st.sampled_from(SPECS), st.lists(st.integers(0, 1000), min_size=1, max_size=6).filter(any))
def test_ranges_fill_the_line(spec: Spec, weights: list[int]) -> None:
    family = make_family(spec, floats(weights))
    ranges = ranges_on_line(family, [f"v{n}" for n in range(len(weights))], family.modulus)
    assert ranges[0][1] == 0.0
    assert ranges[-1][2] == pytest.approx(1.0)
    for (_, _, end), (_, start, _) in pairwise(ranges):
        assert start == pytest.approx(end)
    assert parts_of(spec) in {0, 100, 1000, 10_000, 100_000}


# The systems' own SDKs: some 2,500 units each. What each says of a unit is asked of the function in which its SDK deals.

some = settings(max_examples=40, deadline=None)


def agree(spec: Spec, weights: list[float], unit_ids: list[str], says: Callable[[str], str]) -> None:
    """`says` answers v0, v1, ... for a unit, or anything else for nobody."""
    dealt = dealer(spec, weights)
    assert [f"v{dealt.deal(unit.encode())}" for unit in unit_ids] == [says(unit) for unit in unit_ids]


@some
@given(batches, groups, st.integers(0, 100))
def test_unleash_gradual_rollouts_agree_with_its_engine(ids: list[str], group: str, percent: int) -> None:
    engine = _unleash()
    parameters = {"rollout": str(percent), "stickiness": "userId", "groupId": group}
    feature = {"name": "f", "enabled": True, "strategies": [{"name": "flexibleRollout", "parameters": parameters}]}
    engine.take_state(json.dumps({"version": 1, "features": [feature]}))
    agree(
        UNLEASH | {"group": group},
        floats([percent, 100 - percent]),
        ids,
        lambda unit: "v0" if engine.is_enabled("f", {"userId": unit}).is_enabled else "v1",
    )


@some
@given(batches, texts, whole(1000))
def test_unleash_variants_agree_with_its_engine(ids: list[str], name: str, weights: list[int]) -> None:
    engine = _unleash()
    variants = [{"name": f"v{number}", "weight": weight} for number, weight in enumerate(weights)]
    feature = {"name": name, "enabled": True, "strategies": [{"name": "default"}], "variants": variants}
    engine.take_state(json.dumps({"version": 1, "features": [feature]}))
    agree(
        VARIANTS | {"group": name},
        floats(weights),
        ids,
        lambda unit: str(engine.get_variant(name, {"userId": unit}).variant.name),
    )


def _unleash() -> Any:
    found = pytest.importorskip("yggdrasil_engine.engine", reason="yggdrasil-engine is not installed")
    return found.UnleashEngine()


@some
@given(batches, st.integers(-(2**31), 2**31 - 1), whole(100))
def test_split_agrees_with_its_sdk(ids: list[str], seed: int, weights: list[int]) -> None:
    splitters = pytest.importorskip("splitio.engine.splitters", reason="splitio_client is not installed")
    from splitio.models.grammar.partitions import Partition
    from splitio.models.splits import HashAlgorithm

    partitions = [Partition(f"v{number}", weight) for number, weight in enumerate(weights)]
    splitter = splitters.Splitter()
    agree(
        {"family": "split", "seed": seed},
        floats(weights),
        ids,
        lambda unit: splitter.get_treatment(unit, seed, partitions, HashAlgorithm.MURMUR),
    )


@some
@given(batches, texts, whole(10_000))
def test_optimizely_agrees_with_its_sdk(ids: list[str], experiment: str, weights: list[int]) -> None:
    bucketer = pytest.importorskip("optimizely.bucketer", reason="optimizely-sdk is not installed").Bucketer()
    ends = [sum(weights[: number + 1]) for number in range(len(weights))]
    allocations = [{"entityId": f"v{number}", "endOfRange": end} for number, end in enumerate(ends)]
    project = Mock()
    agree(
        {"family": "optimizely", "experiment": experiment},
        floats(weights),
        ids,
        lambda unit: bucketer.find_bucket(project, unit, experiment, allocations),
    )


@some
@given(batches, texts, texts, st.none() | st.integers(-(2**31), 2**31 - 1), whole(100_000))
def test_launchdarkly_agrees_with_its_sdk(
    ids: list[str], key: str, salt: str, seed: int | None, weights: list[int]
) -> None:
    common = pytest.importorskip("ldclient.impl.evaluator_common", reason="launchdarkly-server-sdk is not installed")
    from ldclient import Context
    from ldclient.impl.model import FeatureFlag

    variations = [{"variation": number, "weight": weight} for number, weight in enumerate(weights)]
    flag = FeatureFlag({
        "key": key, "salt": salt, "version": 1, "on": True, "variations": [f"v{number}" for number in range(9)],
        "fallthrough": {"rollout": {"variations": variations, "seed": seed}},
    })  # fmt: skip
    agree(
        LAUNCHDARKLY | {"key": key, "salt": salt, "seed": seed},
        floats(weights),
        ids,
        lambda unit: f"v{common._variation_index_for_context(flag, flag.fallthrough, Context.create(unit))[0]}",
    )


@some
@given(batches, texts, st.sampled_from([1, 2]), whole(1000))
def test_growthbook_agrees_with_its_sdk(ids: list[str], key: str, version: int, weights: list[int]) -> None:
    growthbook = pytest.importorskip("growthbook", reason="growthbook is not installed")
    # Its SDK deals experiments with two variations or more.
    weights = weights if len(weights) > 1 else [*weights, 0]
    experiment = growthbook.Experiment(
        key="e",
        seed=key,
        hashVersion=version,
        variations=[f"v{number}" for number in range(len(weights))],
        weights=[weight / 1000 for weight in weights],
    )

    def says(unit: str) -> str:
        result = growthbook.GrowthBook(attributes={"id": unit}).run(experiment)
        return str(result.value) if result.inExperiment else ""

    agree({"family": "growthbook", "key": key, "hash_version": version}, floats(weights), ids, says)


@some
@given(batches, texts, st.none() | texts | st.just(""), st.lists(st.integers(0, 10**6), min_size=1, max_size=5))
def test_flagd_v3_agrees_with_its_evaluator(ids: list[str], key: str, cat: str | None, weights: list[int]) -> None:
    core = pytest.importorskip("openfeature.contrib.tools.flagd.core", reason="openfeature-flagd-core is not installed")
    from openfeature.evaluation_context import EvaluationContext

    first: list[Any] = [] if cat is None else [{"cat": [cat, {"var": "targetingKey"}]}]
    fractional = [*first, *([f"v{number}", weight] for number, weight in enumerate(weights))]
    names = [*(f"v{number}" for number in range(len(weights))), "v-1"]
    flag = {
        "state": "ENABLED", "variants": {name: name for name in names}, "defaultVariant": "v-1",
        "targeting": {"fractional": fractional},
    }  # fmt: skip
    evaluator = core.FlagdCore()
    evaluator.set_flags({"flags": {key: flag}})
    agree(
        {"family": "flagd-v3", "key": key, "cat": cat},
        floats(weights),
        ids,
        lambda unit: evaluator.resolve_string_value(key, "", EvaluationContext(targeting_key=unit)).value,
    )
