"""The sequential test of a split, against values computed independently."""

from math import inf

import pytest

from proxy.analysis.sample_ratio import ALARM, CONCENTRATIONS, log_bayes_factor, sample_ratio


def test_factors_of_growing_counts_are_those_of_the_reference():
    batches = [(20, 17, 9), (18, 21, 8), (4, 6, 4), (18, 19, 11)]
    found = []
    counts = [0, 0, 0]
    for batch in batches:
        counts = [sum(pair) for pair in zip(counts, batch, strict=True)]
        # The reference has the prior (1, 1, 1), which is not around the shares: it is spelled out here.
        found.append(_with_flat_prior(counts, (0.4, 0.4, 0.2)))
    assert found == pytest.approx([-2.950561, -3.681901, -3.860658, -4.183814], abs=1e-6)


def _with_flat_prior(counts, shares):
    """With shares of a third and a concentration of 3 the prior is (1, 1, 1); what is left is the other likelihood."""
    from math import log

    third = [1 / 3] * 3
    own = log_bayes_factor(counts, third, 3.0)
    return own + sum(count * (log(1 / 3) - log(share)) for count, share in zip(counts, shares, strict=True))


def test_one_concentration_sees_one_size_of_deviation():
    assert log_bayes_factor([600, 400], [0.5, 0.5], 1e4) == pytest.approx(1.77, abs=0.005)
    assert log_bayes_factor([600, 400], [0.5, 0.5], 100.0) == pytest.approx(17.1, abs=0.005)


def test_average_sees_large_deviations_soon_and_small_ones_late():
    assert sample_ratio([600, 400], [50.0, 50.0]) > ALARM
    assert sample_ratio([60, 10], [1.0, 1.0]) > ALARM
    assert sample_ratio([50_800, 49_200], [1.0, 1.0]) > ALARM
    assert sample_ratio([502, 498], [50.0, 50.0]) < 0.0


def test_average_is_never_far_below_the_best_of_its_parts():
    counts, shares = [5300, 4700], [0.5, 0.5]
    best = max(log_bayes_factor(counts, shares, one) for one in CONCENTRATIONS)
    assert best - 1.7 < sample_ratio(counts, shares) <= best  # ln 5


def test_nothing_is_known_before_the_first_unit_and_of_a_lone_version():
    assert sample_ratio([0, 0], [95.0, 5.0]) == 0.0
    assert sample_ratio([1000, 0], [100.0, 0.0]) == 0.0


def test_unit_at_a_version_of_weight_0_cannot_come_of_the_split():
    assert sample_ratio([99, 1, 3], [95.0, 5.0, 0.0]) == inf


def test_order_of_the_versions_does_not_matter():
    assert sample_ratio([70, 20, 10], [7, 2, 1]) == pytest.approx(sample_ratio([10, 70, 20], [1, 7, 2]))


@pytest.mark.parametrize(("counts", "weights"), [([1], [1, 1]), ([1, 1], [0, 0]), ([1, 1], [-1, 2]), ([], [])])
def test_what_does_not_fit_together_is_refused(counts, weights):
    with pytest.raises(ValueError, match="weight"):
        sample_ratio(counts, weights)


@pytest.mark.parametrize(("shares", "concentration"), [([0.5], 1.0), ([1.0, 0.0], 1.0), ([0.5, 0.5], 0.0), ([], 1.0)])
def test_prior_wants_shares_and_a_concentration(shares, concentration):
    with pytest.raises(ValueError, match="share"):
        log_bayes_factor([1, 1], shares, concentration)
