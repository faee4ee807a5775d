"""Workers that stand still are noticed and replaced; those that are stopped on purpose, or only look so, are left alone."""

import pytest

from proxy.control.life import State
from proxy.control.watchdog import Watchdog
from proxy.telemetry.counters import REGION_SLOTS, W_HEARTBEAT, W_REQUESTS, W_STALLS
from tests.unit.control.supervised import in_house
from tests.unit.control.test_register import House as Registered
from tests.unit.telemetry.memory import cells_of


class Kennel:
    """A watchdog over a made-up house; `beat` is a worker's sign of life."""

    def __init__(self, house, cells, limit=3.0):
        self.house = house
        self.cells = cells
        self.limit = limit
        self.dog = Watchdog(cells, house.supervisor.places, house.timers, house.supervisor.happen, lambda: self.limit)

    def beat(self, index=0):
        self.cells.view[index * REGION_SLOTS + W_HEARTBEAT] = int(self.house.timers.now * 1e9) + 1

    def watch(self, seconds, *beating):
        for _ in range(seconds):
            self.house.timers.jump(1.0)
            for index in beating:
                self.beat(index)
            self.dog.look()


def kept(script, count=1):
    with cells_of(2) as cells:

        async def play(house):
            house.supervisor.start(3.0)
            for process in house.launcher.started:
                await house.serve(process)
            await script(house, Kennel(house, cells))

        in_house(play, count=count)


def test_a_worker_that_stands_still_says_where_and_is_killed(caplog):
    async def script(house, kennel):
        kennel.watch(5, 0)
        kennel.watch(3)
        assert house.last.asked
        assert not house.last.killed, "it has a moment to say where"
        house.timers.jump(0.5)
        assert house.last.killed
        assert house.supervisor.places[0].stalled
        house.last.end()
        assert house.state() is State.WAITING

    kept(script)
    assert "worker 0 has stood still for 3 s (watchdog)" in caplog.text


def test_a_worker_that_gives_signs_lives_on():
    async def script(house, kennel):
        kennel.watch(60, 0)
        assert not house.last.asked

    kept(script)


def test_only_the_one_that_stands_still_is_replaced():
    async def script(house, kennel):
        kennel.watch(2, 0, 1)
        kennel.watch(6, 1)
        first, second = house.launcher.started
        assert (first.killed, second.killed) == (True, False)

    kept(script, count=2)


def test_a_worker_that_is_stopped_on_purpose_is_left_alone_and_has_its_time_afterwards(caplog):
    async def script(house, kennel):
        kennel.watch(2, 0)
        house.last.held = True
        kennel.watch(60)
        assert not house.last.asked
        house.last.held = False
        kennel.watch(1)
        assert not house.last.asked
        kennel.watch(10, 0)
        assert not house.last.asked

    kept(script)
    assert "worker 0 is stopped (SIGSTOP, or a debugger); it is left alone" in caplog.text


def test_time_in_which_control_stood_still_itself_does_not_count():
    async def script(house, kennel):
        kennel.watch(2, 0)
        house.timers.jump(60.0)
        kennel.dog.look()
        assert not house.last.asked
        kennel.watch(2, 0)
        assert not house.last.asked

    kept(script)


@pytest.mark.parametrize("limit", [0.0])
def test_without_a_limit_nobody_is_replaced(limit):
    async def script(house, kennel):
        kennel.limit = limit
        kennel.watch(2, 0)
        kennel.watch(60)
        assert not house.last.asked

    kept(script)


def test_a_worker_that_never_gave_a_sign_is_none_of_the_watchdogs_business():
    async def script(house, kennel):
        kennel.watch(60)
        assert not house.last.asked

    kept(script)


def test_another_process_in_its_place_is_not_killed_for_it():
    async def script(house, kennel):
        kennel.watch(2, 0)
        kennel.watch(3)
        first = house.last
        assert first.asked
        first.end()
        house.timers.jump(0.2)
        await house.serve(house.last)
        house.timers.jump(0.5)
        assert house.last is not first
        assert not house.last.killed

    kept(script)


def test_stalls_are_counted_once_the_process_is_gone_and_its_counters_kept():
    with cells_of(2) as cells:
        house = Registered(cells)
        register = house.make()
        house.run(1, 7)
        house.places[1].stalled = True
        cells.view[REGION_SLOTS + W_REQUESTS] = 7
        cells.view[REGION_SLOTS + W_HEARTBEAT] = 5
        register.died(1, 0.5)
        register.died(1, 0.5)
        assert [cells.view[REGION_SLOTS + slot] for slot in (W_STALLS, W_REQUESTS, W_HEARTBEAT)] == [1, 7, 0]
