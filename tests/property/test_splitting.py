"""The laws of the split (weighted rendezvous), for any number of versions and any weights."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.hashing import Dealer, sampled
from proxy.core.movement import moved_share

UNITS = [b"user-%d" % number for number in range(400)]
MANY = [b"user-%d" % number for number in range(20_000)]

weight = st.one_of(st.just(0.0), st.floats(0.01, 1000.0))
splits = st.lists(weight, min_size=1, max_size=6).filter(any)
pairs_of_splits = st.integers(1, 6).flatmap(
    lambda size: st.tuples(*[st.lists(weight, min_size=size, max_size=size).filter(any)] * 2)
)


def dealer(weights: list[float], salt: str = "salt", purpose: str = "split") -> Dealer:
    return Dealer(salt, purpose, [(index, f"v{index}", one) for index, one in enumerate(weights)])


def named(weights: list[float]) -> dict[str, float]:
    return {f"v{index}": one for index, one in enumerate(weights)}


@given(pairs_of_splits)
def test_nobody_leaves_a_version_whose_weight_fell_against_none(change: tuple[list[float], list[float]]) -> None:
    old, new = change
    before, after = dealer(old), dealer(new)
    for unit in UNITS:
        was, now = before.deal(unit), after.deal(unit)
        if was != now:
            # Who moves goes to a version that rose against the one that was left.
            assert new[now] * old[was] >= new[was] * old[now] * (1 - 1e-12)


@given(splits, st.data())
def test_raising_one_version_moves_units_into_it_only(weights: list[float], data: st.DataObject) -> None:
    raised = data.draw(st.integers(0, len(weights) - 1))
    more = [one + (index == raised) * data.draw(st.floats(0.1, 100.0)) for index, one in enumerate(weights)]
    before, after = dealer(weights), dealer(more)
    for unit in UNITS:
        assert after.deal(unit) in {before.deal(unit), raised}


@given(pairs_of_splits)
def test_moved_share_is_within_the_law(change: tuple[list[float], list[float]]) -> None:
    old, new = change
    share_old, share_new = [one / sum(old) for one in old], [one / sum(new) for one in new]
    distance = sum(abs(a - b) for a, b in zip(share_old, share_new, strict=True)) / 2
    movement = moved_share(named(old), named(new))
    assert distance - 1e-9 <= movement.moved <= 2 * distance / (1 + distance) + 1e-9


@given(pairs_of_splits)
def test_movement_is_the_difference_of_the_shares(change: tuple[list[float], list[float]]) -> None:
    old, new = change
    movement = moved_share(named(old), named(new))
    for index, (a, b) in enumerate(zip(old, new, strict=True)):
        net = movement.entering.get(f"v{index}", 0.0) - movement.leaving.get(f"v{index}", 0.0)
        assert abs(net - (b / sum(new) - a / sum(old))) < 1e-9


@given(pairs_of_splits)
def test_share_that_stays_is_the_probability_jaccard_index(change: tuple[list[float], list[float]]) -> None:
    """Moulton and Jiang (2018), theorem 2: an independent formula for what moved_share adds up."""
    old, new = change
    stays = sum(
        1 / sum(max(a / old[index], b / new[index]) for a, b in zip(old, new, strict=True))
        for index in range(len(old))
        if old[index] > 0 and new[index] > 0
    )
    assert abs(1 - moved_share(named(old), named(new)).moved - stays) < 1e-9


@given(splits, st.integers(0, 63))
def test_deny_leaves_everybody_else_in_place(weights: list[float], denied: int) -> None:
    dealt = dealer(weights)
    for unit in UNITS[:100]:
        free, left = dealt.deal(unit), dealt.deal(unit, denied)
        assert left == -1 or not denied >> left & 1
        if not denied >> free & 1:
            assert left == free


def test_shares_are_within_a_point_of_the_weights() -> None:
    for weights in ([95.0, 5.0], [90.0, 5.0, 5.0], [60.0, 30.0, 10.0], [1.0, 1.0, 1.0, 1.0], [99.9, 0.1]):
        dealt = dealer(weights)
        counts = [0] * len(weights)
        for unit in MANY:
            counts[dealt.deal(unit)] += 1
        for count, one in zip(counts, weights, strict=True):
            assert abs(count / len(MANY) - one / sum(weights)) < 0.01


def test_purposes_and_salts_are_independent_of_each_other() -> None:
    """Chi-square of a 2 x 2 table: above 15.1 once in 10,000 fair tries; the sample is fixed."""
    canary = {unit for unit in MANY if dealer([90.0, 10.0], "shop").deal(unit) == 1}
    tenth = round(0.1 * 2**32)
    others = [
        {unit for unit in MANY if sampled(b"shop\0mirror\0v1\0", unit, tenth)},
        {unit for unit in MANY if sampled(b"shop\0fault\0v1\0", unit, tenth)},
        {unit for unit in MANY if dealer([90.0, 10.0], "shop2").deal(unit) == 1},
        {unit for unit in MANY if dealer([90.0, 10.0], "shop", "flag").deal(unit) == 1},
    ]
    total = len(MANY)
    for other in others:
        both = len(canary & other)
        cells = [
            (both, len(canary) * len(other)),
            (len(canary) - both, len(canary) * (total - len(other))),
            (len(other) - both, (total - len(canary)) * len(other)),
            (total - len(canary) - len(other) + both, (total - len(canary)) * (total - len(other))),
        ]
        assert sum((seen - fair / total) ** 2 / (fair / total) for seen, fair in cells) < 15.1
