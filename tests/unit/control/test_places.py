"""Which places count, which shall be there, and which numbers are free."""

import pytest

from proxy.control.life import State
from proxy.control.places import Place, free_numbers, links, living, running, staying
from proxy.core.backoff import Backoff


class Process:
    def __init__(self, pid):
        self.pid = pid
        self.birth = pid * 10


def place(index, state, pid=0, link=None, *, outgoing=False):
    made = Place(index, Backoff(0.1, 10.0, lambda: 0.0))
    made.state = state
    made.outgoing = outgoing
    made.link = link
    made.process = Process(pid) if pid else None
    return made


@pytest.fixture
def places():
    """One of each kind, taken in another order than their numbers'."""
    made = [
        place(4, State.SERVING, 14, "link 4", outgoing=True),
        place(0, State.SERVING, 10, "link 0"),
        place(3, State.GONE),
        place(2, State.DRAINING, 12, "link 2"),
        place(1, State.WAITING),
    ]
    return {one.index: one for one in made}


def test_who_drains_has_gone_or_is_to_go_does_not_stay(places):
    assert [one.index for one in staying(places)] == [0, 1]


def test_who_drains_counts_until_it_has_gone(places):
    assert living(places) == [0, 1, 2, 4]


def test_the_numbers_of_those_that_have_gone_and_of_nobody_are_free(places):
    assert free_numbers(places, 7) == [3, 5, 6]
    assert free_numbers(places, 3) == []


def test_processes_run_in_all_places_that_have_one(places):
    assert running(places) == {4: (14, 140), 0: (10, 100), 2: (12, 120)}
    assert links(places) == ["link 4", "link 0", "link 2"]
