"""Who is asked before a rollout goes on, and told when it has: webhooks, notices, and the report of an incident.

The runner knows this as its `People` (rollouts.py). Asking takes as long as hooks may take; telling returns at once, and what it
sets off runs in the background. What is asked and told is in proxy/rollout (hooks.py, notices.py, report.py); here it is bound to
the transitions of a rollout. The journal keeps no keys of hooks, so they are read from the file's plan when they are used.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Protocol

from proxy.control.exposures import Exposures
from proxy.control.rollouts.course import Courses
from proxy.core.backoff import Rng
from proxy.exposure.queries import Reader, Wanted
from proxy.exposure.schema import ExposureError, NoExposuresError
from proxy.rollout.hooks import AFTER_END, AFTER_STEP, BEFORE_START, BEFORE_STEP, Hooks
from proxy.rollout.journal import JournalError, Record
from proxy.rollout.machine import advance
from proxy.rollout.notices import Notices
from proxy.rollout.report import SAMPLES, TIMELINE, Incident, ReportError, write
from proxy.rollout.rollout import Cause, Rollout
from proxy.rollout.sending import Reply, Send, Sender, Sleep
from proxy.rollout.states import FINAL, CauseKind, State
from proxy.rollout.telling import ABORTED, event_of, facts_of
from proxy.telemetry.facts import RolloutFacts

log = logging.getLogger("tidegate.rollout")

CATCH_UP: Final = 600.0
"""Seconds after which a report that is missing was not lost on the way, but removed."""

_STEPPED: Final = frozenset({State.PROGRESSING, State.WATCHING})
_SHOWN: Final = 20  # requests that exposures name

Spec = dict[str, Any]
Spawn = Callable[[str, Coroutine[Any, Any, None]], object]


class History(Protocol):
    """Where the transitions of a route are kept."""

    async def history(self, route: str, limit: int) -> list[Record]:
        """The last ones, the newest first. Raises JournalError."""


class Witness(Protocol):
    """Who knows which units had an error first, and of some with which request (control/rollouts/evidence.py)."""

    def samples_of_requests(self, route: str) -> list[list[Any]]:
        """Unix seconds, version, unit hash, request id, status, flag of each."""

    def units_affected(self, route: str) -> dict[str, int]:
        """By version, the units whose first error was there."""


class LazySender:
    """Sends over HTTP. The client is imported with the first request: who has no hooks does without it."""

    def __init__(self) -> None:
        self._send: Any = None

    async def __call__(self, url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Reply:
        """POST `body` as JSON. Raises SendError."""
        if self._send is None:
            from proxy.rollout.http_sending import HttpSender  # noqa: PLC0415 - aiohttp's client, for who sends

            self._send = HttpSender()
        reply: Reply = await self._send(url, body, headers, seconds)
        return reply

    async def close(self) -> None:
        """Let go of the connections."""
        if self._send is not None:
            await self._send.close()


class Outside:
    """All that rollouts ask and tell outside of the proxy."""

    def __init__(
        self,
        send: Send,
        history: History,
        exposures: Exposures,
        courses: Courses,
        facts: RolloutFacts,
        *,
        plans: Callable[[], Mapping[str, Spec]],
        clock: Callable[[], float],
        rng: Rng,
        spawn: Spawn,
        witness: Witness,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        """`plans` gives the file's plans of rollouts by route, with their keys. `clock` gives Unix seconds."""
        sender = Sender(send, sleep, rng)
        self._hooks: Final = Hooks(sender, clock, facts.hooks)
        self._notices: Final = Notices(sender, spawn, facts.notices)
        self._history: Final = history
        self._exposures: Final = exposures
        self._courses: Final = courses
        self._facts: Final = facts
        self._plans: Final = plans
        self._clock: Final = clock
        self._spawn: Final = spawn
        self._witness: Final = witness

    # Before.

    def asks(self, rollout: Rollout, cause: Cause) -> bool:
        """Whether there is a hook for what this cause would do."""
        moments = self._moments(rollout, cause)
        return any(one["when"] in moments for one in rollout.plan["webhooks"])

    async def ask(self, rollout: Rollout, cause: Cause) -> str:
        """Why it may not go on; empty where nobody minds. Hooks without a veto are told meanwhile."""
        hooks = self._hooks_of(rollout)
        following = advance(rollout, cause)
        for when in self._moments(rollout, cause):
            facts = {**facts_of(rollout, cause.at), "because": cause.reason, "next": _step_of(following)}
            self._spawn(f"webhooks of {rollout.route}", self._hooks.tell(hooks, when, facts))
            answer = await self._hooks.ask(hooks, when, facts)
            if not answer.allowed:
                return answer.reason
        return ""

    def _moments(self, rollout: Rollout, cause: Cause) -> tuple[str, ...]:
        """Which hooks are called before this cause: none where it takes no step."""
        following = advance(rollout, cause)
        if following is None or following.step == rollout.step:
            return ()
        return (BEFORE_START, BEFORE_STEP) if rollout.step < 0 else (BEFORE_STEP,)

    # After.

    def tell(self, before: Rollout | None, after: Rollout) -> None:
        """It has taken effect. Returns at once."""
        self._courses.moved(after)
        if before is None:
            return
        facts = {**facts_of(after, after.since), "previous": _step_of(before)}
        event = event_of(before.state, after.state, after.cause)
        if event is not None:
            self._notices.tell(after.plan["notify"], event, facts)
        moments = []
        if before.step >= 0 and after.step > before.step and after.state in _STEPPED:
            moments.append(AFTER_STEP)
        if after.state in FINAL and before.state not in FINAL:
            moments.append(AFTER_END)
        hooks = self._hooks_of(after)
        for when in moments:
            if any(one["when"] == when for one in hooks):
                self._spawn(f"webhooks of {after.route}", self._hooks.tell(hooks, when, facts))
        if event == ABORTED:
            # What is known is gone with the rollout: it is taken now.
            self._spawn(f"report on {after.route}", self._report(self._seen(after)))
        if after.state in FINAL:
            self._courses.forget(after.route)

    def _hooks_of(self, rollout: Rollout) -> list[Spec]:
        """The hooks of the frozen plan, with the keys that the file has for them now."""
        plan = self._plans().get(rollout.route)
        keys = {(one["url"], one["when"]): one["secret"] for one in plan["webhooks"]} if plan else {}
        return [
            {**one, "secret": keys.get((one["url"], one["when"]), one["secret"])} for one in rollout.plan["webhooks"]
        ]

    # The report.

    async def catch_up(self, rollouts: Collection[Rollout]) -> None:
        """Write the reports that an earlier control process did not get to: of aborts not longer than CATCH_UP ago."""
        for rollout in rollouts:
            if rollout.state not in {State.ABORTED, State.REVERTING}:
                continue
            for record in await self._records(rollout):
                event = event_of(State(record.before or State.PENDING), State(record.after), CauseKind(record.cause))
                if event == ABORTED and self._clock() - record.at < CATCH_UP:
                    await self._report(self._seen(record.restored()))

    def _seen(self, rollout: Rollout) -> Incident:
        """What is known of it in memory."""
        route = rollout.route
        samples = [
            {"at": at, "version": version, "unit": unit, "request_id": request, "what": _what(status, flag)}
            for at, version, unit, request, status, flag in self._witness.samples_of_requests(route)
            if version == rollout.arms[1]
        ]
        track, latency = self._courses.of(rollout)
        return Incident(
            rollout, rollout.since, (), track, latency, erred=self._witness.units_affected(route), samples=samples
        )

    async def _report(self, seen: Incident) -> None:
        """Write the report of this abort. What goes wrong is counted and logged: a rollback waits for no report."""
        rollout = seen.rollout
        incident = await self._completed(seen)
        try:
            place = await asyncio.to_thread(write, incident, Path.cwd() / rollout.plan["reports"])
        except ReportError as error:
            self._count("failed")
            log.error("route %s: %s", rollout.route, error)
            return
        self._count("written")
        log.warning("route %s: what is known of the abort is in %s", rollout.route, place / "report.md")

    async def _records(self, rollout: Rollout) -> list[Record]:
        """The transitions of its revision, the newest first; none where the journal cannot be read."""
        try:
            records = await self._history.history(rollout.route, TIMELINE)
        except JournalError as error:
            log.warning("route %s: its history cannot be read: %s", rollout.route, error)
            return []
        return [one for one in records if one.revision == rollout.revision]

    async def _completed(self, seen: Incident) -> Incident:
        """With what the journal and the record of exposures have."""
        rollout = seen.rollout
        timeline = [_row(one) for one in reversed(await self._records(rollout))]
        samples = list(seen.samples)
        affected: dict[str, int] | None = None
        why = ""
        try:
            affected, exposed = await self._exposures.ask(lambda reader: _exposed(reader, rollout))
            samples = [*samples, *exposed][:SAMPLES]
        except NoExposuresError:
            why = "nothing was recorded (`exposure: true` on the route, and `state: sqlite:PATH`)"
        except ExposureError as error:
            why = f"the record of exposures cannot be read ({error})"
        if affected is not None and not affected:
            affected, why = None, "no exposure of this route was recorded (`exposure: true` on the route)"
        return replace(seen, timeline=timeline, affected=affected, recorded=why, samples=samples)

    def _count(self, outcome: str) -> None:
        self._facts.reports[outcome] = self._facts.reports.get(outcome, 0) + 1


def _step_of(rollout: Rollout | None) -> Spec | None:
    """Where a rollout was, or will be."""
    if rollout is None:
        return None
    return {
        "state": str(rollout.state),
        "step": rollout.step + 1,
        "percent": rollout.percent,
        "ring": rollout.ring,
        "shadow": rollout.shadow,
        "weights": dict(rollout.weights),
    }


def _what(status: int, flag: str) -> str:
    """What a unit had first: `first of its unit: 503 UH`."""
    return f"the unit's first error or slow answer: {status} {flag}".rstrip()


def _row(record: Record) -> Spec:
    return {
        "at": record.at,
        "before": record.before,
        "after": record.after,
        "step": record.step,
        "cause": record.cause,
        "actor": record.actor,
        "reason": record.reason,
        "numbers": record.numbers,
    }


def _exposed(reader: Reader, rollout: Rollout) -> tuple[dict[str, int], list[Spec]]:
    """How many units each version was given to since the rollout began, and the newest requests that the new one was."""
    affected = reader.units_since(rollout.route, rollout.started)
    page = reader.find(Wanted(version=rollout.arms[1], route=rollout.route, since=rollout.started), _SHOWN)
    samples = [
        {
            "request_id": one["request_id"],
            "at": one["at"],
            "unit": one["unit"],
            "version": one["version"],
            "what": f"the unit's first request there ({one['reason']})",
        }
        for one in page.records
    ]
    return affected, samples
