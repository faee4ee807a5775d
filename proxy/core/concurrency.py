"""How many requests may be at work at once: a fixed limit, a limit that follows the latency, and the queue before it.

The limit that follows is the gradient controller of Netflix and Envoy, one for each version:

    g = clamp(floor x (1 + buffer) / sample, 0.5, 2)
    limit' = clamp(limit x g + sqrt(limit x g), minimum, maximum)

where `sample` is the median latency of the last window and `floor` the median without load. The square root is room to
find out that there is more. The limit does not grow while nobody comes near it: that would say nothing about the upstream.

The floor must be measured anew from time to time, for an upstream that became slower for good is not overloaded. Envoy cuts the
concurrency down to its minimum for that, and its users see a dip. By Little's law it need not: an upstream that answers in
`sample` what it could answer in `floor` works on limit x floor / sample of the requests it has, and the others wait within it. So
while the floor is measured there may be that many (less a tenth) at once, and the upstream goes on at almost full speed while
its own queue is gone. A floor that comes out much lower than it was thought to be was no floor yet: then the measurement goes
on with half as many, as it does the first time until that changes nothing. Five windows in a row at the minimum are one, too.
"""

from collections import deque
from math import inf, sqrt
from typing import Any, Final

_LEAST: Final = 0.5
_MOST: Final = 2.0
_SPARE: Final = 0.9
"""Share of what keeps the upstream busy that it gets while the floor is measured."""
_LOWER: Final = 0.9
"""A floor that is below this share of the one before is measured again, with half as many requests at once."""
_PATIENCE: Final = 0.1
"""Share of the interval that a measurement may take; then what there is must do."""
_WINDOWS_AT_MINIMUM: Final = 5
_FEW: Final = 5
"""A fifth, a tenth, of the samples are enough for somebody who only looked on."""


class AdaptivePolicy:
    """`buffer` and `jitter` are shares, `interval` seconds, `samples` the answers that make a window."""

    def __init__(self, spec: dict[str, Any]) -> None:
        self.minimum: Final[int] = spec["minimum"]
        self.maximum: Final[int] = max(spec["maximum"], spec["minimum"])
        self.buffer: Final[float] = spec["buffer_percent"] / 100
        self.samples: Final[int] = spec["samples"]
        self.interval: Final[float] = spec["interval"]
        self.jitter: Final[float] = spec["jitter_percent"] / 100


class ConcurrencyPolicy:
    """Of one route. `limit` and `queue` are totals over all workers, `queue_timeout` seconds, `shed_share` a share of the limit
    from which on the versions in the bit mask `shed_first` get nothing."""

    def __init__(self, spec: dict[str, Any], versions: dict[str, int]) -> None:
        """`versions` are the route's versions' indexes by name. Raises KeyError for one that is not there."""
        self.limit: Final[int] = spec["limit"]
        self.queue: Final[int] = spec["queue"]
        self.queue_timeout: Final[float] = spec["queue_timeout"]
        self.shed_share: Final[float] = spec["shed_at_percent"] / 100
        mask = 0
        for name in spec["shed_first"]:
            mask |= 1 << versions[name]
        self.shed_first: Final[int] = mask
        adaptive = spec["adaptive"]
        self.adaptive: Final[AdaptivePolicy | None] = None if adaptive is None else AdaptivePolicy(adaptive)


class AdaptiveLimit:
    """The limit of one version, as one worker works on it. Times are monotonic seconds.

    All workers share one number: the limit, or, while somebody measures the floor, how many there may be meanwhile as a negative
    number; 0 is nothing yet. Who has a window of samples moves it, and the others, who see that it has moved, begin their
    windows anew: so it moves once for a window's worth of evidence, whichever worker has it.
    """

    def __init__(self, policy: AdaptivePolicy, start: int) -> None:
        self.policy: AdaptivePolicy = policy
        self.limit: int = min(max(start, policy.minimum), policy.maximum)
        self.floor: float = 0.0  # seconds; 0 while it is not known
        self._believed: float = (
            inf  # what the floor was before it was measured; nothing is believed of the first window
        )
        self._due: float = 0.0  # when it is to be measured again
        self._window: list[float] = []
        self._busiest: int = 0  # most requests at once in the window
        self._at_minimum: int = 0  # windows in a row
        self._meanwhile: int = 0  # the negative number, while somebody measures
        self._phase: int = 0  # counts measurements, so that only who began in one is a sample of it
        self._since: float = 0.0

    def permitted(self, shared: int) -> int:
        """How many requests there may be at once."""
        return shared if shared > 0 else -shared if shared < 0 else self.limit

    def begun(self, shared: int, in_use: int, now: float) -> int:
        """A request begins as the `in_use`-th; answers what `ended` is to be told."""
        if shared < 0:
            if shared != self._meanwhile:
                self._look_on(shared, now)
            return self._phase
        self._busiest = max(self._busiest, in_use)
        return 0

    def ended(self, seconds: float, phase: int, shared: int, now: float, draw: float) -> int:
        """A request was answered in `seconds`; answers the number to share from now on. `draw` is random, in [0, 1)."""
        if shared < 0:
            if shared != self._meanwhile:
                self._look_on(shared, now)
            elif phase == self._phase:
                self._window.append(seconds)
            policy = self.policy
            if len(self._window) >= policy.samples or now - self._since > policy.interval * _PATIENCE:
                return self._measured(now, draw)
            return shared
        if self._meanwhile:  # another has measured
            if len(self._window) * _FEW >= self.policy.samples:
                self.floor = _median(self._window)
            self._rest(now, draw)
        if shared == 0:
            return self.limit
        if shared != self.limit:
            self.limit = shared
            self._clear()
        if phase:
            return shared
        self._window.append(seconds)
        return shared if len(self._window) < self.policy.samples else self._moved(now)

    def _moved(self, now: float) -> int:
        """A window is full."""
        policy = self.policy
        limit = self.limit
        sample = _median(self._window)
        busiest = self._busiest
        self._clear()
        if self.floor == 0.0:
            self.floor = sample
            return self._measure(limit // 2, now)
        self._at_minimum = self._at_minimum + 1 if limit <= policy.minimum else 0
        if sample < self.floor or self._at_minimum >= _WINDOWS_AT_MINIMUM:
            self.floor = sample
            self._at_minimum = 0
        if now >= self._due:
            self._believed = self.floor
            return self._measure(int(limit * self.floor / sample * _SPARE), now)
        gradient = min(max(self.floor * (1 + policy.buffer) / sample, _LEAST), _MOST)
        wanted = limit * gradient
        moved = min(max(int(wanted + sqrt(wanted)), policy.minimum), policy.maximum)
        if moved < limit or busiest * 2 >= limit:
            self.limit = moved
        return self.limit

    def _measure(self, meanwhile: int, now: float) -> int:
        """Begin to measure the floor, with so many requests at once, but no fewer than there may be anyway."""
        shared = -max(meanwhile, min(self.limit, self.policy.minimum))
        self._look_on(shared, now)
        return shared

    def _look_on(self, shared: int, now: float) -> None:
        self._meanwhile = shared
        self._phase += 1
        self._since = now
        self._clear()

    def _measured(self, now: float, draw: float) -> int:
        meanwhile = -self._meanwhile
        lower = False
        if self._window:
            self.floor = _median(self._window)
            lower = self.floor < self._believed * _LOWER
            self._believed = self.floor
        if lower and meanwhile > self.policy.minimum:
            return self._measure(meanwhile // 2, now)
        self._rest(now, draw)
        return self.limit

    def _rest(self, now: float, draw: float) -> None:
        """The floor is known, until the next time."""
        self._meanwhile = 0
        self._due = now + self.policy.interval * (1 + self.policy.jitter * draw)
        self._clear()

    def _clear(self) -> None:
        self._window = []
        self._busiest = 0


def _median(values: list[float]) -> float:
    return sorted(values)[len(values) // 2]


class Seat:
    """A request that waits for a place, or has one. `lane` is the name of its version."""

    def __init__(self, lane: str) -> None:
        self.lane: Final = lane
        self.number: int = 0  # the order of coming
        self.waiting: bool = False
        self.asked: bool = False  # a connection to its version was there, or on its way

    def called(self) -> bool:
        """Take a place, if there is one, and go on. False when there is none."""
        raise AssertionError("who takes a seat says what it is for")

    def over(self) -> None:
        """The request is over."""
        raise AssertionError("who takes a seat says what it is for")


class Queue:
    """Who waits on one route: first come, first served, but that a version without room does not hold up the others."""

    def __init__(self, policy: ConcurrencyPolicy) -> None:
        self.policy: ConcurrencyPolicy = (
            policy  # of the plan in force; who waits from an earlier one is bound by it, too
        )
        self.length: int = 0
        self.yielding: int = 0  # ticks for which places are left to other workers
        self._came: int = 0
        self._lanes: Final[dict[str, deque[Seat]]] = {}
        self._calling: bool = False
        self._again: bool = False

    def join(self, seat: Seat) -> None:
        """Wait behind all others."""
        self._came += 1
        seat.number = self._came
        seat.waiting = True
        self.length += 1
        lane = self._lanes.get(seat.lane)
        if lane is None:
            self._lanes[seat.lane] = deque([seat])
        else:
            lane.append(seat)

    def leave(self, seat: Seat) -> None:
        """Wait no more. The seat itself goes when those before it have gone."""
        if seat.waiting:
            seat.waiting = False
            self.length -= 1
            lane = self._lanes[seat.lane]
            while lane and not lane[0].waiting:
                lane.popleft()
            if not lane:
                del self._lanes[seat.lane]

    def waits(self, lane: str) -> bool:
        """Whether anybody of that version waits."""
        return lane in self._lanes

    def call(self) -> None:
        """Offer places, in the order of coming, until nobody finds one. What is called may call again."""
        if self._calling:
            self._again = True
            return
        self._calling = True
        try:
            while self.length and self._one():
                pass
        finally:
            self._calling = False

    def _one(self) -> bool:
        """Whether one has found a place, or somebody has made one."""
        self._again = False
        heads = [lane[0] for lane in self._lanes.values()]
        if len(heads) > 1:
            heads.sort(key=_came)
        for seat in heads:
            if seat.waiting and seat.called():
                return True
        return self._again


def _came(seat: Seat) -> int:
    return seat.number
