"""A worker without sockets or a clock of its own: what an exchange is played on.

    stage = Stage(shop())
    client = stage.client()
    client.send(GET)
    upstream = stage.accept()
    assert upstream.take().startswith(b"GET / HTTP/1.1")
    upstream.send(OK)
    assert client.take().endswith(b"hello")
    stage.assert_still()

Time stands still until `pass_time`. What a loop would do by itself, `settle` does: it starts dials and reports ends.
"""

import os
from math import inf
from random import Random
from typing import Any

from proxy.core.build import build_plan
from proxy.core.cookies import UnitCookies
from proxy.core.hashing import UnitHasher
from proxy.core.plan import Plan
from proxy.core.retry import CONDITIONS
from proxy.dataplane.arms import Arms
from proxy.dataplane.client import ClientConnection
from proxy.dataplane.downstream import Door
from proxy.dataplane.pool import Pool
from proxy.dataplane.runtime import Runtime
from proxy.dataplane.timers import TICK
from proxy.dataplane.upstreams import Upstreams
from proxy.errors import FLAGS
from proxy.telemetry.counters import (
    BLOCK_SLOTS,
    HEDGE_OUTCOMES,
    IN_FLIGHT_SLOTS,
    M_OUTCOMES,
    MIRROR_OUTCOMES,
    RETRY_OUTCOMES,
    V_FLAGS,
    V_HEDGE_OUTCOMES,
    V_RETRY_OUTCOMES,
    W_FAILURES,
    Cells,
    create_memory,
)
from proxy.telemetry.ledger import Ledger
from tests.specs import plan_spec, route_spec, upstream_spec, version_spec
from tests.unit.dataplane.wires import Dial, DialLoop, Wire

Spec = dict[str, Any]

GET = b"GET / HTTP/1.1\r\nHost: shop.example.com\r\n\r\n"
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"


def get(path: str = "/", *fields: str, method: str = "GET", version: str = "1.1", body: bytes = b"") -> bytes:
    lines = [f"{method} {path} HTTP/{version}", "Host: shop.example.com", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answer(status: int = 200, *fields: str, body: bytes = b"", version: str = "1.1") -> bytes:
    lines = [f"HTTP/{version} {status} Said", *fields]
    if body and not any(field.lower().startswith(("content-length", "transfer-encoding")) for field in fields):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def endpoint_spec(host: str = "10.0.0.1", port: int = 80, **parts: Any) -> Spec:
    return {
        "url": f"http://{host}:{port}", "host": host, "port": port, "unix": "", "tls": False, "server_name": "",
        "weight": 1, "zone": "",
    } | parts  # fmt: skip


def pool_spec(name: str, *hosts: str, timeouts: Spec | None = None, limits: Spec | None = None, **parts: Any) -> Spec:
    spec = upstream_spec(name, endpoints=[endpoint_spec(host) for host in hosts or ("10.0.0.1",)], **parts)
    spec["timeouts"] = spec["timeouts"] | (timeouts or {})
    spec["limits"] = spec["limits"] | (limits or {})
    return spec


def mirror_spec(upstream: str = "shadow", **parts: Any) -> Spec:
    return {
        "upstream": upstream, "percent": 100.0, "sample": "request", "methods": [], "body_limit": 1 << 20,
        "in_flight": 10, "buffer": 1 << 20, "response_limit": 1 << 20, "timeout": 5.0, "strip_credentials": False,
    } | parts  # fmt: skip


def retry_spec(*on: str, **parts: Any) -> Spec:
    return {
        "on": list(on or CONDITIONS),
        "methods": [], "attempts": 2, "per_try_timeout": 0.0, "back_off": {"base": 0.025, "max": 0.25},
        "budget": {"percent": 20.0, "minimum": 3}, "body_limit": 65536, "fallback": True, "max_retry_after": 1.0,
    } | parts  # fmt: skip


def hedge_spec(**parts: Any) -> Spec:
    return {
        "percentile": 95.0, "minimum_delay": 0.005, "maximum_delay": 1.0, "minimum_samples": 1, "budget_percent": 10.0,
        "methods": ["GET", "HEAD", "OPTIONS", "TRACE"],
    } | parts  # fmt: skip


def breaker_spec(**parts: Any) -> Spec:
    return {
        "window": 10.0, "minimum_requests": 4, "error_percent": 50.0, "slow": None, "saturation_percent": 0.0, "open": 5.0,
        "max_open": 60.0, "probes": 2,
    } | parts  # fmt: skip


def shop(*, route: Spec | None = None, upstreams: list[Spec] | None = None, **parts: Any) -> Spec:
    """One route, one version on one endpoint, unless told otherwise."""
    made = route_spec("shop", **({"versions": [version_spec("stable", 100.0)]} | (route or {})))
    return plan_spec(made, **({"upstreams": upstreams or [pool_spec("u")], "trusted_proxies": []} | parts))


def two_versions(**parts: Any) -> Spec:
    """All users belong to the canary, which falls back to stable; each has an endpoint of its own."""
    route = {
        "versions": [
            version_spec("stable", 0.0, upstream="old"),
            version_spec("canary", 100.0, upstream="new", fallback="stable"),
        ],
        "default": "canary",
    }
    pools = [pool_spec("old", "10.0.0.1"), pool_spec("new", "10.0.0.2")]
    return shop(**({"route": route | parts.pop("route", {}), "upstreams": pools} | parts))


class Stage:
    """A runtime with a plan in force, and everything that is connected to it."""

    def __init__(
        self, spec: Spec | None = None, *, secure: bool = False, proxy_protocol: bool = False, workers: int = 1
    ) -> None:
        self._descriptor = create_memory()
        self.cells = Cells(self._descriptor, 0, workers)
        self.ledger = Ledger(self.cells)
        self.time = 1000.0
        self.loop = DialLoop(lambda: self.time)
        self.runtime = Runtime(self.loop, self.cells, lambda: self.time, lambda: 1.7e9 + self.time, Random(7))  # type: ignore[arg-type]
        self.upstreams = Upstreams(self.runtime)
        self.arms = Arms(self.runtime)
        self.listening = Door(self.runtime, self.upstreams, secure=secure, proxy_protocol=proxy_protocol)
        self.wires: list[Wire] = []
        self.plan = self.bring(spec or shop())

    def bring(self, spec: Spec) -> Plan:
        """Put a plan in force, as the intake does."""
        plan = build_plan(self.ledger.place(spec))
        runtime = self.runtime
        runtime.cookies = UnitCookies(plan.cookie_keys)
        runtime.hasher = UnitHasher(b"k")
        for _ in (*self.upstreams.bring(plan, {}), *self.upstreams.leave(plan)):
            pass
        for _ in self.arms.bring(plan):
            pass
        self.arms.leave(plan)
        runtime.exposing.bring(plan, alone=self.cells.alone)
        runtime.evidencing.bring(plan)
        runtime.braking.bring(plan)
        runtime.capping.bring(plan, runtime.hasher)
        runtime.plan = plan
        self.plan = plan
        return plan

    def close(self) -> None:
        """Give the memory back."""
        self.loop.close()
        self.cells.view.release()
        os.close(self._descriptor)

    # Who takes part.

    def client(self, peer: str = "192.0.2.1", *, tls: bool = False) -> Wire:
        """A client connects."""
        connection = ClientConnection(self.listening)
        wire = Wire(peer, tls=tls)
        wire.protocol = connection
        self.wires.append(wire)
        connection.connection_made(wire)
        self.settle()
        return wire

    def dial(self) -> Dial:
        """The oldest connection that is being opened."""
        self.settle()
        dials = self.loop.dials
        while dials and (dials[0].over or (dials[0].task is not None and dials[0].task.done)):
            dials.popleft()
        assert dials, "nobody dials"
        return dials.popleft()

    def dialling(self) -> int:
        """How many connections are being opened."""
        self.settle()
        return sum(1 for dial in self.loop.dials if not dial.over and dial.task is not None and not dial.task.done)

    def accept(self, *, stalled: bool = False) -> Wire:
        """The endpoint takes the oldest connection that is being opened; when `stalled`, nothing that is sent on it."""
        wire = self.dial().accept(stalled=stalled)
        self.wires.append(wire)
        self.settle()
        return wire

    def refuse(self) -> None:
        """The endpoint refuses the oldest connection that is being opened."""
        self.dial().refuse()
        self.settle()

    # What happens by itself.

    def settle(self) -> None:
        """Start what was to be started and report what has ended, until nothing is left to do."""
        busy = True
        while busy:
            busy = self.loop.run()
            for wire in self.wires:
                busy |= wire.deliver_end()

    def pass_time(self, seconds: float) -> None:
        """Let the clock run, tick by tick."""
        until = self.time + seconds
        while self.time < until:
            turn = min(self.time + TICK, until)
            while (alarm := self.loop.next_alarm()) <= turn:
                self.time = max(self.time, alarm)
                self.loop.ring()
                self.settle()
            self.time = turn
            self.runtime.wheel.advance(self.time)
            self.settle()

    def tick(self, *, chores: bool = True) -> None:
        """What the worker's clock does twenty times a second; the chores only every fifth time."""
        self.runtime.wheel.advance(self.time)
        if self.cells.workers > 1:
            self.upstreams.balance()
        if chores:
            self.upstreams.write_down()
            self.arms.look()

    # What was counted.

    def pool(self, name: str = "u") -> Pool:
        return self.upstreams.pools[name]

    def codes(self) -> dict[tuple[str, str, int], int]:
        """Requests by (assigned, served, status); those without a route have (none, none, status)."""
        view = self.cells.view
        found = {}
        for (_, assigned, served), offset in self.ledger.blocks("codes"):
            for status in range(BLOCK_SLOTS["codes"]):
                if view[offset + status]:
                    found[assigned, served, status] = view[offset + status]
        return found

    def flags(self) -> dict[str, int]:
        """Errors by flag, over all versions."""
        view = self.cells.view
        found: dict[str, int] = {}
        for _, offset in self.ledger.blocks("version"):
            for flag in FLAGS:
                count = view[offset + V_FLAGS + flag.index]
                if count:
                    found[flag.code] = found.get(flag.code, 0) + count
        return found

    def of_version(self, slot: int, version: str = "stable", route: str = "shop") -> int:
        """One slot of a version's block."""
        return self.cells.view[dict(self.ledger.blocks("version"))[route, version] + slot]

    def of_mirror(self, slot: int) -> int:
        """One slot of a mirror's block, summed over the mirrors."""
        return sum(self.cells.view[offset + slot] for _, offset in self.ledger.blocks("mirror"))

    def outcomes(self) -> dict[str, int]:
        """Copies by outcome."""
        found = {name: self.of_mirror(M_OUTCOMES + index) for index, name in enumerate(MIRROR_OUTCOMES)}
        return {name: count for name, count in found.items() if count}

    def retries(self, version: str = "stable") -> dict[str, int]:
        """Retries of a version by outcome."""
        return self._counted(V_RETRY_OUTCOMES, RETRY_OUTCOMES, version)

    def hedges(self, version: str = "stable") -> dict[str, int]:
        """Hedges of a version by outcome."""
        return self._counted(V_HEDGE_OUTCOMES, HEDGE_OUTCOMES, version)

    def _counted(self, slot: int, names: tuple[str, ...], version: str) -> dict[str, int]:
        found = {name: self.of_version(slot + index, version) for index, name in enumerate(names)}
        return {name: count for name, count in found.items() if count}

    def of_worker(self, slot: int) -> int:
        return self.cells.view[slot]

    def gauges(self) -> dict[str, int]:
        """Whatever describes the present and is not 0. Idle upstream connections are no business under way."""
        for pool in (*self.upstreams.pools.values(), *self.upstreams.shadows.values()):
            pool.write_down()
        view = self.cells.view
        found = {}
        for kind, slots in IN_FLIGHT_SLOTS.items():
            blocks = [((), 0)] if kind == "worker" else list(self.ledger.blocks(kind))
            for key, offset in blocks:
                for slot in slots:
                    if view[offset + slot]:
                        found[f"{kind}{key}[{slot}]"] = view[offset + slot]
        return found

    def end_everything(self) -> None:
        """Everybody goes: dials fail, wires are reset, idle connections grow old, every deadline passes."""
        for _ in range(20):
            self.settle()
            dials = [dial for dial in self.loop.dials if not dial.over]
            self.loop.dials.clear()
            for dial in dials:
                if dial.task is not None and not dial.task.done:
                    dial.refuse()
            for wire in self.wires:
                wire.reset()
            self.settle()
            if not self.loop.dials:
                break
        self.settle()

    def all_pools(self) -> list[Pool]:
        return [*self.upstreams.pools.values(), *self.upstreams.shadows.values()]

    def assert_nothing_left(self) -> None:
        """After everybody has gone, nothing is in flight, open, waiting, buffered or armed, and nothing unexpected was met."""
        gauges = {name: count for name, count in self.gauges().items() if not name.startswith("endpoint")}
        assert gauges == {}
        for pool in self.all_pools():
            assert pool.requests == 0
            assert pool.empty
        assert not self.upstreams.copies
        assert not self.listening.clients
        assert self.of_worker(W_FAILURES) == 0
        armed = [timed for entries in self.runtime.wheel._turns.values() for timed in entries]
        assert armed == []
        assert self.loop.next_alarm() == inf, "somebody is to be woken"
