"""Rollouts from their beginning to their end: what moves them, and what does not."""

from pathlib import Path
from typing import Any

import pytest

from proxy.rollout.machine import LONGEST_TICK, advance, begin, due, missing_samples, tick
from proxy.rollout.rollout import Cause, Rollout, Samples
from proxy.rollout.states import CauseKind, State
from tests.unit.rollout.compiled import BOUND, NOW, Judgement, cause, plan, started, told

ENOUGH = {name: Samples(10_000, 1_000) for name in ("stable", "canary", "baseline")}
PASS = Judgement("pass", "all gates pass", {"effect": 1.01})
FAIL = Judgement("fail", "errors are 3.1 times as many", {"effect": 3.1})
OPEN = Judgement("insufficient", "12 of 500 requests")


def observed(rollout: Rollout, seconds: float) -> Rollout:
    """After so many more seconds, all of them watched."""
    while seconds > 0:
        rollout = tick(rollout, min(seconds, 1.0))
        seconds -= 1.0
    return rollout


def walked(
    rollout: Rollout, seconds: float = 10.0, verdict: Judgement | None = PASS, **known: Any
) -> tuple[Rollout, Cause | None]:
    """After so many seconds and whatever was due then."""
    rollout = observed(rollout, seconds)
    found = due(rollout, rollout.since + seconds, verdict=verdict, samples=ENOUGH, **known)
    if found is None:
        return rollout, None
    moved = advance(rollout, found)
    assert moved is not None
    return moved, found


def test_a_canary_that_is_well_walks_to_the_end(tmp_path: Path) -> None:
    rollout = begin("shop", plan(tmp_path), BOUND, NOW)
    seen = [(rollout.state, rollout.percent)]
    while not rollout.final:
        rollout, found = walked(rollout)
        assert found is not None
        seen.append((rollout.state, rollout.weights["canary"]))
    assert seen == [
        (State.PENDING, 0.0),
        (State.PROGRESSING, 1.0),
        (State.PROGRESSING, 5.0),
        (State.PROGRESSING, 25.0),
        (State.WATCHING, 100.0),
        (State.COMPLETED, 100.0),
    ]
    assert rollout.sequence == len(seen)


def test_nothing_is_due_before_the_hold_is_over(tmp_path: Path) -> None:
    assert walked(started(plan(tmp_path)), 9.0)[1] is None


def test_without_a_verdict_no_step_passes(tmp_path: Path) -> None:
    for verdict in (None, OPEN):
        assert walked(started(plan(tmp_path)), 3000.0, verdict)[1] is None


@pytest.mark.parametrize("name", ["stable", "canary"])
@pytest.mark.parametrize("has", [Samples(499, 9), Samples(9999, 3)])
def test_both_versions_must_have_had_their_minimum(tmp_path: Path, name: str, has: Samples) -> None:
    rollout = observed(started(plan(tmp_path, "hold: 10s, minimum: {units: 4}")), 10.0)
    assert due(rollout, NOW, verdict=PASS, samples=ENOUGH) is not None
    assert due(rollout, NOW, verdict=PASS, samples=ENOUGH | {name: has}) is None
    assert due(rollout, NOW, verdict=PASS) is None
    assert f"`{name}` has had" in missing_samples(rollout, ENOUGH | {name: has})


def test_a_baseline_is_what_is_compared(tmp_path: Path) -> None:
    versions = "{stable: {upstream: a, weight: 100}, canary: {upstream: b, weight: 0}, base: {upstream: a}}"
    made = plan(tmp_path, "hold: 10s, baseline: base, to: canary", versions=versions)
    rollout = observed(started(made, bound={"stable": 100.0, "canary": 0.0, "base": 0.0}), 10.0)
    assert rollout.weights == {"stable": 98.0, "canary": 1.0, "base": 1.0}
    assert due(rollout, NOW, verdict=PASS, samples={"canary": Samples(500), "base": Samples(500)}) is not None
    assert due(rollout, NOW, verdict=PASS, samples={"canary": Samples(500), "stable": Samples(500)}) is None


def test_a_failed_gate_takes_all_units_back_at_once_and_keeps_the_numbers(tmp_path: Path) -> None:
    rollout, found = walked(started(plan(tmp_path)), 2.0, FAIL)
    assert found is not None
    assert found.kind is CauseKind.STEP_FAILED
    assert (rollout.state, rollout.weights) == (State.ABORTED, BOUND)
    assert (rollout.reason, rollout.numbers) == (FAIL.reason, FAIL.numbers)


@pytest.mark.parametrize(("answer", "state"), [("freeze", State.FROZEN), ("pause", State.PAUSED)])
def test_on_failure_may_leave_the_weights_as_they_are(tmp_path: Path, answer: str, state: State) -> None:
    rollout, _ = walked(started(plan(tmp_path, f"hold: 10s, on_failure: {answer}")), 2.0, FAIL)
    assert (rollout.state, rollout.weights["canary"], rollout.from_state) == (state, 1.0, State.PROGRESSING)
    assert walked(rollout, 10_000.0, FAIL)[1] is None


@pytest.mark.parametrize(
    ("answer", "state"), [("pause", State.PAUSED), ("freeze", State.FROZEN), ("rollback", State.ABORTED)]
)
def test_what_cannot_be_decided_is_never_a_pass(tmp_path: Path, answer: str, state: State) -> None:
    made = plan(tmp_path, f"hold: 10s, maximum: 1m, on_no_data: {answer}")
    assert walked(started(made), 59.0, OPEN)[1] is None
    rollout, found = walked(started(made), 60.0, OPEN)
    assert found is not None
    assert (found.kind, rollout.state) == (CauseKind.UNDECIDED, state)
    assert found.reason == "undecided after 1m: 12 of 500 requests"


def test_after_an_undecided_step_the_step_begins_anew(tmp_path: Path) -> None:
    paused, _ = walked(started(plan(tmp_path, "hold: 10s, maximum: 1m")), 60.0, None)
    again = told(paused, "resume", at=NOW + 500)
    assert (again.state, again.step, again.held, again.began) == (State.PROGRESSING, 0, 0.0, NOW + 500)


def test_a_pause_by_hand_keeps_the_time_and_the_evidence(tmp_path: Path) -> None:
    paused = told(observed(started(plan(tmp_path)), 7.0), "pause", at=NOW + 7)
    assert observed(paused, 100.0).held == 7.0
    again = told(paused, "resume", at=NOW + 500)
    assert (again.held, again.began, again.since) == (7.0, NOW, NOW + 500)
    assert walked(again, 3.0)[1] is not None


def test_a_step_waits_for_its_hour_and_a_failure_does_not(tmp_path: Path) -> None:
    rollout = started(plan(tmp_path))
    assert walked(rollout, 5000.0, PASS, schedule_open=False)[1] is None
    assert walked(rollout, 5000.0, FAIL, schedule_open=False)[0].state is State.ABORTED
    assert walked(begin("shop", plan(tmp_path), BOUND, NOW), 10.0, schedule_open=False)[1] is None


def test_a_zone_begins_so_long_after_the_first(tmp_path: Path) -> None:
    rest = "hold: 10s, zones: [us, {zone: eu, after: 1m}]"
    assert walked(begin("shop", plan(tmp_path, rest, zone="us"), BOUND, NOW), 1.0)[1] is not None
    later = begin("shop", plan(tmp_path, rest), BOUND, NOW)
    assert walked(later, 59.0)[1] is None
    _, found = walked(later, 60.0)
    assert found is not None
    assert "zone eu" in found.reason


def test_a_person_is_waited_for(tmp_path: Path) -> None:
    rollout, found = walked(started(plan(tmp_path, "hold: 10s, steps: [5, {approve: true}, 100]")))
    assert found is not None
    assert (found.kind, rollout.state, rollout.weights["canary"]) == (
        CauseKind.APPROVAL_WANTED,
        State.APPROVAL,
        5.0,
    )
    assert walked(rollout, 100_000.0)[1] is None
    assert walked(rollout, 1.0, FAIL)[0].state is State.ABORTED
    approved = told(rollout, "approve")
    assert (approved.state, approved.weights["canary"], approved.actor) == (State.WATCHING, 100.0, "ann")


def test_the_way_back_may_be_gradual(tmp_path: Path) -> None:
    made = plan(tmp_path, "hold: 10s, steps: [50, 100], rollback: {mode: gradual, percent: 20, every: 30s}")
    rollout, _ = walked(started(made), 1.0, FAIL)
    seen = [(rollout.state, rollout.weights["canary"])]
    while not rollout.final:
        assert walked(rollout, 29.0, FAIL)[1] is None
        rollout, _ = walked(rollout, 30.0, FAIL)
        seen.append((rollout.state, rollout.weights["canary"]))
    assert seen == [(State.REVERTING, 30.0), (State.REVERTING, 10.0), (State.ABORTED, 0.0)]


def test_a_gradual_way_back_may_be_cut_short_or_turned(tmp_path: Path) -> None:
    made = plan(tmp_path, "hold: 10s, steps: [50, 100], rollback: {mode: gradual, percent: 20, every: 30s}")
    reverting, _ = walked(started(made), 1.0, FAIL)
    assert told(reverting, "abort").weights["canary"] == 0.0
    assert told(reverting, "promote").weights["canary"] == 100.0
    stopped = told(reverting, "freeze")
    assert stopped.weights["canary"] == 30.0
    assert advance(stopped, cause("skip")) is None
    again = told(stopped, "resume")
    assert (again.state, again.weights["canary"]) == (State.REVERTING, 30.0)


def test_a_small_share_goes_back_at_once_even_where_the_way_is_gradual(tmp_path: Path) -> None:
    made = plan(tmp_path, "hold: 10s, steps: [5, 100], rollback: gradual")
    assert walked(started(made), 1.0, FAIL)[0].state is State.ABORTED


def test_after_the_last_step_the_old_version_is_kept_at_hand(tmp_path: Path) -> None:
    made = plan(tmp_path, "hold: 10s, steps: [50, 100], fast_rollback: 1m")
    watching, _ = walked(started(made))
    assert (watching.state, walked(watching, 59.0)[1]) == (State.WATCHING, None)
    back, _ = walked(watching, 5.0, FAIL)
    assert (back.state, back.weights) == (State.ABORTED, BOUND)
    over, found = walked(watching, 60.0, OPEN)
    assert found is not None
    assert (found.kind, over.state, over.weights["canary"]) == (CauseKind.WINDOW_OVER, State.COMPLETED, 100.0)


def test_without_a_window_it_is_over_with_the_last_step(tmp_path: Path) -> None:
    assert walked(started(plan(tmp_path, "hold: 10s, steps: [50, 100], fast_rollback: 0s")))[0].state is State.COMPLETED


def test_steps_may_end_before_everything(tmp_path: Path) -> None:
    rollout, _ = walked(started(plan(tmp_path, "hold: 10s, steps: [50]")))
    assert (rollout.state, rollout.weights["canary"]) == (State.COMPLETED, 50.0)


def test_blue_green_is_shown_flipped_and_kept_warm(tmp_path: Path) -> None:
    rollout = started(plan(tmp_path, "hold: 10s, kind: blue_green"))
    assert (rollout.state, rollout.weights) == (State.PROGRESSING, BOUND)
    rollout, _ = walked(rollout, 10.0, None)
    assert (rollout.state, rollout.weights) == (State.WATCHING, {"stable": 0.0, "canary": 100.0})
    assert walked(rollout, 1799.0)[1] is None
    assert walked(rollout, 1800.0)[0].state is State.COMPLETED


def test_an_ab_test_is_decided_at_its_end(tmp_path: Path) -> None:
    rollout = started(plan(tmp_path, "kind: ab, hold: 1m"))
    assert rollout.weights == {"stable": 50.0, "canary": 50.0}
    for verdict in (PASS, FAIL):
        assert walked(rollout, 59.0, verdict)[1] is None
    assert walked(rollout, 60.0, PASS)[0].state is State.WATCHING
    assert walked(rollout, 60.0, FAIL)[0].state is State.ABORTED
    assert walked(rollout, 60.0, OPEN)[0].state is State.PAUSED


def test_copies_come_before_users_and_rings_before_weights(tmp_path: Path) -> None:
    steps = "steps: [{shadow: 20}, {ring: staff}, {ring: beta}, 5, 100]"
    rollout = started(plan(tmp_path, f"hold: 10s, kind: mirror_first, {steps}"))
    seen = []
    while rollout.state is State.PROGRESSING:
        seen.append((rollout.shadow, rollout.ring, rollout.weights["canary"]))
        rollout, _ = walked(rollout)
    assert seen == [(20.0, None, 0.0), (0.0, "staff", 0.0), (0.0, "beta", 0.0), (0.0, "beta", 5.0)]
    assert told(rollout, "abort").ring == ""


def test_the_file_has_the_last_word(tmp_path: Path) -> None:
    rollout = observed(started(plan(tmp_path)), 5.0)
    assert advance(rollout, cause("file_edited", weights=BOUND)) is None
    mine = {"stable": 80.0, "canary": 20.0}
    paused = told(rollout, "file_edited", weights=mine)
    assert (paused.state, paused.weights, paused.bound, paused.overruled) == (State.PAUSED, mine, mine, True)
    assert advance(paused, cause("file_edited", weights=mine)) is None
    assert advance(paused, cause("brake")) is None
    again = told(paused, "resume", at=NOW + 9)
    assert (again.weights, again.held, again.began) == ({"stable": 99.0, "canary": 1.0}, 0.0, NOW + 9)


def test_weights_set_by_hand_pause_it(tmp_path: Path) -> None:
    paused = told(started(plan(tmp_path)), "overridden")
    assert (paused.state, paused.overruled) == (State.PAUSED, True)
    assert advance(paused, cause("overridden")) is None
    assert advance(paused, cause("brake")) is None
    assert told(paused, "resume").weights["canary"] == 1.0


def test_the_file_ends_what_a_rollout_that_is_over_has_left(tmp_path: Path) -> None:
    done = told(told(started(plan(tmp_path)), "promote"), "window_over")
    mine = {"stable": 0.0, "canary": 100.0}
    edited = told(done, "file_edited", weights=mine)
    assert (edited.state, edited.weights, edited.sequence) == (State.COMPLETED, mine, done.sequence + 1)


def test_the_brake_works_in_a_pause_and_not_in_a_freeze(tmp_path: Path) -> None:
    rollout = started(plan(tmp_path))
    assert told(told(rollout, "pause"), "brake").state is State.ABORTED
    assert advance(told(rollout, "freeze"), cause("brake")) is None
    stays = told(started(plan(tmp_path, "hold: 10s, on_failure: pause")), "brake")
    assert stays.state is State.PAUSED
    assert advance(stays, cause("brake")) is None


def test_who_never_took_a_step_leaves_all_as_it_was(tmp_path: Path) -> None:
    current = {"stable": 0.0, "canary": 100.0}  # of the revision before, which is completed
    pending = begin("shop", plan(tmp_path), BOUND, NOW, weights=current)
    assert pending.weights == current
    for moved in (told(pending, "abort"), told(told(pending, "pause"), "abort"), told(pending, "superseded")):
        assert moved.weights == current
        assert moved.final


def test_a_veto_is_asked_for_once_more_after_a_resume(tmp_path: Path) -> None:
    rollout = observed(started(plan(tmp_path)), 10.0)
    vetoed = told(rollout, "vetoed")
    assert (vetoed.state, walked(vetoed)[1]) == (State.PAUSED, None)
    assert due(told(vetoed, "resume"), NOW, verdict=PASS, samples=ENOUGH) is not None


def test_an_aborted_rollout_may_be_tried_again_from_the_first_step(tmp_path: Path) -> None:
    aborted, _ = walked(started(plan(tmp_path)), 1.0, FAIL)
    again = told(aborted, "retry", at=NOW + 60)
    assert (again.state, again.step, again.weights, again.held) == (State.PENDING, -1, BOUND, 0.0)
    assert walked(again)[0].weights["canary"] == 1.0


def test_skip_goes_on_and_promote_to_the_end(tmp_path: Path) -> None:
    rollout = started(plan(tmp_path))
    assert told(rollout, "skip").weights["canary"] == 5.0
    assert told(told(rollout, "pause"), "skip").weights["canary"] == 5.0
    assert told(begin("shop", plan(tmp_path), BOUND, NOW), "skip").weights["canary"] == 1.0
    promoted = told(rollout, "promote")
    assert (promoted.state, promoted.weights["canary"]) == (State.WATCHING, 100.0)
    assert told(promoted, "promote").state is State.COMPLETED


def test_a_rollout_whose_versions_are_gone_has_no_way_but_out(tmp_path: Path) -> None:
    left = {"stable": 100.0}
    paused = told(started(plan(tmp_path)), "file_edited", weights=left)
    for kind in ("resume", "skip", "promote", "retry"):
        assert advance(paused, cause(kind)) is None
    out = told(paused, "abort")
    assert (out.state, out.weights) == (State.ABORTED, left)


def test_only_what_was_watched_counts(tmp_path: Path) -> None:
    rollout = started(plan(tmp_path))
    for seconds in (-5.0, 0.0, float("nan"), float("inf")):
        assert tick(rollout, seconds).held == 0.0
    assert tick(rollout, 86_400.0).held == LONGEST_TICK


def test_the_wall_clock_decides_nothing(tmp_path: Path) -> None:
    rollout = observed(started(plan(tmp_path)), 9.0)
    for now in (0.0, NOW + 10**9):
        assert due(rollout, now, verdict=PASS, samples=ENOUGH) is None
    for now in (-5.0, NOW - 10**6):
        found = due(observed(rollout, 1.0), now, verdict=PASS, samples=ENOUGH)
        assert found is not None
        moved = advance(rollout, found)
        assert moved is not None
        assert moved.sequence == rollout.sequence + 1


def test_a_cause_that_was_acted_upon_is_not_acted_upon_again(tmp_path: Path) -> None:
    again = cause("approve")
    waiting = told(started(plan(tmp_path, "hold: 10s, steps: [5, {approve: true}, 25, 100]")), "approval_wanted")
    moved = advance(waiting, again)
    assert moved is not None
    assert advance(moved, again) is None
