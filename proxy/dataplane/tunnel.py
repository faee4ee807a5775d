"""After 101: bytes both ways until one side ends. A tunnel holds its own ends and outlives plans.

The exchange that opened it is over and counted; a tunnel adds the bytes it carried to its version when it ends.

Nobody takes a tunnel away from a version that gets traffic. Once a plan is in force in which the tunnel's version gets none
(`in_service`), or the worker drains, `timeouts.tunnel_max_age` of its upstream says how long it may last at most: half of
that to all of it, drawn for each tunnel, so that its clients do not all come back at once. A plan that puts the version
back in service before that lets the tunnel be.
"""

from collections.abc import Iterable
from math import inf
from typing import Final

from proxy.core.plan import Plan, Route, Upstream, Version
from proxy.dataplane.downstream import Carrier, Downstream
from proxy.dataplane.pool import Pool
from proxy.dataplane.timers import TICK
from proxy.dataplane.upstream import UpstreamConnection, UpstreamUser
from proxy.errors import Flag
from proxy.telemetry.counters import V_REQUEST_BYTES, V_RESPONSE_BYTES, W_TUNNELS, W_TUNNELS_RETIRED


def in_service(route: Route | None, name: str, upstream: str) -> bool:
    """Whether requests of `route`, as it is now, can be given its version `name` and find it at `upstream`: it has a weight,
    or is the default, or a rule leads to it. Being the fallback of another, or open to a preview, is no service."""
    version = None if route is None else route.by_name.get(name)
    if route is None or version is None or version.upstream.name != upstream:
        return False
    if version.weight > 0 or version is route.default:
        return True
    for rule in (*route.overrides, *route.segment_rules):
        if rule.version is version:
            return True
        if rule.split is not None:
            for index, _, weight in rule.split.arms:
                if index == version.index and weight > 0:
                    return True
    return False


def review(tunnels: Iterable[UpstreamUser], plan: Plan | None) -> int:
    """Look at all tunnels after `plan` has come into force, or (None) because the worker drains. Answers how many have got
    an end."""
    routes = {} if plan is None else {route.name: route for route in plan.routes}
    retired = 0
    for tunnel in tunnels:
        if isinstance(tunnel, Tunnel):
            retired += tunnel.review(plan, None if plan is None else routes.get(tunnel.route))
    return retired


class Tunnel(Carrier):
    """Carries another protocol between a client and an endpoint, with back-pressure both ways."""

    def __init__(
        self,
        client: Downstream,
        connection: UpstreamConnection,
        pool: Pool,
        route: str,
        version: Version,
        generation: int,
    ) -> None:
        """`route` and `version` are of the plan `generation`: newer ones may be in force by now."""
        self.client: Final = client
        self.connection: Final = connection
        self.route: Final = route
        self.version: Final = version
        self.runtime: Final = client.runtime
        self.generation = generation
        self._pool: Final = pool
        self._silence: Final[float] = version.upstream.tunnel
        self._up: int = 0
        self._down: int = 0
        self._over: bool = False
        self._last: float = inf  # when it must have ended

    def start(self, rest: bytes) -> None:
        """Both ends are in place; `rest` came from the upstream behind its 101."""
        runtime = self.runtime
        runtime.view[runtime.base + W_TUNNELS] += 1
        self.client.door.upstreams.tunnels.add(self)
        self.connection.set_reading(True)
        self._alive()
        plan = runtime.plan
        if runtime.draining:
            self.review(None, None)
        elif plan is not None and plan.generation != self.generation:  # which was swapped during the handshake
            self.review(plan, next((route for route in plan.routes if route.name == self.route), None))
        if rest:
            self.on_tunnel(rest)

    def _alive(self) -> None:
        wheel = self.runtime.wheel
        deadline = min(self.runtime.now() + self._silence, self._last)
        if deadline < self.due - TICK:
            wheel.arm(self, deadline)
        else:
            self.deadline = deadline

    def review(self, plan: Plan | None, route: Route | None) -> int:
        """Take what `plan` means for this tunnel; `route` is its own there, None where it has left. Without a plan: the worker
        drains. Answers 1 when the tunnel has got an end that it did not have."""
        policy: Upstream = self.version.upstream
        if plan is not None:
            if in_service(route, self.version.name, policy.name):
                if self._last != inf:
                    self._last = inf
                    self._alive()
                return 0
            policy = plan.upstreams.get(policy.name, policy)
        if self._last != inf or policy.tunnel_max_age <= 0:
            return 0
        runtime = self.runtime
        now = runtime.now()
        self._last = now + policy.tunnel_max_age * (0.5 + runtime.rng.random() / 2)
        if self._last < self.deadline:
            runtime.wheel.arm(self, self._last)
        return 1

    def expired(self, now: float) -> None:
        if now >= self._last:
            runtime = self.runtime
            runtime.view[runtime.base + W_TUNNELS_RETIRED] += 1
        self.end()

    def from_client(self, data: bytes) -> None:
        """Bytes from the client."""
        if not self._over:
            self._up += len(data)
            self._alive()
            self.connection.write(data)

    def on_tunnel(self, data: bytes) -> None:
        if not self._over:
            self._down += len(data)
            self._alive()
            self.client.write(data)

    def on_upstream_pause(self, paused: bool) -> None:
        self.client.set_reading(not paused)

    def on_client_pause(self, paused: bool) -> None:
        """The client takes no more (or again takes) what is written to it."""
        self.connection.set_reading(not paused)

    def on_broken(self, flag: Flag, untouched: bool) -> None:
        self.end()

    def end(self) -> None:
        """One side has ended: send the other what is still to be sent, and close it too."""
        if self._over:
            return
        self._over = True
        runtime = self.runtime
        view = runtime.view
        view[runtime.base + W_TUNNELS] -= 1
        self.client.door.upstreams.tunnels.discard(self)
        view[self.version.slot + V_REQUEST_BYTES] += self._up
        view[self.version.slot + V_RESPONSE_BYTES] += self._down
        runtime.wheel.forget(self)
        self._pool.finished()
        self.connection.finish_tunnel()
        self.client.close()
