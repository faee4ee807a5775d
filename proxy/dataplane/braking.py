"""The early brake in a worker, while there is no control process: it takes a version out of service by itself.

Each worker goes by its own counters. What it does is what a kill of the version does: whoever would have got it is dealt among the
others, with the reason `kill`. It stays so until a plan comes with another stretch: control has then
decided. One that comes back is told, and sends the plan it had at first, in which the brake stays on.
"""

from collections.abc import Callable
from typing import Any, Final

from proxy.core.audience import Kill
from proxy.core.brake_window import BrakeWindow, Part
from proxy.core.evidence import EvidenceWish, Tally
from proxy.core.plan import Plan, Route, Version
from proxy.errors import FLAGS
from proxy.telemetry.counters import (
    BUCKETS,
    V_BRAKES,
    V_DURATION,
    V_FLAGS,
    V_MARKED_ERRORS,
    V_MARKED_REQUESTS,
)

LABEL: Final = "rollout.brake"
EVERY: Final = 1.0
"""Seconds between two looks."""

Spec = dict[str, Any]


class Watched:
    """One route's: its window, and the counters at the last look."""

    def __init__(
        self, tally: Tally, window: BrakeWindow, new: Version, others: list[Version], baseline: list[Version]
    ) -> None:
        self.tally: Final = tally
        self.window: Final = window
        self.new: Final = new
        self.others: Final = others
        self.baseline: Final = baseline
        self.before: list[int] = []


class Braking:
    """One worker's. `now` is its monotonic clock in seconds."""

    def __init__(self, now: Callable[[], float], view: memoryview, warn: Callable[[str, Spec], None]) -> None:
        self._now: Final = now
        self._view: Final[memoryview] = view
        self._warn: Final = warn
        self._watched: dict[str, Watched] = {}
        self._next: float = 0.0

    def bring(self, plan: Plan) -> None:
        """A plan comes in force, whose routes have their tallies. A brake that was pulled in the same stretch stays on."""
        self._watched = {}
        for route in plan.routes:
            tally = route.evidence
            if tally is not None and tally.braked is not None:
                take_out(route, tally)

    def look(self, plan: Plan | None) -> None:
        """There is no control: look at the counters, once a second."""
        now = self._now()
        if plan is None or now < self._next:
            return
        self._next = now + EVERY
        for route in plan.routes:
            tally = route.evidence
            if tally is None or tally.braked is not None:
                continue
            watched = self._watched.get(route.name)
            if watched is None or watched.tally is not tally:
                watched = _watch(route, tally)
                if watched is None:
                    continue
                self._watched[route.name] = watched
            self._look_at(route, watched, now)

    def rest(self) -> None:
        """There is control again: it watches."""
        if self._watched:
            self._watched = {}

    def _look_at(self, route: Route, watched: Watched, now: float) -> None:
        counts = [
            *self._counts([watched.new]),
            *self._counts(watched.others),
            *self._counts(watched.baseline),
        ]
        before = watched.before
        watched.before = counts
        if not before:
            return
        more = [count - then for count, then in zip(counts, before, strict=True)]
        part = Part(now, more[0], more[1], more[2], more[3], more[4], more[5])
        tally = watched.tally
        if watched.window.look(part) and _confirmed(watched):
            tally.braked = {
                "version": watched.new.name,
                "reason": watched.window.reason,
                "numbers": watched.window.numbers,
            }
            tally.changed = True
            take_out(route, tally)
            self._view[watched.new.slot + V_BRAKES] += 1
            self._warn(
                f"there is no control process, and {watched.new.name} of route {route.name} is taken out of service:"
                f" {watched.window.reason}",
                watched.window.numbers,
            )

    def _counts(self, versions: list[Version]) -> list[int]:
        """Requests and errors of these, marked ones left out."""
        view = self._view
        requests = errors = 0
        for version in versions:
            slot = version.slot
            requests += (
                sum(view[slot + V_DURATION + 1 : slot + V_DURATION + 1 + BUCKETS]) - view[slot + V_MARKED_REQUESTS]
            )
            errors += sum(view[slot + V_FLAGS : slot + V_FLAGS + len(FLAGS)]) - view[slot + V_MARKED_ERRORS]
        return [requests, errors]


def _confirmed(watched: Watched) -> bool:
    """Whether units say so, too, where the version has any."""
    weight = watched.new.weight
    tally = watched.tally
    if weight <= 0.0:  # nobody is dealt it: it is given to rings, or by rules
        called = tally.called[watched.new.index]
        return "" in called or watched.window.confirmed(len(called), 0, 0.0)
    others = 0
    whole = weight
    for version in watched.others:
        others += tally.erred(version.index)
        whole += version.weight
    return watched.window.confirmed(tally.erred(watched.new.index), others, weight / whole)


def take_out(route: Route, tally: Tally) -> None:
    """Have nobody get the version that the tally's wish brings in."""
    version = route.by_name.get(tally.wish.given_to)
    if version is None or any(kill.label == LABEL for kill in route.version_kills):
        return
    route.version_kills.append(Kill(LABEL, 0.0, version.index))
    route.plain = False


def _watch(route: Route, tally: Tally) -> Watched | None:
    wish: EvidenceWish = tally.wish
    spec = wish.brake
    new = route.by_name.get(wish.given_to)
    if spec is None or new is None:
        return None
    others = [route.by_name[name] for name in wish.compared if name in route.by_name]
    window = BrakeWindow(float(spec["errors"]), float(spec["window"]), int(spec["minimum"]))
    baseline = [one for one in others if one.name == wish.baseline]
    return Watched(tally, window, new, others, baseline)
