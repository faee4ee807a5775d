"""Requests through the real data plane, in memory: what `bench.instructions` has callgrind count.

    python bench/played.py specs DIRECTORY             writes each case's compiled configuration there, and says which form this is
    python bench/played.py play CASE SPEC WARM COUNT   plays WARM requests, a mark, COUNT requests, a mark

Client connection, exchange, pools and upstream connections are the worker's own; only the sockets below them and the clock are
made up, so that the same command runs the same instructions. Imports nothing of the bench, so that it can be run against an
installed, compiled Tidegate as well as beside the sources; `play` imports no more of it than a worker does.
"""

import asyncio
import gc
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from random import Random
from typing import Any, Final

from proxy.core.build import build_plan
from proxy.core.cookies import UnitCookies
from proxy.core.hashing import UnitHasher
from proxy.dataplane.arms import Arms
from proxy.dataplane.client import ClientConnection
from proxy.dataplane.downstream import Door
from proxy.dataplane.runtime import Runtime
from proxy.dataplane.upstreams import Upstreams
from proxy.form import compiled
from proxy.telemetry.counters import Cells, create_memory
from proxy.telemetry.ledger import Ledger

MARK: Final = "getppid"
"""A function of the C library that nothing else here calls: callgrind writes down what it has counted before each call of it."""
USERS: Final = 512
_CLOCK: Final = 0.0001
"""Seconds that pass with every look at the clock."""
_PIECE: Final = 16 << 10
"""Bytes of a large answer that come at once."""

_FILE: Final = """
listen: 127.0.0.1:8080
admin: 127.0.0.1:8081
upstreams:
  stable: {{endpoints: [http://10.0.0.1:80]{upstream}}}
  canary: {{endpoints: [http://10.0.0.2:80]{upstream}}}
  shadow: {{endpoints: [http://10.0.0.3:80]}}
{top}routes:
  - name: played
    match: {{path_prefix: /}}
    unit: [{{header: x-user-id}}]
    versions:
      stable: {{upstream: stable, weight: 90{version}}}
      canary: {{upstream: canary, weight: 10{version}}}
{route}"""

_MIRROR: Final = """    mirror: [{upstream: shadow, percent: 100, in_flight: 1024}]
"""
_SEGMENTS: Final = """segments:
  staff: {header: x-email, suffix: "@example.com"}
  office: {client_ip: {cidr: [10.1.0.0/16]}}
  cities: {header: x-geo-city, in: [Oslo, Munich, Bergen]}
  phones: {header: user-agent, contains: Mobile}
  recent: {header: x-app-version, semver: ">=2.0.0"}
"""
_RULES: Final = """    rules:
      - {units: [bob], deny: canary}
      - {segment: phones, deny: canary}
      - {units: [alice], version: canary}
      - {segment: staff, version: canary}
      - {segment: office, version: canary}
      - {segment: cities, split: {stable: 50, canary: 50}}
      - {segment: recent, version: canary}
      - {when: {cookie: beta, is: "1"}, version: canary}
      - {when: {query: version, is: canary}, version: canary}
      - {when: {header: x-tier, in: [gold, silver]}, version: canary}
"""
_RESILIENT_UPSTREAM: Final = ", health: {path: /small}, outlier: {success_rate: {}, latency: {}}, slow_start: 30s"
_RESILIENT_ROUTE: Final = """    retry: {on: [connect_failure, reset, gateway_error], attempts: 2, per_try_timeout: 5s}
    rate_limits: [{by: unit, rate: 100000/s, burst: 100000}]
    concurrency: {limit: 1000}
    timeout: 30s
    hedge: {percentile: 99}
    admission: {}
"""

_OK: Final = (
    b"HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\nDate: Sat, 21 Nov 2026 22:00:00 GMT\r\nContent-Type: text/plain\r\n"
    b"Content-Length: 13\r\nConnection: keep-alive\r\n\r\nhello, world\n"
)


def _few(number: int) -> bytes:
    """As wrk and most of the bench ask: three lines, some hundred users."""
    return b"GET /small HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nx-user-id: user-%d\r\n\r\n" % (number * 7919 % USERS)


def _browser(number: int) -> bytes:
    """As a browser behind an edge asks: 14 fields. Of what is remembered of heads, this has little: the target, the cookie, the ids
    were never seen before and never will be again."""
    mixed = number * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    return (
        b"GET /products/%d?sort=price&page=2 HTTP/1.1\r\nHost: shop.example.com\r\n"
        b"User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:133.0) Gecko/20100101 Firefox/133.0\r\n"
        b"Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
        b"Accept-Language: en-GB,en;q=0.7,nb;q=0.3\r\nAccept-Encoding: gzip, deflate, br\r\n"
        b"Referer: https://shop.example.com/\r\nConnection: keep-alive\r\nUpgrade-Insecure-Requests: 1\r\n"
        b"Cookie: sid=%016x; theme=dark; basket=%d\r\nSec-Fetch-Dest: document\r\nSec-Fetch-Mode: navigate\r\n"
        b"x-request-id: %016x%016x\r\ntraceparent: 00-%016x%016x-%016x-01\r\nx-user-id: user-%d\r\n\r\n"
    ) % (
        number, mixed, number, mixed, number + 1, mixed ^ 0xFF, number + 1, mixed | 1, number * 7919 % USERS,
    )  # fmt: skip


def _large() -> list[bytes]:
    head = _OK.partition(b"\r\n\r\n")[0].replace(b"Content-Length: 13", b"Content-Length: 65536") + b"\r\n\r\n"
    body = b"y" * _PIECE
    return [head + body, body, body, body]


class Case:
    """A configuration, the requests that are played against it, and the answer to each, in the pieces in which it comes."""

    def __init__(
        self,
        title: str,
        *,
        ask: Callable[[int], bytes] = _few,
        answer: list[bytes] | None = None,
        upstream: str = "",
        version: str = "",
        top: str = "",
        route: str = "",
    ) -> None:
        self.title: Final = title
        self.ask: Final = ask
        self.answer: Final = answer or [_OK]
        self.file: Final = _FILE.format(upstream=upstream, version=version, top=top, route=route)


CASES: Final = {
    "small": Case("small GET, few fields"),
    "browser": Case("small GET, a browser's 14 fields", ask=_browser),
    "large": Case("64 KiB answer in four pieces", answer=_large()),
    "mirror": Case("small GET, all of it mirrored", route=_MIRROR),
    "rules": Case("small GET, 10 rules that do not apply", top=_SEGMENTS, route=_RULES),
    "resilient": Case(
        "small GET, all resilience features on and quiet",
        upstream=_RESILIENT_UPSTREAM,
        version=", breaker: {}",
        route=_RESILIENT_ROUTE,
    ),
}


class Wire(asyncio.Transport):
    """The transport that a connection writes to. What it asks of one is answered by builtins, as a compiled loop would."""

    is_closing = bool  # False
    get_write_buffer_size = int  # 0

    def __init__(self, address: str, protocol: Any) -> None:
        super().__init__({"peername": (address, 40000)})
        self.sent: list[bytes] = []
        self.write = self.sent.append  # type: ignore[method-assign,assignment]
        self.writelines = self.sent.extend  # type: ignore[method-assign,assignment]
        self.protocol = protocol
        protocol.connection_made(self)

    def pause_reading(self) -> None:
        raise AssertionError("everything that is sent is taken at once")

    resume_reading = pause_reading


class Task:
    """As much of an asyncio.Task as a dial takes."""

    def __init__(self, work: Coroutine[Any, Any, None], name: str) -> None:
        self.work = work
        self.name = name

    def add_done_callback(self, callback: Callable[[Any], None]) -> None:
        self.callback = callback

    def run(self) -> None:
        try:
            self.work.send(None)
        except StopIteration:
            self.callback(self)
        else:
            raise AssertionError(f"{self.name} waits, and nothing here makes it go on")

    def cancelled(self) -> bool:
        return False

    def exception(self) -> None:
        return None


class Alarm:
    """What `call_later` gives back. None ever rings: every answer comes at once."""

    cancel = [].clear  # a builtin that takes and gives nothing


class Loop:
    """As much of an event loop as opening connections takes; every endpoint accepts at once."""

    def __init__(self) -> None:
        self.alarm: Final = Alarm()
        self.tasks: list[Task] = []
        self.wires: list[Wire] = []

    def create_task(self, work: Coroutine[Any, Any, None], *, name: str) -> Task:
        self.tasks.append(Task(work, name))
        return self.tasks[-1]

    async def create_connection(self, factory: Callable[[], Any], host: str, _port: int, **_: Any) -> tuple[Wire, Any]:
        self.wires.append(Wire(host, factory()))
        return self.wires[-1], self.wires[-1].protocol

    def call_later(self, _seconds: float, _callback: Callable[..., None], *_: Any) -> Alarm:
        return self.alarm

    def settle(self) -> None:
        while self.tasks:
            self.tasks.pop().run()


class Player:
    """A worker's data plane with a plan in force, one client, and the far ends of its connections."""

    def __init__(self, spec: dict[str, Any]) -> None:
        now = itertools.count(1000.0, _CLOCK).__next__
        wall = itertools.count(1.79e9, _CLOCK).__next__
        self.loop: Final = Loop()
        self._descriptor: Final = create_memory()
        self._cells: Final = Cells(self._descriptor, 0, 1)
        cells = self._cells
        runtime = Runtime(self.loop, cells, now, wall, Random(7))  # type: ignore[arg-type]
        upstreams = Upstreams(runtime)
        arms = Arms(runtime)
        plan = build_plan(Ledger(cells).place(spec))
        runtime.cookies = UnitCookies(plan.cookie_keys)
        runtime.hasher = UnitHasher(plan.unit_hash_key)
        for _ in (*upstreams.bring(plan, {}), *arms.bring(plan)):
            pass
        runtime.exposing.bring(plan, alone=cells.alone)
        runtime.evidencing.bring(plan)
        runtime.braking.bring(plan)
        runtime.capping.bring(plan, runtime.hasher)
        runtime.plan = plan
        gc.collect()
        gc.freeze()  # as a worker does once it has a plan
        door = Door(runtime, upstreams, secure=False, proxy_protocol=False)
        self.client: Final = Wire("192.0.2.1", ClientConnection(door))

    def close(self) -> None:
        """Give the memory back."""
        self._cells.view.release()
        os.close(self._descriptor)

    def warm(self, requests: Iterator[bytes], answer: list[bytes]) -> None:
        """Play `requests`, opening the connections that are wanted. Raises AssertionError when one is not answered."""
        for request in requests:
            self.client.protocol.data_received(request)
            self.loop.settle()
            self._answer(answer)
            said = b"".join(self.client.sent)
            if not said.startswith(b"HTTP/1.1 200") or not said.endswith(answer[-1][-13:]):
                raise AssertionError(f"{request!r} was answered {said[:300]!r}")
            self.client.sent.clear()

    def play(self, requests: list[bytes], answer: list[bytes]) -> None:
        """The same with connections that are there, and nothing looked at meanwhile."""
        take = self.client.protocol.data_received
        reply = self._answer
        clear = self.client.sent.clear
        for request in requests:
            take(request)
            reply(answer)
            clear()

    def _answer(self, answer: list[bytes]) -> None:
        for wire in self.loop.wires:
            if wire.sent:
                wire.sent.clear()
                for piece in answer:
                    wire.protocol.data_received(piece)


def write_specs(directory: Path) -> None:
    """Each case's spec as JSON; on standard output, what this Tidegate is and what the cases are."""
    from proxy.settings.loader import load  # noqa: PLC0415 - a worker has none of it

    for name, case in CASES.items():
        file = directory / f"{name}.yaml"
        file.write_text(case.file)
        (directory / f"{name}.json").write_text(json.dumps(load(file, {}).spec))
    titles = {name: case.title for name, case in CASES.items()}
    print(json.dumps({"compiled": compiled(), "python": sys.version.split()[0], "mark": MARK, "titles": titles}))


def play(name: str, spec: Path, warm: int, count: int) -> None:
    """`warm` requests, a mark, `count` requests, a mark; on standard output, how long those took."""
    case = CASES[name]
    player = Player(json.loads(spec.read_bytes()))
    player.warm((case.ask(number) for number in range(warm)), case.answer)
    requests = [case.ask(number) for number in range(warm, warm + count)]
    opened = len(player.loop.wires)
    os.getppid()  # MARK
    begun = time.perf_counter_ns()
    player.play(requests, case.answer)
    took = time.perf_counter_ns() - begun
    os.getppid()
    if len(player.loop.wires) != opened or player.loop.tasks:
        raise AssertionError("connections were opened while the requests were counted")
    player.warm(iter(requests[:1]), case.answer)  # it still answers
    player.close()
    print(json.dumps({"nanoseconds": took}))


if __name__ == "__main__":
    if sys.argv[1] == "specs":
        write_specs(Path(sys.argv[2]))
    else:
        play(sys.argv[2], Path(sys.argv[3]), int(sys.argv[4]), int(sys.argv[5]))
