"""Takes plans from control and puts them in force.

A plan comes as parts, each once, and is built part by part in bites of a few milliseconds between which requests are
served; what a plan has in common with the one before is not built again. The swap itself is one assignment.
"""

import asyncio
import gc
import json
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from proxy.channel import messages
from proxy.core.cookies import UnitCookies
from proxy.core.flags import FlagSet
from proxy.core.hashing import UnitHasher
from proxy.core.match import Matcher, compile_matcher, expression_key, list_key
from proxy.core.plan import Endpoint, Plan, Route, Spec, Upstream
from proxy.core.routing import RouteTable
from proxy.dataplane.arms import Arms
from proxy.dataplane.borrowing import Borrowed
from proxy.dataplane.expressing import Expressing
from proxy.dataplane.plugins import LivePlugin, Plugins
from proxy.dataplane.runtime import Runtime, log
from proxy.dataplane.upstreams import Upstreams
from proxy.plugin_loading import PluginError
from proxy.trust import client_context

_BITE: Final = 0.001
"""Seconds of building at a stretch."""


class Intake:
    """The worker's end of plans: `take` what control sends; `swapped` is called with each plan's listeners once it serves."""

    def __init__(self, runtime: Runtime, upstreams: Upstreams, swapped: Callable[[list[Spec]], Any]) -> None:
        self._runtime: Final = runtime
        self._upstreams: Final = upstreams
        self.arms: Final = Arms(runtime)
        self.plugins: Final = Plugins(runtime)
        self._lists: Final = Borrowed()
        self._expressing: Final = Expressing(runtime.view, runtime.base)
        self._swapped: Final = swapped
        self._queue: Final[deque[tuple[int, bytes]]] = deque()
        self._specs: dict[str, Spec] = {}
        self._built_upstreams: dict[str, Upstream] = {}
        self._segments: dict[str, tuple[str, Matcher]] = {}
        self._routes: dict[str, Route] = {}
        self._old_routes: dict[str, Route] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}
        self._running: bool = False
        self._bite_from: float = 0.0

    def take(self, kind: int, payload: bytes) -> None:
        """A PART, PLAN, UNITS, KEYS, ENDPOINTS or HEALTH message; they are worked off in order."""
        self._queue.append((kind, payload))
        if not self._running:
            self._running = True
            self._runtime.spawn("intake", self._work())

    async def _breathe(self) -> None:
        if self._runtime.now() - self._bite_from > _BITE:
            await asyncio.sleep(0)
            self._bite_from = self._runtime.now()

    async def _work(self) -> None:
        self._bite_from = self._runtime.now()
        try:
            while self._queue:
                kind, payload = self._queue.popleft()
                try:
                    if kind == messages.PART:
                        part = json.loads(payload)
                        self._specs[part["digest"]] = part["spec"]
                    elif kind == messages.ENDPOINTS:
                        await self._endpoints(json.loads(payload))
                    elif kind == messages.HEALTH:
                        health = json.loads(payload)
                        self._upstreams.mark(health["upstream"], health["unhealthy"], health["drained"])
                    elif kind == messages.UNITS:
                        self._lists.take(json.loads(payload))
                    elif kind == messages.KEYS:
                        await self._runtime.identifying.take(json.loads(payload), self._runtime.plan)
                    else:
                        await self._plan(json.loads(payload))
                except Exception as error:  # noqa: BLE001 - counted and logged: one that fails must not hold up the next
                    self._runtime.unexpected("intake", error)
                await self._breathe()
        finally:
            self._running = False

    async def _plan(self, message: Spec) -> None:
        runtime = self._runtime
        started = runtime.now()
        generation: int = message["generation"]
        # A plan is a million small objects and no circle among them: the collector would look at them all, and find nothing.
        gc.disable()
        plugins: dict[str, LivePlugin] = {}
        try:
            plan = await self._build(message)
            contexts = await self._load_contexts(plan)
            verifier = await runtime.identifying.prepare(plan.tokens)
            plugins = await self.plugins.prepare(plan)
            for _ in self._upstreams.bring(plan, contexts):
                await self._breathe()
            for _ in self.arms.bring(plan):
                await self._breathe()
        except Exception as error:  # noqa: BLE001 - logged and answered: control waits for a word on every plan
            # Control has checked all this: what still fails here is a defect, or a file that went away meanwhile.
            log.error(
                "a plan could not be taken; the one before goes on", extra={"generation": generation}, exc_info=error
            )
            said = str(error) if isinstance(error, PluginError) else f"{type(error).__name__}: {error}"
            failure = {"generation": generation, "error": said}
            runtime.send(messages.FAILED, json.dumps(failure).encode())
            gc.enable()
            await self.plugins.discard(plugins)
            return
        runtime.exposing.bring(plan, alone=runtime.cells.alone)
        runtime.evidencing.bring(plan)
        runtime.braking.bring(plan)
        self._contexts = contexts
        before = runtime.plan
        if before is None or before.cookie_keys != plan.cookie_keys:
            runtime.cookies = UnitCookies(plan.cookie_keys)
        if before is None or before.unit_hash_key != plan.unit_hash_key:
            runtime.hasher = UnitHasher(plan.unit_hash_key)
        runtime.capping.bring(plan, runtime.hasher)
        runtime.identifying.use(plan.tokens, verifier)
        self.plugins.use(plan, plugins)
        runtime.plan = plan
        before = None  # or it would hold all that `_tidy` lets go of
        result = self._swapped(message["spec"]["listeners"])
        if result is not None:
            await result
        self._lists.leave(message.get("lists", ()))
        await self._tidy(plan)
        ready = {"generation": generation, "seconds": round(runtime.now() - started, 6)}
        runtime.send(messages.READY, json.dumps(ready).encode())

    async def _tidy(self, plan: Plan) -> None:
        """Let go of what only the plan before had, bite by bite, and have the collector leave alone what stays."""
        for _ in self._upstreams.leave(plan):
            await self._breathe()
        self.arms.leave(plan)
        for old in (self._old_routes, self._specs):
            while old:
                old.popitem()
                await self._breathe()
        gc.freeze()
        gc.enable()

    async def _build(self, message: Spec) -> Plan:
        base = self._runtime.base
        specs = self._specs
        upstreams: dict[str, Upstream] = {}
        by_name: dict[str, Upstream] = {}
        for digest in message["upstreams"]:
            upstream = self._built_upstreams.get(digest) or Upstream(specs[digest], base)
            upstreams[digest] = upstream
            by_name[upstream.name] = upstream
            await self._breathe()
        segments: dict[str, tuple[str, Matcher]] = {}
        named: dict[str, Matcher] = {list_key(name): units.has_unit for name, units in self._lists.lists.items()}
        expressions: list[Spec] = message.get("expressions", [])
        for text, matches in (await self._expressing.bring(expressions)).items():
            named[expression_key(text)] = matches
        for digest in message["segments"]:
            segment = self._segments.get(digest)
            if segment is None:
                spec = specs[digest]
                segment = (spec["name"], compile_matcher(spec["where"], named))
            segments[digest] = segment
            named[segment[0]] = segment[1]
            await self._breathe()
        routes: dict[str, Route] = {}
        table = RouteTable()
        ordered: list[Route] = []
        for digest in message["routes"]:
            route = self._routes.get(digest)
            if route is None:
                route = Route(specs[digest], by_name, named, base)
            routes[digest] = route
            ordered.append(route)
            table.add(route)
            await self._breathe()
        plan = Plan(message["spec"] | {"generation": message["generation"]}, by_name, ordered, table.find, base)
        if any(route.inject_flags for route in ordered):
            by_route = {route.name: route for route in ordered}
            plan.flags = FlagSet(message["spec"]["flags"], named, by_route, plan.cookies)
        self._old_routes = self._routes
        self._built_upstreams, self._segments, self._routes = upstreams, segments, routes
        return plan

    async def _load_contexts(self, plan: Plan) -> dict[str, ssl.SSLContext]:
        """TLS contexts by what they are made from, loaded beside the event loop."""
        contexts: dict[str, ssl.SSLContext] = {}
        for upstream in plan.upstreams.values():
            if any(endpoint.tls for endpoint in upstream.endpoints):
                stamp = upstream.tls_stamp
                if stamp not in contexts:
                    contexts[stamp] = await self._context(upstream)
        return contexts

    async def _context(self, upstream: Upstream) -> ssl.SSLContext:
        known = self._contexts.get(upstream.tls_stamp)
        if known is None:
            known = await self._runtime.loop.run_in_executor(None, client_context, upstream.tls)
        return known

    async def _endpoints(self, message: Spec) -> None:
        name: str = message["upstream"]
        plan = self._runtime.plan
        upstream = None if plan is None else plan.upstreams.get(name)
        if upstream is None:
            return
        endpoints = [Endpoint(spec, self._runtime.base) for spec in message["endpoints"]]
        context = None
        if any(endpoint.tls for endpoint in endpoints):
            # The plan may have had none of them, where a name did not resolve then, and so no context either.
            try:
                context = self._contexts[upstream.tls_stamp] = await self._context(upstream)
            except OSError as error:  # ssl.SSLError is one
                log.error("endpoints that moved cannot be used", extra={"upstream": name}, exc_info=error)
                return
        for _ in self._upstreams.move(name, endpoints, context):
            await self._breathe()
