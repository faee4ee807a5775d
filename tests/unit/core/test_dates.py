"""Dates as HTTP writes them."""

from calendar import timegm
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.core.dates import parse_http_date

THEN = timegm((1994, 11, 6, 8, 49, 37))


@pytest.mark.parametrize(
    "value",
    [b"Sun, 06 Nov 1994 08:49:37 GMT", b"Sunday, 06-Nov-94 08:49:37 GMT", b"Sun Nov  6 08:49:37 1994"],
)
def test_the_three_forms_of_rfc_9110_are_read(value: bytes) -> None:
    assert parse_http_date(value) == THEN


@given(st.integers(0, 4_000_000_000))
def test_every_second_is_read_as_it_was_written(second: int) -> None:
    assert parse_http_date(formatdate(second, usegmt=True).encode()) == second


@pytest.mark.parametrize(
    "value",
    [
        b"", b"0", b"-1", b"tomorrow", b"Sun, 06 Nov 1994 08:49:37", b"Sun, 06 Nov 1994 08:49:37 CET",
        b"Sun, 06 Foo 1994 08:49:37 GMT", b"Sun, 40 Nov 1994 08:49:37 GMT", b"Sun, 06 Nov 1994 25:49:37 GMT",
        b"Sun, 06 Nov 1994 08:49 GMT", b"Sun, xx Nov 1994 08:49:37 GMT", b"Sun, 06 Nov 1894 08:49:37 GMT",
        b"Sun, 06 Nov 199 08:49:37 GMT", b"Sun, 06 Nov 1994 8:49:37 GMT",
    ],
)  # fmt: skip
def test_what_is_no_date_is_none(value: bytes) -> None:
    assert parse_http_date(value) is None


@given(st.binary(max_size=40))
def test_nothing_is_too_odd_to_be_looked_at(value: bytes) -> None:
    parse_http_date(value)
