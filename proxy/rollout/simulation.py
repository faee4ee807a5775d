"""Plays a rollout's plan before anybody is in it: the real machine and the real gates, on a clock that jumps, in a described world.

One run is one way it may go; many say with which probability. What people would do is assumed: an approval is given at once, hooks
have nothing against it, schedules are open, and a query of Prometheus finds its number at the limit that is allowed. A rollout that
waits for a person ends there.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt
from random import Random
from typing import Any, Final

from proxy.rollout.braking import RouteBrake
from proxy.rollout.evidence import Evidence, Series, stretches_of, versions_of
from proxy.rollout.gates import Gates, Judgement
from proxy.rollout.machine import LONGEST_TICK, advance, begin, due, tick
from proxy.rollout.rollout import Cause, Rollout, Samples
from proxy.rollout.states import CauseKind, State
from proxy.rollout.telling import verdicts_of
from proxy.rollout.track import Track
from proxy.rollout.units import Run
from proxy.rollout.world import Assumed, Recorded, World, allowed_value
from proxy.telemetry.measures import Counts

Spec = dict[str, Any]

TICK: Final = 5.0
"""Seconds of one tick: within the window of the early brake."""
TICKS: Final = 2000
"""Of one run, about: longer plans have longer ticks."""
LOOKS: Final = 0.05
"""The gates look again after this share of the step's time so far, or a tick: sooner would show no more."""
NEVER: Final = 60 * 86_400.0
"""Seconds after which a run is given up."""

PROMOTED: Final = "promoted"
STOPPED: Final = "stopped"
WAITING: Final = "waiting"
ENDS: Final = (PROMOTED, STOPPED, WAITING)
"""How a run ends: all steps taken; gone back, or on its way; for a person to decide."""

_SERIES: Final = frozenset({"threshold", "mann_whitney", "burn_rate"})
_DURATIONS: Final = frozenset({"band", "threshold", "mann_whitney", "exceedance"})


@dataclass(frozen=True, slots=True)
class Play:
    """One run. `seconds` until it ended or all of it was promoted; `step` counts from 1; `cause` and `by` say what stopped it: the
    metrics that failed or were undecided, or `brake`. Users as in world.Harm."""

    end: str
    seconds: float
    step: int
    cause: str
    by: tuple[str, ...]
    reason: str
    given: int
    erred: int
    hurt: int


class Game:
    """One run in life."""

    def __init__(
        self,
        plan: Spec,
        bound: Mapping[str, float],
        assumed: Assumed,
        rng: Random,
        *,
        route: str = "route",
        recorded: Callable[[float], Recorded] | None = None,
        identity: str = "",
        track: Track | None = None,
    ) -> None:
        """`plan` is the spec's `rollout`, `bound` the file's weights. `identity` as in Evidence. `track` notes the course."""
        judges = {one["judge"] for one in plan["metrics"]}
        planned = sum(step["hold"] for step in plan["steps"]) + plan["fast_rollback"] + plan["after"]
        self._slow: Final = sorted({edge for one in plan["metrics"] for edge in one.get("above") or ()})
        self._world: Final = World(
            assumed,
            (plan["from"], plan["to"], plan["baseline"]),
            self._slow,
            rng,
            wanted=_wanted(plan),
            planned=planned,
        )
        self._gates: Final = Gates(plan)
        self._brake: Final = RouteBrake.of(plan)
        self._run: Final = Run("simulation", [one["name"] for one in plan["events"]])
        self._series: Final = Series()
        self._before = dict(self._world.counts)
        self._recorded: Final = recorded
        self._identity: Final = identity
        self._track: Final = track
        self._stretch = 0
        self._key: tuple[Any, ...] = ()
        self._weights: dict[str, float] = {}
        self._earlier: Counts | None = None
        self._looked = 0.0
        self._now = 0.0
        self.rollout: Rollout = begin(route, plan, bound, 0.0)
        longest = LONGEST_TICK * 2 if judges & _SERIES else 60.0
        self._tick: Final = min(longest, max(TICK, planned / TICKS))
        self.judgement: Judgement | None = None

    @property
    def world(self) -> World:
        """What it is played in."""
        return self._world

    @property
    def now(self) -> float:
        """Seconds since it began."""
        return self._now

    def play(self) -> Play:
        """To its end."""
        promoted: float | None = None
        while self._now < NEVER:
            rollout = self.rollout
            if rollout.state is State.WATCHING and promoted is None:
                promoted = self._now
            if rollout.final or rollout.state in {State.PAUSED, State.FROZEN}:
                break
            self._follow()
            seconds = self._next()
            self._pass_on(seconds)
            cause = self._cause()
            if cause is not None:
                self._move(cause)
        return self._ended(promoted)

    def _next(self) -> float:
        """Seconds until something may happen: no more than a tick, and never beyond the end of a hold."""
        rollout, step = self.rollout, self.rollout.current
        ends: list[float] = [self._tick]
        if rollout.state is State.PENDING:
            ends.append(rollout.plan["after"])
        elif rollout.state is State.REVERTING:
            ends.append(rollout.plan["rollback"]["every"] - rollout.held)
        elif rollout.state is State.WATCHING:
            ends.append(rollout.plan["fast_rollback"] - rollout.held)
        elif step is not None:
            ends += [step["hold"] - rollout.held, step["maximum"] - rollout.held]
        return min((one for one in ends if one > 1e-6), default=self._tick)

    def _pass_on(self, seconds: float) -> None:
        rollout = self.rollout
        if self._recorded is not None:
            self._world.recorded = self._recorded(self._now)
        self._now += seconds
        self._world.pass_on(
            seconds,
            self._now,
            rollout.weights,
            self._run,
            self._stretch,
            ring=bool(rollout.ring),
            copied=rollout.shadow / 100.0,
        )
        left = seconds
        while left > 0.0:
            rollout = tick(rollout, left)
            left -= LONGEST_TICK
        self.rollout = rollout

    def _follow(self) -> None:
        """A new stretch where the step or the weights are new."""
        rollout = self.rollout
        key = (rollout.began, rollout.step, tuple(sorted(rollout.weights.items())))
        if key == self._key:
            return
        if self._stretch:
            self._world.tell_units(self._run, self._stretch, self._weights)
        old = rollout.arms[0]
        if rollout.weights.get(old, 0.0) > 0.0:
            self._earlier = None
        elif self._weights.get(old, 0.0) > 0.0:  # all its users are gone: it is held against what it had before
            self._earlier = self._world.counts[old].since(self._before[old])
        self._key, self._weights = key, dict(rollout.weights)
        self._stretch += 1
        self._before = dict(self._world.counts)
        self._series.clear()
        self._gates.begin_step()
        self._run.follow(self._stretch, rollout.weights)
        self._looked = 0.0
        self.judgement = None
        if self._brake is not None:
            self._brake.release()

    def _cause(self) -> Cause | None:
        rollout = self.rollout
        if rollout.state is State.APPROVAL:
            return Cause(CauseKind.APPROVE, "somebody", "approved at once, as is assumed", {}, self._now)
        if rollout.step < 0 or rollout.state is State.REVERTING:
            return due(rollout, self._now)
        pulled = self._braked()
        if pulled is not None:
            return pulled
        step = rollout.current
        ends = () if step is None else (step["hold"], step["maximum"], rollout.plan["fast_rollback"])
        early = all(abs(rollout.held - end) > 1e-6 for end in ends)
        if early and self._looked and rollout.held < self._looked * (1.0 + LOOKS):
            return None
        self._looked = rollout.held
        self._world.tell_units(self._run, self._stretch, rollout.weights)
        evidence = self.evidence()
        held = step is None or rollout.held >= step["hold"] - 1e-6
        self.judgement = self._gates.judge(evidence, gate=held)
        samples = {name: Samples(*two) for name, two in evidence.samples().items()}
        self._note(must=False)
        return due(rollout, self._now, verdict=self.judgement, samples=samples)

    def _braked(self) -> Cause | None:
        rollout, brake = self.rollout, self._brake
        if brake is None:
            return None
        if not brake.look(self._world.counts, self._now, self._run.erred(), rollout.weights):
            return None
        return Cause(CauseKind.BRAKE, "simulation", brake.reason, brake.numbers, self._now)

    def evidence(self) -> Evidence:
        """What the gates see now, as the control process would have it."""
        rollout = self.rollout
        old, new, baseline = rollout.arms
        since = {name: one.since(self._before[name]) or one for name, one in self._world.counts.items()}
        if self._earlier is not None:
            since[old] = self._earlier
        self._series.add(self._world.counts, new, self._now)
        weighty = [rollout.weights.get(name, 0.0) > 0.0 for name in (new, baseline or old)]
        return Evidence(
            route=rollout.route, old=old, new=new, baseline=baseline, began=rollout.began, seconds=rollout.held,
            versions=versions_of(since, self._run), stretches=stretches_of(self._run), slow=self._slow,
            series=self._series.values, made=self._series.made, points=self._series.points,
            answers={one["name"]: allowed_value(one) for one in rollout.plan["metrics"] if one.get("query")},
            answered=self._now, identity=self._identity, randomised=all(weighty), earlier=self._earlier is not None,
        )  # fmt: skip

    def _move(self, cause: Cause) -> None:
        moved = advance(self.rollout, cause)
        if moved is None:
            raise RuntimeError(f"{cause.kind} is due in {self.rollout.state} and no transition")
        self.rollout = moved
        self._note(must=True)

    def _note(self, *, must: bool) -> None:
        if self._track is None:
            return
        numbers = {} if self.judgement is None else self.judgement.numbers
        evidence = {one["metric"]: one["evidence"] for one in verdicts_of(numbers) if one["evidence"] is not None}
        counts = {name: (one.requests, one.errors) for name, one in self._world.counts.items()}
        self._track.note(self._now, self.rollout.percent, counts, evidence, must=must)

    def _ended(self, promoted: float | None) -> Play:
        rollout, harm = self.rollout, self._world.harm
        state = rollout.state
        end = PROMOTED if state is State.COMPLETED else STOPPED if state is State.ABORTED else WAITING
        by = tuple(
            one["metric"] for one in verdicts_of(rollout.numbers)
            if one["outcome"] == ("fail" if end == STOPPED else "insufficient")
        )  # fmt: skip
        cause = str(rollout.cause)
        if end == WAITING and any(one["outcome"] == "fail" for one in verdicts_of(rollout.numbers)):
            by = tuple(one["metric"] for one in verdicts_of(rollout.numbers) if one["outcome"] == "fail")
        if rollout.cause is CauseKind.BRAKE:
            by = ("brake",)
        at = promoted if end == PROMOTED and promoted is not None else self._now
        return Play(
            end, at, rollout.step + 1, cause, by, rollout.reason, len(harm.given), len(harm.erred), len(harm.hurt)
        )


def _wanted(plan: Spec) -> frozenset[str]:
    """What the metrics look at beside requests, errors and slow answers."""
    wanted = {"durations"} if any(one["judge"] in _DURATIONS for one in plan["metrics"]) else set()
    of = {one.get("of") for one in plan["metrics"] if one["judge"] == "mean" and not one.get("event")}
    wanted |= {"bytes"} if "response_bytes" in of else set()
    return frozenset(wanted | ({"microseconds"} if of - {"response_bytes", None} else set()))


@dataclass(frozen=True, slots=True)
class Spread:
    """The middle of some numbers, and what eight of ten lie between."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread | None":
        """None of no values."""
        if not values:
            return None
        ordered = sorted(values)
        return cls(*(ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in (0.5, 0.1, 0.9)))


@dataclass(frozen=True, slots=True)
class Outlook:
    """Many runs."""

    plays: tuple[Play, ...]

    def ended(self, end: str) -> list[Play]:
        """Those that ended so."""
        return [one for one in self.plays if one.end == end]

    def share(self, end: str) -> tuple[float, float, float]:
        """Of the runs that ended so, with its 95 % interval (Wilson, 1927)."""
        return wilson(len(self.ended(end)), len(self.plays))

    def counted(self, end: str) -> tuple[dict[str, int], dict[int, int]]:
        """What made them end so, most often first, and at which steps."""
        by: dict[str, int] = {}
        steps: dict[int, int] = {}
        for play in self.ended(end):
            for name in play.by or (play.cause,):
                by[name] = by.get(name, 0) + 1
            steps[play.step] = steps.get(play.step, 0) + 1
        return dict(sorted(by.items(), key=lambda one: -one[1])), dict(sorted(steps.items()))


def wilson(hits: int, runs: int) -> tuple[float, float, float]:
    """A share with its 95 % interval. Of no runs nothing is known."""
    if not runs:
        return 0.0, 0.0, 1.0
    z = 1.959964
    share = hits / runs
    middle = (share + z * z / (2 * runs)) / (1 + z * z / runs)
    half = z / (1 + z * z / runs) * sqrt(share * (1 - share) / runs + z * z / (4 * runs * runs))
    return share, max(0.0, middle - half), min(1.0, middle + half)


@dataclass(frozen=True, slots=True)
class Setting:
    """What many runs have in common, as Game takes it."""

    plan: Spec
    bound: Mapping[str, float]
    assumed: Assumed
    route: str = "route"
    recorded: Callable[[float], Recorded] | None = None
    identity: str = ""


def simulate(setting: Setting, runs: Iterable[int], seed: int) -> list[Play]:
    """Play the runs of these numbers; the same seed and number give the same, whatever else is played."""
    plays = []
    for number in runs:
        rng = Random(f"{seed}/{number}")  # noqa: S311 - a game, and it must be the same again
        game = Game(
            setting.plan, setting.bound, setting.assumed, rng,
            route=setting.route, recorded=setting.recorded, identity=setting.identity,
        )  # fmt: skip
        plays.append(game.play())
    return plays
