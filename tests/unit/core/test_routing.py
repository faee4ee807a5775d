from typing import Any

import pytest

from proxy.core.build import build_plan
from proxy.core.plan import Route, Upstream
from proxy.core.request import Request
from proxy.core.routing import RouteTable, wire_path
from tests.specs import plan_spec, request_head, route_spec, upstream_spec


def table(*parts: dict[str, Any]) -> RouteTable:
    return RouteTable(routes(*parts))


def routes(*parts: dict[str, Any]) -> list[Route]:
    """Routes r0, r1, ... with these parts."""
    return build_plan(plan_spec(*(route_spec(f"r{place}", **one) for place, one in enumerate(parts)))).routes


def name(found: Route | None) -> str | None:
    return None if found is None else found.name


def taken(request: Request, *parts: dict[str, Any]) -> str | None:
    return name(table(*parts).find(request))


@pytest.mark.parametrize(
    ("prefix", "path", "matched"),
    [
        ("/api", b"/api", True),
        ("/api", b"/api/", True),
        ("/api", b"/api/x", True),
        ("/api", b"/apix", False),
        ("/api", b"/ap", False),
        ("/api", b"/x/api", False),
        ("/api/", b"/api", True),
        ("/api/", b"/api/x", True),
        ("/api/v1", b"/api/v1/x/y/z", True),
        ("/api/v1", b"/api", False),
        ("/", b"/", True),
        ("/", b"/anything/at/all", True),
        ("/", b"*", True),
        ("/api", b"*", False),
        ("/a//b", b"/a//b/c", True),
        ("/a//b", b"/a/b", False),
        ("//a", b"//a/b", True),
        ("/caf\u00e9", b"/caf%C3%A9/x", True),
        ("/a%7Eb", b"/a~b", True),
    ],
)
def test_prefix_matches_at_segment_boundaries(prefix: str, path: bytes, matched: bool) -> None:
    assert taken(request_head(path), {"path_prefix": prefix}) == ("r0" if matched else None)


@pytest.mark.parametrize(
    ("path", "matched"), [(b"/cart", True), (b"/cart/", False), (b"/cart/1", False), (b"/", False)]
)
def test_exact_path_is_exact(path: bytes, matched: bool) -> None:
    assert taken(request_head(path), {"path": "/cart"}) == ("r0" if matched else None)


@pytest.mark.parametrize(("path", "matched"), [(b"/v12/x", True), (b"/v12/x/y", False), (b"/a/v12/x", False)])
def test_pattern_matches_the_whole_path(path: bytes, matched: bool) -> None:
    assert taken(request_head(path), {"path_regex": r"/v\d+/[^/]+"}) == ("r0" if matched else None)


@pytest.mark.parametrize(
    ("hosts", "host", "matched"),
    [
        ([], b"anything", True),
        (["*"], b"anything", True),
        (["shop.example.com"], b"shop.example.com", True),
        (["Shop.Example.com"], b"SHOP.example.COM", True),
        (["shop.example.com"], b"example.com", False),
        (["*.example.com"], b"shop.example.com", True),
        (["*.example.com"], b"a.b.example.com", True),
        (["*.example.com"], b"example.com", False),
        (["*.example.com"], b".example.com", False),
        (["*.example.com"], b"badexample.com", False),
        (["*.example.com"], b"shop.example.com.evil.org", False),
        (["*.com"], b"shop.example.com", True),
        (["a.org", "*.example.com"], b"x.example.com", True),
        (["[::1]"], b"[::1]", True),
    ],
)
def test_hosts(hosts: list[str], host: bytes, matched: bool) -> None:
    assert taken(request_head(host=host), {"hosts": hosts}) == ("r0" if matched else None)


def test_first_in_the_file_wins_over_the_more_specific() -> None:
    request = request_head(b"/api/v1/x", host=b"shop.example.com")
    everything: dict[str, Any] = {"path_prefix": "/"}
    exact: dict[str, Any] = {"path": "/api/v1/x", "hosts": ["shop.example.com"]}
    wildcard: dict[str, Any] = {"path_prefix": "/api", "hosts": ["*.example.com"]}
    pattern: dict[str, Any] = {"path_regex": "/api/.*"}
    parts = [everything, exact, wildcard, pattern]
    for turn in range(4):
        assert taken(request, *parts[turn:], *parts[:turn]) == "r0"


def test_next_route_is_tried_where_method_or_fields_do_not_match() -> None:
    where = {"source": "header", "name": "x-env", "test": "is", "value": "prod"}
    parts: list[dict[str, Any]] = [
        {"path_prefix": "/", "methods": ["POST", "PUT"]},
        {"path_prefix": "/", "where": where},
        {"path_prefix": "/api"},
        {"path_prefix": "/"},
    ]
    assert taken(request_head(b"/api", method=b"PUT"), *parts) == "r0"
    assert taken(request_head(b"/api", fields={b"x-env": b"prod"}), *parts) == "r1"
    assert taken(request_head(b"/api"), *parts) == "r2"
    assert taken(request_head(b"/else"), *parts) == "r3"


def test_no_route_is_none() -> None:
    assert RouteTable().find(request_head()) is None
    assert taken(request_head(b"/other"), {"path_prefix": "/api"}) is None


def test_unclean_path_is_taken_by_raw_routes_only() -> None:
    request = request_head(b"/a/../b", raw_path=b"/a/%2E./b", clean=False)
    assert taken(request, {"path_prefix": "/"}) is None
    assert taken(request, {"path_prefix": "/"}, {"path_prefix": "/", "raw_paths": True}) == "r1"
    assert taken(request, {"path": "/a/%2E./b", "raw_paths": True}) == "r0"
    assert taken(request, {"path": "/a/../b", "raw_paths": True}) is None


def test_clean_and_raw_routes_keep_the_order_of_the_file() -> None:
    request = request_head(b"/a~b", raw_path=b"/a%7Eb")
    raw: dict[str, Any] = {"path_prefix": "/a%7Eb", "raw_paths": True}
    clean: dict[str, Any] = {"path_prefix": "/a~b"}
    assert taken(request, raw, clean) == "r0"
    assert taken(request, clean, raw) == "r0"
    assert taken(request, {"path": "/none"}, raw) == "r1"


def test_routes_can_be_added_one_by_one() -> None:
    first, second = routes({"path_prefix": "/a"}, {"path_prefix": "/"})
    growing = RouteTable()
    growing.add(first)
    assert growing.find(request_head(b"/b")) is None
    growing.add(second)
    assert name(growing.find(request_head(b"/b"))) == "r1"
    assert name(growing.find(request_head(b"/a"))) == "r0"


def test_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"route r0: not a regular expression"):
        table({"path_regex": "/(("})


def test_thousand_routes_are_looked_up_and_not_walked() -> None:
    asked: list[str] = []

    def watch(label: str) -> Any:
        def where(_: Request) -> bool:
            asked.append(label)
            return True

        return where

    upstreams = {"u": Upstream(upstream_spec("u"), 0)}
    watched = []
    for number in range(1000):
        spec = route_spec(
            f"r{number}",
            hosts=[f"h{number}.example.com"],
            path_prefix=f"/s{number}/v1",
            where={"segment": "watch"},
        )
        watched.append(Route(spec, upstreams, {"watch": watch(f"r{number}")}, 0))
    assert name(RouteTable(watched).find(request_head(b"/s7/v1/x", host=b"h7.example.com"))) == "r7"
    assert asked == ["r7"]


def test_configured_paths_look_like_paths_on_the_wire() -> None:
    assert wire_path("/a b/\u00e9?#") == b"/a%20b/%C3%A9%3F%23"
    assert wire_path("/%7e/%2f/%zz") == b"/~/%2F/%zz"
    assert wire_path("/%7e/\u00e9", raw=True) == b"/%7e/%C3%A9"
