"""Thresholds, burn rates and sizes."""

from math import inf, log, nan, sqrt

import pytest

from proxy.analysis.burn_rate import WINDOWS, Window, burn_rate, burning
from proxy.analysis.sample_ratio import single_look
from proxy.analysis.sizes import (
    errors_needed,
    gain_per_error,
    seconds_to_abort,
    seconds_to_narrow,
    share_at_most,
    units_needed,
)  # fmt: skip
from proxy.analysis.threshold import Limits, hold


@pytest.mark.parametrize(
    ("values", "limits", "outcome"),
    [
        ([1.0, 2.0, 3.0], Limits(most=2.5), "fail"),
        ([3.0, 2.0], Limits(most=2.5), "pass"),
        ([2.5], Limits(least=2.5, most=2.5), "pass"),
        ([9.0, 1.0, 9.0], Limits(most=2.0, intervals=3, failures=2), "fail"),
        ([9.0, 1.0, 1.0], Limits(most=2.0, intervals=3, failures=2), "pass"),
        ([9.0, nan, 9.0], Limits(most=2.0, intervals=3, failures=2), "fail"),
        ([1.0, nan, 1.0], Limits(most=2.0, intervals=3, failures=2), "insufficient"),
        ([1.0], Limits(most=2.0, intervals=3), "insufficient"),
        ([inf], Limits(least=2.0), "insufficient"),
        ([], Limits(least=2.0), "insufficient"),
    ],
)
def test_threshold_over_the_last_intervals(values, limits, outcome):
    assert hold(values, limits) == outcome


@pytest.mark.parametrize("limits", [{}, {"least": 2.0, "most": 1.0}, {"most": 1.0, "intervals": 2, "failures": 3}])
def test_limits_that_mean_nothing_are_errors(limits):
    with pytest.raises(ValueError, match=r"least|failure"):
        Limits(**limits)


def test_burn_rate_is_a_multiple_of_what_the_objective_allows():
    assert burn_rate(2, 1000, 0.999) == pytest.approx(2.0)
    with pytest.raises(ValueError, match="objective"):
        burn_rate(1, 10, 1.0)


def _steady(share):
    return lambda seconds: (round(seconds * 10 * share), round(seconds * 10))


def test_both_windows_must_burn():
    assert burning(_steady(0.02), 0.999).outcome == "fail"
    assert burning(_steady(0.001), 0.999).outcome == "pass"
    over = {3600.0: (900, 36_000), 300.0: (0, 3000), 21_600.0: (900, 216_000), 1800.0: (0, 18_000)}
    assert burning(over.__getitem__, 0.999).outcome == "pass"  # it was, and is over
    over[300.0] = (0, 0)
    assert burning(over.__getitem__, 0.999).outcome == "pass"


def test_too_few_requests_are_insufficient_even_where_one_window_has_enough():
    assert burning(lambda _: (0, 0), 0.999).outcome == "insufficient"
    assert burning(lambda seconds: (0, 1000 if seconds > 3600 else 10), 0.999).outcome == "insufficient"
    with pytest.raises(ValueError, match="window"):
        burning(_steady(0.0), 0.999, ())
    assert WINDOWS[0] == Window(3600.0, 300.0, 14.4)


def test_units_are_those_of_the_reference():
    assert (units_needed(0.01, 0.02, 0.5) + 1) // 2 == 2316
    assert units_needed(0.01, 0.02, 0.05) == 31_586
    with pytest.raises(ValueError, match="differ"):
        units_needed(0.01, 0.01, 0.5)


@pytest.mark.parametrize(
    ("share", "ratio", "median"),
    [(0.01, 2.0, 1239), (0.05, 1.5, 934), (0.05, 3.0, 127), (0.5, 10.0, 40), (0.5, 2.0, 131)],
)
def test_errors_needed_are_within_the_factor_that_is_stated(share, ratio, median):
    assert 0.9 < median / errors_needed(share, ratio) < 4.0


def test_tolerated_ratio_needs_for_ever():
    assert errors_needed(0.05, 1.5, tolerated=2.0) == inf
    assert gain_per_error(0.05, 2.0, tolerated=2.0) == 0.0
    assert seconds_to_abort(0.0, 0.01, 0.05, 1.0, 5.0) == inf
    assert seconds_to_abort(5.0, 0.01, 0.05, 1.0, 5.0) == 0.0
    assert seconds_to_abort(0.0, 0.01, 0.05, 3.0, 2.0) == pytest.approx(1.5 * errors_needed(0.05, 3.0) / 2.0)


def test_nothing_seen_is_at_most_three_in_n():
    assert share_at_most(1000) == pytest.approx(3 / 1000, rel=0.01)
    assert share_at_most(0) == 1.0


def test_time_until_an_interval_is_narrow():
    assert seconds_to_narrow(lambda times: 2.0 / sqrt(times), 1.0, 60.0) == pytest.approx(180.0, abs=1.0)
    assert seconds_to_narrow(lambda times: 0.5 / sqrt(times), 1.0, 60.0) == 0.0
    assert seconds_to_narrow(lambda _: 2.0, 1.0, 60.0) == inf
    assert seconds_to_narrow(lambda _: 0.1, -log(2.0), 60.0) == inf


def test_single_look_at_a_split_is_chi_square():
    assert single_look([502, 498], [1.0, 1.0]) == pytest.approx(0.899343, abs=1e-6)
    assert single_look([600, 400], [1.0, 1.0]) == pytest.approx(2.5396e-10, rel=1e-4)
    assert single_look([0, 0], [1.0, 1.0]) == 1.0
    assert single_look([5, 1], [1.0, 0.0]) == 0.0
    with pytest.raises(ValueError, match="weight"):
        single_look([1], [])
