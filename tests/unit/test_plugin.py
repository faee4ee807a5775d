"""What plugins are written with: fields of a head by name, and answers."""

from typing import Any

import pytest

from proxy.core.http1 import parse_request
from proxy.plugin import Answer, FieldError, Headers, PluginRequest

HEAD = (
    b"GET /a%20b/c?x=1&y=%C3%A9 HTTP/1.1\r\nHost: Shop.example.com:8080\r\nX-One: 1\r\nx-one:  2 \r\n"
    b"Cookie: sid=abc; t=1\r\nX-Raw: caf\xe9"
)


def request() -> PluginRequest:
    return PluginRequest(parse_request(HEAD, 100, 8192), "shop", secure=True)


def test_a_request_is_text() -> None:
    seen = request()
    assert (seen.method, seen.host, seen.query) == ("GET", "shop.example.com", "x=1&y=%C3%A9")
    assert seen.arguments == {"x": "1", "y": "é"}
    assert seen.cookies == {"sid": "abc", "t": "1"}
    assert (seen.route, seen.secure, seen.unit, seen.version) == ("shop", True, None, "")
    assert seen.claim("sub") == []


def test_claims_are_those_of_the_verified_token() -> None:
    head = parse_request(HEAD, 100, 8192)
    head.claims = {b"sub": [b"alice"], b"groups": [b"a", b"b"]}
    seen = PluginRequest(head, "shop")
    assert (seen.claim("sub"), seen.claim("groups"), seen.claim("email")) == (["alice"], ["a", "b"], [])


def test_fields_are_found_in_any_case_and_joined() -> None:
    headers = request().headers
    assert headers["X-ONE"] == "1, 2"
    assert headers.get_all("x-one") == ["1", "2"]
    assert headers.get("nothing") is None
    assert "Host" in headers
    assert 5 not in headers
    assert list(headers) == ["host", "x-one", "cookie", "x-raw"]
    assert len(headers) == 4
    with pytest.raises(KeyError):
        headers["nothing"]


def test_bytes_that_are_no_text_go_out_as_they_came() -> None:
    headers = request().headers
    headers.open_for_changes()
    headers["x-copy"] = headers["x-raw"]
    assert headers.changes == {b"x-copy": [b"caf\xe9"]}


def test_changes_are_seen_by_who_comes_after() -> None:
    headers = request().headers
    with pytest.raises(FieldError, match="only on_request"):
        headers["x-a"] = "1"
    headers.open_for_changes()
    headers["X-A"] = " 1 "
    headers.add("X-One", "3")
    del headers["cookie"]
    headers.remove("never-there")
    with pytest.raises(KeyError):
        del headers["cookie"]
    assert (headers["x-a"], headers["x-one"], "cookie" in headers) == ("1", "1, 2, 3", False)
    assert headers.get_all("X-ONE") == ["1", "2", "3"]
    assert list(headers) == ["host", "x-one", "x-raw", "x-a"]
    with pytest.raises(KeyError):
        headers["cookie"]
    assert headers.changes == {b"x-a": [b"1"], b"x-one": [b"1", b"2", b"3"], b"cookie": [], b"never-there": []}
    headers.close("too late")
    with pytest.raises(FieldError, match="too late"):
        headers["x-b"] = "1"


def test_a_request_that_goes_on_without_one_plugin_is_its_own() -> None:
    first = request()
    first.headers.open_for_changes()
    first.headers["x-a"] = "1"
    first.state["a"] = 1
    second = first.renewed(first.headers.changes)
    first.state["b"] = 2
    assert (second.headers["x-a"], second.state) == ("1", {"a": 1})
    with pytest.raises(FieldError):
        first.headers["x-a"] = "2"


@pytest.mark.parametrize(
    ("status", "body", "headers", "said"),
    [
        (100, b"", {}, "from 200 to 599"), (600, b"", {}, "from 200 to 599"), (True, b"", {}, "from 200"), ("200", b"", {}, "from"),
        (200, 5, {}, "str or bytes"), (204, b"x", {}, "has no body"), (304, "x", {}, "has no body"),
        (200, b"", {"content-length": "1"}, "own business"), (200, b"", {"x": "a\r\nb"}, "control characters"),
        (200, b"", {"x": "\ud800"}, "cannot be written"),
    ],
)  # fmt: skip
def test_answers_that_cannot_be_given_are_refused(status: Any, body: Any, headers: Any, said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        Answer(status, body, headers)


def test_an_answer_says_what_its_text_is_unless_told() -> None:
    assert Answer(200, "é").headers["content-type"] == "text/plain; charset=utf-8"
    assert Answer(200, "{}", {"Content-Type": "application/json"}).headers.get_all("content-type") == [
        "application/json"
    ]
    assert "content-type" not in Answer(200, b"x").headers
    assert Answer(200, "é").body == "é".encode()


def test_headers_of_nothing_are_empty() -> None:
    assert dict(Headers([], {})) == {}
