"""Ids that were seen lately: once within the window, whatever comes between."""

from proxy.rollout.once import Once


def test_an_id_is_known_for_the_window_and_no_longer() -> None:
    once = Once(window=60.0)
    assert not once.seen(("purchase", "", "a"), 0.0)
    once.add(("purchase", "", "a"), 0.0)
    assert once.seen(("purchase", "", "a"), 59.9)
    assert not once.seen(("purchase", "", "a"), 60.0)
    assert not once.seen(("purchase", "shop", "a"), 1.0)
    once.add(("purchase", "", "b"), 61.0)
    assert len(once) == 1  # the first is forgotten


def test_of_more_than_there_is_room_for_the_oldest_go() -> None:
    once = Once(limit=3)
    for number in range(5):
        once.add((str(number),), float(number))
    assert [once.seen((str(number),), 5.0) for number in range(5)] == [False, False, True, True, True]
    assert len(once) == 3
