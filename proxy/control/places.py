"""The workers' places: what is known of each, and which of them there shall be, count, run or may be told something.

What happens to a place is the table's (life.py) and the supervisor's.
"""

from typing import Any, Final

from proxy.control.clock import Timer
from proxy.control.life import State
from proxy.control.link import Link
from proxy.control.worker_process import Process
from proxy.core.backoff import Backoff


class Place:
    """A worker's number, the process in it, and what is remembered of those before."""

    def __init__(self, index: int, backoff: Backoff) -> None:
        self.index: Final = index
        self.state = State.WAITING
        self.process: Process | None = None
        self.link: Link | None = None
        self.generation = -1  # that it serves; -1 for none
        self.settled_at = -1
        self.plan_seconds = 0.0
        self.error = ""  # why it could not take the last plan
        self.hello: dict[str, Any] = {}
        self.since = 0.0  # when it entered its state
        self.timer: Timer | None = None
        self.stalled = False  # the process is killed because it stood still
        self.outgoing = False  # another is to come for it, and then it drains
        self.backoff: Final = backoff


Places = dict[int, Place]
"""All places by number, in the order in which they were taken."""


def staying(places: Places) -> list[Place]:
    """The places of those workers that there shall be, by number."""
    found = [
        place for place in places.values() if place.state not in {State.DRAINING, State.GONE} and not place.outgoing
    ]
    return sorted(found, key=lambda place: place.index)


def living(places: Places) -> list[int]:
    """The numbers of the workers that count, leaving ones included."""
    return sorted(place.index for place in places.values() if place.state is not State.GONE)


def free_numbers(places: Places, room: int) -> list[int]:
    """Numbers below `room` that a worker may get: nobody counts in their regions."""
    return [index for index in range(room) if index not in places or places[index].state is State.GONE]


def running(places: Places) -> dict[int, tuple[int, int]]:
    """The processes that run: index -> (pid, birth)."""
    return {
        place.index: (place.process.pid, place.process.birth) for place in places.values() if place.process is not None
    }


def links(places: Places) -> list[Link]:
    """The channels of the workers that can be told something."""
    return [place.link for place in places.values() if place.link is not None]
