"""Who waits for a place: in the order of coming, and nobody held up by a version that has no room."""

import pytest

from proxy.core.concurrency import ConcurrencyPolicy, Queue, Seat
from proxy.form import compiled

pytestmark = pytest.mark.skipif(
    compiled(),
    reason="a compiled class has no interpreted heirs; tests/unit/dataplane/test_concurrency.py plays a queue in both forms",
)

POLICY = {"limit": 10, "queue": 3, "queue_timeout": 0.5, "shed_at_percent": 80.0, "shed_first": [], "adaptive": None}


def queue_of() -> Queue:
    return Queue(ConcurrencyPolicy(POLICY, {}))


class Wish(Seat):
    def __init__(self, queue: Queue, lane: str, rooms: dict[str, int], log: list[str], name: str) -> None:
        super().__init__(lane)
        self.queue, self.rooms, self.log, self.name = queue, rooms, log, name
        queue.join(self)

    def called(self) -> bool:
        if not self.rooms[self.lane]:
            return False
        self.rooms[self.lane] -= 1
        self.queue.leave(self)
        self.log.append(self.name)
        return True


def test_first_come_first_served_over_versions():
    queue, rooms, log = queue_of(), {"a": 0, "b": 0}, []
    for name in ("a1", "b1", "a2", "b2", "a3"):
        Wish(queue, name[0], rooms, log, name)
    queue.call()
    assert log == []
    rooms |= {"a": 2, "b": 2}
    queue.call()
    assert log == ["a1", "b1", "a2", "b2"]
    assert queue.length == 1
    assert queue.waits("a")
    assert not queue.waits("b")


def test_version_without_room_does_not_hold_up_the_others():
    queue, rooms, log = queue_of(), {"a": 0, "b": 9}, []
    for name in ("a1", "a2", "b1", "b2"):
        Wish(queue, name[0], rooms, log, name)
    queue.call()
    assert log == ["b1", "b2"]


def test_who_left_is_not_called():
    queue, rooms, log = queue_of(), {"a": 9}, []
    wishes = [Wish(queue, "a", rooms, log, name) for name in ("a1", "a2", "a3", "a4")]
    for leaving in (wishes[1], wishes[0], wishes[3], wishes[3]):
        queue.leave(leaving)
    assert queue.length == 1
    queue.call()
    assert log == ["a3"]
    assert queue.length == 0
    assert not queue.waits("a")


def test_place_made_by_who_was_called_is_offered_too():
    queue, rooms, log = queue_of(), {"a": 1}, []

    class Short(Wish):
        """Is done at once."""

        def called(self) -> bool:
            found = super().called()
            if found:
                self.rooms[self.lane] += 1
                self.queue.call()  # within the call
            return found

    for name in ("a1", "a2", "a3"):
        Short(queue, "a", rooms, log, name)
    queue.call()
    assert log == ["a1", "a2", "a3"]


def test_policy_reads_its_spec():
    policy = ConcurrencyPolicy(POLICY | {"shed_first": ["b"]}, {"a": 0, "b": 1})
    assert (policy.limit, policy.queue, policy.queue_timeout, policy.shed_share) == (10, 3, 0.5, 0.8)
    assert policy.shed_first == 0b10
    assert policy.adaptive is None
