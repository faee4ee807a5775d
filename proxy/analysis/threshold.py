"""A plain threshold: a metric's last N intervals must lie within limits. For what has no other version to compare with.

It has no error budget: how often a sound canary fails it is nobody's promise, and a step that asks it often fails more often. It is
what rings are judged by, where nobody was dealt by chance.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal


@dataclass(frozen=True, slots=True)
class Limits:
    """`least` and `most` are allowed themselves; `failures` of the last `intervals` beyond them fail.

    Raises ValueError without any limit, for limits that leave nothing, and for more failures than intervals.
    """

    least: float | None = None
    most: float | None = None
    intervals: int = 1
    failures: int = 1

    def __post_init__(self) -> None:
        if self.least is None and self.most is None:
            raise ValueError("a least or a most")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError("the least is above the most")
        if not 1 <= self.failures <= self.intervals:
            raise ValueError("from 1 failure to as many as there are intervals")

    def within(self, value: float) -> bool:
        """Whether a finite value lies within the limits."""
        return (self.least is None or value >= self.least) and (self.most is None or value <= self.most)


def hold(values: Sequence[float], limits: Limits) -> Literal["pass", "fail", "insufficient"]:
    """What the newest values (the last is the newest) say. One that is missing is NaN, and is neither within nor beyond.

    Enough of them beyond is a fail, whatever is missing; a pass needs all intervals there.
    """
    newest = values[-limits.intervals :]
    there = [value for value in newest if isfinite(value)]
    if sum(1 for value in there if not limits.within(value)) >= limits.failures:
        return "fail"
    return "pass" if len(there) == limits.intervals else "insufficient"
