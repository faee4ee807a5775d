import pytest

from proxy.core.hash_weights import cut, shares, whole_weights


def test_weights_that_are_no_whole_parts_are_rounded_at_the_ranges_ends() -> None:
    assert cut([1.0, 1.0, 1.0], 100) == [33, 67, 100]
    assert cut([99.4, 0.2, 0.4], 100) == [99, 100, 100]
    assert cut([0.0, 0.0], 100) == [0, 0]


def test_shares_are_exact_as_written() -> None:
    assert [float(share) for share in shares([0.1, 0.2, 0.7])] == [0.1, 0.2, 0.7]
    assert sum(shares([33.33, 33.33, 33.34])) == 1


def test_whole_weights_for_flagd_are_as_they_are_where_they_are_whole() -> None:
    assert whole_weights([25.0, 25.0, 50.0]) == [25, 25, 50]
    assert whole_weights([99.99, 0.01]) == [9999, 1]
    fitted = whole_weights([100 / 3, 200 / 3])
    assert sum(fitted) == 2**31 - 1
    assert fitted[1] / fitted[0] == pytest.approx(2.0)
