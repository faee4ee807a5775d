"""Heads that are read, heads that are refused, and with which status."""

import pytest

from proxy.core.http1 import find_head_end, list_members, parse_request, parse_response
from proxy.core.request import Request, Response
from proxy.errors import ProtocolError


def request(*lines: bytes, max_fields: int = 100, max_target: int = 8192) -> Request:
    return parse_request(b"\r\n".join(lines), max_fields, max_target)


def get(*fields: bytes) -> Request:
    return request(b"GET / HTTP/1.1", b"Host: a", *fields)


def response(*lines: bytes, method: bytes = b"GET") -> Response:
    return parse_response(b"\r\n".join(lines), method)


def test_ordinary_head_is_read_whole() -> None:
    found = request(
        b"GET /catalog/items?page=2 HTTP/1.1",
        b"Host: Shop.Example.com:8080",
        b"User-Agent: \t curl/8 \t",
        b"X-Empty:",
        b"X-List: a",
        b"x-list: b",
        b"Cookie: a=1",
        b"cookie: b=2",
        b"X-Latin: caf\xe9",
    )
    assert found.method == b"GET"
    assert found.target == b"/catalog/items?page=2"
    assert found.minor == 1
    assert found.path == found.raw_path == b"/catalog/items"
    assert (found.query, found.has_query, found.clean) == (b"page=2", True, True)
    assert (found.authority, found.host) == (b"Shop.Example.com:8080", b"shop.example.com")
    assert found.lines[1] == b"User-Agent: \t curl/8 \t"
    assert [line.name for line in found.read] == [
        b"host", b"user-agent", b"x-empty", b"x-list", b"x-list", b"cookie", b"cookie", b"x-latin",
    ]  # fmt: skip
    assert found.fields == {
        b"host": b"Shop.Example.com:8080",
        b"user-agent": b"curl/8",
        b"x-empty": b"",
        b"x-list": b"a, b",
        b"cookie": b"a=1; b=2",
        b"x-latin": b"caf\xe9",
    }
    assert (found.content_length, found.chunked, found.keep_alive) == (-1, False, True)
    assert (found.expect_continue, found.upgrade) == (False, b"")


def test_one_empty_line_before_the_request_line_is_passed_over() -> None:
    assert request(b"", b"GET / HTTP/1.1", b"Host: a").path == b"/"
    with pytest.raises(ProtocolError):
        request(b"", b"", b"GET / HTTP/1.1", b"Host: a")


@pytest.mark.parametrize(
    ("status", "lines"),
    [
        # the request line
        (400, [b""]),
        (400, [b"", b""]),
        (400, [b"GET /"]),
        (400, [b"GET / HTTP/1.1 "]),
        (400, [b" GET / HTTP/1.1"]),
        (400, [b"GET  / HTTP/1.1", b"Host: a"]),
        (400, [b"GET /a b HTTP/1.1", b"Host: a"]),
        (400, [b"GET\t/\tHTTP/1.1", b"Host: a"]),
        (400, [b"G(T / HTTP/1.1", b"Host: a"]),
        (400, [b"G\xc9T / HTTP/1.1", b"Host: a"]),
        (400, [b"A" * 33 + b" / HTTP/1.1", b"Host: a"]),
        (501, [b"CONNECT a:443 HTTP/1.1", b"Host: a:443"]),
        (400, [b"GET / http/1.1", b"Host: a"]),
        (400, [b"GET / HTTP/1.1x", b"Host: a"]),
        (400, [b"GET / HTTP/1", b"Host: a"]),
        (400, [b"GET / HTTP/2", b"Host: a"]),
        (400, [b"GET / HTTP/11.1", b"Host: a"]),
        (400, [b"GET / HTTP/1,1", b"Host: a"]),
        (400, [b"GET / HTTP/+.1", b"Host: a"]),
        (400, [b"GET / HTP/1.1", b"Host: a"]),
        (505, [b"GET / HTTP/0.9", b"Host: a"]),
        (505, [b"GET / HTTP/1.2", b"Host: a"]),
        (505, [b"GET / HTTP/2.0", b"Host: a"]),
        (505, [b"PRI * HTTP/2.0"]),
        (414, [b"GET /" + b"a" * 8192 + b" HTTP/1.1", b"Host: a"]),
        # bytes
        (400, [b"GET / HTTP/1.1\nHost: a"]),
        (400, [b"GET / HTTP/1.1\rHost: a"]),
        (400, [b"GET / HTTP/1.1", b"Host: a\nX: b"]),
        (400, [b"GET / HTTP/1.1", b"Host: a\rX: b"]),
        (400, [b"GET / HTTP/1.1", b"Host: a", b"X: \x00"]),
        (400, [b"GET / HTTP/1.1", b"Host: a", b"X: a\x0bb"]),
        (400, [b"GET / HTTP/1.1", b"Host: a", b"X: \x7f"]),
        (400, [b"GET / HTTP/1.1", b"Host: a", b"X: a\r"]),
        (400, [b"\nGET / HTTP/1.1", b"Host: a"]),
        # field lines
        (400, [b"GET / HTTP/1.1", b"Host : a"]),
        (400, [b"GET / HTTP/1.1", b"Host\t: a"]),
        (400, [b"GET / HTTP/1.1", b" Host: a"]),
        (400, [b"GET / HTTP/1.1", b"Host: a", b" folded"]),
        (400, [b"GET / HTTP/1.1", b"Host: a", b"X: b", b"\tfolded: c"]),
        (400, [b"GET / HTTP/1.1", b"Host: a", b": empty"]),
        (400, [b"GET / HTTP/1.1", b"Host: a", b"no-colon"]),
        (400, [b"GET / HTTP/1.1", b"Host: a", b"connection"]),
        (400, [b"GET / HTTP/1.1", b"Host: a", b""]),
        (400, [b"GET / HTTP/1.1", b"Host: a", b"X(y): b"]),
        (400, [b"GET / HTTP/1.1", b"Host: a", b"X\xe9: b"]),
        (400, [b"GET / HTTP/1.1", b"Host: a", b'"x": b']),
        (431, [b"GET / HTTP/1.1", b"Host: a"] + [b"X: b"] * 100),
        # Host
        (400, [b"GET / HTTP/1.1"]),
        (400, [b"GET / HTTP/1.1", b"Host:"]),
        (400, [b"GET / HTTP/1.0", b"Host:"]),
        (400, [b"GET / HTTP/1.1", b"Host: a", b"Host: a"]),
        (400, [b"GET / HTTP/1.1", b"Host: a", b"host: b"]),
        (400, [b"GET / HTTP/1.0", b"Host: a", b"HOST: a"]),
        (400, [b"GET http://a/ HTTP/1.1"]),
        (400, [b"GET http://a/ HTTP/1.1", b"Host: a/b"]),
        # framing
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 5", b"Transfer-Encoding: chunked"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked", b"Content-Length: 0"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 5", b"Content-Length: 6"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 5", b"Content-Length: 5"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 5, 5"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Content-Length:"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: +5"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: -5"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 0x5"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 5_0"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 5 0"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 5;"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: \xb2"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 1" + b"0" * 18]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding:"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: identity"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: gzip, chunked"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked, gzip"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked, chunked"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: xchunked"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: chunked;q=1"]),
        (400, [b"POST / HTTP/1.1", b"Host: a", b'Transfer-Encoding: "chunked"']),
        (400, [b"POST / HTTP/1.1", b"Host: a", b"Transfer-Encoding: ,chunked"]),
        (400, [b"POST / HTTP/1.0", b"Host: a", b"Transfer-Encoding: chunked"]),
        # expectations
        (417, [b"POST / HTTP/1.1", b"Host: a", b"Expect: 200-ok"]),
        (417, [b"POST / HTTP/1.1", b"Host: a", b"Expect: 100-continue", b"Expect: 100-continue"]),
    ],
)
def test_request_head_is_refused(status: int, lines: list[bytes]) -> None:
    with pytest.raises(ProtocolError) as caught:
        request(*lines)
    assert caught.value.status == status


def test_refusal_does_not_repeat_the_offending_bytes() -> None:
    with pytest.raises(ProtocolError) as caught:
        get(b"X<script>: a")
    assert "script" not in caught.value.detail


def test_limits_are_inclusive() -> None:
    assert len(request(b"GET / HTTP/1.1", b"Host: a", *[b"X: b"] * 99).lines) == 100
    assert len(request(b"GET /" + b"a" * 8191 + b" HTTP/1.1", b"Host: a").target) == 8192


def test_http_1_0_needs_no_host() -> None:
    found = request(b"GET / HTTP/1.0")
    assert (found.minor, found.host, found.authority, found.keep_alive) == (0, b"", b"", False)


def test_absolute_target_overrules_host() -> None:
    found = request(b"GET HTTP://B.example:81/x?y HTTP/1.1", b"Host: a")
    assert (found.authority, found.host) == (b"B.example:81", b"b.example")
    assert found.fields[b"host"] == b"B.example:81"
    assert found.lines == [b"Host: a"]
    assert (found.path, found.query) == (b"/x", b"y")


def test_unknown_methods_are_taken_when_they_are_tokens() -> None:
    assert request(b"M-SEARCH / HTTP/1.1", b"Host: a").method == b"M-SEARCH"


def test_framing_is_read() -> None:
    assert get(b"Content-Length: 0").content_length == 0
    assert get(b"Content-Length: \t 007 \t").content_length == 7
    assert get(b"Content-Length: " + b"9" * 18).content_length == 10**18 - 1
    chunked = get(b"TRANSFER-encoding: Chunked ")
    assert (chunked.chunked, chunked.content_length) == (True, -1)


@pytest.mark.parametrize(
    ("minor", "connection", "kept"),
    [
        (1, None, True),
        (1, b"close", False),
        (1, b"CLOSE", False),
        (1, b"keep-alive", True),
        (1, b"x, ,Close", False),
        (1, b"keep-alive,close", False),
        (1, b"closed", True),
        (1, b"", True),
        (0, None, False),
        (0, b"keep-alive", True),
        (0, b"Keep-Alive, x", True),
        (0, b"keep-alive, close", False),
        (0, b"x", False),
    ],
)
def test_connection_decides_on_keep_alive(minor: int, connection: bytes | None, kept: bool) -> None:
    lines = [b"GET / HTTP/1.%d" % minor, b"Host: a"]
    if connection is not None:
        lines.append(b"Connection: " + connection)
    assert request(*lines).keep_alive is kept


def test_repeated_connection_fields_count_together() -> None:
    assert get(b"Connection: x", b"Connection: close").keep_alive is False


def test_expectation_matters_only_with_a_body_to_come() -> None:
    assert get(b"Expect: 100-Continue", b"Content-Length: 3").expect_continue is True
    assert get(b"Expect: 100-continue", b"Transfer-Encoding: chunked").expect_continue is True
    assert get(b"Expect: 100-continue").expect_continue is False
    assert get(b"Expect: 100-continue", b"Content-Length: 0").expect_continue is False
    old = request(b"POST / HTTP/1.0", b"Host: a", b"Expect: anything", b"Content-Length: 3")
    assert old.expect_continue is False


@pytest.mark.parametrize(
    ("upgrade", "lines"),
    [
        (b"websocket", [b"Connection: Upgrade", b"Upgrade: WebSocket"]),
        (b"websocket", [b"Connection: keep-alive, upgrade", b"Upgrade: websocket", b"Content-Length: 0"]),
        (b"irc/6.9", [b"Connection: upgrade", b"Upgrade: IRC/6.9"]),
        (b"", [b"Upgrade: websocket"]),
        (b"", [b"Connection: keep-alive", b"Upgrade: websocket"]),
        (b"", [b"Connection: upgrade"]),
        (b"", [b"Connection: upgrade", b"Upgrade: websocket, irc"]),
        (b"", [b"Connection: upgrade", b"Upgrade: websocket", b"Upgrade: websocket"]),
        (b"", [b"Connection: upgrade", b"Upgrade: web socket"]),
        (b"", [b"Connection: upgrade", b"Upgrade:"]),
        (b"", [b"Connection: upgrade, http2-settings", b"Upgrade: h2c"]),
        (b"", [b"Connection: upgrade", b"Upgrade: H2C"]),
        (b"", [b"Connection: upgrade", b"Upgrade: h2"]),
        (b"", [b"Connection: upgrade", b"Upgrade: HTTP/2.0"]),
        (b"", [b"Connection: upgrade", b"Upgrade: TLS/1.2"]),
        (b"", [b"Connection: upgrade", b"Upgrade: websocket", b"Content-Length: 1"]),
        (b"", [b"Connection: upgrade", b"Upgrade: websocket", b"Transfer-Encoding: chunked"]),
    ],
)
def test_upgrade_is_wanted_or_not(upgrade: bytes, lines: list[bytes]) -> None:
    assert get(*lines).upgrade == upgrade


def test_http_1_0_cannot_upgrade() -> None:
    assert request(b"GET / HTTP/1.0", b"Host: a", b"Connection: upgrade", b"Upgrade: websocket").upgrade == b""


def test_list_members() -> None:
    assert list_members(b" A,\tb ,, C") == [b"a", b"b", b"c"]
    assert list_members(b"") == []


def test_names_are_checked_however_many_were_seen() -> None:
    for number in range(5000):
        assert get(b"X-%d: a" % number).read[1].name == b"x-%d" % number
    with pytest.raises(ProtocolError):
        get(b"X 1: a")
    assert get(b"X" * 300 + b": a").read[1].name == b"x" * 300


def test_end_of_head_is_found() -> None:
    head = b"GET / HTTP/1.1\r\nHost: a"
    assert find_head_end(head + b"\r\n\r\nrest\n", 0) == len(head)
    assert find_head_end(bytearray(b"junk\r\n\r\n" + head + b"\r\n\r\n"), 8) == 8 + len(head)
    for cut in range(len(head) + 4):
        assert find_head_end((head + b"\r\n\r\n")[:cut], 0) == -1


@pytest.mark.parametrize("cut", range(1, 27))
def test_end_of_head_is_found_from_where_the_last_look_ended(cut: int) -> None:
    stream = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    assert find_head_end(stream[:cut], 0) == -1
    assert find_head_end(stream, max(0, cut - 3)) == len(stream) - 4


@pytest.mark.parametrize("bad", [b"GET / HTTP/1.1\nHost: a\n\n", b"GET / HTTP/1.1\r\nHost: a\n", b"\n", b"a\r\r\n\n"])
def test_bare_line_feed_ends_the_wait(bad: bytes) -> None:
    for cut in range(1, len(bad) + 1):
        end = find_head_end(bad[:cut], 0)
        if end >= 0:
            break
    assert end == cut
    with pytest.raises(ProtocolError):
        parse_request(bad[:end], 100, 8192)


def test_line_feed_after_a_carriage_return_before_the_start_is_not_bare() -> None:
    assert find_head_end(b"GET / HTTP/1.1\r\n", 15) == -1


def test_answer_is_read_whole() -> None:
    found = response(b"HTTP/1.1 404 Not \tF\xf6und", b"Content-Length: 5", b"Set-Cookie: a", b"set-cookie: b")
    assert (found.status, found.start[13:], found.minor) == (404, b"Not \tF\xf6und", 1)
    assert found.lines == [b"Content-Length: 5", b"Set-Cookie: a", b"set-cookie: b"]
    assert [line.name for line in found.read] == [b"content-length", b"set-cookie", b"set-cookie"]
    assert (found.content_length, found.chunked, found.keep_alive) == (5, False, True)
    assert (found.until_close, found.bodiless) == (False, False)


@pytest.mark.parametrize("line", [b"HTTP/1.1 200", b"HTTP/1.1 200 "])
def test_reason_may_be_missing(line: bytes) -> None:
    found = response(line, b"Content-Length: 0")
    assert (found.status, found.start[13:]) == (200, b"")


def test_answer_without_length_goes_on_until_the_end_of_the_connection() -> None:
    found = response(b"HTTP/1.1 200 OK")
    assert (found.until_close, found.keep_alive, found.content_length) == (True, False, -1)


def test_answer_keeps_the_connection() -> None:
    assert response(b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked").keep_alive is True
    assert response(b"HTTP/1.1 200 OK", b"Content-Length: 1", b"Connection: close").keep_alive is False
    assert response(b"HTTP/1.0 200 OK", b"Content-Length: 1").keep_alive is False
    assert response(b"HTTP/1.0 200 OK", b"Content-Length: 1", b"Connection: keep-alive").keep_alive is True


@pytest.mark.parametrize(
    ("method", "lines"),
    [
        (b"HEAD", [b"HTTP/1.1 200 OK"]),
        (b"HEAD", [b"HTTP/1.1 200 OK", b"Content-Length: 5"]),
        (b"HEAD", [b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked"]),
        (b"GET", [b"HTTP/1.1 304 Not Modified", b"Content-Length: 5"]),
        (b"GET", [b"HTTP/1.1 304 Not Modified", b"Transfer-Encoding: chunked"]),
        (b"GET", [b"HTTP/1.1 204 No Content"]),
        (b"GET", [b"HTTP/1.1 204 No Content", b"Content-Length: 0"]),
        (b"GET", [b"HTTP/1.1 100 Continue"]),
        (b"GET", [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket"]),
    ],
)
def test_answer_has_no_body(method: bytes, lines: list[bytes]) -> None:
    found = response(*lines, method=method)
    assert (found.bodiless, found.until_close, found.keep_alive) == (True, False, True)


@pytest.mark.parametrize(
    "lines",
    [
        [b""],
        [b"", b"HTTP/1.1 200 OK"],
        [b"HTTP/1.1"],
        [b"HTTP/1.1 20"],
        [b"HTTP/1.1 2000 OK"],
        [b"HTTP/1.1 200OK"],
        [b"HTTP/1.1 200\tOK"],
        [b"HTTP/1.1  200 OK"],
        [b"HTTP/1.1 +20 OK"],
        [b"HTTP/1.1 099 OK"],
        [b"HTTP/1.1 600 OK"],
        [b"HTTP/1.1 999 OK"],
        [b"HTTP/1.2 200 OK"],
        [b"HTTP/2.0 200 OK"],
        [b"http/1.1 200 OK"],
        [b"ICY 200 OK....."],
        [b"HTTP/1.1 200 OK\x00"],
        [b"HTTP/1.1 200 OK\nX: y"],
        [b"HTTP/1.1 200 OK\rX: y"],
        [b"HTTP/1.1 200 OK", b"X : y"],
        [b"HTTP/1.1 200 OK", b"X: y", b" folded"],
        [b"HTTP/1.1 200 OK", b"no colon"],
        [b"HTTP/1.1 200 OK", b"Content-Length: 5", b"Transfer-Encoding: chunked"],
        [b"HTTP/1.1 200 OK", b"Content-Length: 5", b"Content-Length: 5"],
        [b"HTTP/1.1 200 OK", b"Content-Length: 5, 5"],
        [b"HTTP/1.1 200 OK", b"Content-Length: five"],
        [b"HTTP/1.1 200 OK", b"Transfer-Encoding: gzip"],
        [b"HTTP/1.1 200 OK", b"Transfer-Encoding: gzip, chunked"],
        [b"HTTP/1.1 200 OK", b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"],
        [b"HTTP/1.0 200 OK", b"Transfer-Encoding: chunked"],
        [b"HTTP/1.1 204 No Content", b"Content-Length: 5"],
        [b"HTTP/1.1 204 No Content", b"Transfer-Encoding: chunked"],
        [b"HTTP/1.1 100 Continue", b"Content-Length: 5"],
        [b"HTTP/1.1 103 Early Hints", b"Transfer-Encoding: chunked"],
        [b"HTTP/1.1 200 OK"] + [b"X: y"] * 257,
    ],
)
def test_answer_is_refused_as_a_bad_gateway(lines: list[bytes]) -> None:
    with pytest.raises(ProtocolError) as caught:
        response(*lines)
    assert caught.value.status == 502
