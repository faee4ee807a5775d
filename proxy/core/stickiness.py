"""Who keeps the version once dealt, whatever the weights become: by a record in a signed cookie that the unit brings along.

There is no store of records, so replicas, workers and restarts agree. What says that a record counts is in the record and in
the plan: it was given to this unit on this route, under this mode, salt and epoch (all of that is signed), it is young enough,
and its version is still there. A version without a weight gives no new records and prolongs none, so that the last of its
units is gone `drain` seconds after the weight was taken from it.
"""

from typing import Any, Final

from proxy.core.cookies import Kept

Spec = dict[str, Any]

PINNED: Final = "pinned"
NEW_SESSIONS: Final = "new_sessions"
UNTIL_STEP: Final = "step"

_RENEWED: Final = 8
"""A session's record is written anew after this part of its age: not with every answer, and long before it ends."""


class Stickiness:
    """How long units of a route keep a version. `scope` is what their records are signed for; durations in seconds.

    With `until: step` a record counts in the step of a rollout in which it was given: `epoch` then is one of the step's own.
    """

    def __init__(self, spec: Spec, route: str, salt: str, epoch: int) -> None:
        self.mode: Final[str] = spec["mode"]  # pinned or new_sessions
        self.cookie: Final[bytes] = spec["cookie"].encode()
        self.max_age: Final[float] = spec["max_age"]
        self.drain: Final[float] = spec["drain"]
        self.by_step: Final[bool] = spec["until"] == UNTIL_STEP
        self.epoch: Final[int] = epoch ^ spec["step"] if self.by_step else epoch
        self.scope: Final = f"{route}\0{self.mode}\0{salt}".encode()
        # A session's cookie ends with the browser's session.
        self.cookie_age: Final[int] = int(self.max_age) if self.mode == PINNED else 0

    def why_over(self, kept: Kept, weight: float, at: float) -> str:
        """Why a record counts no more, at the time `at` in Unix seconds; "" where it does. `weight` is its version's."""
        if kept.epoch != self.epoch:
            if self.by_step:
                return "the step in which it was given has ended"
            return f"it is of epoch {kept.epoch}"
        age = at - kept.at
        if age >= self.max_age:
            return f"it is {age:.0f} s old, {self.max_age:g} s are the most"
        if weight <= 0.0 and age >= self.drain:
            return f"it is {age:.0f} s old, and its version, which has no weight, is let go after {self.drain:g} s"
        return ""

    def renews(self, kept: Kept, weight: float, at: float) -> bool:
        """Whether a record that counts is to be written anew, because its session goes on."""
        return self.mode == NEW_SESSIONS and weight > 0.0 and at - kept.at >= self.max_age / _RENEWED
