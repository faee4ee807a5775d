"""Which trace contexts and request ids are believed, and what a new one looks like."""

import pytest

from proxy.core.trace import lines_of, trace_id_of, valid_request_id, valid_traceparent

GOOD = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    "value", [GOOD, GOOD[:-2] + b"00", GOOD[:-2] + b"ff", b"cc" + GOOD[2:], b"01" + GOOD[2:] + b"-what-ever"]
)
def test_valid_traceparent_is_passed_on(value: bytes) -> None:
    assert valid_traceparent(value)
    assert trace_id_of(value) == b"4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.parametrize(
    "value",
    [
        b"",
        GOOD[:-1],
        GOOD + b"1",
        GOOD + b"-",
        GOOD + b"-what",
        b"01" + GOOD[2:] + b"x",
        b"ff" + GOOD[2:],
        GOOD.upper(),
        b"0g" + GOOD[2:],
        GOOD.replace(b"-", b"_"),
        b"00-" + b"0" * 32 + b"-00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-" + b"0" * 16 + b"-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e473 -00f067aa0ba902b7-01",
        b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
        GOOD + b", " + GOOD,
    ],
)
def test_invalid_traceparent_is_not(value: bytes) -> None:
    assert not valid_traceparent(value)


def test_new_traceparent_holds_the_digits_and_is_unsampled() -> None:
    digits = b"4bf92f3577b34da6a3ce929d0e0e4736" + b"00f067aa0ba902b7"
    line = b"traceparent: " + GOOD[:-2] + b"00\r\n"
    assert lines_of(digits, with_request_id=False) == line
    assert lines_of(digits, with_request_id=True) == line + b"x-request-id: 4bf92f3577b34da6a3ce929d0e0e4736\r\n"


@pytest.mark.parametrize("value", [b"a", b"a" * 128, b"7f3a-11_x.Y~:/+=@", b"01ARZ3NDEKTSV4RRFFQ69G5FAV"])
def test_request_id_is_kept(value: bytes) -> None:
    assert valid_request_id(value)


@pytest.mark.parametrize(
    "value", [b"", b"a" * 129, b"a b", b"a,b", b'a"', b"a\\", b"a\xe9", b"<a>", b"a\n", b"a%20", b"{a}"]
)
def test_request_id_is_made_anew(value: bytes) -> None:
    assert not valid_request_id(value)
