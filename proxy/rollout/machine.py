"""Walks the table: what a cause makes of a rollout, and which cause is due by itself. Pure: `now` and what was observed come in.

`advance` is the only way from one rollout to the next, and each step of it counts `sequence` up: a cause that is no transition in
this state gives None, and one that was acted upon is not acted upon again, since the state has moved on. `due` looks at `held`,
which `tick` adds to, and not at the wall clock: a clock set back repeats nothing, and one set ahead skips nothing. Only schedules
read the wall clock (schedule.py), because office hours are about it.
"""

from collections.abc import Mapping
from dataclasses import replace
from math import inf
from typing import Any, Final

from proxy.rollout.rollout import ITSELF, Cause, Judged, Rollout, Samples, Spec
from proxy.rollout.states import FINAL, TABLE, CauseKind, Fork, State
from proxy.rollout.weights import WHOLE, percent_of, step_weights

LONGEST_TICK: Final = 5.0
"""Seconds that one tick may add: of a longer gap nobody can say that it was observed."""

_COUNTED: Final = frozenset({State.PENDING, State.PROGRESSING, State.APPROVAL, State.REVERTING, State.WATCHING})
_NEXT: Final = frozenset({
    CauseKind.BEGIN, CauseKind.STEP_PASSED, CauseKind.APPROVAL_WANTED, CauseKind.APPROVE, CauseKind.SKIP,
})  # fmt: skip
_FORTH: Final = _NEXT | {
    CauseKind.RESUME, CauseKind.RETRY, CauseKind.PROMOTE, CauseKind.REVERTED, CauseKind.WINDOW_OVER,
}  # fmt: skip
_ROLLBACK: Final = (State.ABORTED, State.REVERTING)
_STOPPED: Final = (State.PAUSED, State.FROZEN)
_ANEW: Final = frozenset({
    CauseKind.STEP_FAILED, CauseKind.UNDECIDED, CauseKind.BRAKE, CauseKind.FILE_EDITED, CauseKind.OVERRIDDEN,
})  # fmt: skip


def begin(
    route: str,
    plan: Spec,
    bound: Mapping[str, float],
    now: float,
    *,
    actor: str = ITSELF,
    weights: Mapping[str, float] | None = None,
    ring: str | None = None,
    taken_over: bool = False,
    taken_arms: tuple[str, str, str | None] | None = None,
) -> Rollout:
    """A rollout of the plan's revision that has not taken a step yet. `bound` are the file's weights; `weights` and `ring` those
    in effect, `taken_over` from a rollout that was under way, which was about the versions `taken_arms`.

    While it waits, nothing moves: what an earlier rollout has set stays until the first step.
    """
    revision = str(plan["revision"])
    current = dict(bound if weights is None else weights)
    arms = (plan["from"], plan["to"], plan["baseline"])
    return Rollout(
        route=route,
        revision=revision,
        plan=plan,
        state=State.PENDING,
        step=-1,
        since=now,
        started=now,
        began=now,
        sequence=1,
        bound=dict(bound),
        weights=current,
        percent=percent_of(current, arms),
        ring=ring,
        reason=f"revision {revision} is new",
        actor=actor,
        taken_over=taken_over,
        taken_arms=list(taken_arms) if taken_over and taken_arms is not None and taken_arms != arms else None,
    )


def tick(rollout: Rollout, seconds: float) -> Rollout:
    """The rollout after so many more seconds of a monotonic clock during which it was watched. No transition."""
    if rollout.state not in _COUNTED or not 0.0 < seconds < inf:
        return rollout
    return replace(rollout, held=rollout.held + min(seconds, LONGEST_TICK))


def advance(rollout: Rollout, cause: Cause) -> Rollout | None:
    """The rollout after this cause; None where the cause is no transition in its state.

    FILE_EDITED wants the file's new weights in `cause.numbers["weights"]`, and is none where they are those that it knows.
    """
    entry = TABLE.get((rollout.state, cause.kind))
    if entry is None or _idle(rollout, cause):
        return None
    state = _resolve(rollout, entry)
    if state is None:
        return None
    moved = replace(
        rollout,
        state=state,
        since=max(cause.at, 0.0),
        sequence=rollout.sequence + 1,
        cause=cause.kind,
        reason=cause.reason,
        actor=cause.actor,
        numbers=cause.numbers,
    )
    if state in _STOPPED:
        return _stopped(rollout, moved, cause)
    moved = replace(moved, from_state=None, anew=False)
    if state in {State.PENDING, State.SUPERSEDED}:
        return _waiting(rollout, moved)
    if cause.kind is CauseKind.FILE_EDITED:  # of one that is over: the file has the word again
        weights = _weights_of(cause)
        return replace(moved, bound=weights, weights=dict(weights), ring=None, shadow=0.0, overruled=True)
    if cause.kind in _NEXT:
        return _on_step(moved, rollout.step + 1)
    if cause.kind is CauseKind.PROMOTE and rollout.state is not State.WATCHING:
        return _all_of_it(moved)
    if state in _ROLLBACK:
        return _back(rollout, moved, cause)
    return _going_on(rollout, moved, cause)


def _idle(rollout: Rollout, cause: Cause) -> bool:
    """Causes that change nothing, or must not: the table does not know of them, as they depend on more than the state."""
    kind = cause.kind
    if kind is CauseKind.FILE_EDITED:
        return _weights_of(cause) == rollout.bound
    if kind in _FORTH and not _has_its_versions(rollout):
        return True
    if kind is CauseKind.OVERRIDDEN:
        return rollout.overruled and rollout.cause is CauseKind.OVERRIDDEN
    if kind is CauseKind.BRAKE and rollout.step < 0 and not rollout.taken_over:
        return True  # whatever the version has, it has not from this rollout
    if kind is CauseKind.BRAKE and rollout.state is State.PAUSED:
        return rollout.overruled or rollout.plan["on_failure"] == "pause"
    if kind is CauseKind.SKIP:
        return rollout.from_state is State.REVERTING
    if kind is CauseKind.APPROVAL_WANTED:
        return not _is_approval(rollout, rollout.step + 1)
    return False


def _has_its_versions(rollout: Rollout) -> bool:
    """Whether the file still has the versions it is about: without them there is no way forth, only out."""
    return all(name is None or name in rollout.bound for name in rollout.arms)


def _weights_of(cause: Cause) -> dict[str, float]:
    return {name: float(weight) for name, weight in cause.numbers["weights"].items()}


def _resolve(rollout: Rollout, entry: State | Fork) -> State | None:
    """The state that follows; None for a rollout that remembers no state to go on in."""
    if isinstance(entry, State):
        return entry
    plan = rollout.plan
    if entry is Fork.NEXT_STEP:
        index = rollout.step + 1
        if index >= len(rollout.steps):
            return State.COMPLETED
        if _is_approval(rollout, index):
            return State.APPROVAL
        return _at_whole(plan) if rollout.steps[index]["weight"] >= WHOLE else State.PROGRESSING
    if entry is Fork.PROMOTED:
        return _at_whole(plan)
    if entry is Fork.WHERE_IT_WAS:
        return rollout.from_state
    asked = {Fork.ON_FAILURE: "on_failure", Fork.ON_NO_DATA: "on_no_data"}.get(entry)
    answer = "rollback" if asked is None else plan[asked]
    if answer == "pause":
        return State.PAUSED
    if answer == "freeze":
        return State.FROZEN
    gradual = plan["rollback"]["mode"] == "gradual" and (rollout.step >= 0 or rollout.taken_over)
    return State.REVERTING if gradual and _percent_now(rollout) > plan["rollback"]["percent"] else State.ABORTED


def _at_whole(plan: Spec) -> State:
    return State.WATCHING if plan["fast_rollback"] > 0 else State.COMPLETED


def _is_approval(rollout: Rollout, index: int) -> bool:
    return 0 <= index < len(rollout.steps) and bool(rollout.steps[index]["approve"])


def _percent_now(rollout: Rollout) -> float:
    """The share of `to` in effect: the step's, or what the file says where that has the word."""
    return percent_of(rollout.weights, rollout.arms) if rollout.overruled else rollout.percent


def _stopped(before: Rollout, moved: Rollout, cause: Cause) -> Rollout:
    """Paused or frozen: where it goes on, whether anew, and whose word the weights are."""
    moved = replace(
        moved,
        from_state=before.from_state if before.state in _STOPPED else before.state,
        anew=before.anew or cause.kind in _ANEW,
    )
    if cause.kind is CauseKind.FILE_EDITED:
        weights = _weights_of(cause)
        return replace(
            moved, bound=weights, weights=dict(weights), ring=None, shadow=0.0, overruled=True, taken_over=False
        )
    if cause.kind is CauseKind.OVERRIDDEN:
        return replace(moved, overruled=True)
    return moved


def _waiting(before: Rollout, moved: Rollout) -> Rollout:
    """Before the first step once more, or never again: the weights in effect stay, whoever's they are."""
    if moved.state is State.SUPERSEDED:
        return moved
    percent = _percent_now(before)
    if before.state in _STOPPED:
        return replace(moved, overruled=False, percent=percent)
    return replace(
        moved, step=-1, held=0.0, began=moved.since, overruled=False, percent=percent, taken_over=False,
        tries=before.tries + 1,
    )  # fmt: skip


def _on_step(moved: Rollout, index: int) -> Rollout:
    """At the step with this index; beyond the last it stays where it is."""
    if index >= len(moved.steps):
        return _at(replace(moved, overruled=False), moved.percent)
    step = moved.steps[index]
    whole = moved.state in {State.WATCHING, State.COMPLETED}
    moved = replace(
        moved, step=index, held=0.0, began=moved.since, overruled=False, taken_over=False,
        ring=None if whole else step["ring"], shadow=0.0 if whole else step["shadow"],
    )  # fmt: skip
    return _at(moved, step["weight"])


def _all_of_it(moved: Rollout) -> Rollout:
    last = len(moved.steps) - 1
    moved = replace(
        moved, step=last, held=0.0, began=moved.since, overruled=False, taken_over=False, ring=None, shadow=0.0
    )
    return _at(moved, WHOLE)


def _back(before: Rollout, moved: Rollout, cause: Cause) -> Rollout:
    """On the way back, or arrived there: nobody is in the rings, and no copies are made. One that never took a step leaves all
    as it is, since the weights are not its own, unless it took them over from one that was under way.
    """
    if before.step < 0 and not before.taken_over:
        return moved
    if before.state in _STOPPED and cause.kind in {CauseKind.RESUME, CauseKind.RETRY}:  # a way back that was stopped
        return _at(replace(moved, held=0.0, overruled=False), before.percent)
    percent = _percent_now(before) - before.plan["rollback"]["percent"] if moved.state is State.REVERTING else 0.0
    closed = "" if before.plan["rings"] else None
    return _at(replace(moved, held=0.0, ring=closed, shadow=0.0, overruled=False), max(0.0, percent))


def _going_on(before: Rollout, moved: Rollout, cause: Cause) -> Rollout:
    """As it was before somebody stopped it; from the beginning of the step where that is called for."""
    if before.anew or cause.kind is CauseKind.RETRY:
        moved = replace(moved, held=0.0, began=moved.since, tries=before.tries + 1)
    if not before.overruled:
        return moved
    moved = replace(moved, overruled=False)
    step = before.current
    if moved.state in {State.PROGRESSING, State.APPROVAL} and step is not None:
        return _at(replace(moved, ring=step["ring"], shadow=step["shadow"]), step["weight"])
    return _at(moved, before.percent)


def _at(rollout: Rollout, percent: float) -> Rollout:
    if not _has_its_versions(rollout):
        return replace(rollout, percent=0.0, weights=dict(rollout.bound))
    return replace(rollout, percent=percent, weights=step_weights(rollout.bound, rollout.arms, percent))


def due(
    rollout: Rollout,
    now: float,
    *,
    schedule_open: bool = True,
    verdict: Judged | None = None,
    samples: Mapping[str, Samples] | None = None,
) -> Cause | None:
    """What is to happen by itself at `now` (Unix seconds, for the record only); None: nothing.

    `schedule_open` says whether a step may be taken now. `verdict` is of the gates over this step's evidence, None where none was
    reached: that is no pass. `samples` are what each version has had in this step. The brake is not asked here: whoever watches it
    comes with a cause of its own.
    """
    if rollout.state in FINAL or rollout.state in _STOPPED:
        return None
    found: tuple[CauseKind, str, Spec] | None
    if rollout.state is State.PENDING:
        found = _due_pending(rollout, schedule_open=schedule_open)
    elif rollout.state is State.REVERTING:
        found = _due_reverting(rollout)
    elif verdict is not None and verdict.result == "fail" and _may_fail(rollout):
        found = (CauseKind.STEP_FAILED, verdict.reason, dict(verdict.numbers))
    elif rollout.state is State.WATCHING:
        window = rollout.plan["fast_rollback"]
        found = (
            (CauseKind.WINDOW_OVER, f"nothing stood against it for {words(window)}", {"held": rollout.held})
            if rollout.held >= window
            else None
        )
    elif rollout.state is State.PROGRESSING:
        found = _due_progressing(rollout, verdict, samples or {}, schedule_open=schedule_open)
    else:
        found = None
    return None if found is None else Cause(found[0], ITSELF, found[1], found[2], now)


_Found = tuple[CauseKind, str, Spec]


def _due_pending(rollout: Rollout, *, schedule_open: bool) -> _Found | None:
    after = rollout.plan["after"]
    if rollout.held < after or not schedule_open:
        return None
    waited = f" after {words(after)} in zone {rollout.plan['zone']}" if after else ""
    return CauseKind.BEGIN, f"the first step may be taken{waited}", {"held": rollout.held}


def _due_reverting(rollout: Rollout) -> _Found | None:
    back = rollout.plan["rollback"]
    if rollout.held < back["every"]:
        return None
    left = rollout.percent - back["percent"]
    if left <= 0.0:
        return CauseKind.BACK, f"`{rollout.arms[1]}` has nothing left", {"percent": 0.0}
    return CauseKind.REVERTED, f"{rollout.percent:g} % -> {left:g} % after {words(back['every'])}", {"percent": left}


def _may_fail(rollout: Rollout) -> bool:
    """Whether a failed verdict counts now: an A/B test is decided at its end, and the brake stands until then."""
    step = rollout.current
    return not (
        rollout.plan["kind"] == "ab"
        and rollout.state is State.PROGRESSING
        and step is not None
        and rollout.held < step["hold"]
    )


def _due_progressing(
    rollout: Rollout, verdict: Judged | None, samples: Mapping[str, Samples], *, schedule_open: bool
) -> _Found | None:
    step = rollout.current
    if step is None or rollout.held < step["hold"]:
        return None
    numbers: Spec = {"held": rollout.held, **({} if verdict is None else dict(verdict.numbers))}
    lacking = missing_samples(rollout, samples)
    judged = not step["judged"] or (verdict is not None and verdict.result == "pass")
    if judged and not lacking:
        if not schedule_open:
            return None
        why = f"held for {words(rollout.held)}"
        if step["judged"] and verdict is not None:
            why += f", and {verdict.reason}"
        approval = _is_approval(rollout, rollout.step + 1)
        return CauseKind.APPROVAL_WANTED if approval else CauseKind.STEP_PASSED, why, numbers
    if rollout.held < step["maximum"]:
        return None
    why = lacking or ("no verdict" if verdict is None else verdict.reason)
    return CauseKind.UNDECIDED, f"undecided after {words(rollout.held)}: {why}", numbers


def missing_samples(rollout: Rollout, samples: Mapping[str, Samples]) -> str:
    """What the step still wants of the versions it compares, in words; "" where it has enough."""
    step = rollout.current
    if step is None:
        return ""
    old, new, baseline = rollout.arms
    want: dict[str, Any] = step["minimum"]
    for name in (new, baseline or old):
        has = samples.get(name, Samples())
        for what, count in (("requests", has.requests), ("units", has.units)):
            if count < want[what]:
                return f"`{name}` has had {count} of {want[what]} {what}"
    return ""


def words(seconds: float) -> str:
    """A duration for people, to the second: `1h 5m`, `30s`."""
    left = round(seconds)
    pieces = []
    for unit, size in (("h", 3600), ("m", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count:
            pieces.append(f"{count}{unit}")
    return " ".join(pieces) or "0s"


__all__ = ["LONGEST_TICK", "advance", "begin", "due", "missing_samples", "tick", "words"]
