"""`compat: kayenta`, against what that judge says."""

from math import isnan, nan

import pytest

from proxy.analysis.kayenta import Judged, Rule, interval, judge_metric, percentile, root, score

FIVE = [20, 22, 21, 25, 30]


def _rule(**more):
    return Rule(tolerance=0.10, confidence=0.95, **more)


def test_high_metric_of_the_reference():
    found = judge_metric(FIVE, [1, 2.2, 1.1, 2.5, 3], _rule(allowed=(0.8, 1.2)))
    assert found.label == "High"
    assert found.effect == pytest.approx(12.0408, abs=1e-4)
    assert (found.low, found.high, found.shift) == pytest.approx((17.80004, 27.79994, 20.0), abs=5e-6)


def test_metric_that_passes_for_its_effect():
    found = judge_metric([10, 12.2, 10.1, 12.5, 23], FIVE, _rule(allowed=(0.5, 1.0)))
    assert (found.label, found.effect) == ("Pass", pytest.approx(0.5746, abs=1e-4))


@pytest.mark.parametrize(
    ("canary", "baseline", "rule", "label"),
    [
        ([1, 1, 1, 1, 10], [1] * 5, _rule(), "Pass"),
        ([10] * 5, [1] * 5, _rule(), "High"),
        ([1] * 5, [10] * 5, _rule(), "Low"),
        ([1] * 5, [10] * 5, _rule(direction="increase"), "Pass"),
        ([10] * 5, [1] * 5, _rule(direction="decrease"), "Pass"),
        ([], [1, 2, 3, 4, 5], _rule(), "Nodata"),
        ([nan], [1, 2, 3, 4, 5], _rule(), "Nodata"),
        ([], [1, 2, 3, 4, 5], _rule(nan="replace"), "Pass"),
        ([3, 1, 2], [1, 2, 3], _rule(), "Pass"),
        ([5, 5], [5, 5, 5], _rule(), "Pass"),
    ],
)
def test_labels(canary, baseline, rule, label):
    assert judge_metric(canary, baseline, rule).label == label


def test_noise_is_what_is_drawn():
    drawn = iter([0.0, 1.0, -1.0, 2.0, -2.0] * 2)
    assert judge_metric([10] * 5, [1] * 5, _rule(), lambda: next(drawn)).label == "High"
    assert next(drawn, None) is None


def test_interval_alone():
    assert interval([10, 20, 30, 40], [1, 2, 3, 4], 0.95) == pytest.approx((6.0, 39.0, 22.5))
    assert all(isnan(one) for one in interval([1, 1], [1, 1], 0.95))


def test_effects():
    cles = judge_metric(FIVE, [1, 2.2, 1.1, 2.5, 3], _rule(effect="cles", allowed=(0.2, 0.8)))
    assert (cles.label, cles.effect) == ("High", 1.0)
    assert judge_metric(FIVE, [-1, 1, 0, 2, -2], _rule(allowed=(0.8, 1.2))).label == "High"  # no ratio to 0: not asked


def test_critical_effect_is_asked_for_beside_the_allowed_one():
    points = FIVE, [10, 12, 11, 15, 20]
    assert judge_metric(*points, _rule(allowed=(0.8, 1.2), critical=(0.5, 3.0))).critical is False
    assert judge_metric(*points, _rule(allowed=(0.8, 1.2), critical=(0.5, 1.5))).critical is True


def test_outliers_lie_beyond_the_fences():
    spread = [float(one) for one in range(1, 100)]
    assert judge_metric([*spread, 1e6], spread, _rule(outliers=True)).label == "Pass"
    assert percentile([1.0, 2.0, 3.0, 4.0], 0.25) == 1.75


def test_answer_depends_on_the_unit_of_measure_as_theirs_does():
    canary = [35, 39, 41, 26, 26, 12, 31, 35, 33, 49]
    baseline = [12, 16, 24, 1, 16, 2, 10, 23, 28, 20]
    assert judge_metric(canary, baseline).label == "High"
    assert judge_metric([one * 1e-5 for one in canary], [one * 1e-5 for one in baseline]).label == "Pass"


def test_root_is_found_by_interpolation_and_at_a_leap():
    assert root(lambda x: x**3 - 8.0, -1.0, 9.0, 1e-9) == pytest.approx(2.0, abs=1e-8)
    assert root(lambda x: -1.0 if x < 0.3 else 1.0, 0.0, 1.0, 1e-4) == pytest.approx(0.3, abs=1e-4)


@pytest.mark.parametrize(
    ("results", "weights", "value", "label"),
    [
        ([Judged("a", "Pass"), Judged("b", "High")], {"a": 75, "b": 25}, 75.0, "Marginal"),
        ([Judged("a", "Pass"), Judged("a", "High"), Judged("a", "Low")], None, 33.33, "Fail"),
        ([Judged("a", "Pass"), Judged("b", "Pass"), Judged("c", "Low")], {"a": 50}, 75.0, "Marginal"),
        ([Judged("a", "Pass"), Judged("a", "NodataFail")], None, 50.0, "Fail"),
        ([Judged("a", "Pass"), Judged("a", "Pass"), Judged("b", "Nodata")], None, 100.0, "Pass"),
        ([Judged("a", "Pass"), Judged("b", "Nodata")], None, 0.0, "Fail"),
        ([Judged("a", "Pass"), Judged("a", "Pass"), Judged("a", "High", critical=True)], None, 0.0, "Fail"),
    ],
)
def test_scores(results, weights, value, label):
    found = score(results, weights)
    assert (found.value, found.label) == (value, label)
