"""Cookies and query arguments of a request head."""

import pytest

from proxy.core.http1 import parse_request
from proxy.core.request import unquote_plus


def cookies(*lines: bytes) -> dict[bytes, bytes]:
    return parse_request(b"\r\n".join((b"GET / HTTP/1.1", b"Host: a", *lines)), 100, 8192).cookies()


def arguments(query: bytes) -> dict[bytes, bytes]:
    return parse_request(b"GET /?" + query + b" HTTP/1.1\r\nHost: a", 100, 8192).arguments()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b"a=1; b=2", {b"a": b"1", b"b": b"2"}),
        (b"a=1;b=2;", {b"a": b"1", b"b": b"2"}),
        (b'a="q"', {b"a": b"q"}),
        (b"a=x=y==", {b"a": b"x=y=="}),
        (b"a=1; a=2", {b"a": b"1"}),
        (b"a=; b", {b"a": b""}),
        (b"A=1; a=2", {b"A": b"1", b"a": b"2"}),
        (b"", {}),
        (b";;;", {}),
    ],
)
def test_cookies_are_read(line: bytes, expected: dict[bytes, bytes]) -> None:
    assert cookies(b"Cookie: " + line) == expected


def test_cookies_of_several_lines_are_one_jar() -> None:
    assert cookies(b"Cookie: a=1", b"cookie: b=2; a=3") == {b"a": b"1", b"b": b"2"}


def test_no_cookie_line_means_no_cookies() -> None:
    assert cookies() == {}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", {}),
        (b"a=1&b=2", {b"a": b"1", b"b": b"2"}),
        (b"a=1&a=2", {b"a": b"1"}),
        (b"a&b=&=c&&", {b"a": b"", b"b": b""}),
        (b"a=x=y", {b"a": b"x=y"}),
        (b"a+b=c%20d+e", {b"a b": b"c d e"}),
        (b"%61=%C3%A9%2b", {b"a": b"\xc3\xa9+"}),
        (b"a=%&b=%4&c=%zz", {b"a": b"%", b"b": b"%4", b"c": b"%zz"}),
        (b"a;b=1", {b"a;b": b"1"}),
    ],
)
def test_arguments_are_read(query: bytes, expected: dict[bytes, bytes]) -> None:
    assert arguments(query) == expected


def test_both_are_parsed_once() -> None:
    request = parse_request(b"GET /?a=1 HTTP/1.1\r\nHost: a\r\nCookie: b=2", 100, 8192)
    assert request.cookies() is request.cookies()
    assert request.arguments() is request.arguments()


@pytest.mark.parametrize(("text", "plain"), [(b"%4a%4A%4a", b"JJJ"), (b"%aF%Af", b"\xaf\xaf"), (b"%25%32%35", b"%25")])
def test_escapes_of_any_case_are_decoded(text: bytes, plain: bytes) -> None:
    assert unquote_plus(text) == plain


def test_claims_and_attributes_are_absent_until_somebody_brings_them() -> None:
    request = parse_request(b"GET / HTTP/1.1\r\nHost: a", 100, 8192)
    assert (request.unit, request.at) == (None, 0.0)
    assert (request.claim(b"plan"), request.attribute(b"country")) == (None, None)
    request.claims = {b"plan": b"pro"}
    request.attributes = {b"country": b"NO"}
    assert (request.claim(b"plan"), request.claim(b"sub")) == (b"pro", None)
    assert (request.attribute(b"country"), request.attribute(b"plan")) == (b"NO", None)
