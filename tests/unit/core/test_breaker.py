"""The breaker's table, and the life of one: every state knows every event, and the laws hold whichever way events come."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.breaker import ORDINARY, REFUSED, STATES, TABLE, Action, Breaker, BreakerPolicy, Event, State, Window


def policy(**parts: Any) -> BreakerPolicy:
    return BreakerPolicy(
        {
            "window": 10.0, "minimum_requests": 20, "error_percent": 50.0, "slow": None, "saturation_percent": 0.0,
            "open": 5.0, "max_open": 60.0, "probes": 5,
        } | parts
    )  # fmt: skip


# The table.


def test_every_state_knows_every_event() -> None:
    assert set(TABLE) == {(state, event) for state in State for event in Event}
    assert set(STATES) == set(State)


def test_every_state_can_be_reached_and_left() -> None:
    for state in State:
        assert any(after is state and before is not state for (before, _), (after, _) in TABLE.items())
        assert any(after is not state for (before, _), (after, _) in TABLE.items() if before is state)


def test_only_open_comes_from_refusing_actions_and_only_closed_from_closing() -> None:
    for (before, _), (after, action) in TABLE.items():
        assert (after is State.OPEN and before is not State.OPEN) == (action in {Action.OPEN, Action.FOLLOW})
        assert (after is State.CLOSED and before is not State.CLOSED) == (action is Action.CLOSE)
        assert (after is State.HALF_OPEN and before is State.OPEN) == (action is Action.PROBE)


def test_open_never_closes_without_probing() -> None:
    assert not any(before is State.OPEN and after is State.CLOSED for (before, _), (after, _) in TABLE.items())


# The window.


@given(st.lists(st.tuples(st.floats(0, 4.0), st.booleans(), st.booleans()), max_size=80))
def test_window_counts_what_is_younger_than_nine_buckets_and_nothing_older_than_ten(
    steps: list[tuple[float, bool, bool]],
) -> None:
    window = Window(10.0)
    now = 1000.0
    added = []
    for pause, failed, slow in steps:
        now += pause
        window.add(now, 1, int(failed), int(slow))
        added.append((int(now), failed, slow))
        alive = [one for one in added if one[0] > int(now) - 10]
        assert window.requests == len(alive)
        assert window.errors == sum(failed for _, failed, _ in alive)
        assert window.slow == sum(slow for _, _, slow in alive)
    window.advance(now + 11)
    assert (window.requests, window.errors, window.slow) == (0, 0, 0)


# The policy.


def test_too_few_requests_say_nothing() -> None:
    assert not policy().tripped(19, 19, 0)
    assert policy().tripped(20, 10, 0)
    assert not policy().tripped(20, 9, 20)
    assert not policy(error_percent=0.0).tripped(20, 20, 20)


def test_slowness_trips_where_it_is_configured() -> None:
    one = policy(error_percent=0.0, slow={"above": 1.0, "percent": 50.0})
    assert one.tripped(20, 0, 10)
    assert not one.tripped(20, 0, 9)


def test_saturation_is_a_share_of_the_limit() -> None:
    assert policy(saturation_percent=80.0).saturated(80, 100)
    assert not policy(saturation_percent=80.0).saturated(79, 100)
    assert not policy().saturated(100, 100)


# The life of one.


def opened(**parts: Any) -> Breaker:
    breaker = Breaker(policy(**parts))
    breaker.meet(Event.TRIPPED, 1000.0)
    return breaker


def test_open_refuses_until_its_time_is_over_then_lets_probes_through() -> None:
    breaker = opened()
    assert breaker.admit(1000.0) == REFUSED
    assert breaker.admit(1004.9) == REFUSED
    marks = [breaker.admit(1005.0) for _ in range(6)]
    assert all(mark > ORDINARY for mark in marks[:5])
    assert marks[5] == REFUSED
    assert breaker.state is State.HALF_OPEN


def test_as_many_successes_as_probes_close_it() -> None:
    breaker = opened(probes=2)
    for left in (1, 0):
        mark = breaker.admit(1005.0)
        assert breaker.shut
        breaker.ended(1005.0, mark, False, False)
        assert breaker.shut == bool(left)
    assert breaker.state is State.CLOSED
    assert breaker.window.requests == 0
    assert breaker.admit(1005.0) == ORDINARY


def test_a_failed_probe_opens_it_for_twice_as_long_up_to_the_cap() -> None:
    breaker = opened(max_open=15.0)
    now = 1000.0
    for length in (5.0, 10.0, 15.0, 15.0):
        assert breaker.admit(now + length - 0.1) == REFUSED
        now += length
        mark = breaker.admit(now)
        assert mark > ORDINARY
        breaker.ended(now, mark, True, False)
        assert breaker.state is State.OPEN
    assert breaker.openings == 5


def test_a_row_ends_when_it_stays_closed_for_as_long_as_it_was_open() -> None:
    for pause, length in ((4.0, 10.0), (6.0, 5.0)):
        breaker = opened(probes=1)
        breaker.ended(1005.0, breaker.admit(1005.0), False, False)
        now = 1005.0 + pause
        breaker.meet(Event.TRIPPED, now)
        assert breaker.admit(now + length - 0.1) == REFUSED
        assert breaker.admit(now + length) > ORDINARY


def test_a_dropped_probe_makes_room_for_another() -> None:
    breaker = opened(probes=1)
    mark = breaker.admit(1005.0)
    assert breaker.admit(1005.0) == REFUSED
    breaker.dropped(mark)
    assert breaker.waits_for_probes(1005.0, 5.0)
    assert not breaker.waits_for_probes(1005.0, 5.1)
    assert breaker.admit(1005.0) == mark


def test_probes_that_do_not_end_hold_nobody_up_for_longer_than_the_open_time() -> None:
    breaker = opened(probes=2)
    held = [breaker.admit(1005.0), breaker.admit(1006.0)]
    assert breaker.admit(1010.9) == REFUSED
    for now in (1011.0, 1011.1):
        mark = breaker.admit(now)
        if now == 1011.0:
            assert mark == held[0]
            assert breaker.admit(now) == REFUSED
            breaker.ended(now, mark, False, False)
        else:
            assert mark == REFUSED  # a place is still held, and a success is there
    breaker.ended(1016.0, breaker.admit(1016.0), False, False)
    assert breaker.state is State.CLOSED
    for mark in held:
        breaker.ended(1017.0, mark, True, False)
    assert breaker.state is State.CLOSED


def test_a_probe_of_a_time_before_says_nothing_about_now() -> None:
    breaker = opened(probes=2)
    old, other = breaker.admit(1005.0), breaker.admit(1005.0)
    breaker.ended(1005.0, other, True, False)
    new = breaker.admit(1015.0)
    assert new != old
    breaker.ended(1015.0, old, True, False)
    breaker.dropped(old)
    breaker.spoiled(1015.0, old)
    assert breaker.state is State.HALF_OPEN
    assert not breaker.waits_for_probes(1015.0, 0.0)
    breaker.ended(1015.0, new, False, False)
    assert breaker.state is State.HALF_OPEN


def test_a_slow_probe_fails_where_slowness_is_watched() -> None:
    slow = opened(probes=1, slow={"above": 1.0, "percent": 50.0})
    slow.ended(1005.0, slow.admit(1005.0), False, True)
    assert slow.state is State.OPEN
    unwatched = opened(probes=1)
    unwatched.ended(1005.0, unwatched.admit(1005.0), False, True)
    assert unwatched.state is State.CLOSED


def test_a_probe_whose_answer_is_cut_off_has_failed() -> None:
    breaker = opened(probes=2)
    mark = breaker.admit(1005.0)
    breaker.ended(1005.0, mark, False, False)
    breaker.spoiled(1005.0, mark)
    assert breaker.state is State.OPEN


def test_a_worker_follows_another_and_does_not_count_it() -> None:
    breaker = Breaker(policy())
    breaker.meet(Event.ELSEWHERE, 1000.0)
    assert breaker.admit(1001.0) == REFUSED
    assert breaker.openings == 0


def test_probes_are_dealt_among_workers() -> None:
    assert Breaker(policy(), 1).wanted == 5
    assert Breaker(policy(), 2).wanted == 3
    assert Breaker(policy(), 8).wanted == 1


def test_another_policy_keeps_the_state() -> None:
    breaker = opened()
    breaker.take_policy(policy(window=20.0))
    assert breaker.state is State.OPEN
    breaker.look(1005.0)
    assert breaker.state is State.HALF_OPEN


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("ask"), st.booleans()),
        st.tuples(st.just("drop"), st.booleans()),
        st.tuples(st.just("end"), st.booleans()),
        st.tuples(st.just("pass"), st.booleans()),
        st.tuples(st.sampled_from([event.value for event in Event if event in {Event.ELSEWHERE, Event.RECOVERED}]), st.booleans()),
    ),
    max_size=120,
)  # fmt: skip


@given(STEPS, st.integers(1, 4))
def test_never_more_probes_than_wanted_and_never_a_request_while_open(
    steps: list[tuple[str, bool]], probes: int
) -> None:
    """Whatever comes when: probes of this half-open state are bounded, and the breaker is never stuck."""
    breaker = Breaker(policy(probes=probes, minimum_requests=3))
    now = 1000.0
    out: list[int] = []
    last = 0.0
    for what, fails in steps:
        if what == "ask":
            state = breaker.state
            full = breaker._probing + breaker._successes >= breaker.wanted
            mark = breaker.admit(now)
            if mark != REFUSED:
                out.append(mark)
            if mark > ORDINARY:
                assert state is State.OPEN or not full or now - last >= breaker.policy.open
                last = now
            if breaker.state is State.OPEN:
                assert mark == REFUSED
            if state is State.CLOSED:
                assert mark == ORDINARY
        elif what == "pass":
            now += 3.0 if fails else 61.0
            breaker.look(now)
        elif what in ("drop", "end") and out:
            mark = out.pop(0)
            if what == "drop":
                breaker.dropped(mark)
            else:
                breaker.ended(now, mark, fails, False)
                if breaker.policy.tripped(breaker.window.requests, breaker.window.errors, 0):
                    breaker.meet(Event.TRIPPED, now)
        elif what not in ("drop", "end"):
            breaker.meet(Event(what), now)
        assert breaker.shut == (breaker.state is not State.CLOSED)
        if breaker.state is State.HALF_OPEN:
            current = sum(1 for mark in out if mark == breaker._epoch)
            assert current == breaker._probing
    # No dead state: with nothing but successes it closes.
    for mark in out:
        breaker.dropped(mark)
    now += 61.0
    for _ in range(2 * probes):
        mark = breaker.admit(now)
        if mark != REFUSED:
            breaker.ended(now, mark, False, False)
    assert breaker.state is State.CLOSED


@given(st.lists(st.booleans(), min_size=1, max_size=300), st.sampled_from([10.0, 30.0, 50.0, 100.0]))
def test_users_see_at_most_the_limit_of_errors_of_a_full_window(failures: list[bool], percent: float) -> None:
    """The error budget: in one window before it opens, the errors admitted stay below the share, or the minimum."""
    breaker = Breaker(policy(error_percent=percent))
    admitted = errors = 0
    for failed in failures:
        mark = breaker.admit(1000.0)
        if mark == REFUSED:
            break
        admitted += 1
        errors += failed
        breaker.ended(1000.0, mark, failed, False)
        window = breaker.window
        if breaker.policy.tripped(window.requests, window.errors, window.slow):
            breaker.meet(Event.TRIPPED, 1000.0)
    assert errors <= max(20, percent / 100 * admitted + 1)
