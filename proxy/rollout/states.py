"""The life of a rollout, as a table: in this state, for this cause, that state. Nothing happens that is not in it.

A rollout waits (`pending`), walks its steps (`progressing`), waits for a person (`approval`), and after the last step keeps the
old version at hand for a while (`watching`) until it is `completed`. Whatever goes wrong leads to `aborted`: at once, or by way of
`reverting`, where the weights go back in pieces. A rollout that is `paused` has stopped where it is, and the brake still watches
over it; one that is `frozen` is left entirely alone. A newer revision makes it `superseded`.

Where the plan decides between states the table has a `Fork`, whose states are listed in FORKS and which machine.py resolves. A
pair that is not in the table is no transition: the cause is refused, and nothing is written.
"""

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """Where a rollout is."""

    PENDING = "pending"
    PROGRESSING = "progressing"
    APPROVAL = "approval"
    PAUSED = "paused"
    FROZEN = "frozen"
    REVERTING = "reverting"
    WATCHING = "watching"
    COMPLETED = "completed"
    ABORTED = "aborted"
    SUPERSEDED = "superseded"


class CauseKind(StrEnum):
    """What moves it. `created` is what the first record has, and moves nothing."""

    CREATED = "created"
    BEGIN = "begin"
    STEP_PASSED = "step_passed"
    STEP_FAILED = "step_failed"
    UNDECIDED = "undecided"
    APPROVAL_WANTED = "approval_wanted"
    APPROVE = "approve"
    PAUSE = "pause"
    RESUME = "resume"
    PROMOTE = "promote"
    SKIP = "skip"
    ABORT = "abort"
    RETRY = "retry"
    FREEZE = "freeze"
    BRAKE = "brake"
    FILE_EDITED = "file_edited"
    OVERRIDDEN = "overridden"
    REVERTED = "reverted"
    BACK = "back"
    WINDOW_OVER = "window_over"
    SUPERSEDED = "superseded"
    VETOED = "vetoed"


class Fork(StrEnum):
    """Where the plan, or what the rollout remembers, says which state follows."""

    NEXT_STEP = "the next step"
    ON_FAILURE = "as `on_failure` says"
    ON_NO_DATA = "as `on_no_data` says"
    ROLLBACK = "as `rollback` says"
    PROMOTED = "all of it"
    WHERE_IT_WAS = "where it was"


P, G, A, H, Z = State.PENDING, State.PROGRESSING, State.APPROVAL, State.PAUSED, State.FROZEN
R, W, C, X, S = State.REVERTING, State.WATCHING, State.COMPLETED, State.ABORTED, State.SUPERSEDED
_NEXT, _FAIL, _VOID = Fork.NEXT_STEP, Fork.ON_FAILURE, Fork.ON_NO_DATA
_BACK, _ALL, _WAS = Fork.ROLLBACK, Fork.PROMOTED, Fork.WHERE_IT_WAS
_K: Final = CauseKind

TABLE: Final[dict[tuple[State, CauseKind], State | Fork]] = {
    # By itself.
    (P, _K.BEGIN): _NEXT,
    (G, _K.STEP_PASSED): _NEXT,
    (G, _K.APPROVAL_WANTED): A,
    (G, _K.STEP_FAILED): _FAIL, (A, _K.STEP_FAILED): _FAIL, (W, _K.STEP_FAILED): _FAIL,
    (G, _K.UNDECIDED): _VOID,
    (G, _K.BRAKE): _FAIL, (A, _K.BRAKE): _FAIL, (H, _K.BRAKE): _FAIL, (W, _K.BRAKE): _FAIL,
    (R, _K.REVERTED): R,
    (R, _K.BACK): X,
    (W, _K.WINDOW_OVER): C,
    # By a webhook that says no.
    (P, _K.VETOED): H, (G, _K.VETOED): H, (A, _K.VETOED): H,
    # By the file, or weights set by hand.
    (P, _K.FILE_EDITED): H, (G, _K.FILE_EDITED): H, (A, _K.FILE_EDITED): H, (H, _K.FILE_EDITED): H, (Z, _K.FILE_EDITED): H,
    (R, _K.FILE_EDITED): H, (W, _K.FILE_EDITED): H, (C, _K.FILE_EDITED): C, (X, _K.FILE_EDITED): X,
    (P, _K.OVERRIDDEN): H, (G, _K.OVERRIDDEN): H, (A, _K.OVERRIDDEN): H, (H, _K.OVERRIDDEN): H, (Z, _K.OVERRIDDEN): H,
    (R, _K.OVERRIDDEN): H, (W, _K.OVERRIDDEN): H,
    (P, _K.SUPERSEDED): S, (G, _K.SUPERSEDED): S, (A, _K.SUPERSEDED): S, (H, _K.SUPERSEDED): S, (Z, _K.SUPERSEDED): S,
    (R, _K.SUPERSEDED): S, (W, _K.SUPERSEDED): S,
    # By hand.
    (A, _K.APPROVE): _NEXT,
    (P, _K.PAUSE): H, (G, _K.PAUSE): H, (A, _K.PAUSE): H, (R, _K.PAUSE): H, (W, _K.PAUSE): H, (Z, _K.PAUSE): H,
    (H, _K.RESUME): _WAS, (Z, _K.RESUME): _WAS,
    (P, _K.PROMOTE): _ALL, (G, _K.PROMOTE): _ALL, (A, _K.PROMOTE): _ALL, (H, _K.PROMOTE): _ALL, (Z, _K.PROMOTE): _ALL,
    (R, _K.PROMOTE): _ALL, (W, _K.PROMOTE): C,
    (P, _K.SKIP): _NEXT, (G, _K.SKIP): _NEXT, (A, _K.SKIP): _NEXT, (H, _K.SKIP): _NEXT, (Z, _K.SKIP): _NEXT,
    (P, _K.ABORT): X, (G, _K.ABORT): _BACK, (A, _K.ABORT): _BACK, (H, _K.ABORT): _BACK, (Z, _K.ABORT): _BACK,
    (W, _K.ABORT): _BACK, (R, _K.ABORT): X,
    (H, _K.RETRY): _WAS, (Z, _K.RETRY): _WAS, (G, _K.RETRY): G, (X, _K.RETRY): P,
    (P, _K.FREEZE): Z, (G, _K.FREEZE): Z, (A, _K.FREEZE): Z, (H, _K.FREEZE): Z, (R, _K.FREEZE): Z, (W, _K.FREEZE): Z,
}  # fmt: skip
"""(state, cause) to the state that follows."""

FORKS: Final[dict[Fork, tuple[State, ...]]] = {
    Fork.NEXT_STEP: (G, A, W, C),
    Fork.ON_FAILURE: (X, R, Z, H),
    Fork.ON_NO_DATA: (H, Z, X, R),
    Fork.ROLLBACK: (X, R),
    Fork.PROMOTED: (W, C),
    Fork.WHERE_IT_WAS: (P, G, A, R, W),
}
"""The states among which a fork chooses."""

FINAL: Final = frozenset({C, X, S})
"""Nothing happens by itself any more. `aborted` may be tried again by hand."""
HANDS: Final = (
    _K.APPROVE, _K.PAUSE, _K.RESUME, _K.PROMOTE, _K.SKIP, _K.ABORT, _K.RETRY, _K.FREEZE,
)  # fmt: skip
"""What a person may ask for."""


def following(state: State, kind: CauseKind) -> tuple[State, ...]:
    """The states that may follow; none where the cause is no transition in this state."""
    entry = TABLE.get((state, kind))
    if entry is None:
        return ()
    return FORKS[entry] if isinstance(entry, Fork) else (entry,)


def allowed(state: State) -> tuple[CauseKind, ...]:
    """What a person may ask for in this state."""
    return tuple(kind for kind in HANDS if (state, kind) in TABLE)


def as_markdown() -> str:
    """The table for docs/rollouts.md: a row a state; what it moves to, and the causes that do it."""
    rows = ["| state | by itself | by hand | by the file, other weights or a newer revision |", "|---|---|---|---|"]
    elsewhere = (_K.FILE_EDITED, _K.OVERRIDDEN, _K.SUPERSEDED)
    itself = tuple(kind for kind in CauseKind if kind not in {*HANDS, *elsewhere})
    for state in State:
        cells = [_cell(state, kinds) for kinds in (itself, HANDS, elsewhere)]
        rows.append(f"| **{state}** | {' | '.join(cells)} |")
    rows += ["", "| where the plan decides | one of |", "|---|---|"]
    rows += [f"| {fork} | {', '.join(states)} |" for fork, states in FORKS.items()]
    return "\n".join(rows) + "\n"


def _cell(state: State, kinds: tuple[CauseKind, ...]) -> str:
    ways: dict[State | Fork, list[str]] = {}
    for kind in kinds:
        entry = TABLE.get((state, kind))
        if entry is not None:
            ways.setdefault(entry, []).append(f"`{kind}`")
    return "<br>".join(f"{', '.join(causes)}: {entry}" for entry, causes in ways.items())


__all__ = ["FINAL", "FORKS", "HANDS", "TABLE", "CauseKind", "Fork", "State", "allowed", "as_markdown", "following"]
