"""A whole plan from a whole spec. A worker takes a large plan in short bites and puts the same parts together."""

from proxy.core.match import Matcher, compile_matcher
from proxy.core.plan import Plan, Route, Spec, Upstream
from proxy.core.routing import RouteTable


def build_plan(spec: Spec, base: int = 0) -> Plan:
    """The plan, as `tidegate explain` and the tests want it. `base` is added to every counter slot.

    Raises KeyError where the spec names what it does not define: specs come from settings/, which has checked.
    """
    upstreams = {one["name"]: Upstream(one, base) for one in spec["upstreams"]}
    segments: dict[str, Matcher] = {}
    for one in spec["segments"]:  # in an order in which each only names earlier ones
        segments[one["name"]] = compile_matcher(one["where"], segments)
    routes = [Route(one, upstreams, segments, base) for one in spec["routes"]]
    return Plan(spec, upstreams, routes, RouteTable(routes).find, base)
