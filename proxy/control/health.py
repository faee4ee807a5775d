"""Which endpoints are checked, when, and what is thought of them.

A check is due at a jittered distance from the one before; those of endpoints that are new together are spread, so that a
plan of a thousand does not knock at a thousand doors at once. How many run at a time is bounded; the others wait in line.
A timeout is believed only while this process itself is on time. What a reload leaves as it was is not touched, and what it
checks otherwise keeps its verdict.
"""

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final

from proxy.control.clock import Timer, Timers
from proxy.control.probe import LATE, OUTCOMES, TIMEOUT, Result, Target
from proxy.control.tasks import Tasks
from proxy.core.backoff import Rng
from proxy.core.health import Condition, Verdict
from proxy.core.plan import Endpoint

log = logging.getLogger("tidegate.health")

AT_ONCE: Final = 256
"""Checks under way. A thousand endpoints of which none answers, each waited for a second, want 200 every 5 s."""
_CLOSEST: Final = 0.1  # seconds between two checks of an endpoint, whatever is configured
_SPREAD: Final = 0.005  # seconds between the first checks of endpoints that are new together

_LAG: Final = 0.05  # seconds by which a timer may be late before a timeout may be our own fault

Spec = dict[str, Any]
Check = Callable[[Target], Awaitable[Result]]
Counts = dict[tuple[str, str], dict[str, int]]
"""Checks by (upstream, endpoint label), then by outcome."""


@dataclass(frozen=True, slots=True)
class Health:
    """What is known of one endpoint. `since` is when the verdict came and `checked` when it was looked at last, in Unix
    seconds, 0 for never; `reason` why the last check failed, empty when it passed."""

    verdict: Verdict
    reason: str
    since: float
    checked: float


class _Probe:
    """One endpoint under watch."""

    def __init__(self, target: Target, verdict: Verdict) -> None:
        self.target: Final = target
        self.condition: Final = Condition(verdict)
        self.reason = ""
        self.since = 0.0
        self.checked = 0.0
        self.timer: Timer | None = None
        self.left = False  # no longer in the plan: what a check under way says does not matter


class Prober:
    """Checks the endpoints of the plan in force, for as long as it is told of plans."""

    def __init__(
        self,
        check: Check,
        timers: Timers,
        clock: Callable[[], float],
        rng: Rng,
        tasks: Tasks,
        changed: Callable[[str], None],
        counts: Counts,
    ) -> None:
        """`clock` gives Unix seconds. `changed` is called with an upstream's name when the verdict on one of its endpoints
        is another; checks are counted in `counts`."""
        self._check: Final = check
        self._timers: Final = timers
        self._clock: Final = clock
        self._rng: Final = rng
        self._tasks: Final = tasks
        self._changed: Final = changed
        self._counts: Final = counts
        self._probes: dict[str, dict[str, _Probe]] = {}
        self._line: Final[deque[_Probe]] = deque()
        self._under_way = 0
        self._lagged = float("-inf")  # when a timer was last late

    def bring(self, upstreams: list[Spec], unhealthy: Mapping[str, Collection[str]] | None = None) -> None:
        """Check exactly the endpoints of `upstreams` (placed specs, names resolved) that want it from now on.

        `unhealthy`: by upstream, keys of endpoints that an earlier control process found so, and that start with that.
        """
        before = self._probes
        self._probes = {}
        fresh: list[_Probe] = []
        for upstream in upstreams:
            if upstream.get("health") is None:
                continue
            known = before.get(upstream["name"], {})
            probes: dict[str, _Probe] = {}
            ill = (unhealthy or {}).get(upstream["name"], ())
            for endpoint in upstream["endpoints"]:
                target = Target(upstream, endpoint)
                old = known.pop(target.key, None)
                if target.key in probes:
                    continue
                if old is not None and old.target.words == target.words:
                    probes[target.key] = old
                    continue
                probes[target.key] = probe = _successor(old, target, ill)
                fresh.append(probe)
                if old is not None:
                    self._leave(old)
            self._probes[upstream["name"]] = probes
        for probes in before.values():  # what was not taken on above
            for probe in probes.values():
                self._leave(probe)
        self._count_only({(probe.target.upstream, probe.target.label) for probe in self._all()})
        for probe in fresh:
            within = min(probe.target.policy.interval, len(fresh) * _SPREAD)
            self._wait(probe, within * self._rng())

    def unhealthy(self, upstream: str) -> list[str]:
        """Keys of the endpoints of `upstream` that are unhealthy."""
        probes = self._probes.get(upstream, {})
        return [key for key, probe in probes.items() if probe.condition.verdict is Verdict.UNHEALTHY]

    def of(self, upstream: str, endpoint: Spec) -> Health | None:
        """What is known of an endpoint of `upstream`; None where it is not checked."""
        probe = self._probes.get(upstream, {}).get(Endpoint(endpoint, 0).key)
        if probe is None:
            return None
        return Health(probe.condition.verdict, probe.reason, probe.since, probe.checked)

    def tls(self) -> list[Spec | None]:
        """What the checks that go through TLS make their contexts of."""
        return [probe.target.tls for probe in self._all() if probe.target.secure]

    def close(self) -> None:
        """Check no more."""
        for probe in self._all():
            self._leave(probe)
        self._probes = {}

    # The way of a check.

    def _wait(self, probe: _Probe, seconds: float) -> None:
        probe.timer = self._timers.call_later(seconds, self._due, probe, self._timers.time() + seconds)

    def _due(self, probe: _Probe, due: float) -> None:
        probe.timer = None
        self._be_on_time(due)
        if self._under_way >= AT_ONCE:
            self._line.append(probe)
            return
        self._start(probe)

    def _start(self, probe: _Probe) -> None:
        self._under_way += 1
        self._tasks.spawn(f"health check of {probe.target.label}", self._run(probe))

    async def _run(self, probe: _Probe) -> None:
        started = self._timers.time()
        try:
            result = await self._check(probe.target)
            if result.outcome == TIMEOUT:
                self._be_on_time(started + probe.target.policy.timeout)
                if self._lagged >= started:
                    result = Result(LATE, "the control process was too busy to tell")
            if not probe.left:
                self._take(probe, result)
        finally:
            self._under_way -= 1
            if not probe.left:
                pause = probe.target.policy.pause(self._rng()) - (self._timers.time() - started)
                self._wait(probe, max(_CLOSEST, pause))
            self._next()

    def _be_on_time(self, due: float) -> None:
        now = self._timers.time()
        if now - due > _LAG:
            self._lagged = now

    def _next(self) -> None:
        while self._line and self._under_way < AT_ONCE:
            probe = self._line.popleft()
            if not probe.left:
                self._start(probe)

    def _take(self, probe: _Probe, result: Result) -> None:
        target = probe.target
        first = probe.condition.verdict is Verdict.UNKNOWN
        counts = self._counts.setdefault((target.upstream, target.label), dict.fromkeys(OUTCOMES, 0))
        counts[result.outcome] += 1
        if result.outcome == LATE:
            return
        probe.reason = result.reason
        probe.checked = self._clock()
        if not probe.condition.take(result.passed, target.policy):
            return
        probe.since = probe.checked
        if not result.passed:
            log.warning("%s of %s is unhealthy: %s", target.label, target.upstream, result.reason)
        elif first:
            log.debug("%s of %s is healthy", target.label, target.upstream)
        else:
            log.info("%s of %s is healthy again", target.label, target.upstream)
        if not (first and result.passed):  # what is unknown counts as healthy
            self._changed(target.upstream)

    def _leave(self, probe: _Probe) -> None:
        probe.left = True
        if probe.timer is not None:
            probe.timer.cancel()
            probe.timer = None

    def _all(self) -> list[_Probe]:
        return [probe for probes in self._probes.values() for probe in probes.values()]

    def _count_only(self, labels: set[tuple[str, str]]) -> None:
        for gone in self._counts.keys() - labels:
            del self._counts[gone]


def _successor(old: _Probe | None, target: Target, ill: Collection[str]) -> _Probe:
    """A probe that starts with what is known already."""
    if old is None:
        return _Probe(target, Verdict.UNHEALTHY if target.key in ill else Verdict.UNKNOWN)
    probe = _Probe(target, old.condition.verdict)
    probe.reason, probe.since, probe.checked = old.reason, old.since, old.checked
    return probe
