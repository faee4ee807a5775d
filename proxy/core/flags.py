"""Which variant of a flag a unit gets, and why. The OFREP server and the worker call this one function.

In this order: off (by hand, or over) -> prerequisites -> rules as listed -> the split -> the default. A flag that follows a
route is decided by `decide` itself, with the route's own salt and rules, so that both say the same of the same unit. All
else is dealt by the flag's own salt with the purpose `flag`: who gets a flag says nothing of who gets what of a route.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from proxy.core.audience import is_over
from proxy.core.cookies import UnitCookies
from proxy.core.decide import decide, take_records
from proxy.core.field_lines import OWN_PREFIX
from proxy.core.hashing import Dealer, bucket
from proxy.core.match import Matcher, compile_matcher
from proxy.core.plan import (
    DEFAULT,
    DENY,
    HOLDOUT,
    KILL,
    LAYER,
    OVERRIDE,
    PREVIEW,
    RING,
    SEGMENT,
    SPLIT,
    STICKY,
    Flags,
    Route,
)
from proxy.core.request import Request

Spec = dict[str, Any]

FLAG_REASONS: Final = ("STATIC", "TARGETING_MATCH", "SPLIT", "DEFAULT", "DISABLED")
"""Words of OpenFeature for why a flag has its value."""
FIELD_PREFIX: Final = OWN_PREFIX + b"flag-"
"""Of the fields that tell an upstream of flags: this, and the flag's name in lower case."""

OF_ROUTE: Final[dict[int, str]] = {
    KILL: "DISABLED", DENY: "TARGETING_MATCH", PREVIEW: "TARGETING_MATCH", OVERRIDE: "TARGETING_MATCH",
    RING: "TARGETING_MATCH", SEGMENT: "TARGETING_MATCH", HOLDOUT: "DEFAULT", LAYER: "DEFAULT", STICKY: "SPLIT",
    SPLIT: "SPLIT", DEFAULT: "DEFAULT",
}  # fmt: skip
"""The word of OpenFeature for each reason of a route's."""


class FlagRule:
    """For the units listed or the requests matched: one variant, or a split of its own. Over from `until` on."""

    def __init__(self, spec: Spec, salt: str, names: list[str], matcher: Matcher | None) -> None:
        self.label: Final[str] = spec["label"]  # "rules[0]"
        self.units: Final[frozenset[bytes] | None] = (
            frozenset(unit.encode() for unit in spec["units"]) if "units" in spec else None
        )
        self.matcher: Final = matcher
        self.where: Final[Spec | None] = spec.get("where")  # for `explain`, which traces it
        self.variant: Final[str] = spec.get("variant", "")
        self.split: Final[Dealer | None] = variant_dealer(salt, names, spec["split"]) if "split" in spec else None
        self.until: Final[float] = spec.get("until", 0.0)  # Unix seconds; 0: no end

    def holds(self, request: Request, unit: bytes | None) -> bool:
        """Whether it is about this unit or request, and not over."""
        if self.units is not None:
            if unit is None or unit not in self.units:
                return False
        elif self.matcher is None or not self.matcher(request):
            return False
        return not is_over(self.until, request.at)


class Flag:
    """One flag. `variants` are its values by name; `route` is the route it follows, None for one of its own."""

    def __init__(self, spec: Spec, segments: Mapping[str, Matcher], route: Route | None) -> None:
        self.name: Final[str] = spec["name"]
        self.type: Final[str] = spec["type"]
        self.variants: Final[dict[str, Any]] = spec["variants"]
        self.default: Final[str] = spec["default"]
        self.off: Final[str] = spec["off"]
        self.on: Final[bool] = spec["on"]
        self.until: Final[float] = spec["until"]  # Unix seconds; 0: no end
        self.salt: Final[str] = spec["salt"]
        self.route: Final = route
        self.prerequisites: Final[dict[str, list[str]]] = spec["prerequisites"]
        names = list(self.variants)
        self.names: Final = names
        self.rules: Final = [
            FlagRule(one, self.salt, names, compile_matcher(one["where"], segments) if "where" in one else None)
            for one in spec["rules"]
        ]
        self.split: Final[Dealer | None] = (
            variant_dealer(self.salt, names, spec["split"]) if spec["split"] is not None else None
        )
        # Everybody gets the default, always.
        self.static: Final = (
            route is None and not self.rules and self.split is None and not self.prerequisites and self.until == 0.0
        )
        self.field: Final = FIELD_PREFIX + self.name.lower().encode() + b": "


class Evaluation:
    """What a flag came to.

    `variant` is "" where nothing can be given (a route of which every version is killed, a unit that is missing): the
    asker uses its own default. `reason` is one of FLAG_REASONS, `detail` the finer word (off, over, prerequisite, rule,
    split, default, static, or a reason of the route's), `rule` the label of what decided. `unit_missing` tells that a draw
    was due and there was no unit.
    """

    def __init__(
        self, flag: Flag, variant: str, reason: str, detail: str, rule: str = "", *, unit_missing: bool = False
    ) -> None:
        self.flag: Final = flag
        self.variant: Final = variant
        self.reason: Final = reason
        self.detail: Final = detail
        self.rule: Final = rule
        self.unit_missing: Final = unit_missing

    @property
    def value(self) -> Any:
        """The variant's value; None without a variant."""
        return self.flag.variants[self.variant] if self.variant else None

    def bucket(self, unit: bytes | None) -> int:
        """The bucket shown to people, in [0, 10000); -1 without a unit."""
        if unit is None:
            return -1
        route = self.flag.route
        return bucket(self.flag.salt.encode() if route is None else route.salt_bytes, unit)


class FlagSet(Flags):
    """All flags of a plan. Those that others need stand before them."""

    def __init__(
        self,
        specs: Iterable[Spec],
        segments: Mapping[str, Matcher],
        routes: Mapping[str, Route],
        cookies: UnitCookies,
    ) -> None:
        """`cookies` verify the records of units. Raises KeyError where a flag names what is not there: specs come from
        settings/, which has checked."""
        self.cookies: Final = cookies
        self.flags: Final[dict[str, Flag]] = {
            one["name"]: Flag(one, segments, routes[one["route"]] if one["route"] else None) for one in specs
        }

    def evaluate(
        self, name: str, request: Request, unit: bytes | None, known: dict[str, Evaluation] | None = None
    ) -> Evaluation:
        """What the flag comes to for this unit. Pure: the same flags, request and unit give the same in every process.

        `request.unit` must be the unit, and `request.at` the time. `known` keeps what other flags of the same request came
        to. Raises KeyError for a flag that is not there.
        """
        if known is None:
            known = {}
        found = known.get(name)
        if found is None:
            found = self._evaluate(self.flags[name], request, unit, known)
            known[name] = found
        return found

    def _evaluate(self, flag: Flag, request: Request, unit: bytes | None, known: dict[str, Evaluation]) -> Evaluation:
        if not flag.on:
            return by_off(flag)
        if flag.static:
            return by_default(flag)
        if is_over(flag.until, request.at):
            return by_end(flag)
        for other, variants in flag.prerequisites.items():
            if self.evaluate(other, request, unit, known).variant not in variants:
                return by_prerequisite(flag, other)
        if flag.route is not None:
            return by_route(flag, flag.route, request, unit, self.cookies)
        for rule in flag.rules:
            if rule.holds(request, unit):
                found = by_rule(flag, rule, unit)
                if found is not None:
                    return found
        return by_split(flag, unit) or by_default(flag)

    def lines(self, names: list[str], request: Request, unit: bytes | None) -> bytes:
        """Whole field lines with the variants of these flags; one that has none for this unit is left out."""
        known: dict[str, Evaluation] = {}
        lines = []
        for name in names:
            found = self.evaluate(name, request, unit, known)
            if found.variant:
                lines.append(found.flag.field + found.variant.encode() + b"\r\n")
        return b"".join(lines)


def variant_dealer(salt: str, names: list[str], shares: Mapping[str, float]) -> Dealer:
    """Deals units to the variants of `shares`, by their place in `names`."""
    return Dealer(salt, "flag", [(names.index(name), name, share) for name, share in shares.items()])


# What each kind of decision gives. `evaluate` asks one after the other until one answers; `explain` asks them all.


def by_off(flag: Flag) -> Evaluation:
    """What a flag gives that is off."""
    return Evaluation(flag, flag.off, "DISABLED", "off")


def by_end(flag: Flag) -> Evaluation:
    """What a flag gives that is over."""
    return Evaluation(flag, flag.off, "DISABLED", "over")


def by_prerequisite(flag: Flag, other: str) -> Evaluation:
    """What a flag gives where this one has not come to what it needs."""
    return Evaluation(flag, flag.off, "DISABLED", "prerequisite", f"prerequisites.{other}")


def by_rule(flag: Flag, rule: FlagRule, unit: bytes | None) -> Evaluation | None:
    """What a rule that holds gives; None where its split deals to nobody."""
    if rule.split is None:
        return Evaluation(flag, rule.variant, "TARGETING_MATCH", "rule", rule.label)
    if unit is None:
        return Evaluation(flag, flag.default, "DEFAULT", "no_unit", rule.label, unit_missing=True)
    index = rule.split.deal(unit)
    return None if index < 0 else Evaluation(flag, flag.names[index], "SPLIT", "rule", rule.label)


def by_split(flag: Flag, unit: bytes | None) -> Evaluation | None:
    """The flag's draw; None where there is none, or it deals to nobody."""
    if flag.split is None:
        return None
    if unit is None:
        return Evaluation(flag, flag.default, "DEFAULT", "no_unit", unit_missing=True)
    index = flag.split.deal(unit)
    return None if index < 0 else Evaluation(flag, flag.names[index], "SPLIT", "split")


def by_default(flag: Flag) -> Evaluation:
    """What is left."""
    if flag.static:
        return Evaluation(flag, flag.default, "STATIC", "static")
    return Evaluation(flag, flag.default, "DEFAULT", "default")


def by_route(flag: Flag, route: Route, request: Request, unit: bytes | None, cookies: UnitCookies) -> Evaluation:
    """What the route's own decision says. The request may be on another route, whose records are none of this one's."""
    kept, chosen = request.kept, request.chosen
    take_records(route, request, unit, cookies)
    decision = decide(route, request, unit)
    request.kept, request.chosen = kept, chosen
    reason = OF_ROUTE[decision.reason]
    version = decision.version
    if version is None:
        return Evaluation(flag, "", "DISABLED", decision.reason_name, decision.rule)
    missing = unit is None and decision.reason == DEFAULT and route.split.count > 0
    return Evaluation(flag, version.name, reason, decision.reason_name, decision.rule, unit_missing=missing)
