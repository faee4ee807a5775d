"""Admission control: a version that fails gets fewer requests, in proportion to how much it fails.

The share refused is ((n - ok / success) / (n + 1)) ^ (1 / aggression) over the n requests of the last window, of which ok
went well (Beyer et al., Site Reliability Engineering, chapter 21, "Client-Side Throttling", in the form that Envoy's filter gives
it). Nothing is refused while the share of good answers is at least `success`. Requests that were refused are not among the n:
refusing is no evidence, and what goes on being admitted finds out when the version is well again.
"""

from typing import Any, Final

_PARTS: Final = 10
"""Parts of the window: what is older leaves a tenth at a time."""


class AdmissionPolicy:
    """`success` and `maximum` are shares in [0, 1], `window` is seconds, `minimum_rate` requests a second over all workers."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.success: Final[float] = spec["success_percent"] / 100
        self.aggression: Final[float] = spec["aggression"]
        self.window: Final[float] = spec["window"]
        self.maximum: Final[float] = spec["maximum_percent"] / 100
        self.minimum_rate: Final[float] = spec["minimum_rate"]


class Admission:
    """What one worker has seen of one version. Times are monotonic seconds."""

    def __init__(self, policy: AdmissionPolicy) -> None:
        self.policy: AdmissionPolicy = policy
        self._requests: Final[list[int]] = [0] * _PARTS
        self._good: Final[list[int]] = [0] * _PARTS
        self._part: int = 0  # the number of the part of time that is being counted
        self.requests: int = 0  # in the window
        self.good: int = 0

    def count(self, good: bool, now: float) -> None:
        """A request that was admitted is over."""
        self._turn(now)
        place = self._part % _PARTS
        self._requests[place] += 1
        self.requests += 1
        if good:
            self._good[place] += 1
            self.good += 1

    def forget(self) -> None:
        """Somebody knows that the version is well."""
        for place in range(_PARTS):
            self._requests[place] = self._good[place] = 0
        self.requests = self.good = 0

    def refused_share(self, now: float, workers: int = 1) -> float:
        """The share of requests to refuse now, in [0, maximum]. Of `workers` workers each knows its own requests."""
        policy = self.policy
        if self.requests == self.good:
            return 0.0
        self._turn(now)
        requests = self.requests
        if requests * workers < policy.minimum_rate * policy.window:
            return 0.0
        share = (requests - self.good / policy.success) / (requests + 1)
        if share <= 0.0:
            return 0.0
        return float(min(share ** (1.0 / policy.aggression), policy.maximum))

    def _turn(self, now: float) -> None:
        """Forget what the window has left behind."""
        part = int(now * _PARTS / self.policy.window)
        steps = part - self._part
        if steps == 0:
            return
        if not 0 < steps < _PARTS:  # all of it is past, or the window is another now
            steps = _PARTS
        for step in range(1, steps + 1):
            place = (self._part + step) % _PARTS
            self.requests -= self._requests[place]
            self.good -= self._good[place]
            self._requests[place] = 0
            self._good[place] = 0
        self._part = part
