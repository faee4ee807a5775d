"""A whole plan from a whole spec. A worker takes a large plan in short bites and puts the same parts together."""

from collections.abc import Mapping

from proxy.core.caps import CapRecord
from proxy.core.cookies import UnitCookies
from proxy.core.flags import FlagSet
from proxy.core.match import Matcher, compile_matcher, expression_key, list_key
from proxy.core.plan import Plan, Route, Spec, Upstream
from proxy.core.routing import RouteTable
from proxy.core.unit_table import UnitList


def build_plan(
    spec: Spec,
    base: int = 0,
    lists: Mapping[str, UnitList] | None = None,
    expressions: Mapping[str, Matcher] | None = None,
) -> Plan:
    """The plan, as `tidegate explain` and the tests want it. `base` is added to every counter slot; `lists` are the
    lists of units by name, `expressions` the matchers of expressions by text. Caps are those of versions that nobody has had.

    Raises KeyError where the spec names what it does not define: specs come from settings/, which has checked.
    """
    upstreams = {one["name"]: Upstream(one, base) for one in spec["upstreams"]}
    segments = _given(lists, expressions)
    for one in spec["segments"]:  # in an order in which each only names earlier ones
        segments[one["name"]] = compile_matcher(one["where"], segments)
    routes = [_open_to_all(Route(one, upstreams, segments, base)) for one in spec["routes"]]
    plan = Plan(spec, upstreams, routes, RouteTable(routes).find, base)
    if any(route.inject_flags for route in routes):
        plan.flags = FlagSet(spec["flags"], segments, {route.name: route for route in routes}, plan.cookies)
    return plan


def build_flags(
    spec: Spec, lists: Mapping[str, UnitList] | None = None, expressions: Mapping[str, Matcher] | None = None
) -> FlagSet:
    """The flags of a spec, with no more of it than they need."""
    segments = _given(lists, expressions)
    for one in spec["segments"]:
        segments[one["name"]] = compile_matcher(one["where"], segments)
    followed = {flag["route"] for flag in spec["flags"]}
    routes = [one for one in spec["routes"] if one["name"] in followed]
    needed = {version["upstream"] for route in routes for version in route["versions"]}
    needed |= {mirror["upstream"] for route in routes for mirror in route["mirror"]}
    upstreams = {one["name"]: Upstream(one, 0) for one in spec["upstreams"] if one["name"] in needed}
    return FlagSet(
        spec["flags"],
        segments,
        {one["name"]: _open_to_all(Route(one, upstreams, segments, 0)) for one in routes},
        UnitCookies([key.encode() for key in spec["secrets"]["cookie"]]),
    )


def _open_to_all(route: Route) -> Route:
    for version in route.capped:
        if version.cap is not None:
            version.cap.record = CapRecord()
    return route


def _given(lists: Mapping[str, UnitList] | None, expressions: Mapping[str, Matcher] | None) -> dict[str, Matcher]:
    """What matchers are made of that does not stand in the spec."""
    segments: dict[str, Matcher] = {list_key(name): units.has_unit for name, units in (lists or {}).items()}
    for text, matches in (expressions or {}).items():
        segments[expression_key(text)] = matches
    return segments
