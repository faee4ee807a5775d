"""Burn rate: how fast is the error budget of an objective used up? Several windows must agree (Google, "The site reliability
workbook", chapter 5).

An objective of 99.9 % allows a thousandth of the requests to fail. A burn rate of 1 uses that up exactly in the objective's
period; 14.4 uses 2 % of a month's budget in an hour. A long window says that it matters, a short one beside it that it goes
on.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal


@dataclass(frozen=True, slots=True)
class Window:
    """Both `long` and `short` seconds must burn at `rate` or faster."""

    long: float
    short: float
    rate: float


WINDOWS: Final[tuple[Window, ...]] = (
    Window(3600.0, 300.0, 14.4),
    Window(21_600.0, 1800.0, 6.0),
)
"""The workbook's two that page somebody. The third, of three days, is longer than a rollout's step."""


@dataclass(frozen=True, slots=True)
class Burning:
    """The pair that burns fastest beside its rate: requests and errors of both windows, and the slower of their burn rates."""

    outcome: Literal["pass", "fail", "insufficient"]
    window: Window
    rate: float
    requests: int


def burn_rate(errors: int, requests: int, objective: float) -> float:
    """How many times as fast as allowed. Raises ValueError for an objective outside (0, 1), and without requests."""
    if not 0.0 < objective < 1.0 or requests < 1:
        raise ValueError("an objective between 0 and 1, and at least one request")
    return errors / requests / (1.0 - objective)


def burning(
    counts: Callable[[float], tuple[int, int]],
    objective: float,
    windows: Sequence[Window] = WINDOWS,
    least_requests: int = 100,
) -> Burning:
    """Judge. `counts(seconds)` gives errors and requests of the last so many seconds.

    One pair that burns fails; a pass needs `least_requests` in each long window. A short window without requests is no
    evidence that it goes on. Raises ValueError for an objective outside (0, 1) and without windows.
    """
    if not windows:
        raise ValueError("at least one window")
    found = []
    for window in windows:
        errors, requests = counts(window.long)
        recent, lately = counts(window.short)
        rate = min(
            burn_rate(errors, requests, objective) if requests else 0.0,
            burn_rate(recent, lately, objective) if lately else 0.0,
        )
        outcome: Literal["pass", "fail", "insufficient"] = "pass"
        if requests < least_requests:
            outcome = "insufficient"
        elif rate >= window.rate:
            outcome = "fail"
        found.append(Burning(outcome, window, rate, requests))
    found.sort(key=lambda one: (("fail", "insufficient", "pass").index(one.outcome), -one.rate / one.window.rate))
    return found[0]
