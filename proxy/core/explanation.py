"""Why a unit gets a version: the decision with everything it looked at, as plain values for people and JSON.

The path goes through every kind of decision in its order, whether or not it is reached, and asks the same `Case` that
`decide` asks. So it also says what would have come next, were the kind that decided not there.
"""

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, Final

from proxy.core.audience import Rings, is_over
from proxy.core.caps import CapRecord
from proxy.core.choice import LABEL
from proxy.core.dates import format_date
from proxy.core.decide import Case, Decision, decide, rule_holds
from proxy.core.hash_families import FamilyDealer
from proxy.core.hashing import Dealer
from proxy.core.match import trace_matcher
from proxy.core.plan import OVERRIDE, REASONS, SEGMENT, Route, Rule
from proxy.core.request import Request

Spec = dict[str, Any]

DECIDES: Final = "decides"
NEXT: Final = "would have been next"
LATER: Final = "would have come later"
TAKES_OUT: Final = "takes out"
PASSED: Final = "passed over"
FAILS: Final = "does not hold"
OVER: Final = "is over"
ABSENT: Final = "not configured"
STANDS_BY: Final = "stands by"


def explain(route: Route, request: Request, unit: bytes | None, kind: str, segments: Mapping[str, Spec]) -> Spec:
    """The trace of one decision, made by the same `decide` that the data plane calls.

    `kind` says where the unit came from, `segments` are the specs of the plan's segments by name. The value has:
    route, unit, unit_kind, bucket (-1 without a unit), version (None when all are denied), reason, rule, denied
    (names, of those killed and capped as well), killed, capped (names), path (see `_Path`), next (version, reason and
    rule of what would have been next; None where nothing would), fallbacks (who answers in its place, in order), preview, rules
    (label, kind, matched, effect and the matcher's trace, in order of precedence), rings (label, version, open, and of each ring
    name, open, matched and trace) and scores (per version weight, time -ln(u) / w and whether it was denied; the smallest time
    not denied wins the split).
    A version with a cap has a step of the kind `cap` behind the denies, which takes it out or does not hold.
    Where the route deals as another system does, `hash` has its family, the unit's bucket and all buckets' bounds, and
    each score the range of its version; times then decide among what a deny leaves only.
    """
    decision = decide(route, request, unit)
    path = _Path(route, request, unit, decision)
    denied = [version.name for version in route.versions if decision.denied >> version.index & 1]
    ranked = [*route.denies, *route.overrides, *route.segment_rules]
    return {
        "route": route.name,
        "unit": None if unit is None else _text(unit),
        "unit_kind": kind,
        "bucket": decision.bucket(route),
        "version": None if decision.version is None else decision.version.name,
        "reason": REASONS[decision.reason],
        "rule": decision.rule,
        "default": route.default.name,
        "denied": denied,
        "capped": [version.name for version in route.versions if path.case.closed >> version.index & 1],
        "killed": [version.name for version in route.versions if path.case.killed >> version.index & 1],
        "epoch": route.epoch,
        "path": path.steps,
        "next": path.next,
        "fallbacks": path.fallbacks,
        "preview": _preview(route, request, decision.denied),
        "rules": [_rule(rule, request, unit, segments, denied) for rule in ranked],
        "rings": [_rings(one, request, segments) for one in route.rings],
        "hash": _hash(route.split, unit),
        "scores": _scores(route.split, unit, denied),
    }


class _Path:
    """Every kind in its order. A step has kind, rule (its label), outcome, version (given, or taken out) and why.

    `outcome` is one of the words above. Exactly one step decides. The last are the fallbacks, which decide nothing: they
    answer in the place of the version that was decided on, where that cannot.
    """

    def __init__(self, route: Route, request: Request, unit: bytes | None, decision: Decision) -> None:
        self.route: Final = route
        self.request: Final = request
        self.case: Final = Case(route, request, unit)
        self.steps: Final[list[Spec]] = []
        self.next: Spec | None = None
        self._decided = False
        self._kills()
        self._denies()
        self._caps()
        self._preview()
        self._rules("override", route.overrides, OVERRIDE)
        self._choice()
        self._rings()
        self._rules("segment", route.segment_rules, SEGMENT)
        self._holdout()
        self._layer()
        self._sticky()
        self._split()
        self._give("default", "", self.case.by_default(), "what is left when nothing else decides")
        self.fallbacks: Final[list[str]] = []
        self._fallback(decision)

    def _step(self, kind: str, rule: str, outcome: str, version: str | None, why: str) -> None:
        self.steps.append({"kind": kind, "rule": rule, "outcome": outcome, "version": version, "why": why})

    def _give(self, kind: str, rule: str, decision: Decision, why: str) -> None:
        version = None if decision.version is None else decision.version.name
        if not self._decided:
            self._decided = True
            outcome = DECIDES
        elif self.next is None:
            self.next = {"version": version, "reason": REASONS[decision.reason], "rule": decision.rule}
            outcome = NEXT
        else:
            outcome = LATER
        self._step(kind, rule, outcome, version, why)

    def _over(self, kind: str, rule: str, until: float) -> bool:
        if is_over(until, self.request.at):
            self._step(kind, rule, OVER, None, f"since {format_date(until).decode()}")
            return True
        return False

    def _kills(self) -> None:
        route = self.route
        if not route.kills and not route.version_kills:
            self._step("kill", "", ABSENT, None, "")
        for kill in route.kills:
            if not self._over("kill", kill.label, kill.until):
                self._give("kill", kill.label, self.case.by_one_kill(kill), "everybody gets the default version")
        for kill in route.version_kills:
            if not self._over("kill", kill.label, kill.until):
                self._step("kill", kill.label, TAKES_OUT, route.versions[kill.index].name, "nobody gets it")

    def _denies(self) -> None:
        rules = self.route.denies
        if not rules:
            self._step("deny", "", ABSENT, None, "")
        for rule in rules:
            if self._holds("deny", rule) and rule.deny is not None:
                self._step("deny", rule.label, TAKES_OUT, rule.deny.name, "the decision goes on among the rest")

    def _caps(self) -> None:
        for version in self.route.capped:
            cap = version.cap
            if cap is not None:
                had = 0 if cap.record is None else cap.record.count()
                if type(cap.record) is CapRecord:
                    why = f"how many units have had it is not known here; {cap.limit} may"
                    self._step("cap", cap.label, FAILS, None, why)
                elif self.case.closed >> version.index & 1:
                    why = f"{had} units have had it, {cap.limit} may, and this one has not"
                    self._step("cap", cap.label, TAKES_OUT, version.name, why)
                elif cap.reached():
                    self._step(
                        "cap", cap.label, FAILS, None, f"{had} units have had it, {cap.limit} may, and this one has"
                    )
                else:
                    self._step("cap", cap.label, FAILS, None, f"{had} units have had it, {cap.limit} may")

    def _preview(self) -> None:
        preview = self.route.preview
        if preview is None:
            self._step("preview", "", ABSENT, None, "")
            return
        if self._over("preview", "", preview.until):
            return
        asked = self.request.fields.get(preview.header)
        if asked is None:
            self._step("preview", "", FAILS, None, "nobody asks for a version")
            return
        decision = self.case.by_preview()
        if decision is not None:
            self._give("preview", "", decision, "asked for by name")
        else:
            outcome = _preview_outcome(self.route, self.request, self.case.out)
            self._step("preview", "", FAILS, None, f"asked for {_text(asked)}: {outcome}")

    def _rules(self, kind: str, rules: list[Rule], reason: int) -> None:
        if not rules:
            self._step(kind, "", ABSENT, None, "")
        for rule in rules:
            if not self._holds(kind, rule):
                continue
            decision = self.case.by_rule(rule, reason)
            if decision is not None:
                self._give(kind, rule.label, decision, "drawn from its split" if rule.split else "")
            elif rule.version is not None:
                self._step(kind, rule.label, PASSED, rule.version.name, f"{rule.version.name} was taken out")
            else:
                why = "there is no unit to draw for" if self.case.unit is None else "nothing of its split is left"
                self._step(kind, rule.label, PASSED, None, why)

    def _holds(self, kind: str, rule: Rule) -> bool:
        """Whether a rule holds; notes why where it does not."""
        if self._over(kind, rule.label, rule.until):
            return False
        if rule_holds(rule, self.request, self.case.unit):
            return True
        self._step(kind, rule.label, FAILS, None, "")
        return False

    def _rings(self) -> None:
        if not self.route.rings:
            self._step("ring", "", ABSENT, None, "")
        for rings in self.route.rings:
            if self._over("ring", rings.label, rings.until):
                continue
            label = rings.ring_of(self.request)
            decision = self.case.by_ring(rings)
            if decision is not None:
                self._give("ring", label, decision, "in an open ring")
            elif label:
                self._step("ring", label, PASSED, rings.version, f"{rings.version} was taken out")
            else:
                self._step("ring", rings.label, FAILS, None, "in no open ring")

    def _holdout(self) -> None:
        holdout = self.route.holdout
        unit = self.case.unit
        if holdout is None:
            self._step("holdout", "", ABSENT, None, "")
        elif unit is None:
            self._step("holdout", holdout.label, FAILS, None, "there is no unit")
        elif not self._over("holdout", holdout.label, holdout.until):
            why = (
                f"the unit stands at {holdout.position(unit):.4f} of 100, those below {holdout.percent:g} are held out"
            )
            decision = self.case.by_holdout()
            if decision is None:
                self._step("holdout", holdout.label, FAILS, None, why)
            else:
                self._give("holdout", holdout.label, decision, why)

    def _layer(self) -> None:
        layer = self.route.layer
        unit = self.case.unit
        if layer is None:
            self._step("layer", "", ABSENT, None, "")
        elif unit is None:
            self._step("layer", layer.label, FAILS, None, "there is no unit")
        else:
            why = f"the unit stands at {layer.position(unit):.4f} of 100, the route has {layer.low:g} to {layer.high:g}"
            decision = self.case.by_layer()
            if decision is None:
                self._step("layer", layer.label, FAILS, None, why)
            else:
                self._give("layer", layer.label, decision, why)

    def _choice(self) -> None:
        choice = self.route.choice
        chosen = self.request.chosen
        if choice is None:
            return
        if chosen is None:
            self._step("override", LABEL, FAILS, None, "the unit has chosen nothing")
            return
        name = _text(chosen.version)
        told = f"{name}, chosen {format_date(chosen.at).decode()}"
        decision = self.case.by_choice()
        if decision is not None:
            self._give("override", LABEL, decision, told)
        elif choice.index_of(chosen) < 0:
            self._step("override", LABEL, FAILS, None, f"{told}, is not to be chosen any more")
        elif not choice.allows(self.request):
            self._step("override", LABEL, FAILS, None, f"{told}: not in segment {choice.segment}, which may choose")
        else:
            self._step("override", LABEL, PASSED, name, f"{told}, was taken out")

    def _sticky(self) -> None:
        sticky = self.route.sticky
        kept = self.request.kept
        if sticky is None:
            self._step("sticky", "", ABSENT, None, "")
            return
        if kept is None:
            self._step("sticky", "", FAILS, None, f"no record of this unit came in the cookie {_text(sticky.cookie)}")
            return
        name = _text(kept.version)
        version = self.route.by_name_bytes.get(kept.version)
        told = f"a record of {name}, given {format_date(kept.at).decode()}"
        decision = self.case.by_sticky()
        if version is None:
            self._step("sticky", "", FAILS, None, f"{told}: there is no such version any more")
        elif decision is not None:
            self._give("sticky", "", decision, told)
        elif why := sticky.why_over(kept, version.weight, self.request.at):
            self._step("sticky", "", OVER, name, f"{told}: {why}")
        else:
            self._step("sticky", "", PASSED, name, f"{told}: {name} was taken out")

    def _split(self) -> None:
        unit = self.case.unit
        decision = self.case.by_split()
        if decision is not None:
            won = self.route.versions[self.route.split.deal(unit)] if unit is not None else None
            why = "the draw"
            if won is not decision.version and won is not None:
                why = f"{won.name} won the draw, and was taken out; drawn again among the rest"
            self._give("split", "", decision, why)
        elif unit is None:
            self._step("split", "", FAILS, None, "there is no unit to draw for")
        else:
            self._step("split", "", FAILS, None, "no version that is left has a weight")

    def _fallback(self, decision: Decision) -> None:
        version = decision.version
        chain = [] if version is None else self.route.chains[version.index]
        if len(chain) < 2:
            self._step("fallback", "", ABSENT, None, "")
        for before, following in pairwise(chain):
            label = f"versions.{before.name}.fallback"
            if decision.denied >> following.index & 1:
                self._step("fallback", label, PASSED, following.name, f"{following.name} was taken out")
                return
            self.fallbacks.append(following.name)
            self._step("fallback", label, STANDS_BY, following.name, f"answers where {before.name} cannot")


def _rings(rings: Rings, request: Request, segments: Mapping[str, Spec]) -> Spec:
    opened = len(rings.open)
    return {
        "label": rings.label,
        "version": rings.version,
        "open": "none" if not opened else rings.order[opened - 1],
        "rings": [
            {"name": name, "open": place < opened, **trace_matcher({"segment": name}, request, segments)}
            for place, name in enumerate(rings.order)
        ],
    }


def _rule(rule: Rule, request: Request, unit: bytes | None, segments: Mapping[str, Spec], denied: list[str]) -> Spec:
    kind = "deny" if rule.deny is not None else "override" if rule.units is not None else "segment"
    trace: Spec = {"label": rule.label, "kind": kind, "matched": rule_holds(rule, request, unit)}
    if rule.deny is not None:
        trace["deny"] = rule.deny.name
    if rule.version is not None:
        trace["version"] = rule.version.name
    if rule.split is not None:
        trace["split"] = {name: weight for _, name, weight in rule.split.arms}
        if trace["matched"] and unit is not None:
            trace["hash"] = _hash(rule.split, unit)
            trace["scores"] = _scores(rule.split, unit, denied)
    if rule.where is not None:
        trace["where"] = trace_matcher(rule.where, request, segments)
    return trace


def _preview(route: Route, request: Request, out: int) -> Spec | None:
    """None where nobody asked; else what was asked for and why it was or was not given."""
    preview = route.preview
    name = None if preview is None else request.fields.get(preview.header)
    if preview is None or name is None:
        return None
    return {"asked": _text(name), "client": request.client, "outcome": _preview_outcome(route, request, out)}


def _preview_outcome(route: Route, request: Request, out: int) -> str:
    """What became of a wish for a version; `out` is the mask of those taken out."""
    preview = route.preview
    name = None if preview is None else request.fields.get(preview.header)
    version = None if name is None else route.by_name_bytes.get(name)
    if preview is None or version is None:
        return "no such version"
    if out >> version.index & 1:
        killed = any(
            kill.index == version.index and not is_over(kill.until, request.at) for kill in route.version_kills
        )
        return "killed" if killed else "denied"
    if is_over(preview.until, request.at):
        return "previews are over"
    return "given" if preview.networks.contains(request.client) else "not from this address"


def _scores(dealer: Dealer, unit: bytes | None, denied: list[str]) -> list[Spec]:
    times = {} if unit is None else dict(dealer.times(unit))
    scores: list[Spec] = [
        {"version": name, "weight": weight, "time": times.get(index), "denied": name in denied}
        for index, name, weight in dealer.arms
    ]
    if isinstance(dealer, FamilyDealer):
        for score, (_, low, edge) in zip(scores, dealer.ranges(), strict=True):
            score["from"], score["below"] = low, edge
    return scores


def _hash(dealer: Dealer, unit: bytes | None) -> Spec | None:
    """Another system's bucket, the lowest and highest, and whether they are whole; None where Tidegate deals itself."""
    if not isinstance(dealer, FamilyDealer):
        return None
    family = dealer.family
    bucket = None if unit is None else family.bucket(unit)
    return {"family": family.name, "bucket": bucket, "first": family.first, "last": family.last, "whole": family.whole}


def _text(value: bytes) -> str:
    return value.decode("utf-8", "backslashreplace")
