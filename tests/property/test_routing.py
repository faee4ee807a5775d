"""The index of routes answers what a scan of the file would."""

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.build import build_plan
from proxy.core.plan import Route
from proxy.core.request import Request
from proxy.core.routing import RouteTable
from tests.specs import plan_spec, request_head, route_spec

HOSTS = ["a.org", "b.a.org", "c.b.a.org", "org", "x.net", "*.a.org", "*.org", "*.b.a.org", "*"]
paths = st.lists(st.sampled_from(["", "a", "b", "ab"]), min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
path_rules = st.one_of(
    st.just({}),
    paths.map(lambda path: {"path": path}),
    paths.map(lambda path: {"path_prefix": path}),
    st.sampled_from(["/a.*", "/[^/]*", ".*b", "/a/b|/b"]).map(lambda pattern: {"path_regex": pattern}),
)
where_a = {"source": "header", "name": "x-a", "test": "exists", "value": True}
route_parts = st.builds(
    lambda hosts, path, methods, where, raw: {
        "hosts": hosts, "methods": methods, "where": where, "raw_paths": raw
    } | path,
    st.lists(st.sampled_from(HOSTS), max_size=3),
    path_rules,
    st.sampled_from([[], [], ["GET"], ["POST", "PUT"]]),
    st.sampled_from([None, None, where_a]),
    st.booleans(),
)  # fmt: skip
requests = st.builds(
    lambda path, raw, clean, host, method, fields: request_head(
        path.encode(), raw_path=raw.encode(), clean=clean, host=host.encode(), method=method, fields=dict(fields)
    ),
    paths,
    paths,
    st.booleans(),
    st.sampled_from([host for host in HOSTS if "*" not in host] + [".a.org", "xa.org", "z.c.b.a.org", ""]),
    st.sampled_from([b"GET", b"POST"]),
    st.sampled_from([{}, {b"x-a": b""}]),
)


def host_matches(host: str, asked: str) -> bool:
    if host.startswith("*."):
        return asked.endswith(host[1:]) and len(asked) > len(host) - 1
    return host in {"*", asked}


def path_matches(route: Route, path: str) -> bool:
    if route.path is not None:
        return path == route.path
    if route.path_regex is not None:
        return re.fullmatch(route.path_regex, path) is not None
    prefix = (route.path_prefix or "").removesuffix("/")
    return not prefix or path == prefix or path.startswith(prefix + "/")


def scan(routes: list[Route], request: Request) -> Route | None:
    for route in routes:
        if not route.raw_paths and not request.clean:
            continue
        path = request.raw_path if route.raw_paths else request.path
        if (
            any(host_matches(host, request.host.decode()) for host in route.hosts or ["*"])
            and path_matches(route, path.decode())
            and (route.methods is None or request.method in route.methods)
            and (route.where is None or route.where(request))
        ):
            return route
    return None


def build(parts: list[dict[str, Any]]) -> list[Route]:
    return build_plan(plan_spec(*(route_spec(f"r{place}", **one) for place, one in enumerate(parts)))).routes


@given(st.lists(route_parts, max_size=12), st.lists(requests, min_size=1, max_size=12))
def test_index_finds_what_a_scan_finds(parts: list[dict[str, Any]], asked: list[Request]) -> None:
    routes = build(parts)
    table = RouteTable(routes)
    for request in asked:
        assert table.find(request) is scan(routes, request)


@given(st.lists(route_parts, min_size=1, max_size=8), st.lists(requests, min_size=1, max_size=8), st.data())
def test_route_behind_all_others_takes_nothing_from_them(
    parts: list[dict[str, Any]], asked: list[Request], data: st.DataObject
) -> None:
    *before, last = build([*parts, data.draw(route_parts)])
    table, longer = RouteTable(before), RouteTable([*before, last])
    for request in asked:
        found = table.find(request)
        assert longer.find(request) is (found or scan([last], request))
