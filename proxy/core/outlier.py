"""Passive ejection: an endpoint that answers badly is left alone for a while, on what its answers show.

Four causes: so many 5xx in a row; so many gateway failures in a row (502, 503, 504, and what has no answer: a connect that
failed, a reset, a timeout); a share of successes far below that of the others; answers far slower than those of the others.
The last two compare endpoints over an interval. Semantics and defaults are Envoy's, but for two: an ejection ends when its
time is over and not at the next interval, and latency is a cause.

Each worker judges by what it has seen itself, and the cap on how many may be ejected is each worker's too.
"""

from math import inf, sqrt
from typing import Any, Final

CAUSES: Final = ("consecutive_5xx", "consecutive_gateway", "success_rate", "latency")
"""By their places, which are those of the counters."""
CONSECUTIVE_5XX, CONSECUTIVE_GATEWAY, SUCCESS_RATE, LATENCY = range(4)
NONE: Final = -1

_MOST_TIMES: Final = 1 << 20
"""Ejections in a row that are counted; the cap on their time is reached long before."""
_NOISE: Final = 1e-9
"""Below this a difference between shares is one of floating point."""


class OutlierPolicy:
    """What makes an outlier, and what becomes of it. Seconds, percent 0..100; a threshold of 0 is off."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.consecutive_5xx: Final[int] = spec["consecutive_5xx"]
        self.consecutive_gateway: Final[int] = spec["consecutive_gateway"]
        self.interval: Final[float] = float(spec["interval"])
        self.base_ejection: Final[float] = float(spec["base_ejection"])
        self.max_ejection: Final[float] = float(spec["max_ejection"])
        self.max_ejected_percent: Final[float] = float(spec["max_ejected_percent"])
        rate = spec["success_rate"]
        self.by_rate: Final = rate is not None
        self.rate_endpoints: Final[int] = rate["minimum_endpoints"] if rate else 0
        self.rate_requests: Final[int] = rate["minimum_requests"] if rate else 0
        self.stdev_factor: Final[float] = float(rate["stdev_factor"]) if rate else 0.0
        latency = spec["latency"]
        self.by_latency: Final = latency is not None
        self.latency_endpoints: Final[int] = latency["minimum_endpoints"] if latency else 0
        self.latency_requests: Final[int] = latency["minimum_requests"] if latency else 0
        self.latency_factor: Final[float] = float(latency["factor"]) if latency else 0.0

    def allowed(self, endpoints: int) -> int:
        """How many of so many endpoints may be ejected at once: the percentage rounded down, but one always."""
        return max(1, int(endpoints * self.max_ejected_percent / 100))

    def ejection(self, times: int) -> float:
        """Seconds of the ejection that is the `times`-th in a row."""
        return min(self.base_ejection * times, max(self.base_ejection, self.max_ejection))


class Standing:
    """What one endpoint has shown of itself, and what came of it. It outlives plans and policies."""

    def __init__(self) -> None:
        self.errors_in_row: int = 0
        self.failures_in_row: int = 0
        self.requests: int = 0  # of the interval, as the next three
        self.errors: int = 0
        self.timed: int = 0
        self.seconds: float = 0.0
        self.times: int = 0  # ejections in a row: each makes the next longer, each healthy interval takes one off
        self.ejected: bool = False
        self.ends: float = 0.0  # of the ejection, monotonic seconds
        self.returned: float = -inf  # when the last one ended

    def forget_interval(self) -> None:
        """A new interval begins."""
        self.requests = 0
        self.errors = 0
        self.timed = 0
        self.seconds = 0.0


class Detector:
    """Finds the outliers among the endpoints of one upstream. Every `now` is monotonic seconds."""

    def __init__(self, policy: OutlierPolicy) -> None:
        self.policy: OutlierPolicy = policy
        self.ends: float = inf  # of the interval; infinite while none has begun

    def report(self, standing: Standing, status: int, seconds: float, now: float) -> int:
        """Take one answer in; the cause for which the endpoint should be ejected, or NONE.

        `status` is the answer's, or that of the flag where there was none (a connect that failed, a reset, a timeout).
        `seconds` is what it took to the head; negative where nobody measured.
        """
        policy = self.policy
        if self.ends == inf:
            self.ends = now + policy.interval
        standing.requests += 1
        if seconds >= 0.0:
            standing.timed += 1
            standing.seconds += seconds
        if status < 500:
            standing.errors_in_row = 0
            standing.failures_in_row = 0
            return NONE
        standing.errors += 1
        standing.errors_in_row += 1
        if 502 <= status <= 504:
            standing.failures_in_row += 1
            if 0 < policy.consecutive_gateway <= standing.failures_in_row:
                return CONSECUTIVE_GATEWAY
        else:
            standing.failures_in_row = 0
        if 0 < policy.consecutive_5xx <= standing.errors_in_row:
            return CONSECUTIVE_5XX
        return NONE

    def limit(self, cause: int) -> int:
        """How many in a row are too many."""
        return self.policy.consecutive_gateway if cause == CONSECUTIVE_GATEWAY else self.policy.consecutive_5xx

    def eject(self, standing: Standing, all_of_them: list[Standing], now: float) -> bool:
        """Eject an endpoint, unless it is ejected already or as many as allowed are: False, and nothing has changed."""
        if standing.ejected:
            return False
        ejected = sum(1 for one in all_of_them if one.ejected)
        if ejected >= self.policy.allowed(len(all_of_them)):
            return False
        standing.times = min(standing.times + 1, _MOST_TIMES)
        standing.ejected = True
        standing.ends = now + self.policy.ejection(standing.times)
        return True

    def release(self, standing: Standing, now: float) -> None:
        """End an ejection, because its time is over or something else says that the endpoint is well. It starts afresh."""
        standing.ejected = False
        standing.returned = now
        standing.errors_in_row = 0
        standing.failures_in_row = 0
        standing.forget_interval()
        if self.ends == inf:
            self.ends = now + self.policy.interval

    def ended(self, all_of_them: list[Standing], now: float) -> list[int]:
        """The places of those whose ejection is over: its time is, or fewer may be ejected than were (the next to return go
        first)."""
        ejected = sorted((one.ends, place) for place, one in enumerate(all_of_them) if one.ejected)
        surplus = len(ejected) - self.policy.allowed(len(all_of_them))
        return [place for rank, (ends, place) in enumerate(ejected) if rank < surplus or now >= ends]

    def judge(self, all_of_them: list[Standing], now: float) -> list[tuple[int, int, float, float]]:
        """At the end of an interval: (place, cause, what it showed, what the limit was) of those that stand out, the worst first.

        Shown is the share of successes in [0, 1], or the mean in seconds. The next interval begins with the next answer.
        """
        policy = self.policy
        found: list[tuple[int, int, float, float]] = []
        if policy.by_rate:
            found += self._failing(all_of_them)
        if policy.by_latency:
            found += self._slow(all_of_them)
        for one in all_of_them:
            one.forget_interval()
            if one.times and not one.ejected and now - one.returned >= policy.interval:
                one.times -= 1
        self.ends = now + policy.interval if any(one.times and not one.ejected for one in all_of_them) else inf
        return found

    def due(self, all_of_them: list[Standing]) -> float:
        """When something is to be done next, if nothing is reported until then: an ejection or an interval ends."""
        due = self.ends
        for one in all_of_them:
            if one.ejected and one.ends < due:
                due = one.ends
        return due

    def _failing(self, all_of_them: list[Standing]) -> list[tuple[int, int, float, float]]:
        policy = self.policy
        rates = [
            (1 - one.errors / one.requests, place)
            for place, one in enumerate(all_of_them)
            if not one.ejected and one.requests >= max(policy.rate_requests, 1)
        ]
        if len(rates) < max(policy.rate_endpoints, 2):
            return []
        mean = sum(rate for rate, _ in rates) / len(rates)
        deviation = sqrt(sum((rate - mean) ** 2 for rate, _ in rates) / len(rates))
        threshold = mean - policy.stdev_factor * deviation
        return [(place, SUCCESS_RATE, rate, threshold) for rate, place in sorted(rates) if rate < threshold - _NOISE]

    def _slow(self, all_of_them: list[Standing]) -> list[tuple[int, int, float, float]]:
        policy = self.policy
        means = [
            (one.seconds / one.timed, place)
            for place, one in enumerate(all_of_them)
            if not one.ejected and one.timed >= max(policy.latency_requests, 1)
        ]
        if len(means) < max(policy.latency_endpoints, 2):
            return []
        means.sort(reverse=True)
        found: list[tuple[int, int, float, float]] = []
        for rank, (mean, place) in enumerate(means[: policy.allowed(len(all_of_them))]):
            limit = policy.latency_factor * _median_without(means, rank)
            if mean <= limit:
                break  # those behind it are faster, and their others slower
            found.append((place, LATENCY, mean, limit))
        return found


def _median_without(means: list[tuple[float, int]], rank: int) -> float:
    """The median of a sorted list that has at least two entries, without the one at `rank`."""
    left = len(means) - 1
    high = left // 2
    low = (left - 1) // 2
    return (means[low + (low >= rank)][0] + means[high + (high >= rank)][0]) / 2
