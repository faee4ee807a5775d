"""Gives each plan's routes and versions the live state that those of the same name had before."""

from collections.abc import Iterator
from typing import Final

from proxy.core.admission import Admission
from proxy.core.arm import Arm, RouteLife
from proxy.core.concurrency import AdaptiveLimit, Queue
from proxy.core.plan import Plan, Route, Version
from proxy.dataplane.concurrency import look_round
from proxy.dataplane.runtime import Runtime
from proxy.telemetry.counters import V_LIMIT


class Arms:
    """The live state of all routes and versions of one worker, by name."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime: Final = runtime
        self.arms: Final[dict[tuple[str, str], Arm]] = {}
        self.lives: Final[dict[str, RouteLife]] = {}

    def bring(self, plan: Plan) -> Iterator[None]:
        """Have the state that `plan` asks for, with its policies, a route at each step; just before the plan is in force."""
        for route in plan.routes:
            if _has_life(route):
                route.life = life = self.lives.setdefault(route.name, RouteLife(route.name))
                if route.concurrency is not None:
                    if life.queue is None:
                        life.queue = Queue(route.concurrency)
                    life.queue.policy = route.concurrency
            for version in route.versions:
                key = (route.name, version.name)
                before = self.arms.get(key)
                if before is not None and before.adaptive is not None and not _follows(route):
                    before.adaptive = None
                    self.runtime.view[version.slot - self.runtime.base + V_LIMIT] = 0
                if _has_arm(route, version):
                    arm = self.arms.setdefault(key, Arm(route.name, version.name))
                    version.arm = arm
                    _equip(arm, route)
            yield

    def look_round(self) -> None:
        """See what other workers have left for those who wait. Called by the clock, where there are others."""
        for life in self.lives.values():
            queue = life.queue
            if queue is not None:
                look_round(queue)

    def leave(self, plan: Plan) -> None:
        """Forget what `plan`, now in force, does not name."""
        lives = {route.name for route in plan.routes if route.life is not None}
        arms = {(route.name, version.name) for route in plan.routes for version in route.versions if version.arm}
        for name in [name for name in self.lives if name not in lives]:
            del self.lives[name]
        for key in [key for key in self.arms if key not in arms]:
            del self.arms[key]


def _has_arm(route: Route, _version: Version) -> bool:
    """Whether anything of this version is to be remembered."""
    return route.admission is not None or _follows(route)


def _follows(route: Route) -> bool:
    """Whether the route's limits follow the latency."""
    return route.concurrency is not None and route.concurrency.adaptive is not None


def _has_life(route: Route) -> bool:
    """Whether anything of this route is to be remembered."""
    return route.concurrency is not None


def _equip(arm: Arm, route: Route) -> None:
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
