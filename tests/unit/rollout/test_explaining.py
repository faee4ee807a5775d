"""What a rollout waits for, in words."""

from dataclasses import dataclass, field, replace

import pytest

from proxy.rollout.explaining import downward, explanation, step_words, unwritten, waits_for
from proxy.rollout.machine import begin
from proxy.rollout.rollout import Samples
from proxy.rollout.states import State
from tests.unit.control.rollouts.rolling import APPROVE, FILE, plan, step


@dataclass
class Verdict:
    result: str
    reason: str = "errors could be 3 times as many"
    numbers: dict = field(default_factory=dict)


PENDING = begin("shop", plan(steps=[step(5, judged=True, minimum={"requests": 10, "units": 0}), 100]), FILE, 0.0)
PROGRESSING = replace(PENDING, state=State.PROGRESSING, step=0)
HELD = replace(PROGRESSING, held=70.0)
ENOUGH = {"stable": Samples(10), "canary": Samples(10)}


@pytest.mark.parametrize(("rollout", "seen", "words"), [
    (PENDING, {}, "its first step"),
    (PENDING, {"closed": "outside of mon 09:00-16:00"}, "its schedule: outside of mon 09:00-16:00"),
    (replace(PENDING, plan={**PENDING.plan, "after": 3600.0}, held=60.0), {}, "its zone's turn, in 59m"),
    (PENDING, {"asking": True}, "the answer of its webhooks"),
    (PROGRESSING, {}, "the end of the hold, in 1m"),
    (HELD, {}, "more traffic: `canary` has had 0 of 10 requests"),
    (HELD, {"samples": ENOUGH}, "a verdict: there is none yet; undecided in 58m 50s"),
    (HELD, {"samples": ENOUGH, "verdict": Verdict("insufficient")},
     "a verdict: errors could be 3 times as many; undecided in 58m 50s"),
    (HELD, {"samples": ENOUGH, "verdict": Verdict("pass")}, "its next step"),
    (HELD, {"samples": ENOUGH, "verdict": Verdict("pass"), "closed": "frozen"}, "its schedule: frozen"),
    (replace(HELD, state=State.APPROVAL), {}, "somebody to approve it"),
    (replace(HELD, state=State.PAUSED), {}, "somebody to resume it"),
    (replace(HELD, state=State.REVERTING), {}, "the next piece of the way back, 100 % at a time"),
    (replace(HELD, state=State.WATCHING, plan={**HELD.plan, "fast_rollback": 100.0}), {},
     "the end of its fast rollback, in 30s"),
    (replace(HELD, state=State.COMPLETED), {}, ""),
    (replace(HELD, state=State.ABORTED), {}, ""),
])  # fmt: skip
def test_it_says_what_it_waits_for(rollout, seen, words):
    assert waits_for(rollout, **seen) == words


def test_steps_have_short_names():
    assert step_words(step(5)) == "5 %"
    assert step_words(step(0)) == "0 %"
    assert step_words(APPROVE) == "approval"
    assert step_words(step(0, ring="beta")) == "ring beta"
    assert step_words(step(5, ring="beta")) == "ring beta, 5 %"
    assert step_words(step(0, shadow=10.0)) == "10 % copied"
    assert step_words(step(0, preview=True)) == "preview"


def test_a_paused_one_says_where_it_would_go_on_and_whose_word_the_weights_are():
    paused = replace(
        HELD, state=State.PAUSED, from_state=State.PROGRESSING, anew=True, overruled=True, reason="", actor="",
        plan={**HELD.plan, "baseline": "old"},
    )  # fmt: skip
    lines = explanation(paused, "somebody to resume it", ["resume"])
    assert "Resumed it would be progressing, with its hold and its evidence begun anew." in lines
    assert "Its weights do not hold now: the file's were changed, and have the word." in lines
    assert "It is so because of created, by nobody: no reason was given." in lines
    assert lines[0].endswith("brings `canary` in from `stable`, with `old` beside it.")
    assert explanation(replace(HELD, state=State.ABORTED), "", [])[-1] == "Nothing can be asked of it now."
    assert not any("Then come" in line for line in explanation(replace(HELD, state=State.ABORTED), "", []))


def test_a_completed_rollout_says_what_to_write_into_the_file() -> None:
    reached = replace(PENDING, state=State.COMPLETED, step=1, weights={"stable": 0.0, "canary": 100.0}, percent=100.0)
    assert "write stable 0, canary 100 into it" in unwritten(reached)
    assert unwritten(reached) in explanation(reached, "", [])
    assert unwritten(replace(reached, bound=reached.weights)) == ""
    assert unwritten(replace(reached, state=State.WATCHING)) == ""
    assert unwritten(replace(reached, overruled=True)) == ""


def test_a_first_step_that_takes_away_is_said_before_it_is_taken() -> None:
    assert downward(PENDING) == ""
    reached = replace(PENDING, percent=25.0)
    assert downward(reached) == "Its first step takes `canary` down from 25 % to 5 %."
    assert downward(reached) in explanation(reached, "", [])
    assert downward(replace(reached, state=State.PROGRESSING)) == ""


def test_of_a_try_and_of_what_was_taken_over_there_is_a_sentence() -> None:
    assert not any("try" in one for one in explanation(PENDING, "", []))
    tried = explanation(replace(PENDING, tries=2), "", [])
    assert "It is try 2: each has an error budget (`alpha`) of its own." in tried
    taken = replace(PENDING, taken_over=True, taken_arms=["stable", "earlier", None])
    assert any("`earlier` still has what the rollout before it gave" in one for one in explanation(taken, "", []))


def test_one_that_was_superseded_says_what_starts_it_again() -> None:
    over = replace(PROGRESSING, state=State.SUPERSEDED)
    assert "Nothing more comes of v2, also where the file has it again: a new revision starts anew." in explanation(
        over, "", []
    )
