"""Gives each plan's routes and versions the live state that those of the same name had before."""

from collections.abc import Iterator
from typing import Final

from proxy.core.arm import Arm, RouteLife
from proxy.core.plan import Plan, Route, Version
from proxy.dataplane.runtime import Runtime


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
                route.life = self.lives.setdefault(route.name, RouteLife(route.name))
            for version in route.versions:
                if _has_arm(route, version):
                    key = (route.name, version.name)
                    arm = self.arms.setdefault(key, Arm(route.name, version.name))
                    version.arm = arm
            yield

    def leave(self, plan: Plan) -> None:
        """Forget what `plan`, now in force, does not name."""
        lives = {route.name for route in plan.routes if route.life is not None}
        arms = {(route.name, version.name) for route in plan.routes for version in route.versions if version.arm}
        for name in [name for name in self.lives if name not in lives]:
            del self.lives[name]
        for key in [key for key in self.arms if key not in arms]:
            del self.arms[key]


def _has_arm(_route: Route, _version: Version) -> bool:
    """Whether anything of this version is to be remembered."""
    return False


def _has_life(_route: Route) -> bool:
    """Whether anything of this route is to be remembered."""
    return False
