"""Windows hold when the clocks of the place say so, by the standard library's time zones."""

from datetime import UTC, datetime, timedelta
from math import inf
from zoneinfo import ZoneInfo

from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.core.times import DAYS, Period, Window
from proxy.settings.zones import FIRST, LAST, offsets_of
from tests.specs import request_head

ZONES = [
    "UTC", "Europe/Oslo", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Casablanca",
    "America/Santiago", "Pacific/Apia", "Asia/Kathmandu", "America/St_Johns",
]  # fmt: skip
START = int(datetime(FIRST, 1, 2, tzinfo=UTC).timestamp())
END = int(datetime(LAST, 12, 30, tzinfo=UTC).timestamp())
moments = st.integers(START, END)
seconds = st.integers(0, 86399)


def near_a_change(zone: str) -> st.SearchStrategy[int]:
    """Moments around those at which clocks are set, where mistakes would be."""
    changes = [since for since, _ in offsets_of(zone)][1:] or [START]
    return st.builds(lambda change, off: change + off, st.sampled_from(changes), st.integers(-90_000, 90_000))


@st.composite
def cases(draw: st.DrawFn) -> tuple[str, int]:
    zone = draw(st.sampled_from(ZONES))
    return zone, draw(st.one_of(moments, near_a_change(zone)))


@given(cases(), seconds, seconds, st.sets(st.sampled_from(DAYS), min_size=1))
@example(("Europe/Oslo", 1774746000), 7200, 10800, {"sun"})
def test_window_is_what_the_clocks_of_the_place_say(
    case: tuple[str, int], start: int, end: int, days: set[str]
) -> None:
    zone, moment = case
    value = {"zone": zone, "from": start, "to": end, "days": sorted(days), "offsets": offsets_of(zone)}
    request = request_head()
    request.at = moment + 0.5
    there = datetime.fromtimestamp(moment, ZoneInfo(zone))
    second = there.hour * 3600 + there.minute * 60 + there.second
    today, yesterday = DAYS[there.weekday()], DAYS[(there.date() - timedelta(days=1)).weekday()]
    if start < end:
        expected = start <= second < end and today in days
    else:
        expected = (second >= start and today in days) or (second < end and yesterday in days)
    assert Window(value).holds(request) is expected


@given(cases())
def test_table_of_a_zone_is_the_zone(case: tuple[str, int]) -> None:
    zone, moment = case
    value = {"zone": zone, "from": 0, "to": 1, "days": ["mon"], "offsets": offsets_of(zone)}
    expected = datetime.fromtimestamp(moment, ZoneInfo(zone)).utcoffset()
    assert expected is not None
    assert Window(value).offset(moment) == expected.total_seconds()


@settings(max_examples=100)
@given(
    cases(),
    st.integers(0, 86399),
    st.integers(0, 86400),
    st.sets(st.sampled_from(DAYS), min_size=1),
    st.lists(st.floats(0, 0.999), min_size=10, max_size=10),
)
@example(("Europe/Oslo", 1774746000 - 600), 7200, 10800, {"sun"}, [0.0])  # an hour that never comes
@example(("UTC", 1774746000), 0, 86400, set(DAYS), [0.5])  # always
def test_nothing_changes_until_the_moment_told_and_then_it_does(
    case: tuple[str, int], start: int, end: int, days: set[str], between: list[float]
) -> None:
    zone, moment = case
    window = Window({"zone": zone, "from": start, "to": end, "days": sorted(days), "offsets": offsets_of(zone)})
    at = moment + 0.5
    following = window.next_change(at)
    assert following > at
    for share in (*between, 0.0):
        assert window.holds_at(at + share * (following - at)) == window.holds_at(at)
    assert window.holds_at(following - 1e-3) == window.holds_at(at)
    if following < at + 8 * 86400:
        assert window.holds_at(following) != window.holds_at(at)


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_period_changes_at_its_ends(start: int, end: int, at: int) -> None:
    period = Period({"from": float(start), "to": float(end)})
    following = period.next_change(at)
    assert following > at
    last = 200 if following == inf else int(following)
    assert all(period.holds_at(one) == period.holds_at(at) for one in range(at, last))
