"""Whether a request that failed is sent again, when, and how many may be at a time. Numbers in, answers out.

A retry helps where failures are rare and hurts where they are not: an upstream that drowns gets more load from every retry.
So there are three brakes. Conditions say what is worth another try; attempts bound the tries of one request; the budget
bounds the retries of all requests of a version together, as a share of those that are under way, over all workers. The
share is taken of requests that are not themselves retries, at any moment and over time, so that 20 % means at most 1.2 times
the load.
"""

from math import inf
from typing import Any, Final

from proxy.core.dates import parse_date
from proxy.errors import UC, UF, UH, UPE, UR, UT, Flag

Spec = dict[str, Any]

CONNECT_FAILURE, REFUSED, RESET, GATEWAY_ERROR, SERVER_ERROR, RETRIABLE_4XX, RATE_LIMITED, TIMEOUT = (
    1 << bit for bit in range(8)
)

CONDITIONS: Final[dict[str, int]] = {
    "connect_failure": CONNECT_FAILURE,  # no connection: refused, late, or no endpoint to be had (UF, UH)
    "refused": REFUSED,  # the endpoint refused the connection; a part of connect_failure
    "reset": RESET,  # the connection ended before the answer's head was whole (UC, UR)
    "gateway_error": GATEWAY_ERROR,  # an answer 502, 503 or 504, or one that was not HTTP (UPE)
    "5xx": SERVER_ERROR,  # any answer from 500 on, and all of gateway_error
    "retriable_4xx": RETRIABLE_4XX,  # 409: another did the same at the same moment
    "rate_limited": RATE_LIMITED,  # 429
    "timeout": TIMEOUT,  # no answer within the try's time, or the upstream's (UT)
}

IDEMPOTENT: Final[frozenset[bytes]] = frozenset((b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PUT", b"DELETE"))
"""Methods where sending a request again does no harm (RFC 9110 section 9.2.2)."""

_MINIMUM_EVERY: Final = 10.0
"""Seconds."""
_GATEWAY: Final[frozenset[int]] = frozenset((502, 503, 504))


class RetryPolicy:
    """A route's `retry`. Seconds, bytes, shares in percent.

    `attempts` counts all tries of one version. `fallback`: after them the next version of the chain is asked, once.
    """

    def __init__(self, spec: Spec) -> None:
        on = 0
        for name in spec["on"]:
            on |= CONDITIONS[name]
        self.on: Final = on
        methods = spec["methods"]
        self.methods: Final[frozenset[bytes]] = (
            frozenset(method.encode() for method in methods) if methods else IDEMPOTENT
        )
        self.attempts: Final[int] = spec["attempts"]
        self.per_try: Final[float] = spec["per_try_timeout"]  # 0: the upstream's own
        self.base: Final[float] = spec["back_off"]["base"]
        self.longest: Final[float] = spec["back_off"]["max"]
        self.percent: Final[float] = spec["budget"]["percent"]
        self.minimum: Final[int] = spec["budget"]["minimum"]
        self.body_limit: Final[int] = spec["body_limit"]
        self.fallback: Final[bool] = spec["fallback"]
        self.max_retry_after: Final[float] = spec["max_retry_after"]
        statuses: set[int] = set()
        if on & GATEWAY_ERROR:
            statuses |= _GATEWAY
        if on & SERVER_ERROR:
            statuses |= set(range(500, 600))
        if on & RETRIABLE_4XX:
            statuses.add(409)
        if on & RATE_LIMITED:
            statuses.add(429)
        self.statuses: Final = frozenset(statuses)

    def takes(self, flag: Flag, refused: bool) -> bool:
        """Whether a try that ended so, without an answer, is worth another. `refused`: the endpoint said no at once."""
        on = self.on
        if flag is UF or flag is UH:
            return bool(on & CONNECT_FAILURE) or (refused and bool(on & REFUSED))
        if flag is UT:
            return bool(on & TIMEOUT)
        if flag is UC or flag is UR:
            return bool(on & RESET)
        return flag is UPE and bool(on & (GATEWAY_ERROR | SERVER_ERROR))

    def back_off(self, retry: int, draw: float) -> float:
        """Seconds before the `retry`-th (from 1) retry: uniform in [0, (2^retry - 1) * base), the bound capped.

        `draw` is uniform in [0, 1). Full jitter: those that failed together do not come back together.
        """
        bound = self.base * (2.0 ** min(retry, 30) - 1.0)
        return draw * min(bound, self.longest)

    def limit(self, active: int, retrying: int) -> float:
        """How many retries may be under way, with `active` requests of the version, `retrying` of them retries."""
        return max(float(self.minimum), self.percent / 100.0 * (active - retrying))


class Allowance:
    """How many retries of one version one worker may still make.

    The limit on retries at a time says little where they are quick: a retry that fails at once makes room for the next.
    So each takes a token, and there are `percent` new ones for a hundred requests, and `minimum` in ten seconds. What is
    not used is kept, up to the limit, so that what fails together can be tried again together.
    """

    def __init__(self) -> None:
        self._tokens: float = inf  # whatever the limit is
        self._requests: int = 0
        self._since: float = 0.0

    def take(self, policy: RetryPolicy, limit: float, requests: int, now: float, workers: int) -> bool:
        """Whether one more retry may begin; `requests` of this worker have begun so far, now is in monotonic seconds."""
        earned = policy.percent / 100.0 * max(requests - self._requests, 0)
        earned += policy.minimum / workers * (now - self._since) / _MINIMUM_EVERY
        self._requests = requests
        self._since = now
        self._tokens = min(self._tokens + earned, max(limit / workers, 1.0))
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True


class HedgePolicy:
    """A route's `hedge`: a second request where the first takes longer than most. Seconds, shares in percent."""

    def __init__(self, spec: Spec) -> None:
        self.percentile: Final[float] = spec["percentile"]
        self.minimum_delay: Final[float] = spec["minimum_delay"]
        self.maximum_delay: Final[float] = spec["maximum_delay"]
        self.minimum_samples: Final[int] = spec["minimum_samples"]
        self.percent: Final[float] = spec["budget_percent"]
        self.methods: Final = frozenset(method.encode() for method in spec["methods"])

    def delay(self, latency: float) -> float:
        """Seconds until the second request, from the version's latency at the percentile; negative: unknown, no hedge."""
        if latency < 0.0:
            return -1.0
        return min(max(latency, self.minimum_delay), self.maximum_delay)

    def within_budget(self, active: int, hedging: int) -> bool:
        """Whether one more hedge may fire, with `active` requests of the version under way and `hedging` hedges.

        One is always allowed: 10 % of three requests would be none, for ever.
        """
        return hedging < max(1.0, self.percent / 100.0 * active)


def retry_after(value: bytes, now: float) -> float:
    """Seconds that a `Retry-After` asks for (RFC 9110 section 10.2.3); negative for what is none.

    `now` is the time of day in seconds since the epoch. A date that has passed asks for 0.
    """
    value = value.strip()
    if value.isdigit():
        return float(value) if len(value) < 12 else 1e12
    date = parse_date(value, now)
    return -1.0 if date < 0.0 else max(date - now, 0.0)
