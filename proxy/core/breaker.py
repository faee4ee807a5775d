"""A version's circuit breaker: when too much fails, nobody is sent there for a while, and then a few, to see.

While it is closed it watches a sliding window of ten buckets; shares are judged on the totals of all workers, so that no
split of the traffic among them hides a failing version. Open, it refuses at once: the users of the version go to its
fallback, and their assignment does not change. When the open time is over it is half-open: a few requests at a time go
through as probes. As many successes as there may be probes close it, one failure opens it for twice as long (each time in a
row, up to a cap; a row ends when the breaker has stayed closed for as long as it was last open). Where all of them are still
under way when the last has had the open time, another goes through, and so on: clients that send their bodies byte by byte
must not keep a version from coming back. When one worker's breaker opens the others follow at their next look, so that
one opening is one opening.

The table says what each event means in each state; it is total, and a test walks every pair.
"""

from enum import Enum
from typing import Any, Final

Spec = dict[str, Any]

BUCKETS: Final = 10
ORDINARY: Final = 0
"""What `admit` answers for a request that is no probe."""
REFUSED: Final = -1


class State(Enum):
    """Whether requests go through."""

    CLOSED = "closed"  # all of them
    HALF_OPEN = "half_open"  # a few, as probes
    OPEN = "open"  # none


class Event(Enum):
    """What can happen to a breaker."""

    TRIPPED = "tripped"  # a share of the window is above its limit
    ELSEWHERE = "elsewhere"  # another worker's breaker has opened
    DUE = "due"  # the open time is over
    SUCCEEDED = "succeeded"  # a probe did, and more are wanted
    ENOUGH = "enough"  # a probe succeeded, and no more are wanted
    FAILED = "failed"  # a probe did
    RECOVERED = "recovered"  # another worker's breaker has closed


class Action(Enum):
    """What the breaker does about it."""

    NOTHING = "nothing"
    OPEN = "refuse everybody, forget the window, count an opening"
    FOLLOW = "refuse everybody, forget the window"
    PROBE = "let a few through"
    COUNT = "count the success"
    CLOSE = "let everybody through"


_C, _H, _O = State.CLOSED, State.HALF_OPEN, State.OPEN

TABLE: Final[dict[tuple[State, Event], tuple[State, Action]]] = {
    (_C, Event.TRIPPED): (_O, Action.OPEN),
    (_C, Event.ELSEWHERE): (_O, Action.FOLLOW),
    (_C, Event.DUE): (_C, Action.NOTHING),
    (_C, Event.SUCCEEDED): (_C, Action.NOTHING),  # a probe that outlived the half-open state
    (_C, Event.ENOUGH): (_C, Action.NOTHING),
    (_C, Event.FAILED): (_C, Action.NOTHING),  # the window judges
    (_C, Event.RECOVERED): (_C, Action.NOTHING),
    (_H, Event.TRIPPED): (_H, Action.NOTHING),  # the window is from before; the probes judge
    (_H, Event.ELSEWHERE): (_O, Action.FOLLOW),
    (_H, Event.DUE): (_H, Action.NOTHING),
    (_H, Event.SUCCEEDED): (_H, Action.COUNT),
    (_H, Event.ENOUGH): (_C, Action.CLOSE),
    (_H, Event.FAILED): (_O, Action.OPEN),
    (_H, Event.RECOVERED): (_C, Action.CLOSE),  # there may be no traffic here to probe with
    (_O, Event.TRIPPED): (_O, Action.NOTHING),
    (_O, Event.ELSEWHERE): (_O, Action.NOTHING),
    (_O, Event.DUE): (_H, Action.PROBE),
    (_O, Event.SUCCEEDED): (_O, Action.NOTHING),
    (_O, Event.ENOUGH): (_O, Action.NOTHING),
    (_O, Event.FAILED): (_O, Action.NOTHING),
    (_O, Event.RECOVERED): (_O, Action.NOTHING),  # its own time is not over
}

STATES: Final[tuple[State, ...]] = (State.CLOSED, State.HALF_OPEN, State.OPEN)
"""In the order of their places in the counters."""


class BreakerPolicy:
    """A version's `breaker`. Seconds; shares in percent; a share of 0 is off."""

    def __init__(self, spec: Spec) -> None:
        self.window: Final[float] = spec["window"]
        self.minimum: Final[int] = spec["minimum_requests"]
        self.error_percent: Final[float] = spec["error_percent"]
        slow: Spec | None = spec["slow"]
        self.slow_above: Final[float] = slow["above"] if slow else 0.0
        self.slow_percent: Final[float] = slow["percent"] if slow else 0.0
        self.saturation_percent: Final[float] = spec["saturation_percent"]
        self.open: Final[float] = spec["open"]
        self.max_open: Final[float] = spec["max_open"]
        self.probes: Final[int] = spec["probes"]

    def tripped(self, requests: int, errors: int, slow: int) -> bool:
        """Whether these numbers of one window, over all workers, are too bad."""
        if requests < self.minimum:
            return False
        hundred = requests / 100.0
        return (self.error_percent > 0.0 and errors >= self.error_percent * hundred) or (
            self.slow_percent > 0.0 and slow >= self.slow_percent * hundred
        )

    def saturated(self, taken: int, limit: int) -> bool:
        """Whether `taken` of the upstream's `limit` requests are too many."""
        return 0.0 < self.saturation_percent * limit <= taken * 100.0


class Window:
    """Counts of the last `seconds`, in ten buckets; the oldest goes as a new one begins."""

    def __init__(self, seconds: float) -> None:
        self._span: Final = seconds / BUCKETS
        self._turn: int = 0
        self._requests: Final[list[int]] = [0] * BUCKETS
        self._errors: Final[list[int]] = [0] * BUCKETS
        self._slow: Final[list[int]] = [0] * BUCKETS
        self.requests: int = 0
        self.errors: int = 0
        self.slow: int = 0

    def advance(self, now: float) -> None:
        """Forget what is too old at `now`."""
        turn = int(now / self._span)
        passed = turn - self._turn
        if passed <= 0:
            return
        if passed >= BUCKETS:
            self._turn = turn
            self.clear()
            return
        for gone in range(self._turn + 1, turn + 1):
            place = gone % BUCKETS
            self.requests -= self._requests[place]
            self.errors -= self._errors[place]
            self.slow -= self._slow[place]
            self._requests[place] = self._errors[place] = self._slow[place] = 0
        self._turn = turn

    def add(self, now: float, requests: int, errors: int, slow: int) -> None:
        """Count into the bucket of `now`."""
        if int(now / self._span) != self._turn:
            self.advance(now)
        place = self._turn % BUCKETS
        self._requests[place] += requests
        self.requests += requests
        if errors or slow:
            self._errors[place] += errors
            self._slow[place] += slow
            self.errors += errors
            self.slow += slow

    def clear(self) -> None:
        """Forget everything."""
        for place in range(BUCKETS):
            self._requests[place] = self._errors[place] = self._slow[place] = 0
        self.requests = self.errors = self.slow = 0


class Breaker:
    """One worker's breaker of one version. `now` is a monotonic clock in seconds."""

    def __init__(self, policy: BreakerPolicy, workers: int = 1) -> None:
        self.policy: BreakerPolicy = policy
        self.state: State = State.CLOSED
        self.openings: int = 0  # by its own judgement
        self.window: Window = Window(policy.window)
        self.shut: bool = False  # not closed: the one thing that a request asks first
        self.next_look: float = 0.0  # when whoever holds it compares it with the other workers' again
        self.heard: int = 0  # openings of the other workers that it has followed
        self.among: int = 0  # which set of workers those were counted in
        self.noted: int = 0  # of its own that have been written down
        self.workers: int = workers
        self._opened_at: float = 0.0
        self._closed_at: float = 0.0
        self._length: float = 0.0  # of the last open time; 0 before the first
        self._probing: int = 0
        self._probed_at: float = 0.0  # when the last of them went through
        self._successes: int = 0
        self._epoch: int = 0  # of half-open states: what a probe belongs to

    def take_policy(self, policy: BreakerPolicy) -> None:
        """Go on under a new policy, in the same state."""
        if policy.window != self.policy.window:
            self.window = Window(policy.window)
        self.policy = policy

    @property
    def wanted(self) -> int:
        """Probes at a time, and successes, of this worker: its share of what the policy says, at least one."""
        return max(-(-self.policy.probes // self.workers), 1)

    def admit(self, now: float) -> int:
        """Whether a request may go: REFUSED, ORDINARY, or the mark of a probe, to be handed to `ended` or `dropped`."""
        if not self.shut:
            return ORDINARY
        if self.state is State.OPEN and now - self._opened_at >= self._length:
            self.meet(Event.DUE, now)
        if self.state is State.HALF_OPEN and (
            self._probing + self._successes < self.wanted or now - self._probed_at >= self.policy.open
        ):
            self._probing += 1
            self._probed_at = now
            return self._epoch
        return REFUSED

    def ended(self, now: float, mark: int, failed: bool, slow: bool) -> None:
        """A request that was admitted has its answer, or failed. `slow` alone fails a probe, too."""
        if not self.shut:
            self.window.add(now, 1, int(failed), int(slow))
        if mark == ORDINARY or mark != self._epoch or self.state is not State.HALF_OPEN:
            return
        self._probing -= 1
        if failed or (slow and self.policy.slow_percent > 0.0):
            self.meet(Event.FAILED, now)
        elif self._successes + 1 >= self.wanted:
            self.meet(Event.ENOUGH, now)
        else:
            self.meet(Event.SUCCEEDED, now)

    def spoiled(self, now: float, mark: int) -> None:
        """An answer that `ended` was told of as good was cut off before its end."""
        if not self.shut:
            self.window.add(now, 0, 1, 0)
        if mark != ORDINARY and mark == self._epoch:
            self.meet(Event.FAILED, now)

    def dropped(self, mark: int) -> None:
        """A request that was admitted ended without saying anything about the version."""
        if mark != ORDINARY and mark == self._epoch and self.state is State.HALF_OPEN:
            self._probing -= 1

    def meet(self, event: Event, now: float) -> Action:
        """Do what the table says."""
        before = self.state
        self.state, action = TABLE[before, event]
        if action is Action.OPEN or action is Action.FOLLOW:
            policy = self.policy
            in_a_row = before is State.HALF_OPEN or (self._length > 0.0 and now - self._closed_at <= self._length)
            self._length = min(self._length * 2.0, policy.max_open) if in_a_row else policy.open
            self._opened_at = now
            self.window.clear()  # it has been judged; the other workers' judgement must not stand on it again
            if action is Action.OPEN:
                self.openings += 1
        elif action is Action.PROBE:
            self._epoch += 1
            self._probing = self._successes = 0
        elif action is Action.COUNT:
            self._successes += 1
        elif action is Action.CLOSE:
            self._closed_at = now
        self.shut = self.state is not State.CLOSED
        return action

    def look(self, now: float) -> None:
        """Time has passed."""
        self.window.advance(now)
        if self.state is State.OPEN and now - self._opened_at >= self._length:
            self.meet(Event.DUE, now)

    def waits_for_probes(self, now: float, seconds: float) -> bool:
        """Whether it is half-open without a probe, and was opened at least `seconds` ago."""
        return self.state is State.HALF_OPEN and self._probing == 0 and now - self._opened_at >= seconds
