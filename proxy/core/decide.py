"""Which version a request's unit gets, and why. The data plane, `explain` and flags all call this one function.

The kinds are ranked: kill, deny, preview, override, ring, segment, holdout, layer, sticky, split, default; the order in the file
ranks within a kind. A deny, or the kill of a version, takes the version out, and the decision goes on among the rest, in
their own proportions: no kind of decision gives what was taken out.
"""

from typing import Final

from proxy.core.audience import Kill, Rings, is_over
from proxy.core.choice import LABEL
from proxy.core.cookies import Kept, UnitCookies
from proxy.core.hashing import Dealer, bucket
from proxy.core.plan import (
    DEFAULT,
    DENY,
    HOLDOUT,
    KILL,
    LAYER,
    OVERRIDE,
    PREVIEW,
    REASONS,
    RING,
    SEGMENT,
    SPLIT,
    STICKY,
    Route,
    Rule,
    Version,
)
from proxy.core.request import Request


class Decision:
    """What was decided for one request.

    `version` is None only when every version is denied, killed or closed by its cap. `reason` is an index of REASONS, `rule` the
    label of what decided ("" when only the split did), `denied` a bit mask of the version indexes that were taken out. Reason
    SPLIT means the undisturbed draw: a draw among what a deny left has reason DENY, and one that a killed version would
    have won reason KILL, so that only SPLIT is evidence of a fair split.
    `dealt` says that the route's own draw decided, and no deny had a hand in it: a unit may keep that.
    """

    def __init__(
        self,
        version: Version | None,
        reason: int,
        rule: str,
        unit: bytes | None,
        denied: int,
        dealt: bool = False,
    ) -> None:
        self.version: Final = version
        self.reason: Final = reason
        self.rule: Final = rule
        self.unit: Final = unit
        self.denied: Final = denied
        self.dealt: Final = dealt

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
        elif kind == "claim":
            found = request.claim(source.name)
        else:
            found = request.client.encode()
        if found:
            return found, kind, b""
    return None, "", b""


def find_kept(route: Route, request: Request, unit: bytes | None, cookies: UnitCookies) -> Kept | None:
    """The unit's record of the version it got on this route; None without one that is signed for it."""
    sticky = route.sticky
    if sticky is None or unit is None:
        return None
    carried = request.cookies().get(sticky.cookie)
    return cookies.record(sticky.scope, unit, carried) if carried else None


def find_chosen(route: Route, request: Request, unit: bytes | None, cookies: UnitCookies) -> Kept | None:
    """The record of the version that this unit, or who has none, chose on this route; None without one signed for it."""
    choice = route.choice
    if choice is None:
        return None
    carried = request.cookies().get(choice.cookie)
    return cookies.record(choice.scope, unit or b"", carried) if carried else None


def take_records(route: Route, request: Request, unit: bytes | None, cookies: UnitCookies) -> None:
    """Have `request` say what this unit's records are of this route, and not of another that looked at it before."""
    request.kept = find_kept(route, request, unit, cookies)
    request.chosen = find_chosen(route, request, unit, cookies)


def to_keep(route: Route, request: Request, decision: Decision) -> Kept | None:
    """The record that is to be written for a decision; None where the unit has it, or is to have none."""
    sticky = route.sticky
    version = decision.version
    kept = request.kept
    if sticky is None or version is None or decision.unit is None:
        return None
    if decision.dealt or (
        decision.reason == STICKY and kept is not None and sticky.renews(kept, version.weight, request.at)
    ):
        return Kept(version.name.encode(), sticky.epoch, int(request.at))
    return None


def decide(route: Route, request: Request, unit: bytes | None, closed: int = 0) -> Decision:
    """The version for this unit. Pure: the same route, request and unit give the same answer in every process, as far as the
    records of caps are the same. `closed` is a bit mask of version indexes that may not be had, as under a cap that is reached.

    `request.unit` must be the unit, `request.at` the time where the plan has to do with time, `request.kept` what `find_kept`
    finds, and `request.chosen` what `find_chosen` does.
    """
    if route.plain and unit is not None:
        index = route.split.deal(unit)
        if index >= 0:
            return Decision(route.versions[index], SPLIT, "", unit, 0)
        return Decision(route.default, DEFAULT, "", unit, 0)
    case = Case(route, request, unit, closed)
    decision = case.by_kill()
    if decision is None and route.preview is not None:
        decision = case.by_preview()
    if decision is None and route.overrides:
        decision = case.by_rules(route.overrides, OVERRIDE)
    if decision is None and route.choice is not None:
        decision = case.by_choice()
    if decision is None and route.rings:
        decision = case.by_rings()
    if decision is None and route.segment_rules:
        decision = case.by_rules(route.segment_rules, SEGMENT)
    if decision is None and route.holdout is not None:
        decision = case.by_holdout()
    if decision is None and route.layer is not None:
        decision = case.by_layer()
    if decision is None and route.sticky is not None:
        decision = case.by_sticky()
    if decision is None:
        decision = case.by_split()
    return case.by_default() if decision is None else decision


def may_be_overridden(decision: Decision) -> bool:
    """Whether a plugin may say otherwise: it ranks with the overrides, so after the kill of a route and after a preview."""
    if decision.version is None or decision.reason == PREVIEW:
        return False
    return decision.reason != KILL or decision.rule.startswith("versions.")


def override(route: Route, decision: Decision, name: str, rule: str) -> Decision | None:
    """The decision that gives the version `name` instead; None where the unit cannot have it, or there is none."""
    version = route.by_name.get(name)
    if version is None or decision.denied >> version.index & 1:
        return None
    if version is decision.version:
        return decision
    return Decision(version, OVERRIDE, rule, decision.unit, decision.denied)


class Case:
    """One decision in the making: what was taken out, and a method for each kind, which answers None to pass it on.

    The kinds must be asked in their order: each may note what the later ones have to know. `explain` asks them all.
    """

    def __init__(self, route: Route, request: Request, unit: bytes | None, closed: int = 0) -> None:
        self.route: Final = route
        self.request: Final = request
        self.unit: Final = unit
        for capped in route.capped:
            cap = capped.cap
            if cap is not None and cap.closed_to(unit):
                closed |= 1 << capped.index
        self.closed: Final[int] = closed  # by caps
        self.killed: int = 0  # bit masks of version indexes
        self.denied: int = 0  # by rules
        self.denier: str = ""
        self.killer: str = ""  # the kill that took away what this unit would have got
        for kill in route.version_kills:
            if not is_over(kill.until, request.at):
                self.killed |= 1 << kill.index
        for rule in route.denies:
            version = rule.deny
            if version is not None and rule_holds(rule, request, unit):
                self.denied |= 1 << version.index
                self.denier = self.denier or rule.label
        self.out: Final[int] = self.killed | self.denied | closed

    def by_kill(self) -> Decision | None:
        """The default version for everybody, where the route is killed: or what is left of its versions, in order."""
        for kill in self.route.kills:
            if not is_over(kill.until, self.request.at):
                return self.by_one_kill(kill)
        return None

    def by_one_kill(self, kill: Kill) -> Decision:
        """What a route under this kill serves."""
        return Decision(self._safe(), KILL, kill.label, self.unit, self.out)

    def by_preview(self) -> Decision | None:
        """What a tester asks for."""
        route = self.route
        request = self.request
        preview = route.preview
        if preview is None:
            return None
        name = request.fields.get(preview.header)
        if name is None:
            return None
        version = route.by_name_bytes.get(name)
        if version is None or self.out >> version.index & 1 or is_over(preview.until, request.at):
            return None
        return (
            Decision(version, PREVIEW, "", self.unit, self.out) if preview.networks.contains(request.client) else None
        )

    def by_rules(self, rules: list[Rule], reason: int) -> Decision | None:
        """The first of these rules that holds and has something left to give."""
        for rule in rules:
            if rule_holds(rule, self.request, self.unit):
                decision = self.by_rule(rule, reason)
                if decision is not None:
                    return decision
        return None

    def by_rule(self, rule: Rule, reason: int) -> Decision | None:
        """What a rule that holds gives; None when its version was taken out, or its split deals to nobody."""
        version = rule.version
        if version is not None:
            if self._may_have(version.index):
                return Decision(version, reason, rule.label, self.unit, self.out)
            return None
        if rule.split is None or self.unit is None:
            return None
        index = self._deal(rule.split, self.unit)
        if index < 0:
            return None
        killer = self.killer
        if killer:
            return Decision(self.route.versions[index], KILL, killer, self.unit, self.out)
        return Decision(self.route.versions[index], reason, rule.label, self.unit, self.out)

    def by_choice(self) -> Decision | None:
        """The version that the unit chose for itself, where it may."""
        choice = self.route.choice
        chosen = self.request.chosen
        if choice is None or chosen is None:
            return None
        index = choice.index_of(chosen)
        if index < 0 or not choice.allows(self.request) or not self._may_have(index):
            return None
        return Decision(self.route.versions[index], OVERRIDE, LABEL, self.unit, self.out)

    def by_rings(self) -> Decision | None:
        """The version of the first rings that have the request in one that is open."""
        for rings in self.route.rings:
            decision = self.by_ring(rings)
            if decision is not None:
                return decision
        return None

    def by_ring(self, rings: Rings) -> Decision | None:
        """The version of these rings."""
        label = rings.ring_of(self.request)
        if label and self._may_have(rings.index):
            return Decision(self.route.versions[rings.index], RING, label, self.unit, self.out)
        return None

    def by_holdout(self) -> Decision | None:
        """The default version, for a unit that is held out."""
        holdout = self.route.holdout
        if holdout is None or self.unit is None or not holdout.holds(self.unit, self.request.at):
            return None
        return self._kept_out(HOLDOUT, holdout.label)

    def by_layer(self) -> Decision | None:
        """The default version, for a unit of which another part of the layer has the use."""
        layer = self.route.layer
        if layer is None or self.unit is None or layer.has(self.unit):
            return None
        return self._kept_out(LAYER, layer.label)

    def by_sticky(self) -> Decision | None:
        """The version that the unit has kept."""
        route = self.route
        request = self.request
        sticky = route.sticky
        kept = request.kept
        if sticky is None or kept is None or self.unit is None:
            return None
        version = route.by_name_bytes.get(kept.version)
        if version is None or sticky.why_over(kept, version.weight, request.at) or not self._may_have(version.index):
            return None
        return Decision(version, STICKY, "", self.unit, self.out)

    def by_split(self) -> Decision | None:
        """The draw."""
        route = self.route
        if self.unit is None:
            return None
        index = self._deal(route.split, self.unit)
        if index < 0:
            return None
        dealt = not self.denied and not self.closed
        if self.killer:
            return Decision(route.versions[index], KILL, self.killer, self.unit, self.out, dealt)
        cap = route.versions[index].cap
        if cap is not None and not self.denied and cap.reached():
            return Decision(route.versions[index], STICKY, "", self.unit, self.out)  # it has had it before
        return Decision(route.versions[index], DENY if self.denied else SPLIT, self.denier, self.unit, self.out, dealt)

    def by_default(self) -> Decision:
        """The default version, or the first that is left; None as the version where none is."""
        route = self.route
        default = route.default
        if not self.out >> default.index & 1:
            if self.killer:
                return Decision(default, KILL, self.killer, self.unit, self.out)
            # The deny is the reason only where it emptied a split that had something to deal.
            if self.unit is not None and self.denied and route.split.count:
                return Decision(default, DENY, self.denier, self.unit, self.out)
            return Decision(default, DEFAULT, "", self.unit, self.out)
        # What took the default away is the reason; a kill ranks before a deny.
        killer = self.killer or self._kill_of(default.index)
        if killer:
            return Decision(self._safe(), KILL, killer, self.unit, self.out)
        return Decision(self._safe(), DENY, self.denier, self.unit, self.out)

    def _safe(self) -> Version | None:
        """The default version, or else the first that was not taken out."""
        route = self.route
        if not self.out >> route.default.index & 1:
            return route.default
        for version in route.versions:
            if not self.out >> version.index & 1:
                return version
        return None

    def _kept_out(self, reason: int, label: str) -> Decision:
        """The default version for this reason, unless it was taken out."""
        default = self.route.default
        if self.out >> default.index & 1:
            return self.by_default()
        return Decision(default, reason, label, self.unit, self.out)

    def _may_have(self, index: int) -> bool:
        """Whether the version was not taken out; notes the kill that did."""
        if not self.out >> index & 1:
            return True
        if not self.denied >> index & 1:
            self.killer = self.killer or self._kill_of(index)
        return False

    def _deal(self, dealer: Dealer, unit: bytes) -> int:
        """The draw among what is left; notes the kill, where what a killed version would have won is dealt once more."""
        index = dealer.deal(unit, self.denied | self.closed)
        if self.killed and index >= 0 and self.killed >> index & 1:
            self.killer = self.killer or self._kill_of(index)
            return dealer.deal(unit, self.out)
        return index

    def _kill_of(self, index: int) -> str:
        """The label of the kill that the version is under; "" without."""
        for kill in self.route.version_kills:
            if kill.index == index and self.killed >> index & 1:
                return kill.label
        return ""


def rule_holds(rule: Rule, request: Request, unit: bytes | None) -> bool:
    """Whether a rule is about this unit (rules with units) or this request (rules with a matcher), and not over."""
    if rule.units is not None:
        if unit is None or unit not in rule.units:
            return False
    elif rule.matcher is None or not rule.matcher(request):
        return False
    return not is_over(rule.until, request.at)
