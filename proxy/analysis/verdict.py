"""What a judge says of one metric, and what all of them say together. Always with numbers, and with a reason that can be read.

"Insufficient" is a verdict of its own: too few samples, none at all, a metric whose name nobody knows, a value that is not a
number. It is never a pass. What then becomes of the rollout is `on_no_data`: pause (the default), wait, or fail.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import isfinite, isnan
from typing import Final, Literal

from proxy.analysis.budget import Weight

Outcome = Literal["pass", "fail", "insufficient"]
OnNoData = Literal["pause", "wait", "fail"]
ON_NO_DATA: Final[tuple[OnNoData, ...]] = ("pause", "wait", "fail")


@dataclass(frozen=True, slots=True)
class Verdict:
    """One metric.

    `effect` with `low` and `high`, in what `measure` says (a ratio, seconds, percent); None where unknown. `evidence`: ln E,
    None for tests that have none. `samples`: of the canary and of the others, counted as `unit` says. `seconds`: expected
    until a decision, 0.0 where there is one, None where nobody can say. `alpha`: what it was judged at. A pass with an effect
    that is no number becomes insufficient here, whoever made it.
    """

    metric: str
    outcome: Outcome
    reason: str
    measure: str = ""
    effect: float | None = None
    low: float | None = None
    high: float | None = None
    evidence: float | None = None
    samples: tuple[int, int] = (0, 0)
    unit: str = "units"
    seconds: float | None = None
    alpha: float | None = None

    def __post_init__(self) -> None:
        for name in ("effect", "low", "high", "evidence", "seconds"):
            value = getattr(self, name)
            if value is None or isfinite(value):
                continue
            if self.outcome == "pass" and (isnan(value) or name == "effect"):
                object.__setattr__(self, "outcome", "insufficient")
                object.__setattr__(self, "reason", f"{self.metric}: the {name} is {value}, which proves nothing")
            object.__setattr__(self, name, None)  # JSON knows neither NaN nor infinity


def missing(metric: str, known: Sequence[str] = ()) -> Verdict:
    """Of a metric that nothing was heard of. `known`: those that there are, for who has misspelt it."""
    hint = f"; known are {', '.join(sorted(known))}" if known else ""
    return Verdict(metric, "insufficient", f"{metric}: no data{hint}")


@dataclass(frozen=True, slots=True)
class Together:
    """All metrics. `verdicts` are those of all metrics that were named, missing ones too, in their order.

    `at_once`: a critical metric failed, and nothing should be waited for. `action` is what to do about an insufficient
    outcome, and "" where the outcome is another.
    """

    outcome: Outcome
    reason: str
    at_once: bool
    action: OnNoData | Literal[""]
    verdicts: tuple[Verdict, ...] = field(default=())


def together(
    metrics: Mapping[str, Weight],
    verdicts: Sequence[Verdict],
    *,
    gate: bool,
    on_no_data: OnNoData = "pause",
) -> Together:
    """Make one of many. `gate`: the step has lasted as long as it should, so normal metrics count and lacking data is acted upon.

    Before that, only a critical fail stops, and what is insufficient is waited for. Nothing to judge by is insufficient. A
    verdict on a metric that was not named before the start is left out. Raises ValueError for an `on_no_data` that is none.
    """
    if on_no_data not in ON_NO_DATA:
        raise ValueError(f"on_no_data: one of {', '.join(ON_NO_DATA)}")
    known = {one.metric: one for one in verdicts}
    strangers = sorted(set(known) - set(metrics))
    every = tuple(known.get(name) or missing(name, strangers) for name in metrics)
    counted = [one for one in every if metrics[one.metric] != "watch"]
    urgent = [one for one in counted if one.outcome == "fail" and metrics[one.metric] == "critical"]
    failed = [one for one in counted if one.outcome == "fail"]
    lacking = [one for one in counted if one.outcome == "insufficient"]
    if urgent:
        return Together("fail", _reasons(urgent), at_once=True, action="", verdicts=every)
    if failed and gate:
        return Together("fail", _reasons(failed), at_once=False, action="", verdicts=every)
    if failed:
        return Together("insufficient", f"until the gate: {_reasons(failed)}", False, "wait", every)
    if lacking or not counted:
        reason = _reasons(lacking) if lacking else "no metric that counts"
        if not gate:
            return Together("insufficient", reason, at_once=False, action="wait", verdicts=every)
        if on_no_data == "fail":
            return Together("fail", f"on_no_data: {reason}", at_once=False, action="", verdicts=every)
        return Together("insufficient", reason, at_once=False, action=on_no_data, verdicts=every)
    return Together("pass", _reasons(counted), at_once=False, action="", verdicts=every)


def _reasons(verdicts: Sequence[Verdict]) -> str:
    return "; ".join(one.reason for one in verdicts)
