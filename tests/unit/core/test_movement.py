import pytest

from proxy.core.hashing import Dealer
from proxy.core.movement import moved_share

SAMPLE = 20_000

CHANGES = [
    ({"s": 90.0, "c": 5.0, "d": 5.0}, {"s": 80.0, "c": 10.0, "d": 10.0}),
    ({"s": 80.0, "c": 10.0, "d": 10.0}, {"s": 60.0, "c": 30.0, "d": 10.0}),
    ({"s": 95.0, "c": 5.0}, {"s": 0.0, "c": 100.0}),
    ({"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}, {"a": 4.0, "b": 3.0, "c": 2.0, "d": 1.0}),
    ({"a": 50.0, "b": 50.0}, {"a": 40.0, "b": 30.0, "c": 30.0}),
    ({"a": 50.0, "b": 30.0, "c": 20.0}, {"a": 0.0, "b": 30.0, "d": 20.0}),
]


@pytest.mark.parametrize(("old", "new"), CHANGES)
def test_closed_form_agrees_with_twenty_thousand_units(old: dict[str, float], new: dict[str, float]) -> None:
    names = list(dict.fromkeys((*old, *new)))
    before = Dealer("s", "split", [(place, name, old.get(name, 0.0)) for place, name in enumerate(names)])
    after = Dealer("s", "split", [(place, name, new.get(name, 0.0)) for place, name in enumerate(names)])
    counted: dict[tuple[str, str], int] = {}
    for number in range(SAMPLE):
        unit = b"user-%d" % number
        pair = names[before.deal(unit)], names[after.deal(unit)]
        counted[pair] = counted.get(pair, 0) + 1
    movement = moved_share(old, new)
    assert {pair for pair in counted if pair[0] != pair[1]} <= set(movement.pairs)
    for pair, share in movement.pairs.items():
        # Five standard deviations of a count.
        assert counted.get(pair, 0) / SAMPLE == pytest.approx(share, abs=5 * (share / SAMPLE) ** 0.5 + 1e-9)


def test_doubling_two_small_arms_moves_the_ideal_ten_percent() -> None:
    movement = moved_share(*CHANGES[0])
    assert movement.moved == pytest.approx(0.10)
    assert movement.entering == pytest.approx({"s": 0.0, "c": 0.05, "d": 0.05})
    assert movement.leaving == pytest.approx({"s": 0.10, "c": 0.0, "d": 0.0})
    assert movement.pairs == pytest.approx({("s", "c"): 0.05, ("s", "d"): 0.05})


def test_same_proportions_move_nobody() -> None:
    movement = moved_share({"a": 1.0, "b": 3.0}, {"b": 75.0, "a": 25.0})
    assert movement.moved == 0.0
    assert movement.pairs == {}


def test_flip_moves_everybody() -> None:
    movement = moved_share({"blue": 100.0, "green": 0.0}, {"blue": 0.0, "green": 100.0})
    assert movement.pairs == {("blue", "green"): pytest.approx(1.0)}


def test_dealing_anew_makes_old_and_new_independent() -> None:
    movement = moved_share({"a": 90.0, "b": 10.0}, {"a": 90.0, "b": 10.0}, anew=True)
    assert movement.moved == pytest.approx(0.18)


def test_without_weights_everybody_is_with_the_default() -> None:
    assert moved_share({"a": 0.0, "b": 0.0}, {"a": 1.0, "b": 3.0}).moved == pytest.approx(0.75)
    movement = moved_share({"a": 0.0, "b": 0.0}, {"a": 1.0, "b": 3.0}, old_default="b")
    assert movement.pairs == {("b", "a"): pytest.approx(0.25)}
    assert moved_share({"a": 1.0}, {"a": 0.0, "b": 0.0}, new_default="b").moved == pytest.approx(1.0)


def test_split_without_versions_is_refused() -> None:
    with pytest.raises(ValueError, match="without versions"):
        moved_share({}, {"a": 1.0})
