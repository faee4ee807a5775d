"""Where a rollout is, why, and what it waits for: sentences for people. Pure."""

from collections.abc import Mapping, Sequence

from proxy.rollout.machine import missing_samples, words
from proxy.rollout.rollout import Judged, Rollout, Samples, Spec
from proxy.rollout.states import State


def waits_for(
    rollout: Rollout,
    *,
    verdict: Judged | None = None,
    samples: Mapping[str, Samples] | None = None,
    closed: str = "",
    asking: bool = False,
    retreat: Rollout | None = None,
) -> str:
    """What must happen before it goes on; "" where nothing will. The arguments are what the last look found; `retreat` is where it
    is going back to, and cannot be said to be yet."""
    state = rollout.state
    if retreat is not None:
        return f"its journal: {retreat.cause} by {retreat.actor} is in force already, and cannot be written down yet"
    if asking:
        return "the answer of its webhooks"
    if state is State.PENDING:
        left = rollout.plan["after"] - rollout.held
        return (
            f"its zone's turn, in {words(left)}"
            if left > 0
            else f"its schedule: {closed}"
            if closed
            else "its first step"
        )
    if state is State.APPROVAL:
        return "somebody to approve it"
    if state in {State.PAUSED, State.FROZEN}:
        return "somebody to resume it"
    if state is State.REVERTING:
        return f"the next piece of the way back, {rollout.plan['rollback']['percent']:g} % at a time"
    if state is State.WATCHING:
        return f"the end of its fast rollback, in {words(max(0.0, rollout.plan['fast_rollback'] - rollout.held))}"
    step = rollout.current
    if state is not State.PROGRESSING or step is None:
        return ""
    if rollout.held < step["hold"]:
        return f"the end of the hold, in {words(step['hold'] - rollout.held)}"
    lacking = missing_samples(rollout, samples or {})
    if lacking:
        return f"more traffic: {lacking}"
    if step["judged"] and (verdict is None or verdict.result != "pass"):
        why = "there is none yet" if verdict is None else verdict.reason
        return f"a verdict: {why}; undecided in {words(max(0.0, step['maximum'] - rollout.held))}"
    return f"its schedule: {closed}" if closed else "its next step"


def step_words(step: Spec) -> str:
    """A step of a plan: `5 %`, `ring beta, 0 %`, `10 % copied`, `approval`."""
    if step["approve"]:
        return "approval"
    pieces = [f"ring {step['ring']}"] if step["ring"] else []
    if step["shadow"]:
        pieces.append(f"{step['shadow']:g} % copied")
    if step.get("preview"):
        pieces.append("preview")
    if step["weight"] or not pieces:
        pieces.append(f"{step['weight']:g} %")
    return ", ".join(pieces)


def unwritten(rollout: Rollout) -> str:
    """What is to be done about weights that a completed rollout has reached and the file does not have; "" where it has."""
    if rollout.state is not State.COMPLETED or rollout.overruled or rollout.weights == rollout.bound:
        return ""
    reached, file = (
        ", ".join(f"{one} {had:g}" for one, had in those.items()) for those in (rollout.weights, rollout.bound)
    )
    return (
        f"The file still has {file}: write {reached} into it, or the first step of the next revision takes"
        f" `{rollout.arms[1]}` down to its own weight."
    )


def downward(rollout: Rollout) -> str:
    """That the first step, which is to come, takes from `to`; "" where it does not."""
    if rollout.state is not State.PENDING or not rollout.steps or rollout.steps[0]["weight"] >= rollout.percent:
        return ""
    down = f"{rollout.percent:g} % to {rollout.steps[0]['weight']:g} %"
    return f"Its first step takes `{rollout.arms[1]}` down from {down}."


def explanation(rollout: Rollout, waits: str, possible: Sequence[str], by_hand: str = "") -> list[str]:
    """All there is to say, a sentence a line. `by_hand` says whose weights hold instead of the rollout's."""
    old, new, baseline = rollout.arms
    beside = f", with `{baseline}` beside it" if baseline else ""
    at = f"step {rollout.step + 1} of {len(rollout.steps)}" if rollout.step >= 0 else "before its first step"
    lines = [
        f"The rollout of {rollout.revision} on route {rollout.route} brings `{new}` in from `{old}`{beside}.",
        f"It is {rollout.state}, at {at}; `{new}` has {rollout.percent:g} % of what they have together.",
        f"It is so because of {rollout.cause}, by {rollout.actor or 'nobody'}: {rollout.reason or 'no reason was given'}.",
    ]
    if rollout.tries > 1:
        lines.append(f"It is try {rollout.tries}: each has an error budget (`alpha`) of its own.")
    if by_hand:
        lines.append(f"Its weights do not hold now: {by_hand}.")
    elif rollout.overruled:
        lines.append("Its weights do not hold now: the file's were changed, and have the word.")
    if rollout.from_state is not None:
        again = ", with its hold and its evidence begun anew" if rollout.anew else ""
        lines.append(f"Resumed it would be {rollout.from_state}{again}.")
    if rollout.taken_over and rollout.watched_arms[1] != new:
        had = f"`{rollout.watched_arms[1]}` still has what the rollout before it gave"
        lines.append(f"Until its first step {had}: the brake watches over that, and an abort takes it away.")
    lines += [one for one in (unwritten(rollout), downward(rollout)) if one]
    if rollout.state is State.SUPERSEDED:
        lines.append(
            f"Nothing more comes of {rollout.revision}, also where the file has it again: a new revision starts anew."
        )
    following = rollout.steps[rollout.step + 1 :]
    if following and not rollout.final:
        lines.append(f"Then come: {'; '.join(step_words(one) for one in following)}.")
    if waits:
        lines.append(f"It waits for {waits}.")
    lines.append(f"Possible now: {', '.join(possible)}." if possible else "Nothing can be asked of it now.")
    return lines
