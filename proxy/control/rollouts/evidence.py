"""The evidence of rollouts in the control process: from workers, counters and events to a verdict, and to the early brake.

The runner asks once a second (`verdict`, `samples`, `brake`), and asks for the `wish` of every plan that it publishes: what workers
are to count for a route, and in which stretch. A stretch lasts as long as the weights and the step; a new one begins with counters
and units at nothing.

What outlives this process: workers tell all of it again to the next one, and where a stretch's counters stood is kept in the
store. What does not: events that were posted, whose count begins anew, for those units that come again; and points of series.
Where the memory of the counters is gone (all of the proxy was stopped), the look of the step begins anew.
"""

import json
import logging
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from math import nan
from typing import Any, Final

from proxy.channel.evidence import read_evidence
from proxy.control.rollouts.counted import Counted
from proxy.control.rollouts.look import Look
from proxy.control.rollouts.querying import Querying, Spawn
from proxy.control.state import Store, StoreError
from proxy.core.hashing import UnitHasher
from proxy.rollout.braking import RouteBrake
from proxy.rollout.evidence import Evidence, stretches_of, total_of, versions_of
from proxy.rollout.gates import Gates, Judgement, queries_of
from proxy.rollout.once import Once
from proxy.rollout.rollout import ITSELF, Cause, Rollout, Samples
from proxy.rollout.states import CauseKind
from proxy.rollout.units import Run
from proxy.telemetry.facts import EvidenceFacts
from proxy.telemetry.measures import Counts, Measures

log = logging.getLogger("tidegate.rollout")

ANSWERS_LAST: Final = 35.0
"""Seconds after which an answer is too old to count."""
JUDGE_EVERY: Final = 5.0
"""Seconds that a verdict is good for, where no unit has had anything for the first time: it costs a millisecond."""
LOOKS_CHARGED: Final = 60
"""Looks of tests for one look that are put down as made before they are: after a restart those are not made again."""
_KEY: Final = "evidence"

Spec = dict[str, Any]


class BadEventError(Exception):
    """An event that cannot be taken; the message says why, and what can be."""


@dataclass(frozen=True, slots=True)
class Happened:
    """What became of an event: for how many rollouts it counts, whether it was counted before, and how many events of units that no
    worker knows had to give way to it."""

    counted: int
    again: bool = False
    gave_way: int = 0


class Evidences:
    """Of all routes with a rollout under way. Also what the runner knows as its judge (runner.Judge)."""

    def __init__(
        self,
        store: Store,
        measures: Measures,
        spec: Callable[[], Spec],
        clock: Callable[[], float],
        monotonic: Callable[[], float],
        facts: EvidenceFacts,
        spawn: Spawn,
    ) -> None:
        """`spec` gives that of the plan in force. `clock` gives Unix seconds, `monotonic` seconds that only go forward."""
        self._store: Final = store
        self._counted: Final = Counted(measures, spec, monotonic)
        self._spec: Final = spec
        self._clock: Final = clock
        self._monotonic: Final = monotonic
        self._facts: Final = facts
        self._spawn: Final = spawn
        self._born: Final = clock()
        self._looks: Final[dict[str, Look]] = {}
        self._querying: Final = Querying(self._looks, facts, spawn, monotonic)
        self._ended: Final[dict[str, Look]] = {}
        self._kept: dict[str, Spec] = {}  # what an earlier control process left
        self._once: Final = Once()
        self._early: Final[dict[str, Run]] = {}  # what workers told before anybody asked: by the name of the run
        self._saving: bool = False
        self._unsaved: bool = False

    async def load(self) -> None:
        """Take what an earlier control process left. Where it cannot be read, every look begins anew, and the log says so."""
        try:
            kept = await self._store.get(_KEY)
        except StoreError as error:
            log.warning("the evidence of an earlier control process cannot be read: %s; it is gathered anew", error)
            return
        if isinstance(kept, dict):
            self._kept = kept

    async def close(self) -> None:
        """Let go of connections."""
        await self._querying.close()

    # What workers say.

    def take(self, payload: bytes) -> None:
        """A worker's message. One that cannot be understood is dropped and counted."""
        try:
            head, units, firsts = read_evidence(payload)
            route, run = str(head["route"]), str(head["run"])
            look = self._looks.get(route)
            if look is not None and look.run_name == run:
                look.units.take(head, units, firsts)
                self._count_dropped(route, look)
                return
            kept = self._early.get(run)
            if kept is None:
                if len(self._early) >= 64 or look is not None:  # an earlier run's rest, or nobody's
                    self._drop(route, "of_another_run")
                    return
                kept = self._early[run] = Run(run, ())
            kept.take(head, units, firsts)
        except (ValueError, KeyError, TypeError, IndexError) as error:  # the channel goes on: the next one may be read
            self._drop("", "message")
            log.error("a worker's evidence cannot be understood", exc_info=error)

    def happen(self, event: str, unit: int, value: float, count: int, route: str | None, *, mark: str = "") -> Happened:
        """An event of a unit, by its hash. `mark` is its sender's id of it, "" without one: the same for the same event (and
        route) counts once. Raises BadEventError where no rollout asks for it."""
        once = (event, route or "", mark)
        if mark and self._once.seen(once, self._monotonic()):
            of = route if route in self._looks else ""
            self._facts.dropped[of or "", "events_again"] = self._facts.dropped.get((of or "", "events_again"), 0) + 1
            return Happened(0, again=True)
        gave_way = 0
        told_by_answers: list[str] = []
        counted = 0
        for name, look in self._looks.items():
            if route not in (None, name):
                continue
            if event in look.units.events:
                counted += look.units.happen(unit, event, count, round(value * 1000))
                gave_way += self._count_dropped(name, look)
            elif event in self._counted.events_of_answers(name):
                told_by_answers.append(name)
        if not counted:
            if told_by_answers:
                raise BadEventError(
                    f"`{event}` comes in a field of answers of route {told_by_answers[0]}: it is not posted too"
                )
            known = sorted({(one, name) for name, look in self._looks.items() for one in look.units.events})
            asked = ", ".join(f"{one} (route {name})" for one, name in known)
            what = f"events asked for now: {asked}" if known else "no rollout under way asks for events"
            where = "" if route is None else f" of route `{route}`"
            raise BadEventError(f"nobody asks for the event `{event}`{where}; {what}")
        if mark:
            self._once.add(once, self._monotonic())
        self._facts.events[event] = self._facts.events.get(event, 0) + 1
        return Happened(counted, gave_way=gave_way)

    def hash_of(self, unit: str) -> int:
        """The hash under which a unit is counted."""
        key: str = self._spec()["secrets"]["unit_hash"]
        return int(UnitHasher(key.encode())(unit.encode("utf-8", "surrogateescape")), 16)

    # What the runner asks.

    def wish(self, rollout: Rollout) -> Spec | None:
        """What workers are to count for this rollout from the plan on that is being made; None: nothing. Begins a new stretch
        where the step or the weights are new."""
        route = rollout.route
        if rollout.final or rollout.overruled or (rollout.step < 0 and not rollout.taken_over):
            ended = self._looks.pop(route, None)
            if ended is not None:
                self._ended[route] = ended
                self._save()
            return None
        look = self._followed(rollout)
        plan = rollout.plan
        old, new, baseline = rollout.watched_arms
        return {
            "run": look.run_name,
            "stretch": look.stretch,
            "weights": look.weights,
            "slow": _slow_of(plan),
            "events": plan.get("events", []),
            "from": old,
            "to": new,
            "baseline": baseline,
            "brake": plan["brake"],
        }

    def verdict(self, rollout: Rollout, now: float) -> Judgement | None:
        """What the gates of the step say at `now` (Unix seconds)."""
        if self.wish(rollout) is None or rollout.step < 0:  # of what was taken over, the brake alone is asked
            return None
        look = self._looks[rollout.route]
        self._querying.ask(rollout)
        step = rollout.current
        held = step is None or rollout.held >= step["hold"]
        key = (look.stretch, held, look.units.changes, look.answered)
        since = self._monotonic() - look.judged_at
        if look.judgement is not None and key == look.judged and since < JUDGE_EVERY:
            return look.judgement
        evidence = self.evidence(rollout, now)
        judgement = look.gates.judge(evidence, gate=held)
        if look.gates.looks > look.charged:
            look.charged = look.gates.looks + LOOKS_CHARGED
            self._save()
        if rollout.tries > 1:
            judgement = _tried(judgement, rollout.tries)
        look.judgement, look.judged, look.judged_at = judgement, key, self._monotonic()
        self._facts.verdicts[rollout.route] = {one.metric: one.outcome for one in judgement.verdicts}
        return judgement

    def samples(self, rollout: Rollout) -> Mapping[str, Samples]:
        """By version, what it has had in this step."""
        if rollout.route not in self._looks:
            return {}
        found = self.evidence(rollout, self._clock()).samples()
        return {name: Samples(requests, units) for name, (requests, units) in found.items()}

    def brake(self, rollout: Rollout, now: float) -> Cause | None:
        """The cause BRAKE where the new version has so many more errors that nothing is waited for."""
        look = self._looks.get(rollout.route)
        if look is None or look.brake is None or rollout.final or rollout.overruled:
            return None
        counts = self._counted.of(rollout.route, self._looks)
        if look.units.braked is not None:  # a worker has, while there was no control
            said = look.units.braked
            reason = (
                f"`{said['version']}` was taken out by a worker while there was no control process: {said['reason']}"
            )
            return Cause(
                CauseKind.BRAKE, ITSELF, reason, {**said["numbers"], "requests_seen": look.units.samples[-10:]}, now
            )
        # Of copies nobody knows whose they are.
        called = None if rollout.shadow > 0.0 else look.units.called(rollout.watched_arms[1])
        if not look.brake.look(counts, self._monotonic(), look.units.erred(), look.weights, called):
            return None
        if not look.pulled:
            look.pulled = True
            key = (rollout.route, rollout.watched_arms[1])
            self._facts.brakes[key] = self._facts.brakes.get(key, 0) + 1
        numbers = {**look.brake.numbers, "requests_seen": look.units.samples[-10:]}
        return Cause(CauseKind.BRAKE, ITSELF, look.brake.reason, numbers, now)

    def evidence(self, rollout: Rollout, now: float) -> Evidence:
        """All that is known of the versions of a rollout that is followed. Raises KeyError for another."""
        look = self._looks[rollout.route]
        counts = self._counted.of(rollout.route, self._looks)
        since = total_of(counts, look.before) if look.memory == self._counted.memory() else None
        if since is None:  # other counters than those that the step began with
            self._anew(look, counts, now)
            since = {name: Counts(in_flight=one.in_flight, queued=one.queued) for name, one in counts.items()}
        old, new, baseline = rollout.arms
        look.series.add(counts, new, self._monotonic(), lambda: self._counted.saturation(rollout.route))
        fresh = self._monotonic() - look.answered < ANSWERS_LAST
        queries = [name for name, _, _ in queries_of(rollout.plan)]
        if look.earlier is not None:
            since = {**since, old: look.earlier}
        weighty = [look.weights.get(name, 0.0) > 0.0 for name in (new, baseline or old)]
        return Evidence(
            route=rollout.route, old=old, new=new, baseline=baseline, began=look.since,
            seconds=rollout.held,
            versions=versions_of(since, look.units), stretches=stretches_of(look.units), slow=_slow_of(rollout.plan),
            level=_level(look.units), series=look.series.values, made=look.series.made,
            points=look.series.points,
            answers={name: look.answers.values.get(name, nan) if fresh else nan for name in queries},
            answered=look.answered,
            problems=look.answers.problems if fresh else dict.fromkeys(queries, "Prometheus has not answered lately"),
            identity=self._counted.identity(rollout.route), randomised=all(weighty), earlier=look.earlier is not None,
            dropped=dict(look.dropped),
            events_since=look.events_since if look.units.events else 0.0,
        )  # fmt: skip

    def samples_of_requests(self, route: str) -> list[list[Any]]:
        """Requests with which units had their first events, the last ones: Unix seconds, version, unit hash, request id, status,
        flag."""
        look = self._looks.get(route)
        return [] if look is None else list(look.units.samples)

    def units_affected(self, route: str) -> dict[str, int]:
        """By version, the units whose first error was there, over all steps of the run."""
        look = self._looks.get(route)
        found: Counter[str] = Counter()
        for counts in {} if look is None else look.units.counts.values():
            for version, by_place in counts.items():
                found[version] += by_place[0] if by_place else 0
        return dict(found)

    # Stretches.

    def _followed(self, rollout: Rollout) -> Look:
        """The look at this rollout, at its step and weights."""
        route, now = rollout.route, self._clock()
        self._counted.copy_to(route, rollout.arms[1] if rollout.shadow > 0 else None)
        number = zlib.crc32(json.dumps([rollout.began, rollout.weights], sort_keys=True).encode())
        look = self._looks.get(route)
        if look is None or (look.revision, look.started) != (rollout.revision, rollout.started):
            ended = self._ended.pop(route, None)
            again = ended is not None and (ended.revision, ended.started) == (rollout.revision, rollout.started)
            run = ended.run + 1 if again and ended is not None else 0
            look = self._inherited(rollout, number) or self._first(rollout, number, run, now)
            self._put(rollout, look, now)
        elif look.began != rollout.began and (rollout.step <= look.step or look.step < 0):
            # The step, or all of it, begins again; and what was there before the first step is no evidence of it.
            fresh = self._first(rollout, number, look.run + 1, now)
            self._put(rollout, fresh, now)
            look = fresh
        elif look.stretch != number:
            counts = dict(self._counted.of(route, self._looks, fresh=True))
            look.earlier = self._earlier(rollout, look, counts)
            look.stretch, look.since = number, now
            look.before, look.memory = counts, self._counted.memory()
            look.weights = dict(rollout.weights)
            look.series.clear()
            look.gates.begin_step()
            look.units.follow(number, look.weights)
            look.pulled = False
            if look.brake is not None:
                look.brake.release()
            self._save()
        look.began, look.step = rollout.began, rollout.step
        return look

    def _earlier(self, rollout: Rollout, look: Look, counts: Mapping[str, Counts]) -> Counts | None:
        """What the old version has had in the stretch that ends, where it has no units any more in the one that begins."""
        old = rollout.arms[0]
        if rollout.weights.get(old, 0.0) > 0.0 or look.memory != self._counted.memory():
            return None
        if look.weights.get(old, 0.0) <= 0.0:
            return look.earlier
        ended = total_of(counts, look.before)
        return None if ended is None else ended.get(old)

    def _first(self, rollout: Rollout, number: int, run: int, now: float) -> Look:
        events = [one["name"] for one in rollout.plan.get("events", []) if not one.get("field")]
        look = Look(
            rollout.revision, rollout.started, rollout.began, rollout.step, run, number, now, self._counted.memory(),
            dict(self._counted.of(rollout.route, self._looks, fresh=True)), dict(rollout.weights), Gates(rollout.plan),
            Run("", events), RouteBrake.of(rollout.plan, rollout.watched_arms), events_since=now,
        )  # fmt: skip
        look.units = self._early.pop(look.run_name, Run(look.run_name, events))
        look.units.listen(events)
        return look

    def _inherited(self, rollout: Rollout, number: int) -> Look | None:
        """What an earlier control process knew of this rollout, where it stands in the same stretch."""
        kept = self._kept.pop(rollout.route, None)
        if kept is None or (kept.get("revision"), kept.get("started")) != (rollout.revision, rollout.started):
            return None
        try:
            look = self._first(rollout, number, int(kept["run"]), self._clock())
            look.charged = int(kept.get("charged", 0))
            if kept["stretch"] == number:
                look.before = {name: Counts.from_json(values) for name, values in kept["before"].items()}
                look.since, look.memory = float(kept["since"]), str(kept["memory"])
                earlier = kept.get("earlier")
                look.earlier = None if earlier is None else Counts.from_json(earlier)
        except (KeyError, TypeError, ValueError) as error:
            log.warning(
                "route %s: the evidence kept of it is not understood (%r); it begins anew", rollout.route, error
            )
            return None
        look.events_since = self._born
        look.gates.resume(look.charged)
        return look

    def _put(self, rollout: Rollout, look: Look, now: float) -> None:
        self._looks[rollout.route] = look
        look.units.follow(look.stretch, look.weights)
        if self._born > look.since:
            log.info("route %s: the evidence since %.0f s ago is gone on with", rollout.route, now - look.since)
        self._save()

    def _anew(self, look: Look, counts: Mapping[str, Counts], now: float) -> None:
        log.warning(
            "the counters of revision %s are others than those that its step began with: its look begins anew",
            look.revision,
        )
        look.before, look.memory, look.since = dict(counts), self._counted.memory(), now
        look.series.clear()
        self._save()

    # Keeping.

    def _count_dropped(self, route: str, look: Look) -> int:
        """Count what there was no room for, and say how many events those were."""
        events = look.units.dropped.get("events", 0)
        for reason, count in look.units.dropped.items():
            self._drop(route, reason, count)
        look.units.dropped.clear()
        return events

    def _drop(self, route: str, reason: str, count: int = 1) -> None:
        self._facts.dropped[route, reason] = self._facts.dropped.get((route, reason), 0) + count
        if route in self._looks:
            self._looks[route].dropped[reason] += count

    def _save(self) -> None:
        self._unsaved = True
        if not self._saving:
            self._saving = True
            self._spawn("keep evidence", self._saved())

    async def _saved(self) -> None:
        try:
            while self._unsaved:
                self._unsaved = False
                await self._store.put(_KEY, {route: look.to_json() for route, look in self._looks.items()})
        except StoreError as error:
            log.error("where a step's counters began cannot be kept (%s): after a restart its look begins anew", error)
        finally:
            self._saving = False


def _slow_of(plan: Spec) -> list[float]:
    """The times above which an answer is slow, of all metrics."""
    return sorted({float(edge) for one in plan["metrics"] for edge in one.get("above") or ()})


def _tried(judgement: Judgement, tries: int) -> Judgement:
    """With the number of the try, which has an error budget of its own."""
    numbers = {**judgement.numbers, "budget": {**judgement.numbers["budget"], "tries": tries}}
    return replace(judgement, reason=f"{judgement.reason} (try {tries}; each has an alpha of its own)", numbers=numbers)


def _level(run: Run) -> int:
    stretch = run.units()
    return 0 if stretch is None else stretch.level
