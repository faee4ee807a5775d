"""Rates and moments: the forms that are taken. The forms that are not are in mistakes/."""

import pytest

from proxy.settings.rates import parse_moment, parse_rate


@pytest.mark.parametrize(
    ("text", "per_second"),
    [("100/s", 100), ("6000/m", 100), ("36/h", 0.01), ("0.5/s", 0.5), ("10 / s", 10), ("10000000/s", 10_000_000)],
)
def test_rates(text: str, per_second: float) -> None:
    assert parse_rate(text) == pytest.approx(per_second)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("1970-01-01t01:00:00+01:00", 0),
        ("1970-01-01T00:00:00.25z", 0.25),
        ("1969-12-31T23:59:59Z", -1),
        ("2024-02-29T12:00:00-04:30", 1709224200),
    ],
)
def test_moments(text: str, seconds: float) -> None:
    assert parse_moment(text) == seconds
