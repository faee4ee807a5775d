"""All pools of one worker: those that versions use, and those of the shadows, which share nothing with them.

Pools are found by the upstream's name and outlive plans: a plan that changes weights alone touches none of them.
"""

import json
import ssl
from typing import Final

from proxy.core.plan import Endpoint, Plan, Upstream
from proxy.dataplane.pool import Pool
from proxy.dataplane.runtime import Runtime
from proxy.dataplane.upstream import UpstreamUser


class Upstreams:
    """Where an exchange or a copy asks for a connection."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime: Final = runtime
        self.pools: Final[dict[str, Pool]] = {}
        self.shadows: Final[dict[str, Pool]] = {}  # the same upstreams as mirrors use them: connections of their own
        self.copies: Final[set[UpstreamUser]] = set()  # on their way to a shadow

    def bring(self, plan: Plan, contexts: dict[str, ssl.SSLContext]) -> None:
        """Have the pools that `plan` asks for. `contexts` are the TLS contexts by `tls_stamp`."""
        shadows = {mirror.upstream.name for route in plan.routes for mirror in route.mirrors}
        self._bring(self.pools, plan, set(plan.upstreams), contexts)
        self._bring(self.shadows, plan, shadows, contexts)

    def _bring(self, pools: dict[str, Pool], plan: Plan, wanted: set[str], contexts: dict[str, ssl.SSLContext]) -> None:
        for name in wanted:
            upstream = plan.upstreams[name]
            context = contexts.get(tls_stamp(upstream))
            pool = pools.get(name)
            if pool is None:
                pools[name] = Pool(self.runtime, upstream, context)
            elif pool.upstream is not upstream or pool.tls is not context:
                pool.update(upstream, upstream.endpoints, context)
        for name in [name for name in pools if name not in wanted]:
            pools.pop(name).close()

    def move(self, name: str, endpoints: list[Endpoint], context: ssl.SSLContext | None) -> None:
        """The upstream's name has resolved to other addresses. `context`: for those that are spoken to over TLS."""
        for pools in (self.pools, self.shadows):
            pool = pools.get(name)
            if pool is not None:
                pool.update(pool.upstream, endpoints, context)

    def write_down(self) -> None:
        """Put the numbers of the present into shared memory."""
        for pool in self.pools.values():
            pool.write_down()
        for pool in self.shadows.values():
            pool.write_down()

    def balance(self) -> None:
        """Give and take connections within the limits that all workers share."""
        for pool in (*self.pools.values(), *self.shadows.values()):
            pool.balance()

    def close(self) -> None:
        """Close what is idle; what is busy ends with its exchange."""
        for pool in (*self.pools.values(), *self.shadows.values()):
            pool.close()


def tls_stamp(upstream: Upstream) -> str:
    """What tells an upstream's TLS context from another's."""
    return json.dumps(upstream.tls, sort_keys=True)
