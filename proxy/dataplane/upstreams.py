"""All pools of one worker: those that versions use, and those of the shadows, which share nothing with them.

Pools are found by the upstream's name and outlive plans: a plan that changes weights alone touches none of them.
"""

import ssl
from collections.abc import Iterable, Iterator
from typing import Final

from proxy.core.plan import Endpoint, Plan
from proxy.dataplane.pool import Pool
from proxy.dataplane.runtime import Runtime
from proxy.dataplane.upstream import UpstreamUser


class Upstreams:
    """Where an exchange or a copy asks for a connection."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime: Final = runtime
        self.pools: Final[dict[str, Pool]] = {}
        self.shadows: Final[dict[str, Pool]] = {}  # the same upstreams as mirrors use them: connections of their own
        self._marks: Final[dict[str, tuple[frozenset[str], frozenset[str]]]] = {}  # what control said last
        self.copies: Final[set[UpstreamUser]] = set()  # on their way to a shadow
        self.tunnels: Final[set[UpstreamUser]] = set()

    def bring(self, plan: Plan, contexts: dict[str, ssl.SSLContext]) -> Iterator[None]:
        """Have the pools that `plan` asks for, a part of one at each step. `contexts` are the TLS contexts by their stamps."""
        for pools, wanted in self._wanted(plan):
            for name in wanted:
                upstream = plan.upstreams[name]
                context = contexts.get(upstream.tls_stamp)
                pool = pools.get(name)
                if pool is None:
                    pool = pools[name] = Pool(self.runtime, upstream, context, shadow=pools is self.shadows)
                    if name in self._marks:
                        pool.mark(*self._marks[name])
                elif pool.upstream is not upstream or pool.tls is not context:
                    pool.update(upstream, upstream.endpoints, context)
                while not pool.build():
                    yield
                yield

    def leave(self, plan: Plan) -> Iterator[None]:
        """Close the pools that `plan`, now in force, does not ask for, one at each step."""
        for pools, wanted in self._wanted(plan):
            for name in [name for name in pools if name not in wanted]:
                pools.pop(name).close()
                yield
        for name in [name for name in self._marks if name not in plan.upstreams]:
            del self._marks[name]

    def _wanted(self, plan: Plan) -> list[tuple[dict[str, Pool], set[str]]]:
        shadows = {mirror.upstream.name for route in plan.routes for mirror in route.mirrors}
        return [(self.pools, set(plan.upstreams)), (self.shadows, shadows)]

    def move(self, name: str, endpoints: list[Endpoint], context: ssl.SSLContext | None) -> Iterator[None]:
        """The upstream's name has resolved to other addresses, taken step by step. `context`: for those that are spoken to over
        TLS."""
        for pools in (self.pools, self.shadows):
            pool = pools.get(name)
            if pool is not None:
                pool.update(pool.upstream, endpoints, context)
                while not pool.build():
                    yield
                yield

    def mark(self, name: str, unhealthy: Iterable[str], drained: Iterable[str]) -> None:
        """What control knows of an upstream's endpoints, by their keys: all that its probes find unhealthy, all that are to be
        drained. Of an upstream that is not in the plan it is kept for the plan that comes next."""
        marks = (frozenset(unhealthy), frozenset(drained))
        if any(marks):
            self._marks[name] = marks
        else:
            self._marks.pop(name, None)
        for pools in (self.pools, self.shadows):
            pool = pools.get(name)
            if pool is not None:
                pool.mark(*marks)

    def write_down(self) -> None:
        """Put the numbers of the present into shared memory."""
        for pool in self._stirred():
            pool.show()

    def not_alone(self) -> None:
        """Other workers have come: from now on they count on the numbers of this one."""
        for pool in (*self.pools.values(), *self.shadows.values()):
            pool.not_alone()

    def balance(self) -> None:
        """Give and take connections within the limits that all workers share."""
        for pool in self._stirred():
            pool.balance()

    def _stirred(self) -> list[Pool]:
        """The pools in which anything is; of a thousand, most sleep."""
        found = [pool for pool in self.pools.values() if pool.stirred]
        if self.shadows:
            found += [pool for pool in self.shadows.values() if pool.stirred]
        return found

    def close(self) -> None:
        """Close what is idle; what is busy ends with its exchange."""
        for pool in (*self.pools.values(), *self.shadows.values()):
            pool.close()
