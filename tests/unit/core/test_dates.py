"""The three forms of an HTTP date, and what is none."""

import pytest

from proxy.core.dates import format_date, parse_date

NOW = 1_795_000_000.0  # 2026


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("Sun, 06 Nov 1994 08:49:37 GMT", 784111777),
        ("Sunday, 06-Nov-94 08:49:37 GMT", 784111777),
        ("Sun Nov  6 08:49:37 1994", 784111777),
        ("Wed Nov 16 08:49:37 1994", 784975777),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("Thu, 29 Feb 2024 12:00:00 GMT", 1709208000),
        ("Fri, 01 Mar 2024 00:00:00 GMT", 1709251200),
        ("Tue, 29 Feb 2000 00:00:00 GMT", 951782400),
        ("Sat, 31 Dec 2016 23:59:60 GMT", 1483228800),
        ("Fri, 31 Dec 9999 23:59:59 GMT", 253402300799),
        ("Saturday, 01-Jan-50 00:00:00 GMT", 2524608000),
        ("Saturday, 01-Jan-77 00:00:00 GMT", 220924800),
    ],
)
def test_dates(text, seconds):
    assert parse_date(text.encode(), NOW) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "", "0", "-1", "never", "1995-01-01T00:00:00Z", "Sun, 06 Nov 1994 08:49:37 UTC", "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun, 06 Nov 1994 08:49:37", "Sun, 6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 94 08:49:37 GMT",
        "sun, 06 nov 1994 08:49:37 gmt", "Sun, 06 Nov 1994 24:00:00 GMT", "Sun, 06 Nov 1994 08:60:00 GMT",
        "Sun, 31 Apr 1994 08:49:37 GMT", "Wed, 29 Feb 2023 08:49:37 GMT", "Thu, 29 Feb 2100 00:00:00 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT", "Sun, 06 Foo 1994 08:49:37 GMT", "Xxx, 06 Nov 1994 08:49:37 GMT",
        "Sun,  06 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994  08:49:37 GMT", "Sunday, 06-Nov-1994 08:49:37 GMT",
        "Sun, +6 Nov 1994 08:49:37 GMT", "Sun, 06 Nov 1994 08-49-37 GMT", "Sun, 06 Nov 1969 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-xx 08:49:37 GMT",
    ],
)  # fmt: skip
def test_what_is_no_date(text):
    assert parse_date(text.encode(), NOW) == -1


def test_dates_are_written_in_the_one_form_that_all_read():
    assert format_date(784111777.9) == b"Sun, 06 Nov 1994 08:49:37 GMT"
