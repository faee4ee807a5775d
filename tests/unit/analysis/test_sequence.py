"""Confidence sequences: widths against the reference; clustered ratios; differences of shares and of means."""

from math import inf, isinf, log, sqrt
from statistics import fmean, variance

import pytest

from proxy.analysis import means, proportions
from proxy.analysis.clusters import Clusters
from proxy.analysis.log_ratio import LEAST_AFFECTED, log_ratio, upper_log_ratio
from proxy.analysis.means import Moments, clustered_difference
from proxy.analysis.proportions import Share
from proxy.analysis.sequence import around, effective, half_width, information_wanted


@pytest.mark.parametrize(
    ("times", "width"), [(1.0, 3.035209), (0.1, 3.85505), (0.5, 3.08357), (2.0, 3.06148), (10.0, 3.24173)]
)
def test_width_is_that_of_the_reference(times, width):
    assert half_width(1.0, 5000.0 * times, 0.05) == pytest.approx(width, abs=1e-5)
    assert half_width(0.25, 70.0 * times, 0.05, 70.0) == pytest.approx(width / 4, abs=1e-5)


def test_width_is_infinite_before_the_first_unit():
    assert half_width(1.0, 0.0, 0.05) == inf


@pytest.mark.parametrize(
    ("error", "units", "alpha", "best"), [(-1, 1, 0.1, 1), (1, -1, 0.1, 1), (1, 1, 1.0, 1), (1, 1, 0.1, 0)]
)
def test_width_of_what_cannot_be_is_an_error(error, units, alpha, best):
    with pytest.raises(ValueError, match="above 0"):
        half_width(error, units, alpha, best)


def test_even_split_counts_in_full_and_an_uneven_one_by_its_smaller_part():
    assert effective(500, 500) == 1000
    assert effective(50, 950) == pytest.approx(190)
    assert effective(0, 100) == 0.0


def test_interval_around_is_best_where_the_difference_that_matters_is_just_told():
    best = information_wanted(log(2.0), 0.05)
    assert best == pytest.approx(19.17, abs=0.01)
    assert around(0.0, 1 / sqrt(best), 0.05, log(2.0)).high == pytest.approx(log(2.0))
    assert not around(0.0, 0.0, 0.05, 1.0).known
    assert not around(0.0, inf, 0.05, 1.0).known
    with pytest.raises(ValueError, match="matters"):
        around(0.0, 1.0, 0.05, 0.0)


def test_variance_of_a_ratio_is_that_between_units():
    errors, requests = [0, 3, 1, 0, 8], [10, 20, 15, 4, 30]
    sums = Clusters.of(errors, requests)
    ratio = 12 / 79
    off = [x - ratio * n for x, n in zip(errors, requests, strict=True)]
    assert sums.ratio == pytest.approx(ratio)
    assert sums.variance == pytest.approx(sum(one * one for one in off) / 79**2 * 5 / 4)
    assert sums.affected == 3
    assert sums.spread == pytest.approx(79**2 / sum(n * n for n in requests))


def test_equal_weights_have_the_variance_of_a_mean():
    values = [3.0, 1.0, 4.0, 1.0, 5.0, 9.0]
    assert Clusters.of(values, [1.0] * 6).variance == pytest.approx(variance(values) / 6)


def test_sums_kept_up_request_by_request_are_those_of_the_whole():
    errors, requests = [2.0, 0.0, 1.0], [5.0, 3.0, 1.0]
    grown = Clusters()
    for total, weight in zip(errors, requests, strict=True):
        had = 0.0
        for number in range(int(weight)):
            error = 1.0 if number < total else 0.0
            grown = grown.grown(had, float(number), error, 1.0)
            had += error
    assert grown == Clusters.of(errors, requests)


def test_unit_without_requests_is_none():
    assert Clusters.of([0.0, 1.0], [0.0, 2.0]).units == 1
    with pytest.raises(ValueError, match="two numbers"):
        Clusters.of([1.0], [])
    assert isinf(Clusters.of([1.0], [2.0]).variance)
    assert (Clusters().ratio, Clusters().spread) == (0.0, 0.0)


def _users(count, rate, requests=50):
    return Clusters.of([float(round(rate * requests) + one % 2) for one in range(count)], [float(requests)] * count)


def test_equal_canary_lies_below_twice_the_errors():
    found = log_ratio(_users(500, 0.02), _users(4000, 0.02), 0.01)
    assert found.estimate == pytest.approx(0.0, abs=0.01)
    assert found.low < 0.0 < found.high < log(2.0)
    assert upper_log_ratio(_users(500, 0.02), _users(4000, 0.02), 0.05) < log(2.0)


def test_canary_with_three_times_the_errors_lies_above_none():
    assert log_ratio(_users(500, 0.06), _users(4000, 0.02), 0.01).low > 0.0
    assert upper_log_ratio(_users(500, 0.06), _users(4000, 0.02), 0.05) > log(2.0)


def test_too_few_affected_users_have_no_interval():
    few = Clusters.of([1.0] * (LEAST_AFFECTED - 1) + [0.0] * 400, [50.0] * (LEAST_AFFECTED + 399))
    assert not log_ratio(few, _users(4000, 0.02), 0.01).known
    assert upper_log_ratio(_users(4000, 0.02), few, 0.05) == inf
    with pytest.raises(ValueError, match="above 1"):
        log_ratio(few, few, 0.01, harmful=1.0)
    with pytest.raises(ValueError, match="above 1"):
        upper_log_ratio(few, few, 0.01, harmful=1.0)


def test_few_users_with_all_the_traffic_have_no_interval():
    whale = Clusters.of([*([1.0] * 50), 20_000.0], [*([50.0] * 50), 1e6])
    assert whale.spread < 2.0
    assert not log_ratio(whale, _users(4000, 0.02), 0.01).known


def test_canary_without_errors_is_promoted_after_some_time_only():
    others = _users(4000, 0.02)
    assert upper_log_ratio(Clusters.of([0.0] * 40, [50.0] * 40), others, 0.05) > log(2.0)
    assert upper_log_ratio(Clusters.of([0.0] * 400, [50.0] * 400), others, 0.05) < log(2.0)


def test_difference_of_shares():
    found = proportions.difference(Share(300, 2500), Share(250, 2500), 0.05)
    careful = sqrt(sum(p * (1 - p) / 2500 for p in (301 / 2502, 251 / 2502)))
    assert found.estimate == pytest.approx(0.02)
    assert found.high - found.estimate == pytest.approx(3.035209 * careful, rel=1e-6)


def test_share_of_none_is_not_taken_for_certain():
    found = proportions.difference(Share(0, 30), Share(0, 30), 0.05)
    assert found.low < 0.0 < found.high
    assert not proportions.difference(Share(0, 0), Share(5, 30), 0.05).known
    assert Share(0, 0).value == 0.0
    with pytest.raises(ValueError, match="hits"):
        Share(2, 1)


def test_moments_are_those_of_all_values_however_they_came():
    values = [1e9 + one for one in (3.0, 1.0, 4.0, 1.0, 5.0)]
    both = Moments.of(values[:2]) + Moments.of(values[2:])
    assert both.mean == pytest.approx(fmean(values))
    assert both.variance == pytest.approx(variance(values) / 5)
    assert Moments() + Moments() == Moments()
    assert isinf(Moments.of([1.0]).variance)


def test_difference_of_means():
    canary, others = Moments.of([float(one % 7) for one in range(2500)]), Moments.of([one % 5 for one in range(2500)])
    found = means.difference(canary, others, 0.05)
    assert found.high - found.estimate == pytest.approx(3.035209 * sqrt(canary.variance + others.variance), rel=1e-6)
    assert not means.difference(Moments.of([1.0] * 10), others, 0.05).known
    assert not means.difference(Moments.of([1.0] * 50), Moments.of([1.0] * 50), 0.05).known


def test_slower_canary_shows_in_the_mean_of_ln_latency():
    others = Clusters.of([log(0.05) * 10 + one % 3 for one in range(900)], [10.0] * 900)
    canary = Clusters.of([log(0.06) * 10 + one % 3 for one in range(300)], [10.0] * 300)
    found = clustered_difference(canary, others, 0.01, log(1.2))
    assert found.estimate == pytest.approx(log(1.2))
    assert found.low > 0.0
    assert not clustered_difference(Clusters.of([1.0], [1.0]), others, 0.01, log(1.2)).known
