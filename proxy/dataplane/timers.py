"""Deadlines from one coarse wheel instead of a timer per request.

Whoever can be late is a `Timed`. Moving a deadline further away, which is what every request does several times, is an
assignment: the entry stays where it is and is put into its new place when its old turn comes. Only a deadline that is earlier
by more than a tick costs an insertion. Deadlines are kept to one tick.
"""

from math import inf
from typing import Final

TICK: Final = 0.05
"""Seconds."""


class Timed:
    """Something with a deadline (monotonic seconds; infinite while there is none).

    Attributes that start with the same value have it from the class: what is made per request is made cheaper so.
    """

    deadline: float = inf
    due: float = inf  # when the wheel will look at it; infinite while it is on no wheel
    turn: int = 0

    def expired(self, now: float) -> None:
        """The deadline has passed. It is disarmed already."""
        raise AssertionError(f"{type(self).__name__} cannot be late")


class TimerWheel:
    """Looks at each entry once, on the tick in which it is due."""

    def __init__(self, now: float) -> None:
        self._turns: Final[dict[int, set[Timed]]] = {}
        self._last: int = int(now / TICK)

    def arm(self, timed: Timed, deadline: float) -> None:
        """Set a deadline. Where it only moves away, callers on the hot path assign `timed.deadline` themselves."""
        timed.deadline = deadline
        if deadline < timed.due - TICK:
            self._insert(timed)

    def _insert(self, timed: Timed) -> None:
        if timed.due != inf:
            self._turns[timed.turn].discard(timed)
        turn = max(int(timed.deadline / TICK) + 1, self._last + 1)
        timed.turn = turn
        timed.due = turn * TICK
        entries = self._turns.get(turn)
        if entries is None:
            self._turns[turn] = {timed}
        else:
            entries.add(timed)

    def forget(self, timed: Timed) -> None:
        """Take an entry off the wheel: what is closed must not be kept alive by a deadline far away."""
        timed.deadline = inf
        if timed.due != inf:
            entries = self._turns.get(timed.turn)
            if entries is not None:
                entries.discard(timed)
            timed.due = inf

    def advance(self, now: float) -> None:
        """Call what is late. An entry may arm itself or others meanwhile."""
        current = int(now / TICK)
        while self._last < current:
            self._last += 1
            entries = self._turns.pop(self._last, None)
            if entries is None:
                continue
            for timed in entries:
                timed.due = inf
            try:
                for timed in entries:
                    deadline = timed.deadline
                    if deadline <= now:
                        if timed.due == inf:
                            timed.deadline = inf
                            timed.expired(now)
                    elif deadline != inf and timed.due == inf:
                        self._insert(timed)
            except BaseException:
                for timed in entries:  # one that fails must not cost the others their turn
                    if timed.deadline != inf and timed.due == inf:
                        self._insert(timed)
                raise
