"""Why a unit gets a variant of a flag: the evaluation with everything it looked at, as plain values for people and JSON.

As with versions (explanation.py) the path goes through every kind in its order, whether or not it is reached, asks the
functions that `evaluate` asks, and says what would have come next.
"""

from collections.abc import Mapping
from typing import Any, Final

from proxy.core.audience import is_over
from proxy.core.dates import format_date
from proxy.core.decide import take_records
from proxy.core.explanation import ABSENT, DECIDES, FAILS, LATER, NEXT, OVER, PASSED, explain
from proxy.core.flags import (
    OF_ROUTE,
    Evaluation,
    Flag,
    FlagSet,
    by_default,
    by_end,
    by_off,
    by_prerequisite,
    by_route,
    by_rule,
    by_split,
)
from proxy.core.hashing import Dealer
from proxy.core.match import trace_matcher
from proxy.core.plan import REASONS
from proxy.core.request import Request

Spec = dict[str, Any]

MET: Final = "is met"


def explain_flag(
    flags: FlagSet, name: str, request: Request, unit: bytes | None, kind: str, segments: Mapping[str, Spec]
) -> Spec:
    """The trace of one evaluation, made by the same `evaluate` that the port of flags and the workers call.

    `request`, `kind` and `segments` are as in `explain`, with attributes. The value has: flag, type, unit, unit_kind, bucket
    (-1 where no draw is due, or without a unit), variant ("" where the asker uses its own default), value, reason and
    detail (both words of core/flags.Evaluation), rule, unit_missing, path (kind, rule, outcome, variant, why), next
    (variant, reason, detail and rule of what would have been next; None where nothing would), rules (label, matched,
    effect and the matcher's trace), scores of the split (variant, weight, time -ln(u) / w; the smallest wins) and route:
    the explanation of the route that the flag follows, None for one of its own. Raises KeyError for a flag that is not
    there.
    """
    found = flags.evaluate(name, request, unit)
    flag = found.flag
    path = _Path(flags, flag, request, unit)
    followed = None
    if flag.route is not None:
        take_records(flag.route, request, unit, flags.cookies)
        followed = explain(flag.route, request, unit, kind, segments)
    dealt = flag.split is not None or any(rule.split is not None for rule in flag.rules)
    return {
        "flag": name,
        "type": flag.type,
        "unit": None if unit is None else unit.decode("utf-8", "backslashreplace"),
        "unit_kind": kind,
        "bucket": found.bucket(unit) if dealt or flag.route is not None else -1,
        "variant": found.variant,
        "value": found.value,
        "reason": found.reason,
        "detail": found.detail,
        "rule": found.rule,
        "unit_missing": found.unit_missing,
        "default": flag.default,
        "off": flag.off,
        "path": path.steps,
        "next": path.next or _next_of_route(followed),
        "rules": _rules(flag, request, unit, segments),
        "scores": [] if flag.split is None else _scores(flag.split, unit),
        "route": followed,
    }


def _next_of_route(followed: Spec | None) -> Spec | None:
    """What the route would have decided next, in the words of its flag."""
    following = None if followed is None else followed["next"]
    if following is None:
        return None
    return {
        "variant": following["version"] or "",
        "reason": OF_ROUTE[REASONS.index(following["reason"])],
        "detail": following["reason"],
        "rule": following["rule"],
    }


class _Path:
    """Every kind in its order: off, over, prerequisite, then route, or rule, split and default. Exactly one step decides."""

    def __init__(self, flags: FlagSet, flag: Flag, request: Request, unit: bytes | None) -> None:
        self.steps: Final[list[Spec]] = []
        self.next: Spec | None = None
        self._flag: Final = flag
        self._request: Final = request
        self._unit: Final = unit
        self._decided = False
        self._off()
        self._end()
        self._prerequisites(flags)
        if flag.route is not None:
            found = by_route(flag, flag.route, request, unit, flags.cookies)
            self._give("route", flag.route.name, found, "what the route decides")
            return
        self._rules()
        self._split()
        self._give("default", "", by_default(flag), "what is left when nothing else decides")

    def _step(self, kind: str, rule: str, outcome: str, variant: str | None, why: str) -> None:
        self.steps.append({"kind": kind, "rule": rule, "outcome": outcome, "variant": variant, "why": why})

    def _give(self, kind: str, rule: str, found: Evaluation, why: str) -> None:
        if not self._decided:
            self._decided = True
            outcome = DECIDES
        elif self.next is None:
            self.next = {
                "variant": found.variant,
                "reason": found.reason,
                "detail": found.detail,
                "rule": found.rule,
            }
            outcome = NEXT
        else:
            outcome = LATER
        self._step(kind, rule, outcome, found.variant, why)

    def _off(self) -> None:
        if self._flag.on:
            self._step("off", "", FAILS, None, "it is on")
        else:
            self._give("off", "", by_off(self._flag), "it is off")

    def _end(self) -> None:
        until = self._flag.until
        if until == 0.0:
            self._step("over", "", ABSENT, None, "")
        elif is_over(until, self._request.at):
            self._give("over", "", by_end(self._flag), f"since {format_date(until).decode()}")
        else:
            self._step("over", "", FAILS, None, f"it ends {format_date(until).decode()}")

    def _prerequisites(self, flags: FlagSet) -> None:
        if not self._flag.prerequisites:
            self._step("prerequisite", "", ABSENT, None, "")
        for other, wanted in self._flag.prerequisites.items():
            came = flags.evaluate(other, self._request, self._unit)
            because = f"{came.reason}, {came.detail}" + (f" {came.rule}" if came.rule else "")
            told = f"{other} comes to {came.variant or 'nothing'} ({because}), wanted: {' or '.join(wanted)}"
            label = f"prerequisites.{other}"
            if came.variant in wanted:
                self._step("prerequisite", label, MET, None, told)
            else:
                self._give("prerequisite", label, by_prerequisite(self._flag, other), told)

    def _rules(self) -> None:
        if not self._flag.rules:
            self._step("rule", "", ABSENT, None, "")
        for rule in self._flag.rules:
            if is_over(rule.until, self._request.at):
                self._step("rule", rule.label, OVER, None, f"since {format_date(rule.until).decode()}")
            elif not rule.holds(self._request, self._unit):
                self._step("rule", rule.label, FAILS, None, "")
            else:
                found = by_rule(self._flag, rule, self._unit)
                if found is None:
                    self._step("rule", rule.label, PASSED, None, "nothing of its split has a weight")
                else:
                    self._give("rule", rule.label, found, _drawn(found, "drawn from its split"))

    def _split(self) -> None:
        found = by_split(self._flag, self._unit)
        if found is not None:
            self._give("split", "", found, _drawn(found, "the draw"))
        elif self._flag.split is None:
            self._step("split", "", ABSENT, None, "")
        else:
            self._step("split", "", FAILS, None, "nothing of it has a weight")


def _scores(dealer: Dealer, unit: bytes | None) -> list[Spec]:
    times = {} if unit is None else dict(dealer.times(unit))
    return [{"variant": name, "weight": weight, "time": times.get(index)} for index, name, weight in dealer.arms]


def _drawn(found: Evaluation, how: str) -> str:
    if found.unit_missing:
        return "a draw is due, and there is no unit"
    return how if found.reason == "SPLIT" else ""


def _rules(flag: Flag, request: Request, unit: bytes | None, segments: Mapping[str, Spec]) -> list[Spec]:
    traces: list[Spec] = []
    for rule in flag.rules:
        trace: Spec = {"label": rule.label, "matched": rule.holds(request, unit)}
        if rule.split is None:
            trace["variant"] = rule.variant
        else:
            trace["split"] = {name: weight for _, name, weight in rule.split.arms}
            if trace["matched"] and unit is not None:
                trace["scores"] = _scores(rule.split, unit)
        if rule.where is not None:
            trace["where"] = trace_matcher(rule.where, request, segments)
        traces.append(trace)
    return traces
