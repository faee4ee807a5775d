"""The early brake over the last seconds: what core/brake.py is asked, by the control process and, while that is away, by workers.

The test sees errors of all requests, and errors of one user come together: a single client that always fails may be a good part of
what a small share gets. So where units are counted they must confirm it: several have erred, and either most requests fail, or the
version has more units with errors than its share is, with twenty to one. What is older than the window is forgotten, so that a
version that was well for a day is stopped as soon as one that has just begun. A baseline counts among the others, for it has few
requests by itself; but what it fails at as often as the version does is no fault of that.

The price: what Brake promises holds for one window, and not for all of them together. A version that errs exactly `tolerated` times
as often will be stopped some hours on.
"""

from collections import deque
from typing import Any, Final

from proxy.core.brake import Brake, Odds

Spec = dict[str, Any]

UNITS: Final = 3
"""Units that must have had an error of the version: one user who fails is no degradation."""
MOST: Final = 0.5
"""The share of errors that no single client makes, and that pulls the brake where there is no other version to compare with."""
CONFIRMED: Final = 0.05
"""How often, at most, units of a version that is no worse confirm what requests say."""


class Part:
    """What came in between two looks: requests and errors of the version, of those that it is compared with, and of these the
    baseline's."""

    def __init__(
        self,
        at: float,
        requests: int,
        errors: int,
        other_requests: int,
        other_errors: int,
        baseline_requests: int = 0,
        baseline_errors: int = 0,
    ) -> None:
        self.at: Final = at
        self.requests: Final = requests
        self.errors: Final = errors
        self.other_requests: Final = other_requests
        self.other_errors: Final = other_errors
        self.baseline_requests: Final = baseline_requests
        self.baseline_errors: Final = baseline_errors


class BrakeWindow:
    """One version. `tolerated` times the errors of the others are none of its business; `window` is in seconds; below `minimum`
    requests within it nothing is done."""

    def __init__(self, tolerated: float, window: float, minimum: int) -> None:
        self.tolerated: Final = tolerated
        self.window: Final = window
        self.minimum: Final = minimum
        self.reason: str = ""
        self.numbers: Spec = {}
        self._parts: Final[deque[Part]] = deque()
        self._most: bool = False  # of the requests in the window have failed

    def release(self) -> None:
        """Forget all of it."""
        self._parts.clear()

    def look(self, part: Part) -> bool:
        """Whether requests pull it, with what is new. `reason` and `numbers` then say why.

        Counts below 0 are of counters that were replaced, and all is forgotten.
        """
        if min(part.requests, part.errors, part.other_requests, part.other_errors) < 0:
            self._parts.clear()
            return False
        if part.requests or part.other_requests:
            self._parts.append(part)
        while self._parts and self._parts[0].at <= part.at - self.window:
            self._parts.popleft()
        requests = errors = other_requests = other_errors = baseline_requests = baseline_errors = 0
        for one in self._parts:
            requests += one.requests
            errors += one.errors
            other_requests += one.other_requests
            other_errors += one.other_errors
            baseline_requests += one.baseline_requests
            baseline_errors += one.baseline_errors
        if requests < self.minimum or not errors:
            return False
        self._most = errors >= MOST * requests
        self.numbers = {
            "window": self.window,
            "requests": requests,
            "errors": errors,
            "error_percent": round(100.0 * errors / requests, 3),
            "other_requests": other_requests,
            "other_errors": other_errors,
            "tolerated": self.tolerated,
        }
        self.reason = f"{errors} of {requests} requests failed within {self.window:g} s"
        if not other_requests:
            self.reason += ", and there is no other version to compare with"
            return self._most
        self.reason += f", {other_errors} of {other_requests} elsewhere"
        if baseline_requests >= self.minimum:
            self.numbers["baseline_requests"] = baseline_requests
            self.numbers["baseline_errors"] = baseline_errors
            self.reason += f", {baseline_errors} of {baseline_requests} at the baseline"
            if errors * baseline_requests <= self.tolerated * baseline_errors * requests:
                return False  # as fresh as the version, and no better
        brake = Brake()
        for one in self._parts:
            if one.requests and one.other_requests:  # where only one of them had any, errors compare nothing
                share = one.requests / (one.requests + one.other_requests)
                brake.add(Odds(share, self.tolerated), one.errors, one.other_errors)
        self.numbers["ln_evidence"] = round(brake.evidence(), 3)
        return brake.pulled

    def confirmed(self, erred: int, others_erred: int, share: float) -> bool:
        """Whether units say so, too: those with an error of the version, and those of the others, where it has this share of
        all."""
        self.numbers["units"] = erred
        self.numbers["other_units"] = others_erred
        if erred < UNITS:
            return False
        if self._most or not 0.0 < share < 1.0:
            return True
        return Brake(CONFIRMED).add(Odds(share, 1.0), erred, others_erred)
