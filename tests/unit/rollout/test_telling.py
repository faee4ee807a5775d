"""What is said of a rollout: which transition is news, and in which words."""

import json
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.rollout.states import TABLE, CauseKind, State, following
from proxy.rollout.telling import (
    ABORTED,
    COMPLETED,
    EVENTS,
    INSUFFICIENT,
    PAUSED,
    STARTED,
    STEP,
    event_of,
    facts_of,
    finite,
    headline,
    number_lines,
)
from tests.unit.rollout.rollouts import a_rollout

EDGES = [(state, kind, after) for state, kind in TABLE for after in following(state, kind)]


@pytest.mark.parametrize(
    ("before", "kind", "after", "event"),
    [
        ("pending", "begin", "progressing", STARTED),
        ("progressing", "step_passed", "progressing", STEP),
        ("progressing", "step_passed", "watching", STEP),
        ("progressing", "approval_wanted", "approval", PAUSED),
        ("approval", "approve", "progressing", STEP),
        ("progressing", "undecided", "paused", INSUFFICIENT),
        ("progressing", "undecided", "frozen", INSUFFICIENT),
        ("progressing", "undecided", "aborted", ABORTED),
        ("progressing", "step_failed", "aborted", ABORTED),
        ("progressing", "brake", "reverting", ABORTED),
        ("reverting", "reverted", "reverting", None),
        ("reverting", "back", "aborted", None),
        ("progressing", "step_failed", "paused", PAUSED),
        ("progressing", "vetoed", "paused", PAUSED),
        ("paused", "file_edited", "paused", None),
        ("paused", "resume", "progressing", STEP),
        ("watching", "window_over", "completed", COMPLETED),
        ("watching", "brake", "aborted", ABORTED),
        ("completed", "file_edited", "completed", None),
        ("progressing", "superseded", "superseded", None),
    ],
)
def test_news(before, kind, after, event):
    assert (State(before), CauseKind(kind), State(after)) in EDGES
    assert event_of(State(before), State(after), CauseKind(kind)) == event


@pytest.mark.parametrize(("before", "kind", "after"), EDGES)
def test_every_way_into_a_state_that_a_person_must_know_is_news(before, kind, after):
    event = event_of(before, after, kind)
    assert event is None or event in EVENTS
    if after is not before and after in {State.PAUSED, State.FROZEN, State.APPROVAL, State.COMPLETED}:
        assert event is not None
    if after in {State.ABORTED, State.REVERTING} and before not in {State.ABORTED, State.REVERTING}:
        assert event == ABORTED


def test_facts_are_json_and_a_number_that_is_none_is_null():
    facts = facts_of(a_rollout(numbers={"effect": inf, "list": [nan, (1.5, "x")], 3: True}), at=5.0)
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["numbers"] == {"effect": None, "list": [None, [1.5, "x"]], "3": True}
    assert facts["id"] == "shop/v2/3"
    assert (facts["step"], facts["steps"]) == (2, 3)


@pytest.mark.parametrize(
    ("event", "changed", "line"),
    [
        (STARTED, {"reason": "", "step": 0, "percent": 0.0}, "shop v2: started, step 1 of 3, canary at 0 %"),
        (STEP, {"shadow": 10.0}, "shop v2: goes on, step 2 of 3, canary at 5 %, 10 % copied to it: why"),
        (STEP, {"ring": "beta"}, "shop v2: goes on, step 2 of 3, canary at 5 %, ring beta: why"),
        (STARTED, {"tries": 2}, "shop v2: started, step 2 of 3, try 2, canary at 5 %: why"),
        (STARTED, {"step": -1, "percent": 0.0}, "shop v2: started, canary at 0 %: why"),
        (PAUSED, {"state": State.APPROVAL}, "shop v2: waits for approval, step 2 of 3, canary at 5 %: why"),
    ],
)
def test_line(event, changed, line):
    assert headline(event, facts_of(a_rollout(**{"reason": "why"} | changed), at=0.0)) == line


def test_numbers_for_people():
    lines = number_lines(
        {
            "a": 12345,
            "b": {"c": 0.123456, "d": None},
            "e": [{"x": True}, {"y": 1}],
            "f": 54321.9,
            "g": nan,
        }
    )
    assert lines == [
        ("a", "12,345"), ("b.c", "0.1235"), ("b.d", "-"), ("e.0.x", "yes"), ("e.1.y", "1"), ("f", "54,322"), ("g", "-"),
    ]  # fmt: skip


def test_verdicts_of_metrics_come_first_a_line_each():
    errors = {
        "metric": "errors", "outcome": "fail", "measure": "ratio", "effect": 5.04321, "low": 2.1, "high": None,
        "samples": [812, 91880], "unit": "units",
    }  # fmt: skip
    slow = {"metric": "slow", "outcome": "insufficient", "effect": None, "samples": [0, 0]}
    assert number_lines({"verdict": "fail", "metrics": [errors, slow]}) == [
        ("errors", "fail: ratio 5.043 (2.1 to -), 812 and 91,880 units"),
        ("slow", "insufficient"),
        ("verdict", "fail"),
    ]


@given(st.dictionaries(st.text(max_size=5), st.integers(), max_size=60), st.integers(1, 30))
def test_numbers_shown_are_bounded_and_say_how_many_more(numbers, limit):
    lines = number_lines(numbers, limit)
    assert len(lines) <= limit + 1
    if len(numbers) > limit:
        assert lines[-1] == ("...", f"{len(numbers) - limit} more")


def test_what_is_finite_stays():
    assert finite({"a": [1, 2.5, "x", None, False]}) == {"a": [1, 2.5, "x", None, False]}
