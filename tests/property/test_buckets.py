"""The bucket of a duration is the one that a search through the edges finds."""

from bisect import bisect_left
from math import inf, nextafter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.telemetry.counters import FINE_EDGES, bucket_of


@given(st.floats(min_value=0.0, max_value=1000.0) | st.floats(min_value=0.0, max_value=0.01))
def test_bucket_is_that_of_a_search(seconds: float) -> None:
    assert bucket_of(seconds) == bisect_left(FINE_EDGES, seconds)


@pytest.mark.parametrize("edge", FINE_EDGES)
def test_edges_belong_to_their_own_bucket(edge: float) -> None:
    for seconds in (nextafter(edge, 0.0), edge, nextafter(edge, inf)):
        assert bucket_of(seconds) == bisect_left(FINE_EDGES, seconds)


def test_what_no_clock_says_has_a_bucket_too() -> None:
    assert [bucket_of(seconds) for seconds in (-1.0, 0.0, inf)] == [0, 0, len(FINE_EDGES)]
