"""The band of a latency distribution, and exceedance, over the edges that the proxy counts by."""

from math import inf, log

import pytest

from proxy.analysis.error_rate import ErrorRateTest, Stretch
from proxy.analysis.latency import ExceedanceTest, band, quantile, slower, thresholds
from proxy.telemetry.counters import BUCKETS, FINE_EDGES

EDGES = (0.1, 0.2, 0.4, 0.8)


def _counts(**at):
    counts = [0] * BUCKETS
    for place, count in at.items():
        counts[int(place[1:])] = count
    return counts


@pytest.mark.parametrize(
    ("samples", "width"), [(1e2, 0.269176), (1e3, 0.086569), (1e4, 0.027711), (1e5, 0.008846), (1e6, 0.002819)]
)
def test_band_is_that_of_the_reference(samples, width):
    assert band(int(samples), 0.05) == pytest.approx(width, abs=1e-6)


def test_band_of_little_says_nothing():
    assert band(0, 0.05) == 1.0
    assert band(1, 0.05) == 1.0
    with pytest.raises(ValueError, match="alpha"):
        band(10, 0.0)


def test_99th_percentile_needs_about_78000_samples():
    assert band(76_000, 0.05) > 0.01 > band(79_000, 0.05)


def test_slower_version_is_shown_where_it_lags_most():
    others, canary = [0, 9000, 1000, 0, 0], [0, 1000, 9000, 0, 0]
    found = slower(canary, others, EDGES, 0.01)
    assert (found.edge, found.by, found.proven) == (0.2, pytest.approx(0.8), True)
    assert found.band == pytest.approx(2 * band(10_000, 0.005))
    assert not slower(others, canary, EDGES, 0.01).proven


def test_tolerated_factor_moves_the_canary_by_so_much():
    others, canary = [0, 9000, 1000, 0, 0], [0, 0, 9000, 1000, 0]
    assert slower(canary, others, EDGES, 0.01).proven
    assert not slower(canary, others, EDGES, 0.01, tolerated=2.0).proven
    assert not slower(canary, others, EDGES, 0.01, tolerated=1.5).proven  # between two edges: for the canary
    with pytest.raises(ValueError, match="1 or more"):
        slower(canary, others, EDGES, 0.01, tolerated=0.5)


def test_few_samples_prove_nothing():
    assert not slower([0, 0, 0, 0, 10], [10, 0, 0, 0, 0], EDGES, 0.01).proven
    assert not slower([0] * 5, [10] * 5, EDGES, 0.01).proven
    with pytest.raises(ValueError, match="one count more"):
        slower([0] * 4, [0] * 5, EDGES, 0.01)


def test_percentile_lies_between_edges():
    counts = [0, 50_000, 40_000, 10_000, 0]
    found = quantile(counts, EDGES, 0.95, 0.05)
    assert (found.low, found.estimate, found.high) == (0.4, 0.8, 0.8)
    assert quantile([0] * 5, EDGES, 0.5, 0.05).known is False
    assert quantile([5, 5, 5, 5, 5], EDGES, 0.99, 0.05).high == inf
    with pytest.raises(ValueError, match="share"):
        quantile(counts, EDGES, 1.0, 0.05)


def test_times_come_of_the_old_version_and_from_the_edges_that_are_counted_by():
    counts = _counts(_50=9400, _60=500, _70=95, _80=5)
    assert thresholds(counts, FINE_EDGES) == [FINE_EDGES[60], FINE_EDGES[70], FINE_EDGES[70]][:2]
    assert thresholds(counts, FINE_EDGES, (0.5, 0.9999)) == [FINE_EDGES[50], FINE_EDGES[80]]
    assert thresholds([0] * BUCKETS, FINE_EDGES) == []
    assert thresholds([0, 0, 0, 0, 9], EDGES) == []  # beyond the last edge there is no time to count by


def test_evidence_of_several_times_is_averaged():
    test = ExceedanceTest((0.2, 0.4))
    test.observe([Stretch(0.05, 10, 10), Stretch(0.05, 0, 0)])
    alone = ErrorRateTest()
    alone.observe(Stretch(0.05, 10, 10))
    assert test.ln_evidence == pytest.approx(alone.ln_evidence + log(0.5), abs=1e-4)
    assert test.slower(0.01)
    highest = test.ln_highest
    test.observe([Stretch(0.05, 10, 900), Stretch(0.05, 0, 100)])
    assert test.ln_evidence < 0.0
    assert test.ln_highest == highest
    with pytest.raises(ValueError, match="at least one"):
        ExceedanceTest(())
