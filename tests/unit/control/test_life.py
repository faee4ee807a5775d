"""The table of a worker's place: every state knows every event, and the laws hold whichever way events come."""

from hypothesis import given
from hypothesis import strategies as st

from proxy.control.life import TABLE, Action, Event, State

STARTS = {Action.START}


def test_every_state_knows_every_event():
    assert set(TABLE) == {(state, event) for state in State for event in Event}


def test_a_place_that_is_gone_stays_gone_and_does_nothing():
    for event in Event:
        assert TABLE[State.GONE, event] == (State.GONE, Action.NOTHING)


def test_draining_from_anywhere_ends_without_another_process():
    for state in State:
        for order in (Event.DRAIN, Event.KILL):
            after, action = TABLE[state, order]
            assert action not in STARTS
            assert after in {State.DRAINING, State.GONE}
            after, action = TABLE[after, Event.DIED]
            assert after is State.GONE
            assert action not in STARTS


def test_killing_kills_wherever_a_process_may_run():
    for state in (State.STARTING, State.SERVING, State.DRAINING):
        assert TABLE[state, Event.KILL][1] is Action.KILL


def test_a_process_that_is_late_is_killed_wherever_it_has_a_limit():
    for state in (State.STARTING, State.DRAINING):
        assert TABLE[state, Event.LATE] == (state, Action.KILL)


@given(st.lists(st.sampled_from([event for event in Event if event is not Event.DIED])))
def test_never_two_processes_in_one_place(events):
    """A second process in a region of the counters would lose updates. DIED only comes when a process runs."""
    state, running = State.WAITING, False
    for event in events:
        state, action = TABLE[state, event]
        if action in STARTS:
            assert not running
            running = True
        if action is Action.KILL and running:
            running = False
            state, action = TABLE[state, Event.DIED]
            running = action in STARTS
        assert running == (state in {State.STARTING, State.SERVING, State.DRAINING})
