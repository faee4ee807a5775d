"""Why a unit gets a version: the decision with everything it looked at, as plain values for people and JSON."""

from collections.abc import Mapping
from typing import Any

from proxy.core.decide import decide, rule_holds
from proxy.core.hash_families import FamilyDealer
from proxy.core.hashing import Dealer
from proxy.core.match import trace_matcher
from proxy.core.plan import REASONS, Route, Rule
from proxy.core.request import Request

Spec = dict[str, Any]


def explain(route: Route, request: Request, unit: bytes | None, kind: str, segments: Mapping[str, Spec]) -> Spec:
    """The trace of one decision, made by the same `decide` that the data plane calls.

    `kind` says where the unit came from, `segments` are the specs of the plan's segments by name. The value has:
    route, unit, unit_kind, bucket (-1 without a unit), version (None when all are denied), reason, rule, denied
    (names), preview, rules (label, kind, matched, effect and the matcher's trace, in order of precedence) and scores
    (per version weight, time -ln(u) / w and whether it was denied; the smallest time not denied wins the split).
    Where the route deals as another system does, `hash` has its family, the unit's bucket and all buckets' bounds, and
    each score the range of its version; times then decide among what a deny leaves only.
    """
    decision = decide(route, request, unit)
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
        "preview": _preview(route, request, denied),
        "rules": [_rule(rule, request, unit, segments, denied) for rule in ranked],
        "hash": _hash(route.split, unit),
        "scores": _scores(route.split, unit, denied),
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


def _preview(route: Route, request: Request, denied: list[str]) -> Spec | None:
    """None where nobody asked; else what was asked for and why it was or was not given."""
    preview = route.preview
    name = None if preview is None else request.fields.get(preview.header)
    if preview is None or name is None:
        return None
    version = route.by_name_bytes.get(name)
    if version is None:
        outcome = "no such version"
    elif version.name in denied:
        outcome = "denied"
    elif not preview.networks.contains(request.client):
        outcome = "not from this address"
    else:
        outcome = "given"
    return {"asked": _text(name), "client": request.client, "outcome": outcome}


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
