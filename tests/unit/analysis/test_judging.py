"""Judges: what they say, with which numbers, in which words."""

from math import inf, log, nan

import pytest

from proxy.analysis.budget import Budget
from proxy.analysis.burn_rate import burning
from proxy.analysis.clusters import Clusters
from proxy.analysis.error_rate import ErrorRateTest, Stretch
from proxy.analysis.judging import judge_band, judge_errors, judge_latency, seconds_until_abort
from proxy.analysis.judging_plain import (
    judge_burning,
    judge_means,
    judge_proportions,
    judge_ranks,
    judge_sample_ratio,
    judge_threshold,
)  # fmt: skip
from proxy.analysis.latency import ExceedanceTest, slower
from proxy.analysis.means import Moments
from proxy.analysis.proportions import Share
from proxy.analysis.sample_ratio import sample_ratio
from proxy.analysis.threshold import Limits

ALLOWED = Budget({"errors": "critical", "latency": "normal"}).of("errors")


def _users(count, rate, requests=50.0):
    return Clusters.of([round(rate * requests) + one % 2 for one in range(count)], [requests] * count)


def _errors(canary, others, first=(0, 0), share=0.1, **more):
    test = ErrorRateTest()
    test.observe(Stretch(share, *first))
    return judge_errors("errors", test, canary, others, ALLOWED, seconds=600.0, **more)


def test_first_errors_fail_within_a_few():
    found = _errors(_users(8, 0.2), _users(90, 0.01), first=(9, 6))
    assert (found.outcome, found.seconds, found.samples) == ("fail", 0.0, (8, 90))
    assert found.evidence > log(1 / 0.0025)
    assert found.reason.startswith("errors: 21 % of the canary's requests failed, 1 % of the others'; chance alone")
    assert found.reason.endswith("(alpha 0.005 of 0.01 for the rollout, shared by 2 metrics)")


def test_ratio_fails_where_first_errors_are_used_up():
    found = _errors(_users(500, 0.06), _users(4000, 0.02), first=(500, 4000))
    assert (found.outcome, found.measure) == ("fail", "times the errors")
    assert 1.0 < found.low < found.effect < found.high
    assert "that is at least" in found.reason


def test_equal_canary_passes():
    found = _errors(_users(500, 0.02), _users(4000, 0.02), first=(50, 450))
    assert (found.outcome, found.effect, found.alpha) == ("pass", pytest.approx(1.0), 0.005)
    assert found.high < 2.0
    assert "2 would be harmful" in found.reason


def test_undecided_canary_says_when():
    others = Clusters.of([float(one % 3 == 0) for one in range(400)], [20.0 + one % 9 for one in range(400)])
    canary = Clusters.of([float(one % 2 == 0) for one in range(44)], [20.0 + one % 9 for one in range(44)])
    found = _errors(canary, others, first=(12, 150))
    assert found.outcome == "insufficient"
    assert found.seconds > 0.0
    assert "expected to be known in" in found.reason


@pytest.mark.parametrize(
    ("canary", "why"),
    [
        (Clusters(), "a version has had no traffic"),
        (Clusters.of([0.0] * 5, [50.0] * 5), "too few users have met an error"),
    ],
)
def test_no_traffic_and_few_errors_are_insufficient(canary, why):
    found = _errors(canary, _users(20, 0.0))
    assert (found.outcome, found.seconds) == ("insufficient", None)
    assert why in found.reason


def test_harmful_ratio_must_be_above_the_tolerated_one():
    with pytest.raises(ValueError, match="harmful"):
        _errors(_users(5, 0.0), _users(5, 0.0), harmful=1.0)


def test_time_until_abort_is_stated_for_a_ratio():
    test = ErrorRateTest(tolerated=1.5)
    assert seconds_until_abort(test, ALLOWED, 0.1, 1.2, 1.0) == inf
    assert 10.0 < seconds_until_abort(test, ALLOWED, 0.1, 10.0, 1.0) < 300.0


def _latency(factor, users=400, requests=20.0, stretches=((0, 0), (0, 0)), spread=1, **more):
    over = ExceedanceTest((0.2, 0.5))
    over.observe([Stretch(0.1, *one) for one in stretches])
    others = Clusters.of([log(0.05) * requests + (one % 5 - 2) / 10 for one in range(4000)], [requests] * 4000)
    canary = Clusters.of(
        [log(0.05 * factor) * requests + (one % 5 - 2) * spread / 10 for one in range(users)], [requests] * users
    )
    return judge_latency("latency", over, canary, others, ALLOWED, seconds=600.0, **more)


def test_canary_of_equal_latency_passes():
    found = _latency(1.0)
    assert (found.outcome, found.effect) == ("pass", pytest.approx(1.0))
    assert "takes 0.05 s in the (geometric) mean, the others 0.05 s; it is at most 1.0" in found.reason


def test_slower_canary_fails_by_its_mean_or_by_exceedance():
    assert "it is at least 1.5" in _latency(1.5).reason
    found = _latency(1.1, stretches=((15, 10), (9, 7)), tolerated=1.1)
    assert (found.outcome, found.evidence > 6.0) == ("fail", True)
    assert "wait long" in found.reason


def test_little_slower_canary_is_undecided_and_few_users_are_too():
    undecided = _latency(1.15, users=40, tolerated=1.14, spread=40)
    assert (undecided.outcome, undecided.seconds > 0.0) == ("insufficient", True)
    few = _latency(5.0, users=5)
    assert (few.outcome, few.low) == ("insufficient", None)
    with pytest.raises(ValueError, match="harmful"):
        _latency(1.0, harmful=1.0)


def test_band_fails_and_never_passes():
    edges = (0.1, 0.2)
    bad = judge_band("latency", slower([0, 9000, 0], [9000, 0, 0], edges, 0.01), (9000, 9000), ALLOWED)
    assert (bad.outcome, bad.effect) == ("fail", 1.0)
    same = judge_band("latency", slower([9000, 0, 0], [9000, 0, 0], edges, 0.01), (9000, 9000), ALLOWED)
    assert (same.outcome, same.seconds) == ("insufficient", None)


def test_shares_and_means():
    worse = judge_proportions("left", Share(900, 5000), Share(500, 5000), ALLOWED, harmful=0.05)
    assert (worse.outcome, worse.effect) == ("fail", pytest.approx(0.08))
    assert judge_proportions("left", Share(500, 5000), Share(500, 5000), ALLOWED, harmful=0.05).outcome == "pass"
    assert judge_proportions("left", Share(1, 10), Share(1, 10), ALLOWED, harmful=0.05).outcome == "insufficient"
    flat = Moments(5000, 10.0, 5000 * 9.0)
    assert judge_means("bytes", flat, flat, ALLOWED, harmful=1.0).outcome == "pass"
    assert judge_means("bytes", Moments(3, 10.0, 9.0), flat, ALLOWED, harmful=1.0).reason == (
        "bytes: +0; too few users yet (alpha 0.005 of 0.01 for the rollout, shared by 2 metrics)"
    )
    with pytest.raises(ValueError, match="harmful"):
        judge_means("bytes", flat, flat, ALLOWED, harmful=0.0)


def test_ranks():
    low, high = [float(one) for one in range(30)], [float(one + 40) for one in range(30)]
    assert judge_ranks("cpu", high, low, ALLOWED, look=1).outcome == "fail"
    assert judge_ranks("cpu", low, high, ALLOWED, look=1).outcome == "pass"
    assert judge_ranks("cpu", low, low, ALLOWED, look=1).outcome == "insufficient"
    few = judge_ranks("cpu", [1.0, nan, 2.0], low, ALLOWED, look=1)
    assert few.reason == "cpu: 2 and 30 points, 5 of each are the least"
    assert judge_ranks("cpu", high, low, ALLOWED, look=9).alpha < ALLOWED.alpha / 50
    with pytest.raises(ValueError, match="harmful"):
        judge_ranks("cpu", high, low, ALLOWED, look=1, harmful=0.5)


def test_thresholds_and_burn_rates_say_what_they_are():
    found = judge_threshold("queue", [1.0, 5.0, nan], Limits(most=2.0, intervals=3, failures=2))
    assert (found.outcome, found.effect, found.alpha) == ("insufficient", 5.0, None)
    assert found.reason.startswith("queue: 1 of 3 intervals beyond at most 2, 1 missing; a plain threshold")
    assert judge_threshold("queue", [], Limits(least=1.0)).effect is None
    ring = judge_threshold("queue", [1.0], Limits(most=2.0), randomised=False)
    assert ring.reason.endswith("it says nothing; the units were not dealt by chance")
    slow = judge_burning("slo", burning(lambda seconds: (round(seconds), round(seconds * 10)), 0.99))
    assert slow.reason == "slo: the objective's budget burns 10.0 times as fast as it may over 360 and 30 min, 6 fails"
    assert judge_burning("slo", burning(lambda _: (0, 0), 0.99)).effect is None


def test_split_that_is_not_what_was_asked_for_fails():
    split = lambda *counts: judge_sample_ratio("split", sample_ratio(counts, [5.0, 95.0]), counts)  # noqa: E731
    assert split(500, 9500).outcome == "pass"
    assert split(900, 9100).outcome == "fail"
    assert split(2, 20).outcome == "insufficient"
    assert judge_sample_ratio("split", inf, (50, 50)).effect == 700.0


def test_time_that_is_stated_waits_for_enough_users_with_errors():
    others = Clusters.of([float(one < 5) for one in range(400)], [20.0] * 400)
    canary = Clusters.of([float(one < 2) for one in range(160)], [20.0] * 160)
    found = _errors(canary, others, first=(2, 5))
    assert (found.outcome, "too few users" in found.reason) == ("insufficient", True)
    assert found.seconds >= 600.0 * (20 / 5 - 1)
