"""The early brake of one rollout in the control process: each second, on the counters of all workers. Pure."""

from collections.abc import Mapping
from typing import Any, Final, Self

from proxy.core.brake_window import BrakeWindow, Part
from proxy.telemetry.measures import Counts

Spec = dict[str, Any]


class RouteBrake:
    """It begins anew with each stretch. `reason` and `numbers` say why it was pulled."""

    def __init__(self, new: str, others: list[str], baseline: str | None, window: BrakeWindow) -> None:
        self._new: Final = new
        self._baseline: Final = [] if baseline is None else [baseline]
        self._others: Final = others
        self._window: Final = window
        self._before: dict[str, Counts] = {}

    @classmethod
    def of(cls, plan: Spec, arms: tuple[str, str, str | None] | None = None) -> Self | None:
        """The brake of a plan (the spec's `rollout`), None where it has none. `arms` (from, to, baseline) are those of the plan, or
        of a rollout that it took over from."""
        spec = plan["brake"]
        if spec is None:
            return None
        old, new, baseline = arms or (plan["from"], plan["to"], plan["baseline"])
        others = [name for name in (old, baseline) if name]
        window = BrakeWindow(float(spec["errors"]), float(spec["window"]), int(spec["minimum"]))
        return cls(new, others, baseline, window)

    @property
    def reason(self) -> str:
        """One sentence."""
        return f"`{self._new}`: {self._window.reason}"

    @property
    def numbers(self) -> Spec:
        """Plain JSON."""
        return dict(self._window.numbers)

    def release(self) -> None:
        """A new stretch: nothing is gathered."""
        self._window.release()
        self._before = {}

    def look(
        self,
        counts: Mapping[str, Counts],
        now: float,
        units: Mapping[str, int],
        weights: Mapping[str, float],
        called: int | None = None,
    ) -> bool:
        """Whether `counts` pull it at `now`, seconds of a clock that only goes forward. `units`: those with errors in this stretch,
        by version; they are asked where the version has a weight. Where it has none, `called` are asked: units with errors that
        got it by a ring or a rule; None where nobody knows them."""
        before, self._before = self._before, dict(counts)
        if not before:
            return False
        requests, errors = _more(counts, before, [self._new])
        other_requests, other_errors = _more(counts, before, self._others)
        fresh = _more(counts, before, self._baseline)
        if not self._window.look(Part(now, requests, errors, other_requests, other_errors, *fresh)):
            return False
        mine = weights.get(self._new, 0.0)
        if mine <= 0.0:
            return called is None or self._window.confirmed(called, 0, 0.0)
        others = sum(weights.get(name, 0.0) for name in self._others)
        return self._window.confirmed(
            units.get(self._new, 0), sum(units.get(name, 0) for name in self._others), mine / (mine + others)
        )


def _more(counts: Mapping[str, Counts], before: Mapping[str, Counts], names: list[str]) -> tuple[int, int]:
    """Requests and errors since then; -1 where a counter went back."""
    requests = errors = 0
    for name in names:
        now = counts.get(name)
        if now is None:
            continue
        then = before.get(name, now)
        if now.requests < then.requests or now.errors < then.errors:
            return -1, -1
        requests += now.requests - then.requests
        errors += now.errors - then.errors
    return requests, errors
