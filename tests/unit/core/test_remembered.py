"""What comes again is remembered; what does not is given up, and tried again now and then."""

from proxy.core.remembered import Habit, Remembered


def tried(habit: Habit, times: int, *, again: bool) -> int:
    """How many of so many new things are remembered, each of which comes again, or does not."""
    count = 0
    for _ in range(times):
        new = Remembered()
        if habit.pays(new):
            count += 1
            new.met = again
    return count


def test_what_comes_again_is_always_remembered() -> None:
    assert tried(Habit(), 10_000, again=True) == 10_000


def test_what_never_does_is_hardly_ever() -> None:
    assert tried(Habit(), 10_000, again=False) < 100


def test_habits_change_both_ways() -> None:
    habit = Habit()
    tried(habit, 1000, again=False)
    assert tried(habit, 2000, again=True) > 1400
    assert tried(habit, 10_000, again=False) < 100


def test_one_that_comes_again_late_counts_too() -> None:
    habit = Habit()
    last = Remembered()
    for _ in range(200):
        new = Remembered()
        if habit.pays(new):
            last = new
    last.met = True
    assert habit.pays(Remembered())
