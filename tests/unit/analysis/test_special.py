"""Special functions against values computed with 60 digits (mpmath), offline."""

from math import exp, inf, log

import pytest

from proxy.analysis.special import chi_square_tail, ln_beta, ln_complement, ln_incomplete_beta, ln_mean, ln_sum


@pytest.mark.parametrize(
    ("x", "a", "b", "lower", "upper"),
    [
        (0.05, 15.0, 185.0, -2.5822856799422955, -0.07861148959731572),
        (0.05, 5.0, 295.0, -0.000718447086147134, -7.238777702082427),
        (0.3, 0.5, 0.5, -0.9969312110207781, -0.4604654539158712),
        (0.9, 2000.0, 150.0, -14.745892273746813, -3.9440320951117833e-07),
        (0.001, 0.001, 40.0, -0.0026936161429703624, -5.918217202807801),
    ],
)
def test_incomplete_beta_and_its_complement(x, a, b, lower, upper):
    assert ln_incomplete_beta(x, a, b) == pytest.approx((lower, upper), rel=2e-12)


def test_incomplete_beta_at_the_ends_and_in_the_middle():
    assert ln_incomplete_beta(0.0, 2.0, 3.0) == (-inf, 0.0)
    assert ln_incomplete_beta(1.0, 2.0, 3.0) == (0.0, -inf)
    assert ln_incomplete_beta(0.25, 1.0, 1.0) == pytest.approx((log(0.25), log(0.75)))
    # A million errors, in the middle of the distribution: just about half.
    assert ln_incomplete_beta(0.05, 50_000.0, 950_000.0)[0] == pytest.approx(log(0.5), abs=0.002)


@pytest.mark.parametrize(("x", "a", "b"), [(-0.1, 1.0, 1.0), (1.1, 1.0, 1.0), (0.5, 0.0, 1.0), (0.5, 1.0, -1.0)])
def test_incomplete_beta_outside_its_domain_is_an_error(x, a, b):
    with pytest.raises(ValueError, match="x in"):
        ln_incomplete_beta(x, a, b)


def test_beta_is_that_of_whole_numbers():
    assert exp(ln_beta(3.0, 4.0)) == pytest.approx(1 / 60)


@pytest.mark.parametrize(
    ("value", "freedom", "tail"),
    [
        (0.016, 1, 0.8993431885613663),
        (40.0, 1, 2.539628589470863e-10),
        (3.218875824868201, 2, 0.2),
        (10.0, 2, exp(-5.0)),
        (0.2, 2, exp(-0.1)),
    ],
)
def test_tail_of_chi_square(value, freedom, tail):
    assert chi_square_tail(value, freedom) == pytest.approx(tail, rel=1e-10)


def test_tail_of_chi_square_outside_its_domain():
    assert chi_square_tail(0.0, 3) == 1.0
    for value, freedom in ((-1.0, 1), (1.0, 0)):
        with pytest.raises(ValueError, match="degrees"):
            chi_square_tail(value, freedom)


def test_complement_is_exact_near_both_ends():
    assert ln_complement(-1e-20) == pytest.approx(log(1e-20))
    assert ln_complement(-50.0) == pytest.approx(-exp(-50.0))
    assert ln_complement(0.0) == -inf
    assert ln_complement(-inf) == 0.0


def test_sums_and_means_of_logarithms():
    assert ln_sum([]) == -inf
    assert ln_sum([1000.0, 1000.0]) == pytest.approx(1000.0 + log(2.0))
    assert ln_mean([-inf, 0.0]) == pytest.approx(log(0.5))
    assert ln_mean([inf, 0.0]) == inf
    with pytest.raises(ValueError, match="nothing"):
        ln_mean([])
