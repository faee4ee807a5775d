"""A small world around one worker: users who ask, services that answer, and a clock that jumps from event to event.

Everything between the users and the services is the real data plane (tests/unit/dataplane/stage.py); only sockets and the
clock are not. A play says what happens when, and what the numbers must be:

    world = World(two_versions())
    world.service("10.0.0.2").status = 503
    world.visits(rate=100, seconds=30)
    world.run(30)
    assert world.share(lambda visit: visit.status == 503) < 0.02

Minutes pass in a second or two, and the same seed gives the same play.
"""

import heapq
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from math import inf
from random import Random
from typing import Any

from proxy.dataplane.timers import TICK
from tests.unit.dataplane.stage import Stage
from tests.unit.dataplane.wires import Dial, Wire

Spec = dict[str, Any]


@dataclass
class Visit:
    """One request of a user, and what came back. Times in seconds since the play began."""

    at: float
    user: str
    path: str = "/"
    method: str = "GET"
    status: int = 0  # 0 while there is no answer, -1 when the connection was cut off
    seconds: float = inf
    fields: dict[str, str] = field(default_factory=dict)

    @property
    def served(self) -> str:
        """The version that answered, from the debug fields."""
        return self.fields.get("x-tidegate-served", "")

    @property
    def version(self) -> str:
        """The version assigned."""
        return self.fields.get("x-tidegate-version", "")

    @property
    def flags(self) -> set[str]:
        """The flags of the answer."""
        return set(self.fields.get("x-tidegate-flags", "-").split(",")) - {"-"}


class Service:
    """One endpoint that can be told to misbehave; what it is told holds from the next request on."""

    def __init__(self, world: "World", address: str) -> None:
        self._world = world
        self.address = address
        self.status = 200
        self.latency: Callable[[Random], float] = lambda rng: 0.005 + 0.01 * rng.random()
        self.fields: list[str] = []
        self.body = b"hello"
        self.failing = 0.0  # share of requests answered with `failure`
        self.failure = 503
        self.refusing = False  # connections are refused
        self.hanging = False  # requests are taken and never answered
        self.resetting = False  # connections are reset when a request has come
        self.breaking_off = False  # the same, in the middle of the answer
        self.workers = 0  # requests worked on at a time; 0: any number
        self.asked: list[float] = []  # when requests came
        self.heads: list[bytes] = []  # the last heads
        self.busy = 0
        self.most_busy = 0
        self._queue: deque[Wire] = deque()

    def asked_between(self, start: float, end: float) -> int:
        """How many requests came in this time of the play."""
        return sum(start <= at < end for at in self.asked)

    def take(self, wire: Wire, head: bytes) -> None:
        """A request has come."""
        world = self._world
        self.asked.append(world.now)
        self.heads = [*self.heads[-9:], head]
        if self.resetting:
            wire.reset()
        elif not self.hanging:
            if self.workers and self.busy >= self.workers:
                self._queue.append(wire)
            else:
                self._work(wire)

    def _work(self, wire: Wire) -> None:
        self.busy += 1
        self.most_busy = max(self.most_busy, self.busy)
        failing = self._world.rng.random() < self.failing
        self._world.later(self.latency(self._world.rng), lambda: self._answer(wire, failing))

    def _answer(self, wire: Wire, failing: bool) -> None:
        self.busy -= 1
        if not wire.is_closing():
            status = self.failure if failing else self.status
            lines = [f"HTTP/1.1 {status} Said", *self.fields, f"Content-Length: {len(self.body)}"]
            self._world.say(
                wire, "\r\n".join(lines).encode() + b"\r\n\r\n" + self.body[: -1 if self.breaking_off else None]
            )
            if self.breaking_off:
                wire.reset()
        while self._queue:
            waiting = self._queue.popleft()
            if not waiting.is_closing():
                self._work(waiting)
                return


class World:
    """Users, one worker, and services."""

    def __init__(self, spec: Spec, *, seed: int = 1, stage: Stage | None = None) -> None:
        self.stage = stage or Stage(spec)
        self.rng = Random(seed)
        self.began = self.stage.time
        self.visits_made: list[Visit] = []
        self.services: dict[str, Service] = {}
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self._next_tick = self.stage.time + TICK
        self._ticks = 0
        self._idle: list[Wire] = []  # users' connections between two requests
        self._asking: dict[Wire, Visit] = {}
        self._working: dict[Wire, tuple[Service, bytes]] = {}  # services' connections, and what came of a request
        self._heard: dict[Wire, bytes] = {}
        self._dials_seen: set[Dial] = set()

    @property
    def now(self) -> float:
        """Seconds since the play began."""
        return self.stage.time - self.began

    def service(self, host: str, port: int = 80) -> Service:
        """The service at this address; there from the first mention on."""
        address = f"{host}:{port}"
        if address not in self.services:
            self.services[address] = Service(self, address)
        return self.services[address]

    # What happens when.

    def at(self, when: float, what: Callable[[], Any]) -> None:
        """Do `what` at this time of the play."""
        self._push(self.began + when, what)

    def later(self, seconds: float, what: Callable[[], Any]) -> None:
        """Do `what` after this many seconds."""
        self._push(self.stage.time + seconds, what)

    def _push(self, when: float, what: Callable[[], Any]) -> None:
        heapq.heappush(self._events, (when, next(self._order), what))

    def visits(
        self,
        *,
        rate: float,
        seconds: float,
        start: float = 0.0,
        users: int = 500,
        path: str = "/",
        method: str = "GET",
        fields: tuple[str, ...] = (),
    ) -> None:
        """Users come at random moments, `rate` a second, each again and again."""
        when = start
        while True:
            when += self.rng.expovariate(rate)
            if when >= start + seconds:
                return
            user = f"user-{self.rng.randrange(users)}"
            self.at(when, lambda user=user: self.ask(user, path=path, method=method, fields=fields))  # type: ignore[misc]

    def ask(self, user: str, *, path: str = "/", method: str = "GET", fields: tuple[str, ...] = ()) -> Visit:
        """One request now."""
        visit = Visit(self.now, user, path, method)
        self.visits_made.append(visit)
        while self._idle and self._idle[-1].is_closing():
            self._idle.pop()
        wire = self._idle.pop() if self._idle else self.stage.client()
        self._asking[wire] = visit
        lines = [f"{method} {path} HTTP/1.1", "Host: shop.example.com", f"X-User-Id: {user}", *fields]
        self.say(wire, "\r\n".join(lines).encode() + b"\r\n\r\n")
        return visit

    def say(self, wire: Wire, data: bytes) -> None:
        """The far end of `wire` sends; later, where the proxy does not read now."""
        if wire.is_closing():
            return
        if wire.reading:
            wire.send(data)
        else:
            self.later(0.001, lambda: self.say(wire, data))

    # The clock.

    def run(self, seconds: float) -> None:
        """Let this much time pass."""
        stage = self.stage
        until = stage.time + seconds
        self._react()
        while True:
            event = self._events[0][0] if self._events else inf
            when = min(event, stage.loop.next_alarm(), self._next_tick)
            if when > until:
                break
            stage.time = max(stage.time, when)
            if stage.loop.next_alarm() <= stage.time:
                stage.loop.ring()
            elif event <= stage.time:
                heapq.heappop(self._events)[2]()
            else:
                self._tick()
            self._react()
        stage.time = until

    def _tick(self) -> None:
        self._next_tick += TICK
        self._ticks += 1
        self.stage.tick(chores=self._ticks % 5 == 0)

    def _react(self) -> None:
        """What follows at once: dials are answered, bytes arrive, ends are noticed; until all is quiet."""
        stage = self.stage
        quiet = False
        while not quiet:
            stage.settle()
            quiet = not self._answer_dials()
            for wire in stage.wires:
                if wire.sent:
                    quiet = False
                    self._hear(wire, wire.take())
                elif wire.lost:
                    self._lose(wire)
            stage.wires = [wire for wire in stage.wires if not wire.lost]

    def _answer_dials(self) -> bool:
        dials = self.stage.loop.dials
        answered = False
        while dials:
            dial = dials.popleft()
            if dial.over or dial.task is None or dial.task.done:
                continue
            service = self.services.get(dial.address)
            assert service is not None, f"nobody stands at {dial.address}"
            answered = True
            if service.refusing:
                dial.refuse()
            else:
                wire = dial.accept()
                self.stage.wires.append(wire)
                self._working[wire] = (service, b"")
        return answered

    def _hear(self, wire: Wire, data: bytes) -> None:
        if wire in self._working:
            service, before = self._working[wire]
            data = before + data
            while (end := data.find(b"\r\n\r\n")) >= 0:
                head, data = data[:end], data[end + 4 :]
                service.take(wire, head)
            if wire in self._working:
                self._working[wire] = (service, data)
            return
        visit = self._asking.get(wire)
        if visit is None:
            return
        data = self._heard.pop(wire, b"") + data
        end = data.find(b"\r\n\r\n")
        head = data[:end].decode("latin-1").split("\r\n")
        fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
        if end < 0 or len(data) < end + 4 + int(fields.get("content-length", "0")):
            self._heard[wire] = data
            return
        visit.status = int(head[0].split()[1])
        visit.seconds = self.now - visit.at
        visit.fields = fields
        del self._asking[wire]
        if fields.get("connection") != "close":
            self._idle.append(wire)

    def _lose(self, wire: Wire) -> None:
        self._working.pop(wire, None)
        self._heard.pop(wire, None)
        visit = self._asking.pop(wire, None)
        if visit is not None:
            visit.status = -1
            visit.seconds = self.now - visit.at

    # What came of it.

    def made(self, start: float = 0.0, end: float = inf) -> list[Visit]:
        """The visits begun in this time of the play."""
        return [visit for visit in self.visits_made if start <= visit.at < end]

    def share(self, holds: Callable[[Visit], bool], start: float = 0.0, end: float = inf) -> float:
        """The share of visits begun in this time for which `holds` is true; 0 when there were none."""
        visits = self.made(start, end)
        return sum(map(holds, visits)) / len(visits) if visits else 0.0

    def slowest(self, percent: float, start: float = 0.0, end: float = inf) -> float:
        """The latency in seconds that `percent` of the visits begun in this time stayed below."""
        seconds = sorted(visit.seconds for visit in self.made(start, end))
        return seconds[min(int(len(seconds) * percent / 100), len(seconds) - 1)]

    def end(self) -> None:
        """Everybody goes, and nothing may be left."""
        self._events.clear()
        self.stage.end_everything()
        self.stage.pass_time(400)
        self.stage.settle()


@contextmanager
def playing(spec: Spec, *, seed: int = 1) -> Iterator[World]:
    """A world that is taken down afterwards."""
    world = World(spec, seed=seed)
    try:
        yield world
    finally:
        world.stage.close()
