"""What lives longer than a plan: the state of versions and routes that a reload must not forget.

A plan is replaced as a whole; what has been learned about a version (its breaker, its budgets, its latency) is kept here, by
names, and given to the versions of the next plan.
"""

from typing import Final

from proxy.core.admission import Admission
from proxy.core.breaker import Breaker
from proxy.core.concurrency import AdaptiveLimit, Queue
from proxy.core.faults import Disturbed
from proxy.core.latency import Latency
from proxy.core.retry import Allowance
from proxy.core.route_cache import RouteCache


class Arm:
    """The live state of one version of one route. A part that is not configured is None."""

    def __init__(self, route: str, version: str) -> None:
        self.route: Final = route
        self.version: Final = version
        self.admission: Admission | None = None
        self.adaptive: AdaptiveLimit | None = None
        self.slot: int = 0  # of the version's counters
        self.breaker: Breaker | None = None
        self.latency: Latency | None = None  # where its route hedges
        self.warming_until: float = 0.0  # monotonic seconds
        self.disturbed: Disturbed | None = None


class RouteLife:
    """The live state of one route, whichever version serves. A part that is not configured is None."""

    def __init__(self, route: str) -> None:
        self.route: Final = route
        self.allowances: Final[dict[str, Allowance]] = {}  # of retries, by version
        self.queue: Queue | None = None  # before the concurrency limit
        self.cache: RouteCache | None = None
