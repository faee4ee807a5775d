"""Endpoints that names resolve to after the plan has come, on a real loop: over TLS, or of an upstream that has left."""

import asyncio
import os
from random import Random
from typing import Any

from proxy.channel import messages
from proxy.channel.frames import FrameReader, encode_json
from proxy.control.publish import compose
from proxy.dataplane.intake import Intake
from proxy.dataplane.runtime import Runtime
from proxy.dataplane.upstreams import Upstreams
from proxy.telemetry.counters import W_FAILURES, Cells, create_memory
from proxy.telemetry.ledger import Ledger
from tests.unit.dataplane.stage import endpoint_spec, pool_spec, shop

Spec = dict[str, Any]


class Bench:
    """An intake on a loop of its own, and the ledger that control would keep."""

    def __init__(self) -> None:
        self._descriptor = create_memory()
        self.cells = Cells(self._descriptor, 0, 1)
        self.ledger = Ledger(self.cells)
        loop = asyncio.get_running_loop()
        self.runtime = Runtime(loop, self.cells, loop.time, loop.time, Random(7))
        self.said: asyncio.Queue[int] = asyncio.Queue()
        self.runtime.send = lambda kind, _: self.said.put_nowait(kind) is None
        self.upstreams = Upstreams(self.runtime)
        self.intake = Intake(self.runtime, self.upstreams, lambda _: None)

    async def plan(self, spec: Spec) -> None:
        """Send a plan, and wait for the answer."""
        publication = compose(self.ledger.place(spec))
        for kind, payload in FrameReader().feed(b"".join((*publication.parts.values(), publication.plan))):
            self.intake.take(kind, payload)
        assert await asyncio.wait_for(self.said.get(), 10) == messages.READY

    def endpoints(self, *endpoints: Spec) -> None:
        """Say that `u` has moved."""
        placed = self.ledger.place_endpoints("u", list(endpoints))
        ((kind, payload),) = FrameReader().feed(encode_json(messages.ENDPOINTS, {"upstream": "u", "endpoints": placed}))
        self.intake.take(kind, payload)

    def close(self) -> None:
        self.cells.view.release()
        os.close(self._descriptor)


def named() -> Spec:
    """A plan over an upstream whose name has not resolved yet."""
    return shop(upstreams=[pool_spec("u") | {"endpoints": []}])


def secure() -> Spec:
    return endpoint_spec(port=443, url="https://shop.example.org", tls=True, server_name="shop.example.org")


def test_secure_endpoint_whose_name_resolves_after_the_plan_came_is_spoken_to_over_tls() -> None:
    async def play() -> None:
        bench = Bench()
        await bench.plan(named())
        pool = bench.upstreams.pools["u"]
        assert pool.states == []
        bench.endpoints(secure())
        async with asyncio.timeout(10):
            while not pool.states:  # noqa: ASYNC110
                await asyncio.sleep(0)
        context = pool.tls
        assert context is not None
        state = pool.states[0]
        await bench.plan(shop(generation=2, upstreams=[pool_spec("u") | {"endpoints": [secure()]}]))
        assert pool.tls is context
        assert pool.states == [state]
        assert bench.cells.view[W_FAILURES] == 0
        bench.close()

    asyncio.run(play())


def test_endpoints_of_an_upstream_that_left_meanwhile_change_nothing() -> None:
    async def play() -> None:
        bench = Bench()
        await bench.plan(named())
        bench.endpoints(secure())
        bench.intake.take(messages.ENDPOINTS, b'{"upstream":"gone","endpoints":[]}')
        await bench.plan(named() | {"generation": 2})
        assert bench.cells.view[W_FAILURES] == 0
        bench.close()

    asyncio.run(play())
