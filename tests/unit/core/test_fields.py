"""Heads on their way through: what is passed on, what is dropped, what is added."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.fields import Origin, kept_lines, request_head, response_head, shadow_lines, upstream_target
from proxy.core.http1 import parse_request, parse_response
from proxy.core.plan import Rewrite
from proxy.core.request import Request

NOTHING: frozenset[bytes] = frozenset()
HOST = "Host: shop.example.com"


def parsed(*fields: str, target: str = "/", method: str = "GET", version: str = "1.1") -> Request:
    lines = [f"{method} {target} HTTP/{version}", *(fields or (HOST,))]
    return parse_request("\r\n".join(lines).encode("latin-1"), 100, 8192)


def rewrite(strip: str = "", remove: tuple[str, ...] = (), **fields: str) -> Rewrite:
    headers = {name.replace("_", "-"): value for name, value in fields.items()}
    return Rewrite({"strip_prefix": strip, "set_headers": headers, "remove_headers": list(remove)})


def kept(*fields: str, drop: frozenset[bytes] = NOTHING, change: Rewrite | None = None) -> list[bytes]:
    return kept_lines(parsed(HOST, *fields), drop, change)[1:]


def head(request: Request, change: Rewrite | None = None, upgrade: bytes = b"") -> bytes:
    lines = kept_lines(request, NOTHING, change)
    return request_head(request, lines, b"x-forwarded-for: 192.0.2.1\r\n", b"x-id: 1\r\n", change, False, upgrade)


# What is passed on.


def test_ordinary_head_keeps_its_very_lines() -> None:
    request = parsed(HOST, "Accept: */*", "X-Odd:   spaced  ")
    assert kept_lines(request, NOTHING, None) is request.lines


@pytest.mark.parametrize(
    "line",
    [
        "Connection: close", "Proxy-Connection: keep-alive", "Keep-Alive: timeout=5", "Proxy-Authenticate: Basic",
        "Proxy-Authorization: Basic eA==", "TE: trailers", "Trailer: X-Sum", "Upgrade: h2c",
        "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: evil", "Forwarded: for=1.2.3.4",
        "Via: 1.1 other", "X-Tidegate-Version: canary", "x-TIDEGATE-shadow: 1", "X_Tidegate_Version: canary",
        "X-Tidegate_Unit-Hash: 1", "X_Forwarded_For: 1.2.3.4", "X-Forwarded_Proto: https", "X_Request_Id: fake",
    ],
)  # fmt: skip
def test_fields_of_the_hop_and_fields_of_ours_are_not_passed_on(line: str) -> None:
    assert kept("Accept: */*", line, "X-Kept: 1") == [b"Accept: */*", b"X-Kept: 1"]


@pytest.mark.parametrize("line", ["X-Tide: 1", "X_Custom: 1", "Tidegate: 1", "X-Forwarded-Port: 443", "X-Real-Ip: a"])
def test_fields_that_only_look_a_little_like_ours_are_passed_on(line: str) -> None:
    assert kept(line) == [line.encode()]


def test_fields_that_connection_names_are_dropped() -> None:
    assert kept("Connection: keep-alive, X-Hop , x-OTHER", "X-Hop: 1", "X-Other: 2", "X-Kept: 3") == [b"X-Kept: 3"]


@pytest.mark.parametrize(
    "name",
    ["Host", "Content-Length", "Authorization", "Cookie", "X-Request-Id", "Traceparent", "Tracestate", "Set-Cookie"],
)
def test_connection_cannot_name_away_what_others_rely_on(name: str) -> None:
    fields = [f"Connection: {name}"] + ([] if name == "Host" else [f"{name}: 1"])
    request = parsed(HOST, *fields)
    lines = kept_lines(request, NOTHING, None)
    assert any(line.lower().startswith(name.lower().encode() + b":") for line in lines)


def test_fields_the_caller_replaces_are_dropped() -> None:
    assert kept("X-Request-Id: bad id", "X: 1", drop=frozenset((b"x-request-id",))) == [b"X: 1"]


def test_rewrite_drops_what_it_removes_and_what_it_sets() -> None:
    change = rewrite(remove=("X-Secret",), X_Set="new")
    assert kept("X-Secret: 1", "x-set: old", "Y: 1", change=change) == [b"Y: 1"]
    assert head(parsed(HOST, "x-set: old"), change).endswith(b"X-Set: new\r\n\r\n")


# The head for the upstream.


def test_head_for_the_upstream() -> None:
    got = head(parsed(HOST, "Accept: */*", target="/a?b"))
    assert got == (
        b"GET /a?b HTTP/1.1\r\nHost: shop.example.com\r\nAccept: */*\r\nvia: 1.1 tidegate\r\n"
        b"x-forwarded-for: 192.0.2.1\r\nx-id: 1\r\n\r\n"
    )


def test_via_is_added_to_what_came() -> None:
    got = head(parsed(HOST, "Via: 1.0 a", "via: 1.1 b"))
    assert b"via: 1.0 a, 1.1 b, 1.1 tidegate\r\n" in got
    assert got.lower().count(b"via:") == 1


def test_wish_for_trailers_is_renewed_and_no_other_coding() -> None:
    assert b"te: trailers\r\n" in head(parsed(HOST, "TE: deflate, Trailers", "Connection: TE"))
    assert b"te: " not in head(parsed(HOST, "TE: gzip")).lower().replace(b"tidegate", b"")


def test_old_requests_go_on_as_new_ones_with_a_host() -> None:
    assert head(parsed("Accept: a", version="1.0")).startswith(b"GET / HTTP/1.1\r\nAccept: a\r\nhost: \r\n")


def test_absolute_target_becomes_a_path_and_its_authority_the_host() -> None:
    got = head(parsed("Host: other", target="http://shop.example.com:8080/a?b"))
    assert got.startswith(b"GET /a?b HTTP/1.1\r\nhost: shop.example.com:8080\r\n")
    assert got.lower().count(b"host: ") == 1


def test_host_that_is_set_replaces_the_one_that_came() -> None:
    change = rewrite(Host="inner")
    assert head(parsed(HOST), change).lower().count(b"\r\nhost: ") == 1
    assert b"Host: inner\r\n" in head(parsed("Host: other", target="http://shop/a"), change)
    assert head(parsed("Host: other", target="http://shop/a"), change).lower().count(b"\r\nhost: ") == 1


def test_options_of_the_whole_server_stays_an_asterisk() -> None:
    assert head(parsed(HOST, target="*", method="OPTIONS")).startswith(b"OPTIONS * HTTP/1.1\r\nHost: shop")


def test_chunked_body_stays_chunked_said_once() -> None:
    got = head(parsed(HOST, "Transfer-Encoding: chunked", method="POST"))
    assert got.lower().count(b"transfer-encoding: chunked\r\n") == 1


def test_upgrade_is_asked_for_anew() -> None:
    got = head(parsed(HOST, "Connection: Upgrade", "Upgrade: WebSocket"), upgrade=b"websocket")
    assert b"connection: upgrade\r\nupgrade: websocket\r\n" in got
    assert got.lower().count(b"upgrade: ") == 1


# The target.


@pytest.mark.parametrize(
    ("prefix", "target", "wanted"),
    [
        ("/shop", "/shop", b"/"),
        ("/shop", "/shop?", b"/?"),
        ("/shop", "/shop/", b"/"),
        ("/shop", "/shop/a?b", b"/a?b"),
        ("/shop", "/shopping", b"/shopping"),
        ("/shop", "/other/shop", b"/other/shop"),
        ("/shop/", "/shop/a", b"/a"),
        ("/shop", "/shop//evil.example/x", b"/evil.example/x"),
        ("/shop/", "/shop///evil.example/x", b"/evil.example/x"),
    ],
)
def test_prefix_is_stripped_at_a_boundary_and_leaves_a_path(prefix: str, target: str, wanted: bytes) -> None:
    assert upstream_target(parsed(HOST, target=target), rewrite(prefix), False) == wanted


@given(st.text("/ab.", max_size=12))
def test_stripped_target_is_never_read_as_an_authority(rest: str) -> None:
    request = parsed(HOST, target="/p" + rest)
    got = upstream_target(request, rewrite("/p"), True)
    assert got.startswith(b"/")
    if rest.startswith("/"):
        assert not got.startswith(b"//")


def test_path_is_the_one_that_was_matched_unless_the_route_wants_it_raw() -> None:
    request = parsed(HOST, target="/%61b?x=%61")
    assert upstream_target(request, None, False) == b"/ab?x=%61"
    assert upstream_target(request, None, True) == b"/%61b?x=%61"


# Who sent it.


def test_forwarding_from_a_stranger_says_only_what_is_known() -> None:
    request = parsed(HOST, "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "Forwarded: for=evil")
    assert Origin("192.0.2.1", b"http").lines(request.authority) == (
        b"x-forwarded-for: 192.0.2.1\r\nx-forwarded-proto: http\r\nx-forwarded-host: shop.example.com\r\n"
        b"forwarded: for=192.0.2.1;proto=http;host=shop.example.com\r\n"
    )


def test_forwarding_from_a_trusted_peer_is_gone_on_with() -> None:
    request = parsed(
        HOST, "X-Forwarded-For: 1.2.3.4", "X-Forwarded-Proto: https", "X-Forwarded-Host: pub", "Forwarded: for=1.2.3.4"
    )
    assert Origin("192.0.2.1", b"http").lines_beside(request) == (
        b"x-forwarded-for: 1.2.3.4, 192.0.2.1\r\nx-forwarded-proto: https\r\nx-forwarded-host: pub\r\n"
        b"forwarded: for=1.2.3.4, for=192.0.2.1;proto=http;host=shop.example.com\r\n"
    )


def test_forwarded_quotes_what_must_be_quoted() -> None:
    got = Origin("2001:db8::1", b"https").lines(b"a:8080")
    assert b'forwarded: for="[2001:db8::1]";proto=https;host="a:8080"\r\n' in got


def test_peer_without_an_address_is_unknown() -> None:
    got = Origin("", b"http").lines(parsed(HOST).authority)
    assert b"x-forwarded-for" not in got
    assert b"forwarded: for=unknown;" in got
    trusted = Origin("", b"http").lines_beside(parsed(HOST, "X-Forwarded-For: 1.2.3.4"))
    assert b"x-forwarded-for: 1.2.3.4\r\n" in trusted


# Copies.


def test_copy_is_without_credentials_on_request() -> None:
    lines = [b"Authorization: x", b"COOKIE: y", b"Accept: z", b"X-Authorization: w"]
    assert shadow_lines(lines, False) is lines
    assert shadow_lines(lines, True) == [b"Accept: z", b"X-Authorization: w"]


# The head for the client.


def answered(*fields: str, status: str = "200 OK") -> bytes:
    block = "\r\n".join((f"HTTP/1.1 {status}", *fields)).encode("latin-1")
    return response_head(parse_response(block, b"GET"), b"added: 1\r\n")


def test_head_for_the_client() -> None:
    assert answered("Server: x", "Content-Length: 3") == (
        b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 3\r\nvia: 1.1 tidegate\r\nadded: 1\r\n\r\n"
    )


def test_head_for_the_client_without_fields() -> None:
    assert answered(status="204 ") == b"HTTP/1.1 204 \r\nvia: 1.1 tidegate\r\nadded: 1\r\n\r\n"
    assert answered("Connection: close") == b"HTTP/1.1 200 OK\r\nvia: 1.1 tidegate\r\nadded: 1\r\n\r\n"


def test_hop_fields_of_an_answer_are_dropped() -> None:
    got = answered(
        "Connection: X-Hop, close", "X-Hop: 1", "Keep-Alive: timeout=5", "Transfer-Encoding: chunked", "Trailer: X",
        "Upgrade: h2c", "Proxy-Authenticate: Basic", "Via: 1.0 b", "Set-Cookie: a=1", "Set-Cookie: b=2",
    )  # fmt: skip
    assert got == (
        b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nvia: 1.0 b, 1.1 tidegate\r\nadded: 1\r\n\r\n"
    )


def test_answers_connection_cannot_name_away_cookies_or_length() -> None:
    got = answered("Connection: Set-Cookie, Content-Length", "Set-Cookie: a=1", "Content-Length: 0")
    assert b"Set-Cookie: a=1\r\n" in got
    assert b"Content-Length: 0\r\n" in got


NAMES = st.sampled_from(
    [
        "Accept",
        "Connection",
        "Via",
        "TE",
        "X-Tidegate-X",
        "X_Tidegate_Y",
        "Forwarded",
        "X-Hop",
        "Keep-Alive",
        "Cookie",
        "Upgrade",
    ]
)
VALUES = st.sampled_from(["1", "x-hop", "close, X-Hop", "keep-alive", "trailers", "upgrade, host", "cookie"])


@given(st.lists(st.tuples(NAMES, VALUES), max_size=8))
def test_rewritten_head_parses_to_what_may_be_passed_on(fields: list[tuple[str, str]]) -> None:
    request = parsed(HOST, *(f"{name}: {value}" for name, value in fields))
    again = parse_request(head(request)[:-4], 100, 8192)
    assert again.host == request.host
    assert again.path == request.path
    assert not again.chunked
    assert again.content_length == -1
    assert again.keep_alive
    named = {part.strip().lower() for name, value in fields if name == "Connection" for part in value.split(",")}
    for name in again.fields:
        plain = name.replace(b"_", b"-")
        assert not plain.startswith(b"x-tidegate-")
        assert name not in (b"keep-alive", b"connection", b"upgrade", b"forwarded")
        assert name.decode() not in named or name in (b"host", b"cookie")
