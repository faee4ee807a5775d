"""Which version a request's unit gets, and why. The data plane, `explain` and flags all call this one function.

The kinds are ranked: deny, preview, override, segment, split, default; the order in the file ranks within a kind. A
deny takes its version out and the decision goes on among the rest, in their own proportions.
"""

from typing import Final

from proxy.core.cookies import UnitCookies
from proxy.core.hashing import bucket
from proxy.core.plan import DEFAULT, DENY, OVERRIDE, PREVIEW, REASONS, SEGMENT, SPLIT, Route, Rule, Version
from proxy.core.request import Request


class Decision:
    """What was decided for one request.

    `version` is None only when every version is denied. `reason` is an index of REASONS, `rule` the label of the rule
    that decided ("" when none did), `denied` a bit mask of the version indexes that were taken out. Reason SPLIT
    means the undisturbed draw: a draw among what a deny left has reason DENY, so that only SPLIT is evidence of a
    fair split.
    """

    def __init__(self, version: Version | None, reason: int, rule: str, unit: bytes | None, denied: int) -> None:
        self.version: Final = version
        self.reason: Final = reason
        self.rule: Final = rule
        self.unit: Final = unit
        self.denied: Final = denied

    def bucket(self, route: Route) -> int:
        """The bucket shown to people, in [0, 10000); -1 without a unit."""
        return -1 if self.unit is None else bucket(route.salt_bytes, self.unit)

    @property
    def reason_name(self) -> str:
        """The word for the reason."""
        return REASONS[self.reason]


def find_unit(route: Route, request: Request, cookies: UnitCookies) -> tuple[bytes | None, str, bytes]:
    """The unit, the kind of source it came from, and the name of the cookie to mint.

    The first link of the route's chain that is there counts; an empty value is not there. A `mint_cookie` link always
    is: where no valid cookie came, the unit is None and the third value names the cookie for which the caller mints
    an id (decide with that id); without keys the link is passed over. Without any unit: None, "", b"".
    """
    for source in route.unit:
        kind = source.kind
        if kind == "header":
            found = request.fields.get(source.name)
        elif kind == "cookie":
            found = request.cookies().get(source.name)
        elif kind == "mint_cookie":
            if not cookies.enabled:
                continue
            carried = request.cookies().get(source.name)
            found = cookies.verify(carried) if carried else None
            if found is None:
                return None, kind, source.name
        elif kind == "query":
            found = request.arguments().get(source.name)
        else:
            found = request.client.encode()
        if found:
            return found, kind, b""
    return None, "", b""


def decide(route: Route, request: Request, unit: bytes | None) -> Decision:
    """The version for this unit. Pure: the same route, request and unit give the same answer in every process."""
    if route.plain and unit is not None:
        index = route.split.deal(unit)
        if index >= 0:
            return Decision(route.versions[index], SPLIT, "", unit, 0)
        return Decision(route.default, DEFAULT, "", unit, 0)
    denied = 0
    denier = ""
    for rule in route.denies:
        version = rule.deny
        if version is not None and rule_holds(rule, request, unit):
            denied |= 1 << version.index
            denier = denier or rule.label
    preview = route.preview
    if preview is not None:
        name = request.fields.get(preview.header)
        if name is not None:
            version = route.by_name_bytes.get(name)
            if version is not None and not denied >> version.index & 1 and preview.networks.contains(request.client):
                return Decision(version, PREVIEW, "", unit, denied)
    for rule in route.overrides:
        version = _by_rule(route, rule, request, unit, denied)
        if version is not None:
            return Decision(version, OVERRIDE, rule.label, unit, denied)
    for rule in route.segment_rules:
        version = _by_rule(route, rule, request, unit, denied)
        if version is not None:
            return Decision(version, SEGMENT, rule.label, unit, denied)
    if unit is not None:
        index = route.split.deal(unit, denied)
        if index >= 0:
            return Decision(route.versions[index], DENY if denied else SPLIT, denier, unit, denied)
    if not denied >> route.default.index & 1:
        # The deny is the reason only where it emptied a split that had something to deal.
        if unit is not None and denied and route.split.count:
            return Decision(route.default, DENY, denier, unit, denied)
        return Decision(route.default, DEFAULT, "", unit, denied)
    for version in route.versions:
        if not denied >> version.index & 1:
            return Decision(version, DENY, denier, unit, denied)
    return Decision(None, DENY, denier, unit, denied)


def rule_holds(rule: Rule, request: Request, unit: bytes | None) -> bool:
    """Whether a rule is about this unit (rules with units) or this request (rules with a matcher)."""
    if rule.units is not None:
        return unit is not None and unit in rule.units
    return rule.matcher is not None and rule.matcher(request)


def _by_rule(route: Route, rule: Rule, request: Request, unit: bytes | None, denied: int) -> Version | None:
    """The version a rule gives; None when it does not hold, its version is denied, or its split deals to nobody."""
    if not rule_holds(rule, request, unit):
        return None
    if rule.version is not None:
        return None if denied >> rule.version.index & 1 else rule.version
    if rule.split is None or unit is None:
        return None
    index = rule.split.deal(unit, denied)
    return route.versions[index] if index >= 0 else None
