"""The laws of a rollout: one transition for a cause, a way out of every state, the same from the store as from memory, whatever the
clock shows; and steps that move units one way only."""

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.core.build import build_plan
from proxy.core.decide import decide
from proxy.core.movement import moved_share
from proxy.rollout.machine import advance, begin, due, tick
from proxy.rollout.rollout import Cause, Rollout, Samples
from proxy.rollout.states import FINAL, TABLE, CauseKind, State, allowed, following
from proxy.rollout.weights import step_weights
from proxy.settings import load
from proxy.settings.models.rollout import Rollout as Model
from proxy.settings.rollout_steps import written_out
from tests.specs import plan_spec, request_head, route_spec
from tests.unit.rollout.compiled import Judgement

Spec = dict[str, Any]

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "settings" / "rollouts.json"
PLANS: list[Spec] = [one["rollout"] for one in json.loads(GOLDEN.read_text())["routes"]]
UNITS = [b"user-%d" % number for number in range(300)]
SAMPLES = {
    name: Samples(10**6, 10**6) for name in ("stable", "canary", "baseline", "blue", "green", "control", "treatment")
}
EDITS: list[dict[str, float]] = [{}, {"x": 1.0}, {"x": 2.0}]


def bound_of(plan: Spec, extra: dict[str, float] | None = None) -> dict[str, float]:
    """Weights in the file: `from` has all, `to` none."""
    names = [name for name in (plan["from"], plan["to"], plan["baseline"]) if name]
    return {name: 100.0 if name == plan["from"] else 0.0 for name in names} | (extra or {})


plans = st.builds(
    lambda plan, failure, data, mode, window: {
        **plan,
        "on_failure": failure,
        "on_no_data": data,
        "rollback": {**plan["rollback"], "mode": mode},
        "fast_rollback": window,
    },
    st.sampled_from(PLANS),
    st.sampled_from(["rollback", "freeze", "pause"]),
    st.sampled_from(["pause", "freeze", "rollback"]),
    st.sampled_from(["instant", "gradual"]),
    st.sampled_from([0.0, 900.0]),
)
moves = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([kind for kind in CauseKind if kind is not CauseKind.CREATED]), st.integers(0, 2)),
        st.tuples(st.sampled_from(["pass", "fail", "insufficient", "none"]), st.sampled_from([0, 1, 60, 700])),
    ),
    max_size=40,
)
Moves = list[tuple[Any, int]]


def made(rollout: Rollout, kind: CauseKind, edit: int, at: float) -> Cause:
    numbers = {"weights": bound_of(rollout.plan, EDITS[edit])} if kind is CauseKind.FILE_EDITED else {}
    return Cause(kind, "ann", "why", numbers, at)


def moved(rollout: Rollout, move: tuple[Any, int], at: float) -> Rollout:
    """After a cause from outside, or after so many ticks of 5 s and what was due then."""
    what, number = move
    if isinstance(what, CauseKind):
        return advance(rollout, made(rollout, what, number, at)) or rollout
    for _ in range(number):
        rollout = tick(rollout, 5.0)
    found = due(rollout, at, verdict=None if what == "none" else Judgement(what), samples=SAMPLES)
    return rollout if found is None else advance(rollout, found) or rollout


def walk(plan: Spec, steps: Moves, times: list[float], *, stored: bool = False) -> list[Rollout]:
    rollout = begin("shop", plan, bound_of(plan), times[0])
    seen = [rollout]
    for number, move in enumerate(steps):
        if stored:
            rollout = Rollout.from_json(rollout.to_json())
        rollout = moved(rollout, move, times[(number + 1) % len(times)])
        seen.append(rollout)
    return seen


@given(plans, moves)
def test_each_transition_is_in_the_table_and_counts_one(plan: Spec, steps: Moves) -> None:
    for before, after in pairwise(walk(plan, steps, [0.0])):
        assert after.sequence - before.sequence in {0, 1}
        if after.sequence != before.sequence:
            assert after.state in following(before.state, after.cause)
        else:
            assert after.state is before.state
            assert after.weights == before.weights


@given(plans, moves, st.integers(0, 2))
def test_every_pair_of_state_and_cause_has_one_answer(plan: Spec, steps: Moves, edit: int) -> None:
    rollout = walk(plan, steps, [0.0])[-1]
    for kind in CauseKind:
        cause = made(rollout, kind, edit, 1.0)
        first, second = advance(rollout, cause), advance(rollout, cause)
        assert first == second
        if (rollout.state, kind) not in TABLE:
            assert first is None


@given(plans, moves)
def test_every_state_that_is_not_final_has_a_way_out_by_hand(plan: Spec, steps: Moves) -> None:
    rollout = walk(plan, steps, [0.0])[-1]
    for _ in range(2):  # a gradual way back is cut short by a second word
        if rollout.state in FINAL:
            return
        assert CauseKind.ABORT in allowed(rollout.state)
        rollout = moved(rollout, (CauseKind.ABORT, 0), 1.0)
    assert rollout.state is State.ABORTED
    if rollout.step >= 0:
        assert rollout.percent == 0.0


@given(plans, moves)
def test_what_is_due_is_due_once(plan: Spec, steps: Moves) -> None:
    rollout = walk(plan, steps, [0.0])[-1]
    for verdict in (None, Judgement("pass"), Judgement("fail"), Judgement("insufficient")):
        found = due(rollout, 1.0, verdict=verdict, samples=SAMPLES)
        if found is None:
            continue
        after = advance(rollout, found)
        assert after is not None, found
        if found.kind is not CauseKind.STEP_FAILED:  # the next step may have a verdict of its own
            again = due(after, 1.0, verdict=verdict, samples=SAMPLES)
            assert again is None or again.kind is not found.kind or after.step > rollout.step


@given(plans, moves)
def test_the_store_gives_back_what_was_put_there(plan: Spec, steps: Moves) -> None:
    for rollout in walk(plan, steps, [0.5]):
        text = rollout.to_json()
        assert Rollout.from_json(text) == rollout
        assert Rollout.from_json(text).to_json() == text


@given(plans, moves)
def test_stopped_anywhere_and_continued_is_never_stopped(plan: Spec, steps: Moves) -> None:
    assert walk(plan, steps, [0.0, 7.0], stored=True) == walk(plan, steps, [0.0, 7.0])


@given(plans, moves, st.lists(st.floats(0.0, 4e9), min_size=1, max_size=9))
def test_clocks_that_jump_change_nothing_but_what_is_shown(plan: Spec, steps: Moves, times: list[float]) -> None:
    for jumped, steady in zip(walk(plan, steps, times), walk(plan, steps, [1e9]), strict=True):
        for name in (
            "state",
            "step",
            "sequence",
            "weights",
            "percent",
            "ring",
            "shadow",
            "held",
            "from_state",
            "cause",
        ):
            assert getattr(jumped, name) == getattr(steady, name), name


@given(plans, moves)
def test_the_weights_stay_those_of_the_file_in_sum(plan: Spec, steps: Moves) -> None:
    for rollout in walk(plan, steps, [0.0]):
        assert abs(sum(rollout.weights.values()) - sum(rollout.bound.values())) < 1e-9
        assert min(rollout.weights.values()) >= 0.0


shares = st.lists(st.floats(0.0, 100.0), min_size=2, max_size=6).map(sorted)
files = st.fixed_dictionaries({
    "stable": st.floats(1.0, 100.0), "canary": st.sampled_from([0.0, 5.0]), "baseline": st.just(0.0),
})  # fmt: skip


@given(files, shares, st.booleans())
@settings(max_examples=30)
def test_nobody_enters_and_leaves_because_of_a_step(
    file: dict[str, float], percents: list[float], with_baseline: bool
) -> None:
    """A unit goes from the old version to the baseline to the new one, and never back."""
    arms = ("stable", "canary", "baseline" if with_baseline else None)
    names = ["stable", "baseline", "canary"]
    bound = {name: file[name] for name in names if name in arms}
    routes = [
        build_plan(plan_spec(route_spec(weights=step_weights(bound, arms, percent)))).routes[0] for percent in percents
    ]
    for unit in UNITS:
        request = request_head()
        request.unit = unit
        places = []
        for route in routes:
            version = decide(route, request, unit).version
            assert version is not None
            places.append(names.index(version.name))
        assert places == sorted(places)


@given(shares, st.floats(1.0, 100.0))
@settings(max_examples=50)
def test_beside_another_version_nobody_comes_back(percents: list[float], beside: float) -> None:
    """Nobody leaves the new version, and nobody comes to the old one, whoever keeps a weight beside the two."""
    arms = ("stable", "canary", None)
    weights = [step_weights({"stable": 80.0, "canary": 0.0, "other": beside}, arms, one) for one in percents]
    for before, after in pairwise(weights):
        pairs = moved_share(before, after).pairs
        assert not [
            pair for pair, share in pairs.items() if share > 1e-12 and (pair[0] == "canary" or pair[1] == "stable")
        ]


FAMILIES = (
    "tidegate", "flagd-v1", "flagd-v3", "unleash", "{family: unleash, variants: true}", "{family: split, seed: 5}",
    "{family: optimizely, experiment: e}", "{family: launchdarkly, salt: s}", "growthbook",
)  # fmt: skip
OTHERS = """
listen: 127.0.0.1:80
state: sqlite:x.db
secrets: {cookie: [abcdefghijklmnop]}
upstreams: {u: {endpoints: [http://127.0.0.1:1]}}
routes:
  - name: shop
    unit: [{header: x-user-id}]
    versions: {stable: {upstream: u, weight: 100}, baseline: {upstream: u, weight: 0}, canary: {upstream: u, weight: 0}}
    default: stable
    hash: HASH
    rollout: {revision: v1, to: canary, baseline: baseline}
"""


@pytest.mark.parametrize("family", FAMILIES)
def test_nobody_enters_and_leaves_whoever_deals(family: str, tmp_path: Path) -> None:
    """In the order that `validate` asks for, other systems move units one way, too."""
    file = tmp_path / "x.yaml"
    file.write_text(OTHERS.replace("HASH", family))
    loaded = load(file, {})
    assert loaded.warnings == []
    (spec,) = loaded.spec["routes"]
    names = [one["name"] for one in spec["versions"]]
    weights = [
        step_weights({"stable": 100.0, "canary": 0.0, "baseline": 0.0}, ("stable", "canary", "baseline"), percent)
        for percent in (0.0, 1.0, 5.0, 33.0, 40.0, 75.0, 100.0)
    ]
    routes = [
        build_plan(
            plan_spec({**spec, "versions": [{**one, "weight": each[one["name"]]} for one in spec["versions"]]})
        ).routes[0]
        for each in weights
    ]
    for unit in UNITS:
        request = request_head()
        request.unit = unit
        places = [names.index(version.name) for one in routes if (version := decide(one, request, unit).version)]
        assert len(places) == len(routes)
        assert places == sorted(places)


ramps = st.one_of(
    st.builds(lambda rise, last: {"linear": rise, "to": last}, st.floats(0.5, 100.0), st.floats(1.0, 100.0)),
    st.builds(
        lambda factor, start, last: {"exponential": factor, "start": start, "to": last},
        st.floats(1.1, 10.0), st.floats(0.1, 100.0), st.floats(1.0, 100.0),
    ),
)  # fmt: skip


@given(ramps, st.floats(0.0, 100.0))
def test_a_row_of_weights_rises_to_its_end_and_no_further(ramp: Spec, before: float) -> None:
    rollout = Model.model_validate({"revision": "v1", "steps": [{"weight": before}, ramp]})
    weights = [step["weight"] for index, step in written_out(rollout) if index == 1]
    assert weights[-1] == ramp["to"]
    assert all(one < other for one, other in pairwise(weights))
    assert len(weights) <= 201
