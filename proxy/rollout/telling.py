"""A rollout in words and plain values: what hooks and notices are sent, and the lines people read."""

from collections.abc import Mapping
from math import isfinite
from typing import Any, Final

from proxy.rollout.rollout import Rollout
from proxy.rollout.states import CauseKind, State

Spec = dict[str, Any]

STARTED: Final = "started"
STEP: Final = "step"
PAUSED: Final = "paused"
INSUFFICIENT: Final = "insufficient"
ABORTED: Final = "aborted"
COMPLETED: Final = "completed"
EVENTS: Final = (STARTED, STEP, PAUSED, INSUFFICIENT, ABORTED, COMPLETED)
"""What is told of a rollout."""

LINES: Final = 24
"""Numbers that are shown of a transition, of however many."""

_BACK: Final = frozenset((State.ABORTED, State.REVERTING))
_HELD: Final = frozenset((State.PAUSED, State.FROZEN, State.APPROVAL))


def event_of(before: State, after: State, kind: CauseKind) -> str | None:
    """What a transition is told as; None where it is no news.

    A rollout that waits for a person is `paused`, whatever brought it there, and `insufficient` where lack of data did. One that
    goes back in pieces is `aborted` when that is decided; the pieces are no news.
    """
    if after in _BACK:
        return None if before in _BACK else ABORTED
    if after is State.COMPLETED:
        return None if before is State.COMPLETED else COMPLETED
    if after in _HELD:
        if kind is CauseKind.UNDECIDED:
            return INSUFFICIENT
        return None if before is after else PAUSED
    if after in {State.SUPERSEDED, State.PENDING}:
        return None
    return STARTED if kind is CauseKind.BEGIN else STEP


def standing_of(rollout: Rollout) -> Spec:
    """Which rollout it is, and how far: what all that is said of one begins with. `step` counts from 1, 0 before the first."""
    old, new, baseline = rollout.arms
    return {
        "route": rollout.route,
        "revision": rollout.revision,
        "kind": rollout.plan["kind"],
        "from": old,
        "to": new,
        "baseline": baseline,
        "state": str(rollout.state),
        "step": rollout.step + 1,
        "tries": rollout.tries,
    }


def facts_of(rollout: Rollout, at: float) -> Spec:
    """What is said of a rollout, as plain JSON. `id` is that of its last transition; `step` counts from 1, 0 before the first.

    `percent` is the share of `to` now, `reached` that of the step.
    """
    return {
        "id": f"{rollout.route}/{rollout.revision}/{rollout.sequence}",
        "at": at,
        **standing_of(rollout),
        "steps": len(rollout.steps),
        "percent": rollout.percent,
        "reached": 0.0 if rollout.current is None else rollout.current["weight"],
        "ring": rollout.ring,
        "shadow": rollout.shadow,
        "weights": dict(rollout.weights),
        "file_weights": dict(rollout.bound),
        "started": rollout.started,
        "cause": str(rollout.cause),
        "actor": rollout.actor,
        "reason": rollout.reason,
        "numbers": finite(rollout.numbers),
    }


def headline(event: str, facts: Mapping[str, Any]) -> str:
    """One line: `shop v2: aborted, step 2 of 5, canary had 5 %: 41 errors of 812 against 12 of 9188`."""
    what = {
        STARTED: "started",
        STEP: "goes on",
        PAUSED: "waits",
        INSUFFICIENT: "cannot be decided",
        ABORTED: "aborted",
        COMPLETED: "completed",
    }[event]
    if facts["state"] == State.APPROVAL:
        what = "waits for approval"
    where = f", step {facts['step']} of {facts['steps']}" if facts["step"] else ""
    where += f", try {facts['tries']}" if facts["tries"] > 1 else ""
    shadow = f", {facts['shadow']:g} % copied to it" if facts["shadow"] else ""
    ring = f", ring {facts['ring']}" if facts["ring"] else ""
    share = f", {facts['to']} at {facts['percent']:g} %"
    if event == ABORTED:
        share = f", {facts['to']} had {facts['reached']:g} %"
    why = f": {facts['reason']}" if facts["reason"] else ""
    return f"{facts['route']} {facts['revision']}: {what}{where}{share}{ring}{shadow}{why}"


def finite(value: Any) -> Any:
    """`value` as JSON can say it: numbers that are not finite become null, keys text."""
    if isinstance(value, float):
        return value if isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): finite(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(one) for one in value]
    return value


def verdicts_of(numbers: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Those of the single metrics, of the numbers that the gates gave (gates.py); none of other numbers."""
    found = numbers.get("metrics")
    return [one for one in found if isinstance(one, Mapping) and "outcome" in one] if isinstance(found, list) else []


def verdict_words(verdict: Mapping[str, Any]) -> str:
    """`fail: ratio 5.04 (2.1 to 8.8), 812 and 9,188 units`."""
    words = str(verdict.get("outcome", ""))
    if verdict.get("effect") is not None:
        words += f": {verdict.get('measure') or 'effect'} {in_words(verdict['effect'])}"
        if verdict.get("low") is not None or verdict.get("high") is not None:
            words += f" ({in_words(verdict.get('low'))} to {in_words(verdict.get('high'))})"
    samples = verdict.get("samples") or ()
    if any(samples):
        words += f", {' and '.join(in_words(one) for one in samples)} {verdict.get('unit', '')}".rstrip()
    return words


def number_lines(numbers: Mapping[str, Any], limit: int = LINES) -> list[tuple[str, str]]:
    """(name, value) of each number: first the verdicts, a line each; numbers within others as `budget.alpha`.

    Of more than `limit` the first, and how many more.
    """
    verdicts = verdicts_of(numbers)
    found = [(str(one.get("metric", "")), verdict_words(one)) for one in verdicts]
    _flatten("", {key: one for key, one in numbers.items() if not (verdicts and key == "metrics")}, found)
    if len(found) > limit:
        return [*found[:limit], ("...", f"{len(found) - limit} more")]
    return found


def _flatten(name: str, value: Any, found: list[tuple[str, str]]) -> None:
    if isinstance(value, Mapping):
        for key, one in value.items():
            _flatten(f"{name}.{key}" if name else str(key), one, found)
    elif isinstance(value, (list, tuple)):
        if all(not isinstance(one, (Mapping, list, tuple)) for one in value):
            found.append((name, ", ".join(in_words(one) for one in value)))
        else:
            for number, one in enumerate(value):
                _flatten(f"{name}.{number}", one, found)
    else:
        found.append((name, in_words(value)))


def in_words(value: Any) -> str:
    """A single value for people: four significant digits, thousands apart."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        if not isfinite(value):
            return "-"
        return f"{value:,.0f}" if 1e4 <= abs(value) < 1e15 else f"{value:.4g}"
    return str(value)
