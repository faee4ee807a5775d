"""The laws of dealing as other systems do, and their own SDKs' word for it."""

import json
from collections.abc import Callable
from itertools import pairwise
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.hash_families import (
    FamilyDealer,
    common_modulus,
    make_family,
    parts_of,
    ranges_on_line,
)
from proxy.core.movement import Movement, moved_range_share
from tests.families import FLAGD_V1, FLAGD_V2, LAUNCHDARKLY, SPECS, UNLEASH, VARIANTS, dealer

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
def test_with_two_versions_who_has_the_first_keeps_it_when_it_grows(spec: dict[str, Any], one: int, other: int) -> None:
    low, high = sorted((one, other))
    before, after = dealer(spec, floats([low, 100 - low])), dealer(spec, floats([high, 100 - high]))
    assert all(after.deal(unit) == 0 for unit in FEW if before.deal(unit) == 0)


@given(st.sampled_from(SPECS), whole(100), st.integers(0, 31))
def test_deny_leaves_everybody_else_in_place(spec: dict[str, Any], weights: list[int], denied: int) -> None:
    dealt = dealer(spec, floats(weights))
    for unit in FEW[:100]:
        free, left = dealt.deal(unit), dealt.deal(unit, denied)
        assert left == -1 or not denied >> left & 1
        if free >= 0 and not denied >> free & 1:
            assert left == free


@given(st.sampled_from(SPECS), whole(100))
def test_only_proportions_count(spec: dict[str, Any], weights: list[int]) -> None:
    one, ten = dealer(spec, floats(weights)), dealer(spec, floats([10 * weight for weight in weights]))
    assert [one.deal(unit) for unit in FEW] == [ten.deal(unit) for unit in FEW]


def movement(before: FamilyDealer, after: FamilyDealer) -> Movement:
    modulus = common_modulus(before.family, after.family)
    assert modulus is not None
    old = [name for _, name, _ in before.arms]
    new = [name for _, name, _ in after.arms]
    return moved_range_share(
        ranges_on_line(before.family, old, old[0], modulus), ranges_on_line(after.family, new, new[0], modulus)
    )


CHANGES = [
    ([90, 5, 5], [80, 10, 10]),
    ([95, 5], [0, 100]),
    ([10, 20, 30, 40], [40, 30, 20, 10]),
    ([50, 0, 50], [40, 30, 30]),
    ([0, 100], [0, 100]),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec["family"])
def test_movement_told_is_that_of_twenty_thousand_units(spec: dict[str, Any], old: list[int], new: list[int]) -> None:
    compare(dealer(spec, floats(old)), dealer(spec, floats(new)))


def test_movement_from_flagd_v1_to_v2_is_that_of_twenty_thousand_units() -> None:
    compare(dealer(FLAGD_V1, [10.0, 90.0]), dealer(FLAGD_V2, [10.0, 90.0]))
    compare(dealer(FLAGD_V2, [60.0, 30.0, 10.0]), dealer(FLAGD_V1, [30.0, 30.0, 40.0]))


def test_movement_between_totals_of_unleash_variants_is_that_of_twenty_thousand_units() -> None:
    for total in (100, 99, 1):
        compare(dealer(VARIANTS, [50.0, 50.0]), dealer(VARIANTS | {"total": total}, [100.0, 0.0]))
    compare(dealer(VARIANTS, [20.0, 80.0]), dealer(VARIANTS | {"total": 40}, [50.0, 50.0]))


def compare(before: FamilyDealer, after: FamilyDealer) -> None:
    counted: dict[tuple[str, str], int] = {}
    for unit in MANY:
        pair = f"v{before.deal(unit)}", f"v{after.deal(unit)}"
        counted[pair] = counted.get(pair, 0) + 1
    told = movement(before, after)
    assert {pair for pair in counted if pair[0] != pair[1]} <= set(told.pairs)
    for pair, share in told.pairs.items():
        # Five standard deviations of a count.
        assert counted.get(pair, 0) / len(MANY) == pytest.approx(share, abs=5 * (share / len(MANY)) ** 0.5 + 1e-9)


@given(st.sampled_from(SPECS), st.data())
def test_movement_is_the_difference_of_the_shares(spec: dict[str, Any], data: st.DataObject) -> None:
    old, new = (data.draw(whole(100)) for _ in range(2))
    size = max(len(old), len(new))
    old, new = old + [0] * (size - len(old)), new + [0] * (size - len(new))
    told = movement(dealer(spec, floats(old)), dealer(spec, floats(new)))
    slip = 1e-3 if spec["family"] == "growthbook" else 1e-7
    for index, (a, b) in enumerate(zip(old, new, strict=True)):
        net = told.entering.get(f"v{index}", 0.0) - told.leaving.get(f"v{index}", 0.0)
        assert abs(net - (b - a) / 100) < slip
    assert told.moved >= sum(abs(a - b) for a, b in zip(old, new, strict=True)) / 200 - slip


@given(st.sampled_from(SPECS), st.lists(st.integers(0, 1000), min_size=1, max_size=6).filter(any))
def test_ranges_fill_the_line(spec: dict[str, Any], weights: list[int]) -> None:
    family = make_family(spec, floats(weights))
    ranges = ranges_on_line(family, [f"v{n}" for n in range(len(weights))], "v0", family.modulus)
    assert ranges[0][1] == 0.0
    assert ranges[-1][2] == pytest.approx(1.0)
    for (_, _, end), (_, start, _) in pairwise(ranges):
        assert start == pytest.approx(end)
    assert parts_of(spec) in {0, 100, 1000, 10_000, 100_000}


# The systems' own SDKs: some 2,500 units each. What each says of a unit is asked of the function in which its SDK deals.

some = settings(max_examples=40, deadline=None)


def agree(spec: dict[str, Any], weights: list[float], unit_ids: list[str], says: Callable[[str], str]) -> None:
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
