"""The worker process, put together: `python -m proxy.dataplane.worker`, started by control with its descriptors.

It maps the counters, says hello, takes the plan, and only then accepts. From then on everything happens in callbacks of the
event loop. A clock that ticks twenty times a second turns the timer wheel and writes down what is only read now and then.
"""

import argparse
import asyncio
import contextlib
import faulthandler
import gc
import json
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from random import Random
from typing import Any, Final

import uvloop

from proxy.channel import messages
from proxy.core.plan import Spec
from proxy.dataplane.intake import Intake
from proxy.dataplane.link import Link
from proxy.dataplane.listener import Listener
from proxy.dataplane.runtime import Runtime, log
from proxy.dataplane.timers import TICK
from proxy.dataplane.tunnel import review
from proxy.dataplane.upstreams import Upstreams
from proxy.form import compiled
from proxy.telemetry.counters import W_HEARTBEAT, W_LOOP_LAG, Cells

_CHORES: Final = 5
"""Ticks between two rounds of writing down and sending off."""
_LONGEST_BACKLOG: Final = 1.0
"""Seconds that a draining worker goes on accepting while connections keep coming."""
_HEARD_OUT: Final = 5.0
"""Seconds that a drained worker gives control to read what it has said."""
_BATCH: Final = 500
"""Tunnels that are looked at in one go after a plan has changed."""
_IDLE_GRACE: Final = 1.0
"""Seconds that a draining worker leaves connections open which are between two requests. A client that is busy sends its
next request meanwhile, and is told to close; a connection closed at once would cross with that request and lose it."""


class ChannelHandler(logging.Handler):
    """Log records go to control's one writer; to standard error where there is no control."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__()
        self._runtime: Final = runtime

    def emit(self, record: logging.LogRecord) -> None:
        standard = logging.makeLogRecord({}).__dict__
        line: dict[str, Any] = {key: value for key, value in record.__dict__.items() if key not in standard}
        line.pop("message", None)
        line |= {"level": record.levelname.lower(), "message": record.getMessage()}
        if record.exc_info:
            line["error"] = logging.Formatter().formatException(record.exc_info)
        if not self._runtime.send(messages.LOG, json.dumps(line, default=str).encode()):
            with contextlib.suppress(OSError):  # nobody reads there either: who logged has other things to do
                sys.stderr.write(f"{line['level']}: {line['message']} {line.get('error', '')}\n")
                sys.stderr.flush()


class Worker:
    """One worker. `run` returns the exit code."""

    def __init__(self, options: argparse.Namespace, loop: asyncio.AbstractEventLoop) -> None:
        self._index: Final[int] = options.index
        self._sockets: Final = [socket.socket(fileno=descriptor) for descriptor in options.listeners]
        cells = Cells(options.counters, options.index, options.workers)
        rng = Random(os.urandom(16))  # noqa: S311 - for ids that must be distinct, not secret
        self._runtime: Final = Runtime(loop, cells, time.monotonic, time.time, rng)
        door = Path(options.run_dir) / f"worker-{options.index}.sock" if options.run_dir else None
        self._link: Final = Link(self._runtime, options.index, door, self._describe, self._descriptors, self._received)
        self._upstreams: Final = Upstreams(self._runtime)
        self._intake: Final = Intake(self._runtime, self._upstreams, self._swapped)
        self._channel: Final[int] = options.channel
        self._listeners: list[Listener] = []
        self._done: Final[asyncio.Future[int]] = loop.create_future()
        self._next_tick: float = 0.0
        self._ticks: int = 0
        self._worst_lag: float = 0.0
        self._settled: int = -1
        self._drain_end: float = 0.0

    def _describe(self) -> dict[str, object]:
        plan = self._runtime.plan
        return {
            "version": messages.VERSION,
            "pid": os.getpid(),
            "workers": self._runtime.cells.workers,
            "generation": -1 if plan is None else plan.generation,
            "compiled": compiled(),
            "faults_killed": self._runtime.faults_killed,
            "listeners": [_name(one) for one in self._open_sockets()],
            "draining": max(0.0, self._drain_end - self._runtime.now()) if self._runtime.draining else None,
        }

    def _descriptors(self) -> list[int]:
        return [self._runtime.cells.descriptor, *(one.fileno() for one in self._open_sockets())]

    def _open_sockets(self) -> list[socket.socket]:
        """The listening sockets; none once the worker has drained what waited there."""
        return [one for one in self._sockets if one.fileno() >= 0]

    async def run(self) -> int:
        """Serve until drained."""
        loop = self._runtime.loop
        logger = logging.getLogger("tidegate")
        logger.setLevel(logging.DEBUG)
        logger.addHandler(ChannelHandler(self._runtime))
        logger.propagate = False
        loop.set_exception_handler(self._unexpected)
        gc.collect()  # once, while nobody waits: what an import left behind
        # Control asks with this where a worker stands that does nothing any more, before it ends it.
        if sys.stderr is not None:
            faulthandler.register(signal.SIGUSR1, all_threads=True)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        loop.add_signal_handler(signal.SIGTERM, self._drain, 0.0)
        # Before anything can be asked of it: a worker that has never given a sign is not looked after.
        self._runtime.view[self._runtime.base + W_HEARTBEAT] = int(self._runtime.now() * 1e9)
        await self._link.open(socket.socket(fileno=self._channel))
        self._next_tick = self._runtime.now() + TICK
        loop.call_later(TICK, self._tick)
        return await self._done

    def _unexpected(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, (OSError, asyncio.CancelledError)):
            return  # a peer that went away while the loop was closing its connection
        where = str(context.get("message", "the event loop"))
        self._runtime.unexpected(where, error if isinstance(error, BaseException) else RuntimeError(where))

    def _received(self, kind: int, payload: bytes) -> None:
        if kind == messages.DRAIN:
            self._drain(float(json.loads(payload)["limit"]))
        elif kind == messages.SHARE:
            said = json.loads(payload)
            self._runtime.cells.share(int(said["workers"]), [int(one) for one in said["living"]])
            if not self._runtime.cells.alone:
                self._upstreams.not_alone()
        elif kind == messages.FAULTS:
            self._runtime.faults_killed = bool(json.loads(payload)["killed"])
        elif kind == messages.STORED:
            self._runtime.exposing.acknowledged(int(json.loads(payload)["sequence"]), self._runtime.send)
        elif kind == messages.FORGET:
            self._runtime.exposing.forget(str(json.loads(payload)["unit"]))
        else:
            self._intake.take(kind, payload)

    async def _swapped(self, specs: list[Spec]) -> None:
        if self._runtime.draining:
            return
        if not self._listeners:
            for one, spec in zip(self._sockets, specs, strict=True):
                listener = Listener(self._runtime, self._upstreams, one, spec)
                await listener.start()
                self._listeners.append(listener)
            return
        retired = 0
        tunnels = list(self._upstreams.tunnels)
        for start in range(0, len(tunnels), _BATCH):
            retired += review(tunnels[start : start + _BATCH], self._runtime.plan)
            await asyncio.sleep(0)
        if retired:
            log.info("%d tunnels are of versions that get no traffic any more; tunnel_max_age ends them", retired)
        for listener, spec in zip(self._listeners, specs, strict=False):
            try:
                await listener.update(spec)
            except OSError as error:  # ssl.SSLError is one
                log.error("a listener stays as it was: its certificates cannot be used", exc_info=error)

    # The clock.

    def _tick(self) -> None:
        runtime = self._runtime
        now = runtime.now()
        runtime.view[runtime.base + W_HEARTBEAT] = int(now * 1e9)
        self._worst_lag = max(self._worst_lag, now - self._next_tick)
        self._ticks += 1
        try:
            runtime.wheel.advance(now)
            if not runtime.cells.alone:
                self._upstreams.balance()
                self._intake.arms.look_round()
            if self._ticks % _CHORES == 0:
                self._chores()
        except Exception as error:  # noqa: BLE001 - the clock must go on; counted and logged
            runtime.unexpected("the clock", error)
        self._next_tick = runtime.now() + TICK
        runtime.loop.call_later(TICK, self._tick)

    def _chores(self) -> None:
        runtime = self._runtime
        self._upstreams.write_down()
        self._intake.arms.look()
        runtime.flush()
        runtime.exposing.flush(runtime.send)
        runtime.identifying.flush(runtime.send)
        runtime.capping.look_again()
        runtime.evidencing.flush(runtime.send)
        if self._link.connected:
            runtime.braking.rest()
        else:
            runtime.braking.look(runtime.plan)
        if self._ticks % (_CHORES * 4) == 0:
            runtime.view[runtime.base + W_LOOP_LAG] = int(self._worst_lag * 1e9)
            self._worst_lag = 0.0
            self._report_settled()

    def _report_settled(self) -> None:
        """Tell control when the last exchange on an older plan is over: counters may be given to others only then."""
        runtime = self._runtime
        plan = runtime.plan
        if plan is None or plan.generation == self._settled:
            return
        generation = plan.generation
        for copy in self._upstreams.copies:
            if copy.generation < generation:
                return
        for listener in self._listeners:
            for client in listener.clients:
                if client.generation() < generation:
                    return
        self._settled = generation
        self._intake.plugins.settled(generation)
        runtime.send(messages.SETTLED, json.dumps({"generation": generation}).encode())

    # The end.

    def _drain(self, limit: float) -> None:
        if not self._runtime.draining:
            self._runtime.draining = True
            self._drain_end = self._runtime.now() + limit
            review(list(self._upstreams.tunnels), None)
            self._runtime.spawn("drain", self._drained(limit))

    async def _drained(self, limit: float) -> None:
        """Accept until nothing waits, close, finish what is in flight within `limit` seconds, and end."""
        runtime = self._runtime
        started = runtime.now()
        while any(listener.waiting() for listener in self._listeners) and runtime.now() - started < _LONGEST_BACKLOG:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        for listener in self._listeners:
            listener.close()
        await asyncio.sleep(0.02)  # connections accepted a moment ago may still be on their way to their first byte
        grace = min(_IDLE_GRACE, limit / 2)
        while True:
            if runtime.now() - started >= grace:
                for listener in self._listeners:
                    for client in list(listener.clients):
                        client.close_if_idle()
            left = sum(len(listener.clients) for listener in self._listeners)
            if left == 0 or runtime.now() - started >= limit:
                break
            await asyncio.sleep(TICK)
        aborted = 0
        for listener in self._listeners:
            for client in list(listener.clients):
                aborted += client.cut_short()
        self._upstreams.close()
        await self._intake.plugins.close()
        runtime.flush()
        runtime.exposing.finish(runtime.send)
        runtime.evidencing.finish(runtime.send)
        self._link.send(messages.DRAINED, json.dumps({"aborted": aborted}).encode())
        self._link.leave()
        patience = runtime.now() + _HEARD_OUT
        while self._link.connected and runtime.now() < patience:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        self._done.set_result(0)


def _name(one: socket.socket) -> str:
    name = one.getsockname()
    return name if isinstance(name, str) else f"{name[0]}:{name[1]}"


def main() -> int:
    """Parse the command line that control made, and serve."""
    parser = argparse.ArgumentParser(prog="tidegate-worker", description="Started by the control process.")
    parser.add_argument("--index", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--channel", type=int, required=True)
    parser.add_argument("--counters", type=int, required=True)
    parser.add_argument("--listeners", type=lambda text: [int(one) for one in text.split(",")], required=True)
    parser.add_argument("--run-dir", default="")
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(options))


async def _serve(options: argparse.Namespace) -> int:
    return await Worker(options, asyncio.get_running_loop()).run()


if __name__ == "__main__":
    sys.exit(main())
