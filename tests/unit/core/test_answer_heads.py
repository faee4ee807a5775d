"""Heads that come again whole are read once; what is kept has a bound, and holds nothing that is not to be kept."""

from collections.abc import Iterator

import pytest

from proxy.core import answer_heads, field_lines
from proxy.core.answer_heads import recall_response
from proxy.core.fields import response_head
from proxy.core.http1 import parse_response
from proxy.core.request import Response
from proxy.errors import ProtocolError

_HEAD = b"HTTP/1.1 200 OK\r\nServer: made\r\nDate: Sun, 22 Nov 2026 02:00:00 GMT\r\nContent-Length: 13"


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    for memory in (answer_heads, field_lines):
        memory.forget()
    yield
    for memory in (answer_heads, field_lines):
        memory.forget()


def _often(block: bytes, method: bytes = b"GET") -> Response:
    """Recalled until it is remembered, if it ever is: its lines must have come before."""
    for _ in range(3):
        response = recall_response(block, method)
    return response


def _said(response: Response) -> tuple[object, ...]:
    return (
        response.status, response.start, response.minor, response.lines, response.fields, response.content_length,
        response.chunked, response.keep_alive, response.until_close, response.bodiless, response_head(response, b""),
    )  # fmt: skip


def test_a_head_that_comes_again_is_not_read_again() -> None:
    known = _often(_HEAD)
    assert recall_response(_HEAD, b"GET") is known
    assert _said(known) == _said(parse_response(_HEAD, b"GET"))


def test_a_head_is_remembered_only_when_its_lines_had_come_before() -> None:
    recall_response(_HEAD, b"GET")
    assert answer_heads.held() == 0
    recall_response(_HEAD, b"GET")
    assert answer_heads.held() == 1


def test_to_head_the_same_answer_means_another_thing() -> None:
    assert not _often(_HEAD).bodiless
    assert recall_response(_HEAD, b"HEAD").bodiless
    assert not recall_response(_HEAD, b"GET").bodiless


def test_what_is_added_for_one_client_is_not_told_to_the_next() -> None:
    known = _often(_HEAD)
    plain = response_head(known, b"")
    minted = response_head(known, b"set-cookie: tg_unit=1\r\n")
    assert minted == plain[:-2] + b"set-cookie: tg_unit=1\r\n\r\n"
    assert response_head(recall_response(_HEAD, b"GET"), b"") == plain
    assert b"tg_unit" not in plain


@pytest.mark.parametrize("line", [b"Set-Cookie: session=secret", b"Authorization: Bearer secret"])
def test_secrets_are_not_kept(line: bytes) -> None:
    _often(_HEAD + b"\r\n" + line)
    assert answer_heads.held() == 0


def test_interim_answers_and_long_heads_are_not_kept() -> None:
    _often(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload")
    _often(_HEAD + b"".join(b"\r\nX-Long-%d: %s" % (number, b"a" * 100) for number in range(10)))
    assert answer_heads.held() == 0


def test_refusals_are_not_kept() -> None:
    for _ in range(3):
        with pytest.raises(ProtocolError):
            recall_response(b"HTTP/1.1 204 No Content\r\nContent-Length: 5", b"GET")
    assert answer_heads.held() == 0


def test_heads_that_never_come_again_are_not_kept() -> None:
    for number in range(2, 2000):  # every line of each has come before
        _often(b"HTTP/1.1 200 OK\r\nContent-Length: 0")
        for first in range(2):
            recall_response(b"HTTP/1.1 200 OK\r\nX-A: %d\r\nX-B: %d" % (number, number - first), b"GET")
    assert answer_heads.held() < 256


def test_what_is_remembered_has_a_bound() -> None:
    for number in range(1500):
        _often(b"HTTP/1.1 200 OK\r\nContent-Length: %d" % number)
        assert answer_heads.held() <= 256
