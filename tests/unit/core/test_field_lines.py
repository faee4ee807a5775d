"""Field lines are remembered, and nobody can tell: what is remembered says the same, and there is a bound to it."""

from collections.abc import Iterator

import pytest

from proxy.core import field_lines
from proxy.core.field_lines import (
    CONNECTION,
    HOST,
    LENGTH,
    NEW,
    NOT_DOWN,
    NOT_UP,
    REQUEST_ID,
    FieldLine,
    joined,
    parse_fields,
    read_line,
    read_lines,
)
from proxy.errors import ProtocolError


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    field_lines.forget()
    yield
    field_lines.forget()


def remembered(raw: bytes) -> bool:
    """Whether reading the line twice makes one object."""
    first: list[FieldLine] = []
    again: list[FieldLine] = []
    read_lines([raw], first)
    read_lines([raw], again)
    return first[0] is again[0]


def test_a_line_that_comes_again_is_not_read_again() -> None:
    assert remembered(b"Accept: text/html")


@pytest.mark.parametrize("name", [b"Cookie", b"authorization", b"Proxy-Authorization", b"SET-COOKIE"])
def test_credentials_are_not_kept(name: bytes) -> None:
    assert not remembered(name + b": secret")


def test_long_lines_are_not_kept() -> None:
    assert not remembered(b"a: " + b"x" * 200)


def test_a_name_whose_lines_never_come_again_is_given_up() -> None:
    for number in range(100):
        read_line(b"x-user-id: %d" % number)
    assert not remembered(b"x-user-id: alice")
    assert remembered(b"accept: */*")


def test_a_name_whose_lines_come_again_is_kept_however_many_there_are() -> None:
    for second in range(1000):
        assert remembered(b"Date: %d" % second)


def test_what_is_remembered_has_a_bound_and_starts_anew() -> None:
    for number in range(10_000):
        assert remembered(b"Date: %d" % number)
        assert field_lines.held() <= 2048
    for number in range(10_000):
        read_line(b"x-%d: 1" % number)
        assert field_lines.held() <= 2048


@pytest.mark.parametrize(
    "raw", [b"", b": a", b"a b: c", b"a", b"a\n: b", b"a: \0", b"a: b\r", b"\tfolded: x", b"a\x7f: b"]
)
def test_what_is_no_field_never_becomes_one(raw: bytes) -> None:
    for _ in range(3):
        with pytest.raises(ProtocolError) as caught:
            read_lines([b"host: a", raw], [])
        assert caught.value.status == 400


@pytest.mark.parametrize("name", [b"Host", b"content-length", b"Transfer-Encoding"])
def test_there_may_be_one_only_remembered_or_not(name: bytes) -> None:
    for _ in range(3):
        with pytest.raises(ProtocolError, match="more than one"):
            read_lines([name + b": 1", name + b": 1"], [])


def test_marks_say_what_is_to_be_done() -> None:
    cases = {
        b"Host: a": HOST,
        b"Content-Length: 3": LENGTH,
        b"Connection: close": CONNECTION | NOT_UP | NOT_DOWN,
        b"X-Request-Id: 1": REQUEST_ID,
        b"X_Request_Id: 1": NOT_UP,
        b"X-Tidegate-Anything: 1": NOT_UP,
        b"X_Tidegate-Anything: 1": NOT_UP,
        b"X-Tidegate-Version: 1": NOT_UP | NOT_DOWN,
        b"Forwarded: for=a": NOT_UP,
        b"Accept: a": 0,
    }
    for raw, marks in cases.items():
        assert read_lines([raw], []) & ~NEW == marks, raw


def test_values_of_repeated_fields_are_joined() -> None:
    assert parse_fields([b"A: 1", b"b:\t2 ", b"a:3", b"Cookie: x=1", b"cookie: y=2"]) == {
        b"a": b"1, 3", b"b": b"2", b"cookie": b"x=1; y=2",
    }  # fmt: skip
    assert joined([]) == {}
