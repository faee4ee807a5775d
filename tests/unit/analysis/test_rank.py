"""Mann-Whitney, against values of SciPy."""

from itertools import combinations
from math import nan

import pytest

from proxy.analysis.rank import average_ranks, rank_test


def test_example_of_the_reference():
    found = rank_test([19, 22, 16, 29, 24], [20, 11, 17, 12])
    assert (found.u, found.exact) == (17.0, True)
    assert found.p == pytest.approx(0.111111, abs=1e-6)
    near = rank_test([19, 22, 16, 29, 24], [20, 11, 17, 12], exact=False)
    assert near.p == pytest.approx(0.1113468865, abs=1e-10)
    assert (near.effect, near.exact) == (0.85, False)


def test_equal_values_share_their_ranks():
    assert average_ranks([3.0, 1.0, 3.0, 2.0]) == [3.5, 1.0, 3.5, 2.0]


@pytest.mark.parametrize(("ours", "theirs"), [([1, 2, 2, 5], [2, 3, 3]), ([4, 4, 4], [1, 4, 6, 6, 7]), ([1], [2, 2])])
def test_ties_are_counted_out(ours, theirs):
    ranks = average_ranks([*ours, *theirs])
    reached = sum(ranks[: len(ours)])
    sums = [sum(drawn) for drawn in combinations(ranks, len(ours))]
    found = rank_test(ours, theirs, exact=True)
    assert found.p_higher == pytest.approx(sum(one >= reached for one in sums) / len(sums))
    assert found.p_lower == pytest.approx(sum(one <= reached for one in sums) / len(sums))


def test_large_samples_are_approximated_and_all_equal_ones_say_nothing():
    assert not rank_test(list(range(60)), list(range(60))).exact
    assert rank_test([1.0] * 60, [1.0] * 60).p == 1.0


def test_points_that_are_no_numbers_are_left_out():
    assert rank_test([1.0, nan, 2.0], [3.0, 4.0]) == rank_test([1.0, 2.0], [3.0, 4.0])
    with pytest.raises(ValueError, match="at least one point"):
        rank_test([nan], [1.0])
