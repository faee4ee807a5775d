"""Rollouts in life: looked after once a second, moved by what is due and by the file. People have a desk (desk.py).

What is in force is a function of what is in memory (`effects`), which is what the journal has: after a kill the last records give
the same plan again. Where the journal cannot be written nobody is moved on. But a version that has to go is not kept in service for
that: the weights of a way back hold although it is not written down, and it is tried again until it is.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Final, Protocol

from proxy.control.rollouts.book import FILE, Book, words
from proxy.control.rollouts.effective import ROLLOUT_KEY, Effect, file_weights, lay_over
from proxy.control.rollouts.hand_weights import HandWeights
from proxy.rollout.journal import Journal, JournalError, Override
from proxy.rollout.machine import due, tick
from proxy.rollout.rollout import ITSELF, Cause, Judged, Rollout, Samples
from proxy.rollout.states import CauseKind, State
from proxy.settings.compile_route import mirror_spec
from proxy.settings.models.route import Mirror
from proxy.telemetry.facts import RolloutFacts
from proxy.telemetry.ledger import LedgerFullError

log = logging.getLogger("tidegate.rollout")

TICK: Final = 1.0
"""Seconds between two looks."""
SAVE_EVERY: Final = 10.0
"""Seconds of a hold that a kill may cost: how often the progress of steps is written down."""
SAVE_YOUNG: Final = 1.0
"""The same in the first YOUNG seconds of a process: one that never lives long still gets on."""
YOUNG: Final = 60.0
JUDGED_AT_ONCE: Final = 20
"""Rollouts whose gates are asked in one look. Where more are under way they have their turn, a hundred every five seconds: the
statistics hold however often one looks, and the brake is asked for all of them every time."""
ASKED: Final = frozenset({CauseKind.BEGIN, CauseKind.STEP_PASSED, CauseKind.APPROVE})
"""Causes before which webhooks are asked."""

_JUDGED: Final = frozenset({State.PROGRESSING, State.APPROVAL, State.WATCHING})

Spec = dict[str, Any]
Weights = dict[str, float]
Spawn = Callable[[str, Coroutine[Any, Any, None]], object]


class Judge(Protocol):
    """Who knows how the versions fare."""

    def verdict(self, rollout: Rollout, now: float) -> Judged | None:
        """What the gates of the step say at `now` (Unix seconds) over its evidence; None before they can say anything."""

    def samples(self, rollout: Rollout) -> Mapping[str, Samples]:
        """By version, what it has had in this step."""

    def brake(self, rollout: Rollout, now: float) -> Cause | None:
        """The cause BRAKE where a version fares so badly that nothing is waited for."""


class People(Protocol):
    """Who is asked before a rollout goes on, and told when it has."""

    def asks(self, rollout: Rollout, cause: Cause) -> bool:
        """Whether somebody is to be asked before this cause takes effect."""

    async def ask(self, rollout: Rollout, cause: Cause) -> str:
        """Why not; empty where nobody minds. Takes as long as they may take."""

    def tell(self, before: Rollout | None, after: Rollout) -> None:
        """It has taken effect. Returns at once."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the last look at a rollout under way found. `closed` is why its schedule lets no step be taken now, "" where it does;
    `asking` says that somebody's webhook is being asked."""

    verdict: Judged | None = None
    samples: Mapping[str, Samples] | None = None
    closed: str = ""
    asking: bool = False


class Rollouts:
    """All of them by route, with the weights that were set by hand."""

    def __init__(
        self,
        journal: Journal,
        publish: Callable[[], None],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        facts: RolloutFacts,
        spawn: Spawn,
        *,
        judge: Judge | None = None,
        people: People | None = None,
        closed: Callable[[Rollout, float], str] | None = None,
        counted: Callable[[Rollout], Spec | None] | None = None,
    ) -> None:
        """`publish` sends a plan with what `lay` gives, and raises LedgerFullError. `clock` gives Unix seconds, `monotonic` seconds
        that only go forward. `closed` says why a rollout's schedule lets no step be taken at a time, "" where it does. `counted`
        says what workers are to count of a rollout from the next plan on."""
        self.book: Final = Book(journal, clock, facts, None if people is None else people.tell)
        self.hands: Final = HandWeights(journal, clock, facts.by_hand)
        self.routes: dict[str, Spec] = {}
        """Of the file, by name."""
        self._files: dict[str, Weights] = {}  # the weights of each
        self._journal: Final = journal
        self._publish: Final = publish
        self._clock: Final = clock
        self._monotonic: Final = monotonic
        self._facts: Final = facts
        facts.states = tuple(str(state) for state in State)
        self._spawn: Final = spawn
        self._judge: Final = judge
        self._people: Final = people
        self._closed: Final = closed
        self._counted: Final = counted
        self._seen: Final[dict[str, tuple[int, Seen]]] = {}
        self._asking: Final[dict[str, int]] = {}  # by route, the transition after which somebody is asked
        self._laid: dict[str, Effect] = {}
        self._failing: Final[dict[str, str]] = {}
        self._turn = 0
        self._looked = monotonic()
        self._saved = self._looked
        self._born: Final = self._looked

    def seen(self, rollout: Rollout) -> Seen:
        """What the last look found, where that was after the rollout's last transition."""
        sequence, seen = self._seen.get(rollout.route, (0, Seen()))
        return replace(seen if sequence == rollout.sequence else Seen(), asking=self.asking(rollout))

    def asking(self, rollout: Rollout) -> bool:
        """Whether somebody is being asked if it may go on."""
        return self._asking.get(rollout.route) == rollout.sequence

    @property
    def plans(self) -> dict[str, Spec]:
        """The file's plans by route, with the keys of their hooks."""
        return {name: route[ROLLOUT_KEY] for name, route in self.routes.items() if route.get(ROLLOUT_KEY)}

    # What is laid over the file.

    def lay(self, spec: Spec) -> Spec:
        """The file's spec as it is to be in force."""
        self._laid = self.effects({route["name"]: file_weights(route) for route in spec["routes"]})
        return lay_over(
            spec, self._laid, lambda upstream, percent: mirror_spec(Mirror(upstream=upstream, percent=percent))
        )

    def effects(self, files: Mapping[str, Weights]) -> dict[str, Effect]:
        """What is moved, by route, where these are the file's weights."""
        found = {name: self._effect(name, file) for name, file in files.items()}
        return {name: one for name, one in found.items() if one is not None and one.changes(files[name])}

    def _effect(self, name: str, file: Weights) -> Effect | None:
        hand = self.hands.holding(name, file)
        rollout = self.book.rollouts.get(name)
        if rollout is None or rollout.bound != file or rollout.state is State.SUPERSEDED:
            return None if hand is None else Effect(file, hand.weights)
        wanted = self.book.retreats.get(name, rollout)
        weights = wanted.weights if hand is None else hand.weights
        ours = self._counted is not None and hand is None and wanted is rollout
        counted = self._counted(rollout) if ours and self._counted is not None else None
        return Effect(file, weights, rollout.watched_arms[1], wanted.ring, wanted.shadow, wanted.step_mark, counted)

    def bring(self) -> None:
        """Publish where what is in force is not what it should be."""
        if self.effects(self._files) == self._laid:
            return
        try:
            self._publish()
        except LedgerFullError as error:
            self._failed("publish", str(error))
        else:
            self._failing.pop("publish", None)

    # The file.

    async def load(self) -> None:
        """Take what the journal has. Raises JournalError."""
        kept = await self._journal.load()
        self.hands.take(kept.overrides)
        self.book.take(kept.last, kept.progress)

    async def follow(self, spec: Spec) -> None:
        """Do from now on as this spec of the file's says. Called before its first plan, and after every other one."""
        before = self.routes
        self.routes = {route["name"]: route for route in spec["routes"]}
        self._files = {name: file_weights(route) for name, route in self.routes.items()}
        self.book.forget_standing(self.routes)
        try:
            await self._end_hands()
            for name in dict.fromkeys([*self.routes, *self.book.rollouts]):
                await self._follow(name)
        except JournalError as error:
            self._failed("journal", str(error))  # the next look tries again
        for name, route in self.routes.items():
            self._warn_of_plan(name, route, before.get(name))

    async def _follow(self, name: str) -> None:
        """Have the rollout of a route be what the file wants. Raises JournalError."""
        book = self.book
        async with book.lock(name):
            route, rollout = self.routes.get(name), book.rollouts.get(name)
            plan = None if route is None else route.get(ROLLOUT_KEY)
            file = {} if route is None else file_weights(route)
            if plan is not None and (rollout is None or rollout.revision != str(plan["revision"])):
                await book.start(name, plan, file)
            elif plan is None and rollout is not None and not rollout.final:
                why = "the file has no rollout for this route any more; its weights hold"
                await book.move(rollout, book.cause(CauseKind.SUPERSEDED, FILE, why))
            elif rollout is not None and route is not None and file != rollout.bound:
                before = {one: rollout.bound[one] for one in {**file, **rollout.bound} if one in rollout.bound}
                why = f"the file's weights were changed from {words(before)} to {words(file)}"
                numbers = {"weights": file, "before": rollout.bound}
                await book.move(rollout, book.cause(CauseKind.FILE_EDITED, FILE, why, numbers))

    def _behind(self, name: str) -> bool:
        """Whether what the file says of a route is not in the journal yet, which refused it then."""
        route, rollout = self.routes[name], self.book.rollouts.get(name)
        plan = route.get(ROLLOUT_KEY)
        if rollout is None:
            return plan is not None
        if plan is None:
            return not rollout.final
        changed = rollout.state is not State.SUPERSEDED and rollout.bound != file_weights(route)
        return changed or rollout.revision != str(plan["revision"])

    def _warn_of_plan(self, name: str, route: Spec, before: Spec | None) -> None:
        """A plan is frozen with its revision: say so to whoever changes it meanwhile."""
        plan, rollout = route.get(ROLLOUT_KEY), self.book.rollouts.get(name)
        if before is not None and rollout is not None and not rollout.final:
            _warn_of_versions(rollout, before, route)
        earlier = None if before is None else before.get(ROLLOUT_KEY)
        if plan is None or earlier is None or plan == earlier or rollout is None or rollout.final:
            return
        if plan["revision"] == earlier["revision"]:
            log.warning(
                "route %s: the plan of revision %s was changed under way: it goes on as it began; a new revision starts anew",
                name,
                rollout.revision,
            )

    # The clock.

    async def run(self) -> None:
        """Look after all of them, for ever."""
        while True:
            await asyncio.sleep(TICK)
            await self.look()

    async def look(self) -> None:
        """Look at each of them once, and do what is due."""
        elapsed = self._monotonic() - self._looked
        self._looked += elapsed
        now = self._clock()
        refused = ""
        concerned = [name for name, one in self.routes.items() if one.get(ROLLOUT_KEY) or name in self.book.rollouts]
        works: list[Callable[[], Coroutine[Any, Any, None]]] = [self._end_hands]
        turns = self._turns(concerned)
        works += [partial(self._look_after, name, elapsed, now, judged=name in turns) for name in concerned]
        for work in [*works, self._save]:
            try:
                await work()
                await asyncio.sleep(0)  # others have their turn, however many rollouts there are
            except JournalError as error:  # the others go on: each may have a version to take out
                refused = str(error)
            except Exception:  # one rollout must not stop the others: counted, and the log has it
                self._facts.failures["look"] = self._facts.failures.get("look", 0) + 1
                log.exception("a rollout could not be looked at")
        if refused:
            self._failed("journal", refused)
        elif self._failing.pop("journal", None) is not None:
            log.info("the journal of rollouts is written again")
        self.bring()

    def _turns(self, names: Sequence[str]) -> frozenset[str]:
        """Those of these routes whose gates are asked in this look."""
        found = [name for name in names if name in self.book.rollouts and self.book.rollouts[name].state in _JUDGED]
        if len(found) <= JUDGED_AT_ONCE:
            return frozenset(found)
        start = self._turn % len(found)
        self._turn = start + JUDGED_AT_ONCE
        return frozenset([*found, *found][start : self._turn])

    async def _look_after(self, name: str, elapsed: float, now: float, *, judged: bool) -> None:
        refused: JournalError | None = None
        if self._behind(name):
            try:
                await self._follow(name)
            except JournalError as error:
                refused = error  # what is under way may have to be taken out all the same
        rollout = self.book.rollouts.get(name)
        if rollout is not None and not rollout.final and not self.book.lock(name).locked():
            await self._look_at(tick(rollout, elapsed), now, judged=judged)
        if refused is not None:
            raise refused

    async def _look_at(self, rollout: Rollout, now: float, *, judged: bool) -> None:
        name, book = rollout.route, self.book
        book.rollouts[name] = rollout
        owed = book.owed.get(name)
        if owed is not None:
            await book.apply(name, owed, None)
            return
        hand = self.hands.holding(name, rollout.bound)
        if hand is not None and not rollout.overruled:
            await book.apply(name, self.overridden(hand), rollout.sequence)
            return
        cause = None if self._judge is None else self._judge.brake(rollout, now)
        if cause is None and (judged or rollout.state not in _JUDGED):
            cause = self._due(rollout, now)
        asking = self.asking(rollout)
        if cause is None or (asking and cause.kind in ASKED):
            return
        people = self._people
        if people is not None and cause.kind in ASKED and people.asks(rollout, cause):
            self._spawn(f"webhooks of {name}", self._ask_aside(people, rollout, cause))
        else:
            await book.apply(name, cause, rollout.sequence)

    def _due(self, rollout: Rollout, now: float) -> Cause | None:
        """What is due by its gates, its clock and its schedule."""
        judge = self._judge
        verdict = None if judge is None else judge.verdict(rollout, now)
        samples = None if judge is None else judge.samples(rollout)
        closed = "" if self._closed is None else self._closed(rollout, now)
        self._seen[rollout.route] = (rollout.sequence, Seen(verdict, samples, closed))
        return due(rollout, now, schedule_open=not closed, verdict=verdict, samples=samples)

    async def ask(self, people: People, rollout: Rollout, cause: Cause) -> None:
        """Have people asked, and do as they say where nothing else has happened meanwhile. Raises JournalError."""
        name, sequence = rollout.route, rollout.sequence
        self._asking[name] = sequence
        try:
            refusal = await people.ask(rollout, cause)
            if refusal:
                cause = self.book.cause(CauseKind.VETOED, ITSELF, refusal, cause.numbers)
            await self.book.apply(name, cause, sequence)
        finally:
            if self._asking.get(name) == sequence:
                del self._asking[name]
        self.bring()

    async def _ask_aside(self, people: People, rollout: Rollout, cause: Cause) -> None:
        try:
            await self.ask(people, rollout, cause)
        except JournalError as error:
            self._failed("journal", str(error))  # the next look asks again

    def overridden(self, hand: Override) -> Cause:
        """The cause that weights by hand are."""
        why = f"weights set by hand: {words(hand.weights)} ({hand.reason or 'no reason given'})"
        return self.book.cause(CauseKind.OVERRIDDEN, hand.by, why, {"weights": hand.weights})

    async def _end_hands(self) -> None:
        for name in self.hands.ended(self._files):
            async with self.book.lock(name):
                why = self.hands.ended(self._files).get(name)
                gone = None if why is None else await self.hands.remove(name)
            if gone is not None:
                log.info("route %s: weights set by hand by %s hold no more: %s", name, gone.by, why)

    async def _save(self) -> None:
        apart = SAVE_YOUNG if self._looked - self._born < YOUNG else SAVE_EVERY
        if self._looked - self._saved >= apart:
            self._saved = self._looked
            await self.book.save()

    async def leave(self) -> None:
        """Write down how far the steps are."""
        try:
            await self.book.save()
        except JournalError as error:
            self._failed("journal", str(error))

    def _failed(self, kind: str, text: str) -> None:
        self._facts.failures[kind] = self._facts.failures.get(kind, 0) + 1
        if self._failing.get(kind) != text:
            self._failing[kind] = text
            log.error("%s; rollouts stand still until this is mended, and tries go on", text)


def _warn_of_versions(rollout: Rollout, before: Spec, after: Spec) -> None:
    """A version that is another under way is judged by what was seen of both."""
    earlier = {one["name"]: one["upstream"] for one in before["versions"]}
    for one in after["versions"]:
        name = one["name"]
        if name in rollout.watched_arms and earlier.get(name, one["upstream"]) != one["upstream"]:
            log.warning(
                "route %s: `%s` is another now (upstream), and what was seen of the one before counts on: `retry` begins the"
                " step anew, a new revision all of it",
                rollout.route,
                name,
            )
