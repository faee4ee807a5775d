"""Gives each plan's routes and versions the live state that those of the same name had before."""

from collections.abc import Iterator
from typing import Final

from proxy.core.admission import Admission
from proxy.core.arm import Arm, RouteLife
from proxy.core.concurrency import AdaptiveLimit, Queue
from proxy.core.faults import Disturbed
from proxy.core.latency import Latency
from proxy.core.plan import Plan, Route, Version
from proxy.dataplane import breaking
from proxy.dataplane.caching import provide_cache
from proxy.dataplane.concurrency import look_round
from proxy.dataplane.runtime import Runtime
from proxy.telemetry.counters import V_LIMIT


class Arms:
    """The live state of all routes and versions of one worker, by name."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime: Final = runtime
        self.arms: Final[dict[tuple[str, str], Arm]] = {}
        self.lives: Final[dict[str, RouteLife]] = {}
        self._weighted: set[tuple[str, str]] | None = None  # who had a weight in the plan before; None: there was none
        self._watched: list[tuple[Version, Arm]] = []  # who has a breaker

    def bring(self, plan: Plan) -> Iterator[None]:
        """Have the state that `plan` asks for, with its policies, a route at each step; just before the plan is in force."""
        weighted: set[tuple[str, str]] = set()
        watched: list[tuple[Version, Arm]] = []
        for route in plan.routes:
            if _has_life(route):
                route.life = life = self.lives.setdefault(route.name, RouteLife(route.name))
                if route.concurrency is not None:
                    if life.queue is None:
                        life.queue = Queue(route.concurrency)
                    life.queue.policy = route.concurrency
                provide_cache(self.runtime, route, life)
            for version in route.versions:
                key = (route.name, version.name)
                before = self.arms.get(key)
                if before is not None and before.adaptive is not None and not _follows(route):
                    before.adaptive = None
                    self.runtime.view[version.slot - self.runtime.base + V_LIMIT] = 0
                if version.weight > 0.0:
                    weighted.add(key)
                if _has_arm(route, version):
                    arm = self.arms.setdefault(key, Arm(route.name, version.name))
                    version.arm = arm
                    self._equip(arm, route, version)
                    if arm.breaker is not None:
                        watched.append((version, arm))
            yield
        self._weighted = weighted
        self._watched = watched

    def _equip(self, arm: Arm, route: Route, version: Version) -> None:
        runtime = self.runtime
        arm.slot = version.slot
        policy = version.breaker
        if policy is None:
            self._put_away(arm)
        elif arm.breaker is None:
            breaking.begin(runtime, version, arm, policy, runtime.now())
        else:
            arm.breaker.take_policy(policy)
        hedge = route.hedge
        if hedge is None:
            arm.latency = None
        elif arm.latency is None or not arm.latency.measures(hedge.percentile, hedge.minimum_samples):
            arm.latency = Latency(hedge.percentile, hedge.minimum_samples)
        _limit(arm, route)
        if route.faults is None:
            arm.disturbed = None
        elif arm.disturbed is None:
            arm.disturbed = Disturbed()
        # A version that has just got its first weight has cold caches. What has its weight when the worker starts was
        # there before, as far as anyone knows here.
        before = self._weighted
        if before is not None and version.weight > 0.0 and (route.name, version.name) not in before:
            arm.warming_until = runtime.now() + version.warm_up

    def look_round(self) -> None:
        """See what other workers have left for those who wait. Called by the clock, where there are others."""
        for life in self.lives.values():
            queue = life.queue
            if queue is not None:
                look_round(queue)

    def leave(self, plan: Plan) -> None:
        """Forget what `plan`, now in force, does not name. Who waits for a place has it where there are more now."""
        for life in list(self.lives.values()):
            queue = life.queue
            if queue is not None and queue.length:
                queue.call()
        lives = {route.name for route in plan.routes if route.life is not None}
        arms = {(route.name, version.name) for route in plan.routes for version in route.versions if version.arm}
        for name in [name for name in self.lives if name not in lives]:
            del self.lives[name]
        for key in [key for key in self.arms if key not in arms]:
            self._put_away(self.arms.pop(key))

    def _put_away(self, arm: Arm) -> None:
        """Exchanges on an older plan still hold the arm; what they have to say of its breaker is no more of interest."""
        if arm.breaker is not None:
            arm.breaker = None
            breaking.forget(self.runtime, arm.slot)

    def look(self) -> None:
        """Let what was measured grow old, where nobody asks; called by the clock a few times a second."""
        runtime = self.runtime
        alone = runtime.cells.alone
        now = runtime.now()
        for version, arm in self._watched:
            breaker = arm.breaker
            if breaker is not None and (not alone or breaker.window.requests or breaker.window.errors):
                breaking.look(runtime, version, arm, -1, now)


def _has_arm(route: Route, version: Version) -> bool:
    """Whether anything of this version is to be remembered."""
    return (
        version.breaker is not None
        or version.warm_up > 0.0
        or route.hedge is not None
        or route.admission is not None
        or route.faults is not None
        or _follows(route)
    )


def _follows(route: Route) -> bool:
    """Whether the route's limits follow the latency."""
    return route.concurrency is not None and route.concurrency.adaptive is not None


def _has_life(route: Route) -> bool:
    """Whether anything of this route is to be remembered."""
    return route.retry is not None or route.concurrency is not None or route.cache is not None


def _limit(arm: Arm, route: Route) -> None:
    """Give it what the route's policies ask for; what it has goes on under the new ones."""
    admission = route.admission
    if admission is None:
        arm.admission = None
    elif arm.admission is None:
        arm.admission = Admission(admission)
    else:
        arm.admission.policy = admission
    concurrency = route.concurrency
    adaptive = None if concurrency is None else concurrency.adaptive
    if concurrency is None or adaptive is None:
        arm.adaptive = None
    elif arm.adaptive is None:
        arm.adaptive = AdaptiveLimit(adaptive, concurrency.limit)
    else:
        arm.adaptive.policy = adaptive
