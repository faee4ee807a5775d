"""What people ask of rollouts, and the weights that they set by hand."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Final

from proxy.control.rollouts.book import words
from proxy.control.rollouts.effective import file_weights
from proxy.control.rollouts.runner import ASKED, People, Rollouts, Seen
from proxy.errors import TidegateError
from proxy.rollout.by_hand import fill_up
from proxy.rollout.journal import JournalError, Override, Record
from proxy.rollout.machine import advance
from proxy.rollout.rollout import Cause, Rollout
from proxy.rollout.states import CauseKind, allowed

log = logging.getLogger("tidegate.rollout")

_ONWARD: Final = frozenset({
    CauseKind.APPROVE, CauseKind.RESUME, CauseKind.PROMOTE, CauseKind.SKIP, CauseKind.RETRY,
})  # fmt: skip
"""What nobody can ask for while weights by hand hold."""

Spec = dict[str, Any]
Weights = dict[str, float]


class UnknownRouteError(TidegateError):
    """There is no such route, or it has no rollout. The message names those there are."""


class NotNowError(TidegateError):
    """What was asked for is no transition of the rollout as it is. The message says what is."""


class RolloutDesk:
    """Where people ask, of the API."""

    def __init__(self, rollouts: Rollouts, people: People | None) -> None:
        self._rollouts: Final = rollouts
        self._people: Final = people

    # What there is.

    @property
    def lasting(self) -> bool:
        """Whether rollouts and weights by hand survive this process."""
        return self._rollouts.book.lasting

    def all(self) -> list[Rollout]:
        """The rollouts of the file's routes, in the order of the file; those that are over too."""
        found = self._rollouts.book.rollouts
        return [found[name] for name in self._rollouts.routes if name in found]

    def of(self, route: str) -> Rollout:
        """That of a route. Raises UnknownRouteError."""
        rollout = self._rollouts.book.rollouts.get(route)
        if rollout is None or route not in self._rollouts.routes:
            known = ", ".join(one.route for one in self.all()) or "none"
            raise UnknownRouteError(f"route {route} has no rollout; routes that have one: {known}")
        return rollout

    def seen(self, rollout: Rollout) -> Seen:
        """What the last look at it found."""
        return self._rollouts.seen(rollout)

    def retreat(self, rollout: Rollout) -> Rollout | None:
        """What is in force of a way back that could not be written down; None without one."""
        return self._rollouts.book.retreats.get(rollout.route)

    def possible(self, rollout: Rollout) -> list[str]:
        """What may be asked for now."""
        if self._rollouts.asking(rollout):
            kinds = [kind for kind in allowed(rollout.state) if kind not in ASKED]
        else:
            kinds = list(allowed(rollout.state))
        held = self.hand(rollout.route) is not None or self._missing(rollout)
        nobody = Cause(CauseKind.PAUSE, "", "")
        return [
            str(kind)
            for kind in kinds
            if not (held and kind in _ONWARD) and advance(rollout, replace(nobody, kind=kind)) is not None
        ]

    async def history(self, route: str, limit: int) -> list[Record]:
        """The last transitions of a route, the newest first. Raises UnknownRouteError, JournalError."""
        self.of(route)
        return await self._rollouts.book.history(route, limit)

    # Rollouts.

    async def act(self, route: str, kind: CauseKind, actor: str, reason: str) -> Rollout:
        """Do what a person asks for; the rollout after it. Raises UnknownRouteError, NotNowError, JournalError."""
        rollout = self.of(route)
        hand = self.hand(route)
        if hand is not None and kind in _ONWARD:
            raise NotNowError(f"weights set by hand by {hand.by} hold: take them back first, then {kind}")
        missing = self._missing(rollout)
        if missing and kind in _ONWARD:
            raise NotNowError(f"the file has no version {', '.join(missing)} any more: a new revision starts anew")
        rollouts, people = self._rollouts, self._people
        cause = rollouts.book.cause(kind, actor, reason)
        if people is not None and kind in ASKED and advance(rollout, cause) is not None and people.asks(rollout, cause):
            if rollouts.asking(rollout):
                raise NotNowError("the webhooks are being asked already")
            await rollouts.ask(people, rollout, cause)
        elif await self._move(route, cause) is None:
            rollout = self.of(route)
            possible = ", ".join(self.possible(rollout)) or "nothing"
            raise NotNowError(
                f"the rollout of {route} is {rollout.state}, and {kind} is nothing then; possible: {possible}"
            )
        rollouts.bring()
        return self.of(route)

    async def _move(self, route: str, cause: Cause) -> Rollout | None:
        """Move it. Raises JournalError, which says so where the version is out of service all the same."""
        book = self._rollouts.book
        try:
            return await book.apply(route, cause, None)
        except JournalError as error:
            if book.owed.get(route) is not cause:
                raise
            self._rollouts.bring()
            log.warning("route %s: aborted by %s, and not written down yet: %s", route, cause.actor, error)
            raise JournalError(
                f"{error}. Its weights have gone back all the same, and that is written down as soon as it can be"
            ) from error

    # Weights.

    def file_weights(self, route: str) -> Weights:
        """What the file says. Raises UnknownRouteError."""
        return file_weights(self._route(route))

    def effective_weights(self, route: str) -> Weights:
        """What is in force. Raises UnknownRouteError."""
        file = self.file_weights(route)
        effect = self._rollouts.effects({route: file}).get(route)
        return file if effect is None else effect.weights

    def hand(self, route: str) -> Override | None:
        """The weights set by hand that hold for a route."""
        spec = self._rollouts.routes.get(route)
        return None if spec is None else self._rollouts.hands.holding(route, file_weights(spec))

    async def set_weights(
        self, route: str, given: Mapping[str, float], actor: str, reason: str, until: float | None
    ) -> Override:
        """Set weights by hand; a rollout that is under way pauses. `until`: Unix seconds.

        Raises UnknownRouteError, BadWeightsError, JournalError.
        """
        spec = self._route(route)
        file = file_weights(spec)
        weights = fill_up(given, file, spec["default"])
        rollouts, book = self._rollouts, self._rollouts.book
        async with book.lock(route):
            hand = await rollouts.hands.put(route, weights, file, actor, reason, until)
            log.warning(
                "route %s: weights set by hand by %s: %s (%s)", route, actor, words(weights), reason or "no reason given",
                extra={"fields": {"route": route, "weights": weights, "file": file, "until": until}},
            )  # fmt: skip
            rollout = book.rollouts.get(route)
            try:
                if rollout is not None and not rollout.final and not rollout.overruled and rollout.bound == file:
                    await book.move(rollout, rollouts.overridden(hand))
            finally:
                rollouts.bring()  # they are kept and hold, whatever becomes of the rollout: the next look pauses it
        return hand

    async def unset_weights(self, route: str, actor: str) -> Override | None:
        """Take back weights set by hand; None where there are none. A rollout that they paused goes on when somebody says so.

        Raises UnknownRouteError, JournalError.
        """
        self._route(route)
        async with self._rollouts.book.lock(route):
            gone = await self._rollouts.hands.remove(route)
        if gone is not None:
            log.info("route %s: weights set by hand by %s are taken back by %s", route, gone.by, actor)
        self._rollouts.bring()
        return gone

    def _missing(self, rollout: Rollout) -> list[str]:
        file = self.file_weights(rollout.route)
        return [name for name in rollout.arms if name is not None and name not in file]

    def _route(self, name: str) -> Spec:
        route = self._rollouts.routes.get(name)
        if route is None:
            raise UnknownRouteError(f"there is no route {name}; there are: {', '.join(self._rollouts.routes)}")
        return route
