"""First lines are read once, and what is remembered has a bound; refusals are never remembered."""

from collections.abc import Iterator

import pytest

from proxy.core import start_lines
from proxy.core.start_lines import recall_request_line, recall_status_line
from proxy.errors import ProtocolError


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    start_lines.forget()
    yield
    start_lines.forget()


def test_a_request_line_that_comes_again_is_not_read_again() -> None:
    line = recall_request_line(b"GET /a HTTP/1.1")
    assert recall_request_line(b"GET /a HTTP/1.1") is line
    assert (line.method, line.target, line.minor, line.path, line.has_query) == (b"GET", b"/a", 1, b"/a", False)


def test_to_forget_is_to_begin_anew() -> None:
    for number in range(200):
        recall_request_line(b"GET /%d HTTP/1.1" % number)
    start_lines.forget()
    assert start_lines.held() == 0
    line = recall_request_line(b"GET /a HTTP/1.1")
    assert recall_request_line(b"GET /a HTTP/1.1") is line


def test_queries_are_not_kept() -> None:
    line = recall_request_line(b"GET /a?token=secret HTTP/1.1")
    assert (line.path, line.query, line.has_query) == (b"/a", b"token=secret", True)
    assert start_lines.held() == 0


def test_targets_that_never_come_again_are_not_kept() -> None:
    for number in range(5000):
        recall_request_line(b"GET /%d HTTP/1.1" % number)
    assert start_lines.held() < 100


def test_what_is_remembered_has_a_bound() -> None:
    for number in range(5000):
        for _ in range(2):
            recall_request_line(b"GET /%d HTTP/1.1" % number)
        recall_status_line(b"HTTP/1.1 200 %d" % number)
    assert start_lines.held() <= 1024 + 256


def test_long_lines_are_not_kept() -> None:
    recall_request_line(b"GET /" + b"a" * 300 + b" HTTP/1.1")
    recall_status_line(b"HTTP/1.1 200 " + b"a" * 300)
    assert start_lines.held() == 0


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (b"", 400), (b"GET /", 400), (b"GET  / HTTP/1.1", 400), (b"G\tT / HTTP/1.1", 400), (b"GET /\0 HTTP/1.1", 400),
        (b"GET / HTTP/1.1\r", 400), (b"GET / HTTP/2.0", 505), (b"CONNECT a:1 HTTP/1.1", 501), (b"GET /\n HTTP/1.1", 400),
        (b"GET http://a\x01/ HTTP/1.1", 400), (b"GET\x7f / HTTP/1.1", 400),
    ],
)  # fmt: skip
def test_what_is_refused_is_refused_each_time(raw: bytes, status: int) -> None:
    for _ in range(3):
        with pytest.raises(ProtocolError) as caught:
            recall_request_line(raw)
        assert caught.value.status == status
    assert start_lines.held() == 0


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"HTTP/1.1",
        b"HTTP/1.1 2000",
        b"HTTP/2.0 200 OK",
        b"HTTP/1.1 200 O\nK",
        b"HTTP/1.1 99 x",
        b"HTTP/1.1 200 \0",
    ],
)
def test_status_lines_that_are_none_are_refused_each_time(raw: bytes) -> None:
    for _ in range(3):
        with pytest.raises(ProtocolError) as caught:
            recall_status_line(raw)
        assert caught.value.status == 502


def test_status_lines_are_passed_on_as_http_1_1() -> None:
    assert recall_status_line(b"HTTP/1.0 404 Gone away").text == b"HTTP/1.1 404 Gone away"
    assert recall_status_line(b"HTTP/1.1 200").text == b"HTTP/1.1 200 "
    assert recall_status_line(b"HTTP/1.0 200").minor == 0
