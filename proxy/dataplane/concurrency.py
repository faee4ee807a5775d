"""The gate before the upstreams: how many requests of a route may be at work at once, and who of a failing version gets in.

All counts are totals over the workers. A worker that takes a place counts itself first and looks at the total then, so two of them
cannot both take the last one; where both step back, their requests wait for the next tick. A place that comes free is
offered at once to who waits in the same worker, and what other workers left is looked for on every tick, as nothing tells of it.
While others wait, no worker goes beyond its share.
"""

from math import ceil
from typing import Final

from proxy.core.arm import Arm
from proxy.core.concurrency import ConcurrencyPolicy, Queue, Seat
from proxy.core.plan import Route, Version
from proxy.dataplane.passage import Passage, Waiter
from proxy.dataplane.runtime import Runtime
from proxy.errors import CLIENT, LS, UO, UT, Flag
from proxy.telemetry.counters import (
    LIMITED_ADMISSION,
    LIMITED_QUEUE_FULL,
    LIMITED_QUEUE_TIMEOUT,
    LIMITED_SHED,
    V_ADMITTED,
    V_LIMIT,
    V_LIMITED,
    V_QUEUED,
)

_SOON: Final = 1
"""Seconds after which who was shed may ask again."""
_YIELDED: Final = 2
"""Ticks after leaving a place to other workers in which none is taken back: they look once a tick."""


def admitted(passage: Passage) -> bool:
    """Whether the request may go to an upstream now. If not it was refused, or it waits and goes on by itself."""
    route = passage.route
    policy = route.concurrency
    if policy is None and route.admission is None:
        return True
    runtime = passage.runtime
    version = passage.version
    arm = version.arm
    # While the breaker is not closed the version gets its probes alone: turning away who is served elsewhere spares it nothing.
    if arm is not None and arm.admission is not None and (arm.breaker is None or not arm.breaker.shut):
        share = arm.admission.refused_share(runtime.now(), runtime.cells.workers)
        if share > 0.0 and runtime.rng.random() < share:
            _refuse(passage, LS, LIMITED_ADMISSION, _SOON)
            return False
    life = route.life
    if policy is None or life is None or life.queue is None:
        passage.seat = Turn(passage, None)
        return True
    if policy.shed_first >> version.index & 1 and _is_tight(runtime, route, policy):
        _refuse(passage, LS, LIMITED_SHED, _SOON)
        return False
    queue = life.queue
    turn = Turn(passage, queue)
    if queue.length:
        queue.call()  # who came first goes first, where there is a place that another worker left
    if not queue.waits(version.name) and turn.take():
        passage.seat = turn
        return True
    return turn.wait()


def _refuse(passage: Passage, flag: Flag, cause: int, seconds: int) -> None:
    passage.runtime.view[passage.version.slot + V_LIMITED + cause] += 1
    passage.refuse(flag, added=b"retry-after: %d\r\n" % seconds)


def _is_tight(runtime: Runtime, route: Route, policy: ConcurrencyPolicy) -> bool:
    """Whether what is left is for the versions that are not shed first."""
    return _in_use(runtime, route) >= _route_limit(runtime, route, policy) * policy.shed_share


def _in_use(runtime: Runtime, route: Route) -> int:
    """Requests of the route that have a place, over all workers."""
    total = 0
    for version in route.versions:
        total += runtime.cells.total(version.slot + V_ADMITTED)
    return total


def _route_limit(runtime: Runtime, route: Route, policy: ConcurrencyPolicy) -> int:
    """How many requests of the route there may be: where each version has a limit of its own, the sum of them."""
    if policy.adaptive is None:
        return policy.limit
    total = 0
    for version in route.versions:
        total += _version_limit(runtime, version, policy)
    return total


def _version_limit(runtime: Runtime, version: Version, policy: ConcurrencyPolicy) -> int:
    arm = version.arm
    if arm is None or arm.adaptive is None:
        return policy.limit
    shared: int = runtime.view[_shared(runtime, version)]
    return arm.adaptive.permitted(shared)


def _shared(runtime: Runtime, version: Version) -> int:
    """Where the number stands on which all workers agree: in the region of the first."""
    return version.slot - runtime.base + V_LIMIT


class Turn(Seat):
    """One request's place: waited for, held, and given back. Without a queue it only tells how the request went."""

    def __init__(self, passage: Passage, queue: Queue | None) -> None:
        super().__init__(passage.version.name)
        self._passage: Final = passage
        self._queue: Final = queue
        self._started: float = 0.0  # when it took its place
        self._phase: int = 0  # of the measurement it began in
        self._holding: bool = False

    def take(self) -> bool:
        """Take a place if there is one."""
        queue = self._queue
        if queue is None or queue.yielding:
            return False
        policy = queue.policy
        passage = self._passage
        runtime = passage.runtime
        version = passage.version
        view = runtime.view
        view[version.slot + V_ADMITTED] += 1
        adaptive = policy.adaptive is not None
        limit = _version_limit(runtime, version, policy) if adaptive else policy.limit
        total = runtime.cells.total(version.slot + V_ADMITTED) if adaptive else _in_use(runtime, passage.route)
        if total > limit or (runtime.cells.workers > 1 and self._beyond_share(limit, adaptive)):
            view[version.slot + V_ADMITTED] -= 1
            return False
        self._holding = True
        self._started = runtime.now()
        arm = version.arm
        if arm is not None and arm.adaptive is not None:
            self._phase = arm.adaptive.begun(view[_shared(runtime, version)], total, self._started)
        return True

    def _beyond_share(self, limit: int, alone: bool) -> bool:
        """Whether others wait for what is more than this worker's share."""
        workers = self._passage.runtime.cells.workers
        return self._own(V_ADMITTED, alone) > -(-limit // workers) and self._others_wait(alone)

    def _scope(self, alone: bool) -> list[Version]:
        """The versions that share one limit."""
        passage = self._passage
        return [passage.version] if alone else passage.route.versions

    def _own(self, slot: int, alone: bool) -> int:
        view = self._passage.runtime.view
        own = 0
        for version in self._scope(alone):
            own += view[version.slot + slot]
        return own

    def _others_wait(self, alone: bool) -> bool:
        cells = self._passage.runtime.cells
        waiting = -self._own(V_QUEUED, alone)
        for version in self._scope(alone):
            waiting += cells.total(version.slot + V_QUEUED)
        return waiting > 0

    def wait(self) -> bool:
        """Wait for a place, or be refused where too many wait. Always False: not now."""
        passage = self._passage
        queue = self._queue
        if queue is None:
            return False
        policy = queue.policy
        runtime = passage.runtime
        view = runtime.view
        slot = passage.version.slot + V_QUEUED
        view[slot] += 1
        waiting = 0
        for version in passage.route.versions:
            waiting += runtime.cells.total(version.slot + V_QUEUED)
        if waiting > policy.queue:
            view[slot] -= 1
            _refuse(passage, UO, LIMITED_QUEUE_FULL, max(1, ceil(policy.queue_timeout)))
            return False
        queue.join(self)
        passage.seat = self
        passage.wait(policy.queue_timeout, STEWARD)
        return False

    def called(self) -> bool:
        if not self.take():
            return False
        passage = self._passage
        self._leave_queue()
        passage.stop_waiting()
        passage.advance()
        return True

    def too_long(self) -> None:
        """The time to wait is over."""
        queue = self._queue
        if queue is None:
            return
        queue.call()  # another worker may have left a place since the last tick
        if self.waiting:
            self._leave_queue()
            self._passage.seat = None
            _refuse(self._passage, UO, LIMITED_QUEUE_TIMEOUT, max(1, ceil(queue.policy.queue_timeout)))

    def _leave_queue(self) -> None:
        queue = self._queue
        if queue is not None and self.waiting:
            queue.leave(self)
            passage = self._passage
            passage.runtime.view[passage.version.slot + V_QUEUED] -= 1

    def over(self) -> None:
        self._leave_queue()
        passage = self._passage
        runtime = passage.runtime
        version = passage.version
        queue = self._queue
        arm = version.arm
        if queue is None:
            if arm is not None:
                self._tell_admission(arm)
            return
        if not self._holding:
            return
        self._holding = False
        if runtime.cells.workers > 1:
            self._yield(queue)
        runtime.view[version.slot + V_ADMITTED] -= 1
        if arm is not None:
            self._tell_admission(arm)
            self._tell_limit(arm)
        if queue.length:
            queue.call()

    def _yield(self, queue: Queue) -> None:
        """Leave the place to other workers, where they wait and there are fewer places than workers."""
        policy = queue.policy
        runtime = self._passage.runtime
        adaptive = policy.adaptive is not None
        limit = _version_limit(runtime, self._passage.version, policy) if adaptive else policy.limit
        if limit < runtime.cells.workers and self._others_wait(adaptive):
            queue.yielding = _YIELDED

    def _tell_admission(self, arm: Arm) -> None:
        """How it went, where the version was asked and it says something of it: not where the client left, or was to blame."""
        admission = arm.admission
        passage = self._passage
        flag = passage.flag
        if admission is None or not self.asked or passage.unproven:
            return
        if flag is None or not (flag.blameless or flag.side == CLIENT):
            good = not passage.failed and passage.served_by <= 0
            admission.count(good, passage.runtime.now())

    def _tell_limit(self, arm: Arm) -> None:
        adaptive = arm.adaptive
        if adaptive is None:
            return
        passage = self._passage
        runtime = passage.runtime
        now = runtime.now()
        started = self._started
        if passage.request.chunked or passage.request.content_length > 0:
            started = max(started, passage.asked_at)  # what the client took for its body is not the version's time
        if passage.flag is UT and not passage.unproven:
            seconds = now - started
        elif passage.answered_at > started and passage.served_by == 0:
            seconds = passage.answered_at - started
        else:
            return  # nothing was answered, so nothing was learned
        place = _shared(runtime, passage.version)
        shared: int = runtime.view[place]
        moved = adaptive.ended(seconds, self._phase, shared, now, runtime.rng.random())
        if moved != shared:
            runtime.view[place] = moved


class Steward(Waiter):
    """Wakes those who have waited long enough."""

    def woken(self, passage: Passage) -> None:
        seat = passage.seat
        if isinstance(seat, Turn):
            seat.too_long()


STEWARD: Final = Steward()


def look_round(queue: Queue) -> None:
    """See what other workers have left. Called by the clock, where there are others."""
    if queue.yielding:
        queue.yielding -= 1
    if queue.length:
        queue.call()
