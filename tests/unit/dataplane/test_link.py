"""The channel to control, and the door through which a new control process takes a worker over."""

import asyncio
import base64
import json
import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest

from proxy.channel import messages
from proxy.channel.frames import FrameReader, encode, encode_json
from proxy.dataplane.link import Link
from proxy.dataplane.runtime import Runtime
from proxy.telemetry.counters import Cells, create_memory


class Control:
    """The other end of a channel."""

    def __init__(self, end: socket.socket) -> None:
        self.end = end
        self.end.setblocking(False)
        self._reader = FrameReader()
        self.heard: list[tuple[int, bytes]] = []

    async def hear(self) -> tuple[int, bytes]:
        while not self.heard:
            data = await asyncio.wait_for(asyncio.get_running_loop().sock_recv(self.end, 65536), 5.0)
            assert data
            self.heard += self._reader.feed(data)
        return self.heard.pop(0)


class Played:
    def __init__(self, directory: Path, cells: Cells) -> None:
        self.runtime = Runtime(asyncio.get_running_loop(), cells, lambda: 0.0, lambda: 0.0, Random(1))
        self.door = directory / "worker-0.sock"
        self.received: list[tuple[int, bytes]] = []
        self.own = os.open("/dev/null", os.O_RDONLY)
        self.link = Link(
            self.runtime, 4, self.door, lambda: {"pid": 7}, lambda: [cells.descriptor, self.own], self._take
        )

    def _take(self, kind: int, payload: bytes) -> None:
        self.received.append((kind, payload))

    async def opened(self) -> Control:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        await self.link.open(ours)
        return Control(theirs)

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5.0):
            while not condition():  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def knock(self) -> tuple[socket.socket, bytes, list[int]]:
        """What a new control process does, and what it gets."""
        await self.until(self.door.exists)
        end = socket.socket(socket.AF_UNIX)
        end.connect(str(self.door))
        await self.until(lambda: not self.door.exists())
        data, descriptors, _, _ = socket.recv_fds(end, 1 << 20, 8)
        return end, data, list(descriptors)


def played(directory: Path, play: Callable[[Played], Awaitable[None]]) -> None:
    async def run() -> None:
        descriptor = create_memory()
        cells = Cells(descriptor, 0, 1)
        one = Played(directory, cells)
        try:
            await play(one)
        finally:
            one.link.leave()
            if one.link._transport is not None:
                one.link._transport.abort()
            for _ in range(3):
                await asyncio.sleep(0)
            os.close(one.own)
            cells.view.release()
            os.close(descriptor)

    asyncio.run(run())


def test_hello_comes_first_and_messages_go_both_ways(tmp_path: Path) -> None:
    async def play(one: Played) -> None:
        control = await one.opened()
        kind, payload = await control.hear()
        assert kind == messages.HELLO
        assert json.loads(payload) == {"pid": 7, "worker": 4, "ledger": ""}
        assert one.runtime.send(messages.READY, b"{}")
        assert await control.hear() == (messages.READY, b"{}")
        control.end.send(encode_json(messages.DRAIN, {"limit": 1}) + encode(messages.PART, b"x")[:3])
        await one.until(lambda: bool(one.received))
        assert one.received == [(messages.DRAIN, b'{"limit":1}')]
        control.end.close()

    played(tmp_path, play)


def test_ledger_is_kept_and_not_looked_at(tmp_path: Path) -> None:
    async def play(one: Played) -> None:
        control = await one.opened()
        control.end.send(encode(messages.LEDGER, b"\0opaque") + encode(messages.PLAN, b"{}"))
        await one.until(lambda: bool(one.received))
        assert one.received == [(messages.PLAN, b"{}")]
        control.end.close()
        end, data, descriptors = await one.knock()
        hello = json.loads(FrameReader().feed(data)[0][1])
        assert base64.b64decode(hello["ledger"]) == b"\0opaque"
        for descriptor in descriptors:
            os.close(descriptor)
        end.close()

    played(tmp_path, play)


def test_new_control_gets_the_counters_and_listeners_and_is_control_from_then_on(tmp_path: Path) -> None:
    async def play(one: Played) -> None:
        first = await one.opened()
        first.end.close()
        await one.until(lambda: not one.link.connected)
        assert not one.runtime.send(messages.READY, b"{}")
        end, data, descriptors = await one.knock()
        assert FrameReader().feed(data)[0][0] == messages.HELLO
        assert len(descriptors) == 2
        assert os.fstat(descriptors[0]).st_ino == os.fstat(one.runtime.cells.descriptor).st_ino
        assert os.fstat(descriptors[1]).st_rdev == os.fstat(one.own).st_rdev
        await one.until(lambda: one.link.connected)
        second = Control(end)
        assert one.runtime.send(messages.SETTLED, b"{}")
        assert await second.hear() == (messages.SETTLED, b"{}")
        end.send(encode(messages.PLAN, b"{}"))
        await one.until(lambda: one.received == [(messages.PLAN, b"{}")])
        for descriptor in descriptors:
            os.close(descriptor)
        end.close()
        await one.until(one.door.exists)

    played(tmp_path, play)


def test_large_ledger_arrives_whole_with_a_takeover(tmp_path: Path) -> None:
    async def play(one: Played) -> None:
        control = await one.opened()
        ledger = os.urandom(1_000_000)
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(control.end, encode(messages.LEDGER, ledger))
        await one.until(lambda: one.link._ledger == ledger)
        control.end.close()
        end, data, descriptors = await one.knock()
        reader = FrameReader()
        frames = reader.feed(data)
        end.setblocking(False)
        while not frames:
            frames = reader.feed(await asyncio.wait_for(loop.sock_recv(end, 1 << 20), 5.0))
        assert base64.b64decode(json.loads(frames[0][1])["ledger"]) == ledger
        for descriptor in descriptors:
            os.close(descriptor)
        end.close()

    played(tmp_path, play)


def test_nothing_is_said_amid_a_hello_that_the_socket_did_not_take_at_once(tmp_path: Path) -> None:
    async def play(one: Played) -> None:
        control = await one.opened()
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(control.end, encode(messages.LEDGER, bytes(1_000_000)))
        await one.until(lambda: len(one.link._ledger) == 1_000_000)
        control.end.close()
        await one.until(one.door.exists)
        end = socket.socket(socket.AF_UNIX)
        end.connect(str(one.door))
        while not one.link.send(messages.ACCESS, b"2026-11-21T19:11:10 GET /\n"):  # noqa: ASYNC110 - as soon as there is a channel
            await asyncio.sleep(0)
        control = Control(end)
        assert [(await control.hear())[0] for _ in range(2)] == [messages.HELLO, messages.ACCESS]
        end.close()

    played(tmp_path, play)


def test_socket_that_was_left_behind_is_replaced(tmp_path: Path) -> None:
    async def play(one: Played) -> None:
        stale = socket.socket(socket.AF_UNIX)
        stale.bind(str(one.door))
        stale.close()
        control = await one.opened()
        control.end.close()
        await one.until(lambda: not one.link.connected)
        end, data, descriptors = await one.knock()
        assert data
        for descriptor in descriptors:
            os.close(descriptor)
        end.close()

    played(tmp_path, play)


def test_door_that_cannot_be_opened_is_told_and_nothing_else_suffers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def play(one: Played) -> None:
        control = await one.opened()
        control.end.close()
        await one.until(lambda: not one.link.connected)
        assert "no new control process" in caplog.text

    played(tmp_path / "missing", play)


def test_draining_worker_can_be_taken_over(tmp_path: Path) -> None:
    async def play(one: Played) -> None:
        control = await one.opened()
        one.runtime.draining = True
        control.end.close()
        end, _, descriptors = await one.knock()
        end.close()
        for descriptor in descriptors:
            os.close(descriptor)

    played(tmp_path, play)


def test_worker_that_has_drained_opens_no_door(tmp_path: Path) -> None:
    async def play(one: Played) -> None:
        control = await one.opened()
        one.link.leave()
        control.end.close()
        await one.until(lambda: not one.link.connected)
        assert not one.door.exists()

    played(tmp_path, play)


def test_channel_out_of_step_is_given_up_and_the_door_opens(tmp_path: Path) -> None:
    async def play(one: Played) -> None:
        control = await one.opened()
        control.end.send(b"\xff" * 10)
        await one.until(one.door.exists)
        assert not one.link.connected
        control.end.close()

    played(tmp_path, play)


def test_lines_are_dropped_while_control_is_behind_and_plans_answers_are_not(tmp_path: Path) -> None:
    async def play(one: Played) -> None:
        control = await one.opened()
        line = b"x" * (1 << 20)
        taken = 0
        while one.link.send(messages.ACCESS, line):
            taken += 1
            assert taken < 50
        assert taken >= 4
        assert not one.link.send(messages.LOG, b"{}")
        assert one.link.send(messages.READY, b"{}")
        control.end.close()

    played(tmp_path, play)


def test_a_worker_that_ends_stays_until_control_has_heard_all(tmp_path: Path) -> None:
    async def play(one: Played) -> None:
        control = await one.opened()
        assert one.link.send(messages.ACCESS, b"the last line\n" * 10_000)
        one.link.leave()
        assert not one.link.send(messages.LOG, b"{}")
        assert one.link.connected
        heard = b""
        while data := await asyncio.to_thread(control.end.recv, 1 << 16):
            heard += data
        assert heard.count(b"the last line") == 10_000
        assert one.link.connected, "control may write to it as long as it has not closed"
        control.end.close()
        await one.until(lambda: not one.link.connected)
        assert not one.door.exists()

    played(tmp_path, play)
