"""Windows by a wall clock and periods: when they hold, and how they read."""

from datetime import UTC, datetime

import pytest

from proxy.core.match import compile_matcher, trace_matcher
from proxy.core.times import DAYS, Window
from tests.specs import request_head

OSLO = [[1735689600, 3600], [1743296400, 7200], [1761440400, 3600], [1774746000, 7200], [1792890000, 3600]]
"""Of 2025 and 2026: on the last Sundays of March and October, at 01:00 UTC."""
HOUR = 3600


def window(start=0, end=86400, days=DAYS, offsets=OSLO, zone="Europe/Oslo"):
    return {"zone": zone, "from": start, "to": end, "days": list(days), "offsets": offsets}


def at(text):
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def holds(test, value, moment):
    spec = {"source": "time", "test": test, "value": value}
    request = request_head()
    request.at = at(moment)
    matched = compile_matcher(spec, {})(request)
    assert trace_matcher(spec, request, {})["matched"] is matched
    return matched


NIGHTS = window(22 * HOUR, 6 * HOUR, ["mon", "tue", "wed", "thu", "fri"])


@pytest.mark.parametrize(
    ("moment", "matched"),
    [  # 2026-01-05 is a Monday; Oslo is an hour ahead of UTC
        ("2026-01-05T20:59:59", False),
        ("2026-01-05T21:00:00", True),
        ("2026-01-05T23:30:00", True),
        ("2026-01-06T04:59:59", True),
        ("2026-01-06T05:00:00", False),
        ("2026-01-05T02:00:00", False),  # of Sunday's night
        ("2026-01-10T02:00:00", True),  # Saturday, of Friday's night
        ("2026-01-10T21:30:00", False),  # Saturday's
        ("2026-07-06T20:00:00", True),  # in summer two hours ahead
        ("2026-07-06T19:59:59", False),
    ],
)
def test_window_over_midnight_belongs_to_the_day_it_began(moment, matched):
    assert holds("window", NIGHTS, moment) is matched


@pytest.mark.parametrize(
    ("moment", "matched"),
    [
        ("2026-03-29T00:59:59", False),  # 01:59:59
        ("2026-03-29T01:00:00", False),  # 03:00:00: 02:30 never comes
        ("2026-10-25T00:29:59", False),  # 02:29:59, the first time
        ("2026-10-25T00:30:00", True),
        ("2026-10-25T01:00:00", False),  # 02:00:00 again
        ("2026-10-25T01:30:00", True),  # 02:30:00 again
        ("2026-10-25T02:00:00", False),  # 03:00:00
    ],
)
def test_hour_left_out_never_comes_and_one_repeated_comes_twice(moment, matched):
    assert holds("window", window(9000, 10800), moment) is matched


@pytest.mark.parametrize(
    ("value", "moment", "matched"),
    [
        (window(8 * HOUR, 16 * HOUR), "2026-01-05T07:00:00", True),
        (window(8 * HOUR, 16 * HOUR), "2026-01-05T15:00:00", False),
        (window(days=["mon"]), "2026-01-04T22:59:59", False),
        (window(days=["mon"]), "2026-01-04T23:00:00", True),
        (window(days=["mon"]), "2026-01-05T23:00:00", False),
        (window(22 * HOUR, 0), "2026-01-05T22:30:00", True),
        (window(22 * HOUR, 0), "2026-01-05T23:00:00", False),
        (window(offsets=[[1735689600, 19800]], start=0, end=1), "2026-01-05T18:30:00", True),
        (window(offsets=[[1735689600, -3 * HOUR]], days=["sun"]), "2026-01-05T02:59:59", True),
        (window(8 * HOUR, 9 * HOUR), "2020-07-01T07:30:00", True),  # before the table: its first offset
        (window(8 * HOUR, 9 * HOUR), "2035-07-01T07:30:00", True),  # after it: its last
    ],
)
def test_windows(value, moment, matched):
    assert holds("window", value, moment) is matched


@pytest.mark.parametrize(
    ("start", "end", "moment", "matched"),
    [
        ("2026-12-01T08:00:00", "2026-12-08T08:00:00", "2026-12-01T07:59:59", False),
        ("2026-12-01T08:00:00", "2026-12-08T08:00:00", "2026-12-01T08:00:00", True),
        ("2026-12-01T08:00:00", "2026-12-08T08:00:00", "2026-12-08T08:00:00", False),
        ("2026-12-01T08:00:00", "", "2036-12-08T08:00:00", True),
        ("", "2026-12-08T08:00:00", "1999-01-01T00:00:00", True),
        ("", "2026-12-08T08:00:00", "2026-12-09T00:00:00", False),
    ],
)
def test_periods(start, end, moment, matched):
    value = {"from": at(start) if start else 0.0, "to": at(end) if end else 0.0}
    assert holds("period", value, moment) is matched


def test_traces_are_for_people():
    request = request_head()
    request.at = at("2026-07-06T20:00:01")
    spec = {"source": "time", "test": "window", "value": NIGHTS}
    trace = trace_matcher({"not": spec}, request, {})
    assert not trace["matched"]
    assert trace["not"] == {
        "matched": True,
        "source": "time",
        "test": "window",
        "value": "22:00-06:00 mon,tue,wed,thu,fri Europe/Oslo",
        "saw": "Mon 2026-07-06 22:00:01 +02:00",
    }
    period = {"source": "time", "test": "period", "value": {"from": at("2026-12-01T08:00:00"), "to": 0.0}}
    assert trace_matcher(period, request, {})["value"] == "from 2026-12-01T08:00:00Z"
    period["value"] = {"from": 0.0, "to": at("2026-12-01T08:00:00")}
    assert trace_matcher(period, request, {})["value"] == "to 2026-12-01T08:00:00Z"
    assert Window(window(1, 86400)).words() == "00:00:01-24:00 Europe/Oslo"


def test_what_is_no_test_of_time_is_refused():
    with pytest.raises(ValueError, match="not a test of time"):
        compile_matcher({"source": "time", "test": "is", "value": "noon"}, {})
