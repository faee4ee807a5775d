"""The course of a rollout stays small however long it takes, and loses nothing but resolution."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from proxy.rollout.report import error_percents
from proxy.rollout.track import POINTS, SERIES, Track


def test_points_come_back_as_they_were_noted():
    track = Track()
    track.note(1.0, 5.0, {"stable": (10, 1)}, {"errors": 0.5})
    track.note(2.0, 5.0, {"stable": (20, 1)})
    values = track.values()
    assert values[0] == {"at": 1.0, "percent": 5.0, "counts": {"stable": [10, 1]}, "evidence": {"errors": 0.5}}
    assert Track.of(values).values() == values


def test_a_day_of_seconds_takes_no_more_room_and_keeps_its_ends_and_sums():
    track = Track()
    for second in range(86_400):
        track.note(float(second), 1.0, {"stable": (second * 10, second)})
    moments = track.moments
    assert POINTS / 4 < len(moments) <= POINTS
    assert moments[0].at == 0.0
    assert moments[-1].at > 86_400 - 600
    assert {round(percent, 9) for _, percent in error_percents(moments, "stable")} == {10.0}
    gaps = [after.at - before.at for before, after in pairwise(moments)]
    assert max(gaps) < 86_400 / POINTS * 6


@given(st.lists(st.tuples(st.floats(0, 1e6), st.booleans()), max_size=2000))
def test_whatever_the_clock_does_points_are_in_order_and_bounded(ticks):
    track = Track()
    for at, must in ticks:
        track.note(at, 1.0, {}, must=must)
    times = [one.at for one in track.moments]
    assert times == sorted(set(times))
    assert len(times) <= POINTS


def test_what_must_be_noted_is_noted_however_near():
    track = Track()
    for second in range(2000):
        track.note(float(second), 1.0, {})
    track.note(1999.5, 0.0, {}, must=True)
    assert track.moments[-1].at == 1999.5


def test_series_are_bounded():
    track = Track()
    track.note(0.0, 1.0, {f"v{n}": (1, 0) for n in range(100)}, {f"m{n}": 0.0 for n in range(100)})
    assert len(track.moments[0].counts) == len(track.moments[0].evidence) == SERIES
