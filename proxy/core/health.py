"""What checks say of an endpoint: a table, and the policy that it is read with.

The first check decides at once, as Envoy's does: who starts beside a dead endpoint should not send it a third of the
traffic for as long as three checks take. After that a verdict holds until enough checks in a row speak against it.
"""

from enum import Enum
from typing import Any, Final

Spec = dict[str, Any]


class Verdict(Enum):
    """What is known. An endpoint of which nothing is known yet counts as healthy."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"


class After(Enum):
    """How many checks in a row it takes for the verdict to change."""

    NEVER = "never"  # this check agrees
    ONE = "one"
    HEALTHY_AFTER = "healthy_after"
    UNHEALTHY_AFTER = "unhealthy_after"


TABLE: Final[dict[tuple[Verdict, bool], tuple[After, Verdict]]] = {
    (Verdict.UNKNOWN, True): (After.ONE, Verdict.HEALTHY),
    (Verdict.UNKNOWN, False): (After.ONE, Verdict.UNHEALTHY),
    (Verdict.HEALTHY, True): (After.NEVER, Verdict.HEALTHY),
    (Verdict.HEALTHY, False): (After.UNHEALTHY_AFTER, Verdict.UNHEALTHY),
    (Verdict.UNHEALTHY, True): (After.HEALTHY_AFTER, Verdict.HEALTHY),
    (Verdict.UNHEALTHY, False): (After.NEVER, Verdict.UNHEALTHY),
}
"""By verdict and whether a check passed: after how many such checks in a row which verdict follows."""


class HealthPolicy:
    """How an upstream's endpoints are checked (an upstream spec's `health`). Seconds; percent of the interval."""

    def __init__(self, spec: Spec) -> None:
        self.kind: Final[str] = spec["kind"]
        self.method: Final[str] = spec["method"]
        self.path: Final[str] = spec["path"]
        self.host: Final[str] = spec["host"]  # empty: as the endpoint's URL has it
        self.port: Final[int] = spec["port"]  # 0: the endpoint's
        self.headers: Final[dict[str, str]] = spec["headers"]
        self.expected: Final[list[tuple[int, int]]] = [(low, high) for low, high in spec["expected"]]
        self.interval: Final[float] = spec["interval"]
        self.timeout: Final[float] = spec["timeout"]
        self.jitter: Final[float] = spec["jitter_percent"] / 100
        self.healthy_after: Final[int] = spec["healthy_after"]
        self.unhealthy_after: Final[int] = spec["unhealthy_after"]

    def expects(self, status: int) -> bool:
        """Whether an answer with this status passes."""
        return any(low <= status <= high for low, high in self.expected)

    @property
    def expectation(self) -> str:
        """The statuses that pass, in words: `200-299, 301`."""
        return ", ".join(str(low) if low == high else f"{low}-{high}" for low, high in self.expected)

    def pause(self, draw: float) -> float:
        """Seconds from the start of a check to the next one's, for a draw in [0, 1)."""
        return self.interval * (1 + self.jitter * (2 * draw - 1))


class Condition:
    """The verdict on one endpoint, and how many checks in a row have spoken against it."""

    def __init__(self, verdict: Verdict = Verdict.UNKNOWN) -> None:
        self.verdict = verdict
        self.against = 0

    def take(self, passed: bool, policy: HealthPolicy) -> bool:
        """Take one check in; whether the verdict has changed."""
        after, verdict = TABLE[self.verdict, passed]
        if after is After.NEVER:
            self.against = 0
            return False
        self.against += 1
        needed = {
            After.ONE: 1,
            After.HEALTHY_AFTER: policy.healthy_after,
            After.UNHEALTHY_AFTER: policy.unhealthy_after,
        }[after]
        if self.against < needed:
            return False
        self.verdict = verdict
        self.against = 0
        return True
