"""A whole plan from a whole spec. A worker takes a large plan in short bites and puts the same parts together."""

from collections.abc import Mapping

from proxy.core.match import Matcher, compile_matcher, list_key
from proxy.core.plan import Plan, Route, Spec, Upstream
from proxy.core.routing import RouteTable
from proxy.core.unit_table import UnitList


def build_plan(spec: Spec, base: int = 0, lists: Mapping[str, UnitList] | None = None) -> Plan:
    """The plan, as `tidegate explain` and the tests want it. `base` is added to every counter slot; `lists` are the
    lists of units by name.

    Raises KeyError where the spec names what it does not define: specs come from settings/, which has checked.
    """
    upstreams = {one["name"]: Upstream(one, base) for one in spec["upstreams"]}
    segments: dict[str, Matcher] = {list_key(name): units.has_unit for name, units in (lists or {}).items()}
    for one in spec["segments"]:  # in an order in which each only names earlier ones
        segments[one["name"]] = compile_matcher(one["where"], segments)
    routes = [Route(one, upstreams, segments, base) for one in spec["routes"]]
    return Plan(spec, upstreams, routes, RouteTable(routes).find, base)
