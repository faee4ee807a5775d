"""Laws of the judges' statistics: what holds whatever was counted."""

from math import comb, exp, isclose

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from proxy.analysis.clusters import Clusters
from proxy.analysis.error_rate import CONCENTRATIONS, ErrorRateTest, Stretch, ln_evidence, share_under
from proxy.analysis.latency import slower
from proxy.analysis.means import Moments
from proxy.analysis.rank import rank_test
from proxy.analysis.sequence import half_width
from proxy.analysis.special import ln_incomplete_beta

SHARES = st.floats(0.01, 0.99)
COUNTS = st.integers(0, 400)
UNITS = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 50)), max_size=30)
POINTS = st.lists(st.integers(-50, 50), min_size=1, max_size=12)


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 0.9])
@pytest.mark.parametrize("tolerated", [1.0, 2.0])
@pytest.mark.parametrize("concentration", [*CONCENTRATIONS, 100.0])
@pytest.mark.parametrize("errors", [1, 2, 7, 30])
def test_evidence_is_1_on_average_without_a_difference(share, tolerated, concentration, errors):
    """Over all outcomes of so many errors, weighed by their chance: at the tolerated ratio, and less for a better canary."""
    theta = share_under(share, tolerated)
    options = {"tolerated": tolerated, "concentration": concentration}

    def mean(true, *, one_sided):
        return sum(
            comb(errors, k) * true**k * (1 - true) ** (errors - k)
            * exp(ln_evidence(k, errors - k, share, one_sided=one_sided, **options))
            for k in range(errors + 1)
        )  # fmt: skip

    assert mean(theta, one_sided=False) == pytest.approx(1.0, rel=1e-9)
    assert mean(theta, one_sided=True) == pytest.approx(1.0, rel=1e-9)
    assert mean(theta / 2, one_sided=True) <= 1.0


@pytest.mark.parametrize("share", [0.05, 0.5])
def test_false_alarms_of_the_test_are_as_rare_as_stated_counted_out(share):
    """The chance that E ever reaches 20 within 120 errors, looked at after each: at most 1 / 20."""
    alive, alarmed = {0: 1.0}, 0.0
    for total in range(1, 121):
        following: dict[int, float] = {}
        for canary, chance in alive.items():
            following[canary + 1] = following.get(canary + 1, 0.0) + chance * share
            following[canary] = following.get(canary, 0.0) + chance * (1 - share)
        alive = {}
        for canary, chance in following.items():
            test = ErrorRateTest()
            test.observe(Stretch(share, canary, total - canary))
            if test.worse(0.05):
                alarmed += chance
            else:
                alive[canary] = chance
    assert 0.005 < alarmed <= 0.05


@given(SHARES, st.integers(0, 100), st.integers(0, 100), st.integers(1, 20))
def test_more_errors_of_the_canary_beyond_its_share_are_more_evidence(share, canary, others, more):
    assume(canary * (1 - share) >= others * share)
    assert ln_evidence(canary + more, others, share) > ln_evidence(canary, others, share) - 1e-9


@given(SHARES, COUNTS, COUNTS)
def test_more_is_tolerated_with_less_evidence(share, canary, others):
    assume(canary > 0)
    evidence = [ln_evidence(canary, others, share, tolerated=ratio, concentration=50.0) for ratio in (1.0, 2.0, 4.0)]
    assume(canary / (canary + others) > share_under(share, 4.0))
    assert evidence == sorted(evidence, reverse=True)


@given(st.lists(st.tuples(SHARES, COUNTS, COUNTS), min_size=1, max_size=8))
@settings(max_examples=50)
def test_running_p_never_rises_and_is_a_probability(stretches):
    test = ErrorRateTest()
    seen = [test.p]
    for share, canary, others in stretches:
        test.turn()
        test.observe(Stretch(share, canary, others))
        seen.append(test.p)
    assert seen == sorted(seen, reverse=True)
    assert all(0.0 <= p <= 1.0 for p in seen)


@given(UNITS, UNITS)
def test_sums_of_two_parts_are_those_of_the_whole(some, others):
    def sums(units):
        return Clusters.of([float(x) for x, _ in units], [float(n) for _, n in units])

    assert sums(some) + sums(others) == sums(some + others)


@given(UNITS, st.floats(1e-6, 1e6))
def test_unit_of_measure_does_not_matter_to_a_ratio(units, scale):
    assume(len(units) > 1)
    plain = Clusters.of([float(x) for x, _ in units], [float(n) for _, n in units])
    scaled = Clusters.of([x * scale for x, _ in units], [float(n) for _, n in units])
    assert isclose(scaled.ratio, plain.ratio * scale, rel_tol=1e-9)
    assert isclose(scaled.variance, plain.variance * scale * scale, rel_tol=1e-6, abs_tol=1e-9 * scale * scale)


@given(st.lists(st.floats(-1e6, 1e6), max_size=20), st.lists(st.floats(-1e6, 1e6), max_size=20))
def test_moments_of_two_parts_are_those_of_the_whole(some, others):
    both, whole = Moments.of(some) + Moments.of(others), Moments.of(some + others)
    assert both.units == whole.units
    assert both.mean == pytest.approx(whole.mean, rel=1e-9, abs=1e-6)
    assert both.squares == pytest.approx(whole.squares, rel=1e-6, abs=1e-3)


@given(POINTS, POINTS, st.integers(-12, 12))
def test_unit_of_measure_does_not_matter_to_ranks(ours, theirs, power):
    scale = 2.0**power
    assert rank_test([one * scale for one in ours], [one * scale for one in theirs]) == rank_test(ours, theirs)


@given(POINTS, POINTS)
def test_ranks_of_the_two_versions_mirror_each_other(ours, theirs):
    one, other = rank_test(ours, theirs), rank_test(theirs, ours)
    assert one.effect == pytest.approx(1.0 - other.effect)
    assert (one.p_higher, one.p_lower) == pytest.approx((other.p_lower, other.p_higher))


@given(POINTS, POINTS, st.integers(1, 30))
def test_higher_points_are_no_less_evidence(ours, theirs, more):
    assert (
        rank_test([one + more for one in ours], theirs, exact=True).p_higher
        <= rank_test(ours, theirs, exact=True).p_higher + 1e-12
    )


@given(st.floats(1.0, 1e6), st.floats(0.001, 0.2), st.floats(1.01, 10.0))
def test_less_doubt_takes_a_wider_interval(units, alpha, more):
    assert half_width(1.0, units, alpha / more) > half_width(1.0, units, alpha)


@given(st.lists(st.integers(0, 500), min_size=5, max_size=5), st.integers(0, 3))
def test_same_distribution_is_never_proven_slower(counts, place):
    found = slower(counts, [one * (place + 1) for one in counts], (0.1, 0.2, 0.4, 0.8), 0.05)
    assert not found.proven
    assert found.by <= 1e-12


@given(st.integers(0, 1024).map(lambda part: part / 1024), st.floats(0.05, 500.0), st.floats(0.05, 500.0))
def test_incomplete_beta_and_its_mirror_are_complements(x, a, b):
    lower, upper = ln_incomplete_beta(x, a, b)
    assert exp(lower) + exp(upper) == pytest.approx(1.0, abs=1e-9)
    mirrored = ln_incomplete_beta(1.0 - x, b, a)
    assert exp(lower) == pytest.approx(exp(mirrored[1]), abs=1e-9)
