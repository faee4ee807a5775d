"""A supervisor over processes and a clock that are made up."""

import asyncio
import errno
import socket

from proxy.channel import messages
from proxy.channel.frames import FrameReader, encode, encode_json
from proxy.control.briefing import Briefing
from proxy.control.publish import Publication
from proxy.control.supervisor import Supervisor
from proxy.control.tasks import Tasks
from tests.unit.control.clock import Timers
from tests.unit.control.heard import Heard


class FakeProcess:
    """The worker's side: it says what the test wants, and hears everything."""

    def __init__(self, pid, channel, ended):
        self.pid = pid
        self.birth = pid * 10
        self.channel = channel
        self.ended = ended
        self.killed = False
        self.asked = False
        self.held = False
        self.reader = FrameReader()

    def kill(self):
        self.killed = True

    def say_where(self):
        self.asked = True

    def stopped(self):
        return self.held

    def cpu_seconds(self):
        return 0.5

    def say(self, kind, value):
        self.channel.sendall(encode_json(kind, value))

    def hello(self):
        self.say(messages.HELLO, {"version": 1, "pid": self.pid, "worker": 0, "generation": -1})

    def heard(self):
        self.channel.setblocking(False)
        frames = []
        try:
            while data := self.channel.recv(65536):
                frames += self.reader.feed(data)
        except BlockingIOError:
            pass
        return [kind for kind, _ in frames]

    def end(self, how="was killed by SIGKILL"):
        self.channel.close()
        self.ended(how)


class FakeLauncher:
    def __init__(self):
        self.started = []
        self.broken = False

    def launch(self, index, channel, ended):
        if self.broken:
            raise OSError(errno.EAGAIN, "no more processes")
        self.started.append(FakeProcess(100 + len(self.started), channel.dup(), ended))
        return self.started[-1]

    def adopt(self, pid, ended):
        process = FakeProcess(pid, socket.socket(), ended)
        self.started.append(process)
        return process


class House:
    """A supervisor with everything around it made up."""

    def __init__(self, count=1, room=32):
        self.timers = Timers()
        self.launcher = FakeLauncher()
        self.heard = Heard()
        self.tasks = Tasks()
        self.briefing = Briefing({})
        self.supervisor = Supervisor(
            count, room, self.launcher, self.timers, lambda: 0.0, self.heard, self.tasks, self.briefing
        )

    @property
    def last(self):
        return self.launcher.started[-1]

    def state(self, index=0):
        return self.supervisor.places[index].state

    async def settle(self):
        """Let what was written be read."""
        for _ in range(20):
            await asyncio.sleep(0)

    async def serve(self, process, generation=1):
        process.hello()
        process.say(messages.READY, {"generation": generation, "seconds": 0.1})
        await self.settle()

    async def close(self):
        self.supervisor.release()
        await self.tasks.close()
        await self.settle()
        for process in self.launcher.started:
            process.channel.close()


def in_house(script, count=1, room=32):
    async def play():
        house = House(count, room)
        try:
            await script(house)
        finally:
            await house.close()

    asyncio.run(play())


PLAN = Publication(1, {}, encode(messages.PLAN, b"{}"))
