"""Since when."""

import pytest

from proxy.exposure.moments import BadMomentError, parse_since

NOW = 1_700_000_000.0


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("1h", NOW - 3600), ("30m", NOW - 1800), ("7d", NOW - 7 * 86400), ("1.5s", NOW - 1.5), ("99999d", 0.0),
        ("1700000000.5", 1_700_000_000.5), ("2023-11-14T22:13:20Z", NOW), ("2023-11-14t23:13:20+01:00", NOW),
    ],
)  # fmt: skip
def test_ages_times_and_seconds(text, moment):
    assert parse_since(text, NOW) == moment


@pytest.mark.parametrize("text", ["", "yesterday", "1w", "2023-11-14T22:13:20", "nan", "inf", "-5", "1e30", "h"])
def test_what_says_no_time_is_refused(text):
    with pytest.raises(BadMomentError, match="must be an age"):
        parse_since(text, NOW)
