"""Workers are started, replaced with back-off, killed when late, and drained: with a clock that jumps."""

import asyncio
import logging
import socket

import pytest

from proxy.channel import messages
from proxy.channel.frames import FrameReader, encode, encode_json
from proxy.control.life import State
from proxy.control.places import running
from proxy.control.supervisor import DRAIN_GRACE, START_LIMIT
from proxy.control.takeover import Survivor
from tests.unit.control.supervised import PLAN, in_house


def test_workers_start_are_told_the_plan_and_serve():
    async def script(house):
        house.briefing.publish(PLAN)
        house.briefing.keep(b"legacy")
        house.supervisor.start(3.0)
        assert len(house.launcher.started) == 2
        await house.settle()
        await house.serve(house.last)
        assert house.state(1) is State.SERVING
        assert house.state(0) is State.STARTING
        assert house.supervisor.serving == 1
        assert house.last.heard() == [messages.SHARE, messages.LEDGER, messages.PLAN]
        assert ("serving", 1, 1, 0.1) in house.heard.said

    in_house(script, count=2)


def test_a_dead_worker_is_replaced_after_its_place_is_cleared():
    async def script(house):
        house.briefing.publish(PLAN)
        house.supervisor.start(3.0)
        await house.serve(house.last)
        house.last.end()
        assert house.heard.names()[-1] == "died"
        assert len(house.launcher.started) == 1
        house.timers.jump(0.1)
        assert len(house.launcher.started) == 2
        await house.serve(house.last)
        assert house.state() is State.SERVING
        assert house.last.heard() == [messages.SHARE, messages.PLAN]

    in_house(script)


def test_back_off_doubles_up_to_ten_seconds_and_is_forgotten_after_a_while():
    async def script(house):
        house.supervisor.start(3.0)
        waits = []
        for _ in range(9):
            before = house.timers.now
            house.last.end("ended with code 3")
            house.timers.jump(house.supervisor.places[0].timer.due - before)
            assert house.state() is State.STARTING
            waits.append(round(house.timers.now - before, 2))
        assert waits == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
        await house.serve(house.last)
        house.timers.jump(31)
        house.last.end()
        house.timers.jump(0.1)
        assert house.state() is State.STARTING

    in_house(script)


def test_a_worker_stuck_at_its_start_is_killed_and_replaced(caplog):
    async def script(house):
        house.supervisor.start(3.0)
        house.timers.jump(START_LIMIT - 0.1)
        assert not house.last.killed
        house.timers.jump(0.2)
        assert house.last.killed
        house.last.end()
        assert house.state() is State.WAITING

    in_house(script)
    assert "worker 0 is late (starting for too long); killing it" in caplog.text


def test_a_worker_that_serves_is_never_late():
    async def script(house):
        house.supervisor.start(3.0)
        await house.serve(house.last)
        house.timers.jump(3600)
        assert not house.last.killed

    in_house(script)


def test_a_process_that_cannot_be_started_is_tried_again():
    async def script(house):
        house.launcher.broken = True
        house.supervisor.start(3.0)
        assert house.state() is State.WAITING
        house.launcher.broken = False
        house.timers.jump(0.1)
        assert house.state() is State.STARTING

    in_house(script)


def test_draining_waits_for_the_last_worker():
    async def script(house):
        house.supervisor.start(3.0)
        for process in house.launcher.started:
            await house.serve(process)
        drained = asyncio.ensure_future(house.supervisor.drain(7.0))
        await house.settle()
        first, second = house.launcher.started
        assert first.heard() == second.heard() == [messages.SHARE, messages.DRAIN]
        first.end("ended with code 0")
        await house.settle()
        assert not drained.done()
        second.end("ended with code 0")
        await drained
        house.timers.jump(60)
        assert len(house.launcher.started) == 2

    in_house(script, count=2)


def test_what_a_worker_said_last_is_heard_after_its_end():
    async def script(house):
        house.supervisor.start(3.0)
        await house.serve(house.last)
        leaving = asyncio.ensure_future(house.supervisor.drain(1.0))
        await house.settle()
        worker = house.last
        worker.channel.sendall(encode(messages.ACCESS, b"the last line\n"))
        worker.ended("ended with code 0")  # told before anybody has looked at the channel
        assert house.state() is State.GONE
        await house.settle()
        assert ("accessed", b"the last line\n") in house.heard.said
        assert not leaving.done(), "something may still come"
        worker.channel.close()
        await leaving

    in_house(script)


def test_a_channel_that_somebody_holds_open_is_not_waited_for_long():
    async def script(house):
        house.supervisor.start(3.0)
        await house.serve(house.last)
        leaving = asyncio.ensure_future(house.supervisor.drain(1.0))
        await house.settle()
        house.last.ended("ended with code 0")
        house.timers.jump(1.0)
        await leaving

    in_house(script)


def test_a_worker_that_does_not_drain_in_time_is_killed():
    async def script(house):
        house.supervisor.start(3.0)
        await house.serve(house.last)
        drained = asyncio.ensure_future(house.supervisor.drain(7.0))
        await house.settle()
        house.timers.jump(7.0 + DRAIN_GRACE - 0.1)
        assert not house.last.killed
        house.timers.jump(0.2)
        assert house.last.killed
        house.last.end()
        await drained

    in_house(script)


def test_draining_during_the_back_off_ends_at_once():
    async def script(house):
        house.supervisor.start(3.0)
        house.last.end()
        await house.supervisor.drain(7.0)
        house.timers.jump(60)
        assert len(house.launcher.started) == 1

    in_house(script)


def test_a_second_signal_kills_what_drains():
    async def script(house):
        house.supervisor.start(3.0)
        await house.serve(house.last)
        drained = asyncio.ensure_future(house.supervisor.drain(7.0))
        await house.settle()
        house.supervisor.kill()
        assert house.last.killed
        house.last.end()
        await drained

    in_house(script)


def test_a_worker_that_closes_its_channel_and_lives_on_is_killed(caplog):
    async def script(house):
        house.supervisor.start(3.0)
        await house.serve(house.last)
        house.last.channel.shutdown(socket.SHUT_RDWR)
        await house.settle()
        assert not house.last.killed
        house.timers.jump(1.1)
        assert house.last.killed

    in_house(script)
    assert "worker 0 closed its channel and lives on; killing it" in caplog.text


def test_words_of_a_process_that_was_replaced_mean_nothing():
    async def script(house):
        house.supervisor.start(3.0)
        await house.settle()
        old = house.last
        old.hello()
        old.say(messages.READY, {"generation": 1, "seconds": 0.1})
        old.ended("was killed by SIGKILL")  # before its words are read
        await house.settle()
        assert house.state() is State.WAITING
        assert "serving" not in house.heard.names()

    in_house(script)


def test_a_generation_is_settled_when_the_last_worker_says_so():
    async def script(house):
        house.supervisor.start(3.0)
        first, second = house.launcher.started
        await house.serve(first)
        await house.serve(second)
        for process in (first, second):
            process.say(messages.READY, {"generation": 2, "seconds": 0.1})
        first.say(messages.SETTLED, {"generation": 2})
        await house.settle()
        assert ("settled", 2) not in house.heard.said
        second.say(messages.SETTLED, {"generation": 2})
        await house.settle()
        assert ("settled", 2) in house.heard.said

    in_house(script, count=2)


def test_a_worker_that_died_settles_what_it_had():
    async def script(house):
        house.supervisor.start(3.0)
        first, second = house.launcher.started
        await house.serve(first)
        await house.serve(second)
        first.say(messages.SETTLED, {"generation": 2})
        await house.settle()
        second.end()
        assert ("settled", 2) in house.heard.said

    in_house(script, count=2)


def test_a_refused_plan_is_told(caplog):
    async def script(house):
        house.briefing.publish(PLAN)
        house.supervisor.start(3.0)
        house.last.hello()
        await house.settle()
        house.last.say(messages.FAILED, {"generation": 1, "error": "no"})
        await house.settle()
        assert ("refused", 0, 1, "no") in house.heard.said
        assert house.supervisor.places[0].error == "no"

    in_house(script)
    assert "worker 0 cannot take plan 1: no; the plan before goes on" in caplog.text


def test_a_workers_lines_go_to_the_log_with_its_number(caplog):
    async def script(house):
        house.supervisor.start(3.0)
        house.last.hello()
        house.last.say(messages.LOG, {"level": "warning", "message": "100 % odd", "upstream": "a", "fields": {"n": 1}})
        await house.settle()

    with caplog.at_level(logging.INFO):
        in_house(script)
    [record] = [one for one in caplog.records if one.name == "tidegate.worker"]
    assert record.getMessage() == "100 % odd"
    assert record.fields == {"worker": 0, "upstream": "a", "n": 1}


def survivor(index, generation=5, **more):
    ours, theirs = socket.socketpair()
    hello = {"version": 1, "pid": 900 + index, "worker": index, "generation": generation, "listeners": [], **more}
    ours.setblocking(False)
    return Survivor(index, 900 + index, hello, ours, encode_json(messages.HELLO, hello), -1, []), theirs


def test_survivors_serve_on_and_take_the_next_plan():
    async def script(house):
        one, theirs = survivor(0)
        house.supervisor.adopt([one])
        house.supervisor.start(3.0)
        assert len(house.launcher.started) == 1
        assert house.supervisor.serving == 1
        house.briefing.publish(PLAN)
        await house.settle()
        told = FrameReader().feed(theirs.recv(1000))
        assert told == [(messages.SHARE, b'{"workers":1,"living":[0]}'), (messages.PLAN, b"{}")]
        assert running(house.supervisor.places) == {0: (900, 9000)}
        theirs.close()

    in_house(script)


def states(house):
    return {index: place.state for index, place in sorted(house.supervisor.places.items())}


R, D, G, S = State.SERVING, State.DRAINING, State.GONE, State.STARTING


@pytest.mark.parametrize("count", [2, 1])
def test_survivors_that_do_not_fit_serve_until_others_have_come(count):
    async def script(house):
        made = [survivor(0), survivor(1)]
        house.supervisor.adopt([one for one, _ in made])
        house.supervisor.start(3.0)
        replaced = asyncio.ensure_future(house.supervisor.replace([0, 1], 3.0))
        await house.settle()
        newcomers = house.launcher.started[2:]
        assert len(newcomers) == count
        assert states(house) == ({0: R, 1: R, 2: S, 3: S} if count == 2 else {0: R, 1: D, 2: S})
        for one in newcomers[:-1]:
            await house.serve(one)
            assert house.state(0) is State.SERVING
        await house.serve(newcomers[-1])
        assert house.state(0) is house.state(1) is State.DRAINING
        assert replaced.done()
        for one in house.launcher.started[:2]:
            one.end("has ended")
        assert house.state(0) is house.state(1) is State.GONE
        assert ("left", 0) in house.heard.said
        for _, theirs in made:
            theirs.close()

    in_house(script, count=count)


def test_without_room_for_twice_as_many_they_are_replaced_in_turns():
    async def script(house):
        house.supervisor.start(3.0)
        first, second = house.launcher.started
        await house.serve(first)
        await house.serve(second)
        replaced = asyncio.ensure_future(house.supervisor.replace([0, 1], 3.0))
        await house.settle()
        assert states(house) == {0: R, 1: R, 2: S}
        await house.serve(house.last)
        assert states(house) == {0: D, 1: R, 2: R}
        assert not replaced.done()
        first.end("has ended")
        await house.settle()
        assert states(house) == {0: S, 1: R, 2: R}
        await house.serve(house.last)
        assert states(house) == {0: R, 1: D, 2: R}
        assert replaced.done()

    in_house(script, count=2, room=3)


def test_a_worker_that_drains_is_taken_over_as_one_that_drains():
    async def script(house):
        one, theirs = survivor(0, draining=2.5)
        house.supervisor.adopt([one])
        house.supervisor.start(3.0)
        assert states(house) == {0: D, 1: S}
        assert house.heard.said[-1] == ("started", 1, house.last.pid) or ("shared", 1, [0, 1]) in house.heard.said
        house.timers.jump(2.5 + DRAIN_GRACE + 0.1)
        assert house.launcher.started[0].killed
        theirs.close()

    in_house(script)


def test_more_workers_come_and_the_others_are_told():
    async def script(house):
        house.supervisor.start(3.0)
        first = house.last
        await house.serve(first)
        first.heard()
        assert house.supervisor.resize(3, 3.0) == 3
        await house.settle()
        assert states(house) == {0: R, 1: S, 2: S}
        assert house.heard.said[-1] == ("shared", 3, [0, 1, 2])
        assert first.heard() == [messages.SHARE]

    in_house(script)


def test_fewer_workers_drain_those_with_the_highest_numbers_and_count_until_they_are_gone():
    async def script(house):
        house.supervisor.start(3.0)
        for one in house.launcher.started:
            await house.serve(one)
        assert house.supervisor.resize(1, 3.0) == 1
        await house.settle()
        assert states(house) == {0: R, 1: D, 2: D}
        assert house.heard.said[-1] == ("shared", 1, [0, 1, 2])
        house.launcher.started[1].end("ended with code 0")
        assert ("shared", 1, [0, 2]) in house.heard.said
        assert house.supervisor.resize(2, 3.0) == 2  # who drains still has its number
        assert states(house) == {0: R, 1: S, 2: D}

    in_house(script, count=3)


def test_no_more_workers_than_the_counters_have_room_for():
    async def script(house):
        house.supervisor.start(3.0)
        assert house.supervisor.resize(9, 3.0) == 4
        assert len(house.launcher.started) == 4

    in_house(script, room=4)
