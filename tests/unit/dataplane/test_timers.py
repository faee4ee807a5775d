"""The timer wheel against the simplest thing that does the same."""

from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.dataplane.timers import TICK, Timed, TimerWheel
from proxy.form import compiled

pytestmark = pytest.mark.skipif(
    compiled(),
    reason="a compiled class has no interpreted heirs; the compiled wheel turns under all tests with a stage",
)


class Alarm(Timed):
    def __init__(self) -> None:
        self.rang: list[float] = []
        self.then: Timed | None = None

    def expired(self, now: float) -> None:
        self.rang.append(now)


def test_deadline_is_kept_to_one_tick() -> None:
    wheel = TimerWheel(10.0)
    alarm = Alarm()
    wheel.arm(alarm, 11.02)
    wheel.advance(11.0)
    assert alarm.rang == []
    wheel.advance(11.02 + TICK)
    assert alarm.rang == [11.02 + TICK]
    assert alarm.deadline == inf
    assert alarm.due == inf


def test_deadline_moved_away_by_assignment_is_kept() -> None:
    wheel = TimerWheel(0.0)
    alarm = Alarm()
    wheel.arm(alarm, 1.0)
    alarm.deadline = 5.0
    wheel.advance(4.9)
    assert alarm.rang == []
    wheel.advance(5.1)
    assert len(alarm.rang) == 1


def test_deadline_brought_nearer_is_kept() -> None:
    wheel = TimerWheel(0.0)
    alarm = Alarm()
    wheel.arm(alarm, 60.0)
    wheel.arm(alarm, 1.0)
    wheel.advance(1.1)
    assert len(alarm.rang) == 1
    wheel.advance(70.0)
    assert len(alarm.rang) == 1


def test_forgotten_entry_never_rings_and_is_not_held() -> None:
    wheel = TimerWheel(0.0)
    alarm = Alarm()
    wheel.arm(alarm, 1.0)
    wheel.forget(alarm)
    assert all(alarm not in entries for entries in wheel._turns.values())
    wheel.advance(2.0)
    assert alarm.rang == []


def test_entry_without_deadline_leaves_the_wheel_at_its_turn() -> None:
    wheel = TimerWheel(0.0)
    alarm = Alarm()
    wheel.arm(alarm, 1.0)
    alarm.deadline = inf
    wheel.advance(2.0)
    assert alarm.rang == []
    assert alarm.due == inf
    assert wheel._turns == {}


def test_deadline_in_the_past_rings_on_the_next_tick() -> None:
    wheel = TimerWheel(100.0)
    alarm = Alarm()
    wheel.arm(alarm, 3.0)
    wheel.advance(100.0 + 2 * TICK)
    assert len(alarm.rang) == 1


def test_entry_may_arm_itself_while_it_rings() -> None:
    wheel = TimerWheel(0.0)

    class Again(Alarm):
        def expired(self, now: float) -> None:
            super().expired(now)
            wheel.arm(self, now + 1.0)

    alarm = Again()
    wheel.arm(alarm, 1.0)
    for tick in range(1, 100):
        wheel.advance(tick * TICK)
    assert len(alarm.rang) == 4


def test_entry_may_forget_another_that_is_due_in_the_same_tick() -> None:
    wheel = TimerWheel(0.0)
    rang: list[str] = []

    class Killer(Timed):
        other: Timed | None = None

        def expired(self, now: float) -> None:
            rang.append("one of them")
            assert self.other is not None
            wheel.forget(self.other)

    first, second = Killer(), Killer()
    first.other, second.other = second, first
    wheel.arm(first, 1.0)
    wheel.arm(second, 1.0)
    wheel.advance(2.0)
    assert rang == ["one of them"]


def test_one_that_fails_does_not_take_the_others_of_its_tick_along() -> None:
    wheel = TimerWheel(0.0)

    class Broken(Timed):
        def expired(self, now: float) -> None:
            raise ValueError("unexpected")

    alarms = [Alarm() for _ in range(20)]
    for alarm in alarms[:10]:
        wheel.arm(alarm, 1.0)
    wheel.arm(Broken(), 1.0)
    for alarm in alarms[10:]:
        wheel.arm(alarm, 1.0)
    with pytest.raises(ValueError, match="unexpected"):
        wheel.advance(1.1)
    wheel.advance(1.2)
    assert all(len(alarm.rang) == 1 for alarm in alarms)


def test_who_cannot_be_late_says_so() -> None:
    with pytest.raises(AssertionError, match="cannot be late"):
        Timed().expired(0.0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("arm"), st.integers(0, 4), st.floats(-1.0, 30.0)),
        st.tuples(st.just("away"), st.integers(0, 4), st.floats(0.0, 30.0)),
        st.tuples(st.just("none"), st.integers(0, 4), st.just(0.0)),
        st.tuples(st.just("forget"), st.integers(0, 4), st.just(0.0)),
        st.tuples(st.just("advance"), st.just(0), st.floats(0.0, 5.0)),
    ),
    max_size=60,
)


@pytest.mark.slow
@given(STEPS, st.floats(0.0, 1e6))
def test_wheel_rings_as_a_list_of_deadlines_would_within_a_tick(
    steps: list[tuple[str, int, float]], start: float
) -> None:
    now = start
    wheel = TimerWheel(now)
    alarms = [Alarm() for _ in range(5)]
    naive = [inf] * 5
    for what, which, number in steps:
        alarm = alarms[which]
        if what == "arm":
            naive[which] = now + max(number, 0.0)
            wheel.arm(alarm, now + number)
        elif what == "away":
            # As callers do: assignment where it only moves away from when the wheel will look.
            deadline = now + number
            naive[which] = deadline
            if deadline < alarm.due:
                wheel.arm(alarm, deadline)
            else:
                alarm.deadline = deadline
        elif what == "none":
            naive[which] = inf
            alarm.deadline = inf
        elif what == "forget":
            naive[which] = inf
            wheel.forget(alarm)
        else:
            now += number
            before = [len(one.rang) for one in alarms]
            wheel.advance(now)
            for index, one in enumerate(alarms):
                rang = len(one.rang) - before[index]
                if naive[index] > now:
                    assert rang == 0, "rang early"
                elif naive[index] <= now - 2 * TICK:
                    assert rang == 1, "did not ring in time"
                if rang:
                    naive[index] = inf
    wheel.advance(now + 100.0)
    for index, one in enumerate(alarms):
        assert one.due == inf or naive[index] > now + 100.0
        assert one.deadline == inf
