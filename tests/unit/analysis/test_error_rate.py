"""The sequential test of error rates, against values computed independently."""

from math import exp, log

import pytest

from proxy.analysis.error_rate import CONCENTRATIONS, ErrorRateTest, Stretch, ln_evidence, share_under


@pytest.mark.parametrize(
    ("canary", "others", "share", "two_sided", "one_sided"),
    [
        (10, 90, 0.05, 0.601279, 1.332388),
        (20, 20, 0.1, 7.439144, 8.205946),
        (5, 0, 0.01, 4.688959, 5.683284),
        (0, 200, 0.05, 4.663078, -1.765978),
    ],
)
def test_evidence_is_that_of_the_reference(canary, others, share, two_sided, one_sided):
    assert ln_evidence(canary, others, share, one_sided=False) == pytest.approx(two_sided, abs=1e-6)
    assert ln_evidence(canary, others, share) == pytest.approx(one_sided, abs=1e-6)


def test_share_of_errors_under_a_ratio():
    assert share_under(0.05, 1.0) == pytest.approx(0.05)
    assert share_under(0.5, 3.0) == pytest.approx(0.75)


def test_tolerated_ratio_stands_in_the_place_of_the_share():
    assert ln_evidence(40, 60, 0.25, tolerated=2.0) == pytest.approx(ln_evidence(40, 60, 0.4))


@pytest.mark.parametrize(
    ("canary", "others", "share", "options"),
    [
        (-1, 0, 0.1, {}),
        (0, -1, 0.1, {}),
        (1, 1, 0.0, {}),
        (1, 1, 1.0, {}),
        (1, 1, 0.5, {"tolerated": 0.0}),
        (1, 1, 0.5, {"concentration": 0.0}),
    ],
)
def test_what_cannot_be_is_an_error(canary, others, share, options):
    with pytest.raises(ValueError, match=r"above 0|between 0 and 1"):
        ln_evidence(canary, others, share, **options)


def test_nothing_is_known_before_the_first_error():
    test = ErrorRateTest()
    assert test.ln_evidence == 0.0
    test.observe(Stretch(0.05, 0, 0))
    assert (test.ln_evidence, test.p, test.worse(0.5)) == (0.0, 1.0, False)


def test_canary_with_ten_times_the_errors_is_found_after_some_twenty():
    test = ErrorRateTest()
    test.observe(Stretch(0.05, 7, 13))
    assert test.worse(0.01)
    assert ln_evidence(7, 13, 0.05) < log(100.0)  # k = 100 alone wants 28


def test_canary_that_is_better_is_not_worse():
    test = ErrorRateTest()
    test.observe(Stretch(0.5, 0, 500))
    assert not test.worse(0.5)


def test_evidence_of_stretches_multiplies_for_each_concentration():
    test = ErrorRateTest(concentrations=(100.0,))
    test.observe(Stretch(0.05, 3, 20))
    test.observe(Stretch(0.25, 4, 9))
    assert test.ln_evidence == pytest.approx(ln_evidence(3, 20, 0.05) + ln_evidence(4, 9, 0.25))
    averaged = ErrorRateTest()
    averaged.observe(Stretch(0.05, 3, 20))
    averaged.observe(Stretch(0.25, 4, 9))
    products = [
        exp(ln_evidence(3, 20, 0.05, concentration=one) + ln_evidence(4, 9, 0.25, concentration=one))
        for one in CONCENTRATIONS
    ]
    assert averaged.ln_evidence == pytest.approx(log(sum(products) / len(products)))


def test_same_share_after_another_is_a_new_stretch():
    test = ErrorRateTest(concentrations=(100.0,))
    for share, canary in ((0.05, 3), (0.25, 4), (0.05, 2)):
        test.observe(Stretch(share, canary, 10))
    assert test.ln_evidence == pytest.approx(
        ln_evidence(3, 10, 0.05) + ln_evidence(4, 10, 0.25) + ln_evidence(2, 10, 0.05)
    )


def test_counts_of_a_stretch_replace_and_do_not_go_back():
    test = ErrorRateTest(concentrations=(100.0,))
    test.observe(Stretch(0.05, 3, 20))
    test.observe(Stretch(0.05, 4, 20))
    assert test.ln_evidence == pytest.approx(ln_evidence(4, 20, 0.05))
    with pytest.raises(ValueError, match="go back"):
        test.observe(Stretch(0.05, 3, 20))
    test.turn()  # a step that begins its counts again
    test.observe(Stretch(0.05, 1, 0))
    assert test.ln_evidence == pytest.approx(ln_evidence(4, 20, 0.05) + ln_evidence(1, 0, 0.05))


def test_test_that_goes_on_elsewhere_comes_to_the_same():
    first = ErrorRateTest()
    first.observe(Stretch(0.05, 9, 20))
    past, highest = first.state()
    second = ErrorRateTest(past=past, highest=highest)
    for test in (first, second):
        test.observe(Stretch(0.25, 1, 30))
    assert (second.ln_evidence, second.p) == (first.ln_evidence, first.p)
    with pytest.raises(ValueError, match="other concentrations"):
        ErrorRateTest(concentrations=(100.0,), past=past)


def test_what_was_once_proven_stays_proven():
    test = ErrorRateTest()
    test.observe(Stretch(0.05, 10, 10))
    p = test.p
    test.observe(Stretch(0.05, 10, 1000))
    assert test.ln_evidence < 0.0
    assert test.p == p
    assert test.worse(0.01)
