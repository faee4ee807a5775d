"""The rollouts in memory, exactly as the journal has them, and the one way from each to the next.

A transition is in the journal before it is in memory, and what is in memory is what takes effect. One transition of a route is
under way at a time (`lock`). A cause names the transition that it was seen after, so that one that was overtaken is nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from proxy.rollout.explaining import downward, unwritten
from proxy.rollout.journal import Journal, JournalError, Progress, Record, TakenError
from proxy.rollout.machine import advance, begin
from proxy.rollout.rollout import Cause, Rollout
from proxy.rollout.states import CauseKind, State
from proxy.telemetry.facts import RolloutFacts, RolloutStanding

log = logging.getLogger("tidegate.rollout")

FILE: Final = "file"
"""The actor where the file has the word."""
_RETREATS: Final = frozenset({CauseKind.BRAKE, CauseKind.STEP_FAILED, CauseKind.ABORT})
_WORSE: Final = frozenset({State.PAUSED, State.FROZEN, State.REVERTING, State.ABORTED})

Spec = dict[str, Any]
Weights = dict[str, float]
Tell = Callable[[Rollout | None, Rollout], None]


class Book:
    """The last word on every route's rollout."""

    def __init__(self, journal: Journal, clock: Callable[[], float], facts: RolloutFacts, tell: Tell | None) -> None:
        """`clock` gives Unix seconds. `tell` hears of each transition that has taken effect, with the rollout before it."""
        self.rollouts: Final[dict[str, Rollout]] = {}
        """By route; those that are over too, for their revision must not begin again."""
        self.retreats: Final[dict[str, Rollout]] = {}
        """By route, what a way back would have led to that could not be written down. Its weights hold until it can."""
        self.owed: Final[dict[str, Cause]] = {}
        """By route, the way back that a person asked for and that is not written down yet: nobody would ask for it again."""
        self._journal: Final = journal
        self._clock: Final = clock
        self._facts: Final = facts
        self._tell: Final = tell
        self._locks: Final[dict[str, asyncio.Lock]] = {}

    @property
    def lasting(self) -> bool:
        """Whether rollouts survive this process."""
        return self._journal.lasting

    def lock(self, route: str) -> asyncio.Lock:
        """Held by whoever moves the rollout of this route."""
        return self._locks.setdefault(route, asyncio.Lock())

    def take(self, last: Mapping[str, Record], progress: Mapping[str, Progress]) -> None:
        """Go on from what the journal has. Raises JournalError."""
        for name, record in last.items():
            try:
                rollout = record.restored()
                held = float(progress[name].values.get("held", 0.0)) if name in progress else 0.0
            except (ValueError, TypeError, AttributeError) as error:
                raise JournalError(
                    f"state: the rollout of route {name} kept there cannot be understood: {error}; remove it"
                ) from error
            if held and (progress[name].revision, progress[name].sequence) == (rollout.revision, rollout.sequence):
                rollout = replace(rollout, held=max(rollout.held, held))
            self.rollouts[name] = rollout
            self._facts.standing[name] = RolloutStanding(str(rollout.state), rollout.step)
            if not rollout.final:
                log.info("route %s: the rollout of %s goes on: it is %s", name, rollout.revision, rollout.state)

    def forget_standing(self, routes: Mapping[str, Spec]) -> None:
        """Show no rollouts of routes that are none of these."""
        for name in [name for name in self._facts.standing if name not in routes]:
            del self._facts.standing[name]

    def cause(self, kind: CauseKind, actor: str, reason: str, numbers: Spec | None = None) -> Cause:
        """A cause of this moment."""
        return Cause(kind, actor, reason, numbers or {}, self._clock())

    async def start(self, route: str, plan: Spec, file: Weights) -> None:
        """Begin a revision that is new over these weights of the file; the one before ends in the same stroke.

        The lock is held. Raises JournalError, and then nothing has changed.
        """
        current = self.rollouts.get(route)
        ended, sequence, weights, ring = None, 0, file, None
        if current is not None:
            sequence = current.sequence
            if current.bound == file and current.state is not State.SUPERSEDED:
                weights, ring = current.weights, current.ring
            why = f"the file has revision {plan['revision']} now"
            ended = advance(current, self.cause(CauseKind.SUPERSEDED, FILE, why))
        records = []
        if current is not None and ended is not None:
            sequence = ended.sequence
            records.append(Record.of(ended, current.state))
        under_way = ended is not None and current is not None and (current.step >= 0 or current.taken_over)
        fresh = begin(
            route, _without_secrets(plan), file, self._clock(), actor=FILE,
            weights=weights, ring=ring, taken_over=under_way and weights != file,
            taken_arms=None if current is None else current.watched_arms,
        )  # fmt: skip
        # Numbers go on from rollout to rollout: the same revision may come again, and each transition has a number of its own.
        fresh = replace(fresh, sequence=sequence + 1)
        await self._journal.append(*records, Record.of(fresh, None))
        if current is not None and current.state is State.COMPLETED and downward(fresh):
            log.warning(
                "route %s: revision %s begins over weights that revision %s has reached and the file does not have. %s",
                route, fresh.revision, current.revision, downward(fresh),
            )  # fmt: skip
        if ended is not None:
            self._took_effect(current, ended)
        self._took_effect(None, fresh)

    async def apply(self, route: str, cause: Cause, expected: int | None) -> Rollout | None:
        """Move the rollout of a route; None where that is no transition, or not after the one `expected`. Raises JournalError."""
        async with self.lock(route):
            rollout = self.rollouts[route]
            if expected is not None and rollout.sequence != expected:
                return None
            return await self.move(rollout, cause)

    async def move(self, rollout: Rollout, cause: Cause) -> Rollout | None:
        """The same where the lock is held."""
        moved = advance(rollout, cause)
        if moved is None:
            return None
        try:
            await self._journal.append(Record.of(moved, rollout.state))
        except TakenError as error:
            await self._read_again(rollout.route, error)
            return None
        except JournalError:
            given = (rollout.weights, rollout.ring, rollout.shadow)
            if cause.kind in _RETREATS and (moved.weights, moved.ring, moved.shadow) != given:
                self.retreats[rollout.route] = moved
                if cause.kind is CauseKind.ABORT:
                    self.owed[rollout.route] = cause
            raise
        self._took_effect(rollout, moved)
        return moved

    async def save(self) -> None:
        """Write down how far the steps are. Raises JournalError."""
        progress = {
            name: Progress(one.revision, one.sequence, {"held": round(one.held, 3)})
            for name, one in self.rollouts.items()
            if one.held and not one.final
        }
        if progress:
            await self._journal.observe(progress)

    async def history(self, route: str, limit: int) -> list[Record]:
        """The last transitions of a route, the newest first. Raises JournalError."""
        return await self._journal.history(route, limit)

    async def _read_again(self, route: str, error: TakenError) -> None:
        """Another process has moved it: what is in the journal is the truth."""
        log.error("%s: another process writes to this journal, and its word counts", error)
        for record in await self._journal.history(route, 1):
            self.rollouts[route] = record.restored()

    def _took_effect(self, before: Rollout | None, after: Rollout) -> None:
        name, facts = after.route, self._facts
        self.rollouts[name] = after
        # Whatever it was, something newer has been decided.
        self.retreats.pop(name, None)
        self.owed.pop(name, None)
        counted = (name, str(after.cause))
        facts.transitions[counted] = facts.transitions.get(counted, 0) + 1
        facts.standing[name] = RolloutStanding(str(after.state), after.step)
        _log(before, after)
        if unwritten(after) and (before is None or before.state is not State.COMPLETED):
            log.warning("route %s: %s", name, unwritten(after))
        if self._tell is not None:
            self._tell(before, after)


def words(weights: Mapping[str, float]) -> str:
    """Weights for people: `stable 95, canary 5`."""
    return ", ".join(f"{name} {weight:g}" for name, weight in weights.items())


def _without_secrets(plan: Spec) -> Spec:
    """What is kept: the keys of webhooks stay in the file."""
    return {**plan, "webhooks": [{**one, "secret": None} for one in plan.get("webhooks", ())]}


def _log(before: Rollout | None, after: Rollout) -> None:
    level = logging.WARNING if after.state in _WORSE else logging.INFO
    # The text whole: the log holds back what it takes for a repetition by its template, and no transition is one.
    text = (
        f"route {after.route}: the rollout of {after.revision} is {after.state} ({after.cause} by {after.actor}):"
        f" {after.reason or 'no reason given'}"
    )
    fields = {
        "route": after.route, "revision": after.revision, "before": "" if before is None else str(before.state),
        "state": str(after.state), "step": after.step + 1, "weights": after.weights, "numbers": after.numbers,
    }  # fmt: skip
    log.log(level, text, extra={"fields": fields})
