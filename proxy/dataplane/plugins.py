"""A worker's plugins: made for a plan, asked within their bounds, and let go of when no exchange has them any more.

A hook is a user's code, and nothing it does may harm a request: what it raises is counted and logged, an `async` one that takes
too long is cut off, one that is not `async` is measured, and not asked any more after some overruns in a minute. Whatever
goes wrong, the hook has said nothing (`SILENCE`).
"""

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from math import inf
from typing import Any, Final

from proxy.core.plan import Plan, Plugged, Spec
from proxy.dataplane.runtime import Runtime, log
from proxy.plugin import FieldError, Plugin, PluginRequest
from proxy.plugin_loading import HOOKS, PluginError, hooks_of, make_plugin
from proxy.telemetry.counters import (
    CAUSE_BUSY,
    CAUSE_DISABLED,
    CAUSE_ERROR,
    CAUSE_INVALID,
    CAUSE_OVERRUN,
    HISTOGRAM_SLOTS,
    HOOK_START,
    P_DISABLED,
    P_ERRORS,
    P_RUNNING,
    P_SECONDS,
    PLUGIN_CAUSES,
    PLUGIN_HOOKS,
    observe,
)

START_PATIENCE: Final = 10.0
"""Seconds for a plugin to start, and then to stop."""
_WINDOW: Final = 60.0
"""Seconds in which overruns count together."""
_TOLD: Final = 60.0
"""Seconds between two lines about the same hook and cause."""

SILENCE: Final = object()
"""A hook was not asked, or what it said does not count."""


class Hook:
    """One hook of one plugin, in one plan."""

    def __init__(self, plugin: "LivePlugin", kind: int, call: Callable[..., Any], asynchronous: bool) -> None:
        self.plugin: Final = plugin
        self.kind: Final = kind
        self.call: Final = call
        self.asynchronous: Final = asynchronous
        self.disabled: bool = False
        self._runtime: Final = plugin.runtime
        self._histogram: Final = plugin.slot + P_SECONDS + kind * HISTOGRAM_SLOTS
        self._overruns: Final[deque[float]] = deque(maxlen=plugin.overruns)
        self._told: Final[dict[int, float]] = {}
        self._untold: Final[dict[int, int]] = {}

    def ask(self, request: PluginRequest, more: object) -> object:
        """What a hook that is not `async` says; `more` is its second argument, SILENCE where it has none."""
        if self.disabled:
            self.failed(CAUSE_DISABLED, None)
            return SILENCE
        runtime = self._runtime
        started = runtime.now()
        said: object = SILENCE
        failure: BaseException | None = None
        try:
            said = self.call(request) if more is SILENCE else self.call(request, more)
        except (Exception, SystemExit, asyncio.CancelledError) as error:  # noqa: BLE001 - a user's code may raise anything
            failure = error
        took = runtime.now() - started
        observe(runtime.view, self._histogram, took)
        if failure is not None:
            self.raised(failure)
        if took > self.plugin.budget:
            self._overran(took)
        return said

    def asked(self, seconds: float) -> None:
        """An `async` hook has answered, or was cut off, after so long."""
        observe(self._runtime.view, self._histogram, seconds)

    def raised(self, error: BaseException) -> None:
        """It said nothing, and this instead."""
        self.failed(CAUSE_INVALID if isinstance(error, FieldError) else CAUSE_ERROR, error)

    def failed(self, cause: int, error: BaseException | None, detail: str = "") -> None:
        """Count it, and tell of it once a minute."""
        runtime = self._runtime
        runtime.view[self.plugin.slot + P_ERRORS + 8 * self.kind + cause] += 1
        if cause == CAUSE_DISABLED:
            return  # that it is was told
        now = runtime.now()
        self._untold[cause] = self._untold.get(cause, 0) + 1
        if now - self._told.get(cause, -inf) < _TOLD:
            return
        self._told[cause] = now
        log.error(
            "plugin %s failed in %s; requests go on as if it had said nothing"
            if cause != CAUSE_OVERRUN
            else "plugin %s took too long in %s, and everybody waited",
            self.plugin.name,
            PLUGIN_HOOKS[self.kind],
            extra={"cause": PLUGIN_CAUSES[cause], "times": self._untold.pop(cause)}
            | ({"detail": detail} if detail else {}),
            exc_info=error,
        )

    def _overran(self, took: float) -> None:
        now = self._runtime.now()
        plugin = self.plugin
        self.failed(CAUSE_OVERRUN, None, f"{took * 1000:.1f} ms, and its budget is {plugin.budget * 1000:g} ms")
        overruns = self._overruns
        overruns.append(now)
        if len(overruns) == plugin.overruns and now - overruns[0] <= _WINDOW and not self.disabled:
            self.disabled = True
            plugin.note_disabled()
            log.error(
                "plugin %s is not asked in %s any more until the next plan: %d overruns within a minute",
                plugin.name,
                PLUGIN_HOOKS[self.kind],
                plugin.overruns,
            )

    def spawn(self, work: Coroutine[Any, Any, None]) -> "asyncio.Task[None] | None":
        """Run a call of an `async` hook; None, and the work undone, where too many are under way."""
        runtime = self._runtime
        plugin = self.plugin
        if runtime.cells.total(plugin.slot + P_RUNNING) >= plugin.in_flight:
            work.close()
            self.failed(CAUSE_BUSY, None)
            return None
        runtime.view[plugin.slot + P_RUNNING] += 1
        task = runtime.spawn(f"{plugin.name}.{PLUGIN_HOOKS[self.kind]}", work)
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._runtime.view[self.plugin.slot + P_RUNNING] -= 1


class LivePlugin:
    """A plugin as one plan has it: its object, which may outlive the plan, and its bounds. Seconds, counts."""

    def __init__(self, runtime: Runtime, spec: Spec, made: Plugin) -> None:
        self.runtime: Final = runtime
        self.name: Final[str] = spec["name"]
        self.label: Final = f"plugins.{self.name}"
        self.made: Final = made
        self.made_of: Final = made_of(spec)
        self.slot: Final[int] = runtime.base + spec["slot"]
        self.budget: Final[float] = spec["budget"]
        self.overruns: Final[int] = spec["overruns"]
        self.timeout: Final[float] = spec["timeout"]
        self.in_flight: Final[int] = spec["in_flight"]
        self.in_force: bool = False
        kinds = hooks_of(made)
        self.hooks: Final[list[Hook]] = [
            Hook(self, kind, getattr(made, name), kinds[name]) for kind, name in enumerate(HOOKS) if name in kinds
        ]

    def note_disabled(self) -> None:
        """Write down how many of its hooks are not asked."""
        if self.in_force:
            self.runtime.view[self.slot + P_DISABLED] = sum([hook.disabled for hook in self.hooks])


class RoutePlugins(Plugged):
    """The hooks of a route's plugins, by kind and in the route's order."""

    def __init__(self, plugins: list[LivePlugin]) -> None:
        self.hooks: Final[list[list[Hook]]] = [
            [hook for plugin in plugins for hook in plugin.hooks if hook.kind == kind] for kind in range(HOOK_START)
        ]


def made_of(spec: Spec) -> tuple[str, str, str, str]:
    """What tells a plugin's object from another's."""
    return spec["file"], spec["source"], spec["entry_point"], repr(spec["config"])


class Plugins:
    """All plugins of one worker."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime: Final = runtime
        self._live: dict[str, LivePlugin] = {}
        self._retired: list[tuple[int, LivePlugin]] = []  # with the generation that has them no more

    async def prepare(self, plan: Plan) -> dict[str, LivePlugin]:
        """The plugins that routes of `plan` name, made and started.

        Raises PluginError where one cannot be, and there is a plan that can go on. A worker without any serves without it.
        """
        wanted = {name for route in plan.routes for name in route.plugins}
        prepared: dict[str, LivePlugin] = {}
        for spec in plan.plugins:
            name: str = spec["name"]
            if name not in wanted:
                continue
            try:
                prepared[name] = await self._prepare(spec)
            except PluginError as error:
                self._runtime.view[self._runtime.base + spec["slot"] + P_ERRORS + 8 * HOOK_START + CAUSE_ERROR] += 1
                if self._runtime.plan is not None:
                    await self.discard(prepared)
                    raise PluginError(f"plugin {name} {error}", error.line) from error
                log.error("plugin %s cannot be used, and requests go on without it: %s", name, error)
        return prepared

    async def _prepare(self, spec: Spec) -> LivePlugin:
        known = self._live.get(spec["name"])
        if known is not None and known.made_of == made_of(spec):
            return LivePlugin(self._runtime, spec, known.made)
        # Beside the event loop: an import may take its time.
        made: Plugin = await asyncio.get_running_loop().run_in_executor(None, make_plugin, spec)
        try:
            starting: Any = made.start()
            if starting is not None:
                await asyncio.wait_for(starting, START_PATIENCE)
        except TimeoutError as error:
            raise PluginError(f"did not start within {START_PATIENCE:g}s") from error
        except (Exception, SystemExit) as error:
            raise PluginError(f"cannot start: {type(error).__name__}: {error}") from error
        return LivePlugin(self._runtime, spec, made)

    def use(self, plan: Plan, prepared: dict[str, LivePlugin]) -> None:
        """Have the routes of `plan` ask these from now on, whatever was disabled before."""
        for route in plan.routes:
            if route.plugins:
                route.plugged = plugged([prepared[name] for name in route.plugins if name in prepared])
        made = [one.made for one in prepared.values()]
        for old in self._live.values():
            old.in_force = False
            if not any(old.made is one for one in made):
                self._retired.append((plan.generation, old))
        self._live = prepared
        for live in prepared.values():
            live.in_force = True
            live.note_disabled()

    async def discard(self, prepared: dict[str, LivePlugin]) -> None:
        """Stop what was started for a plan that is not to be."""
        made = [one.made for one in self._live.values()]
        for live in prepared.values():
            if not any(live.made is one for one in made):
                await _stop(live)

    def settled(self, generation: int) -> None:
        """No exchange is left on a plan older than this one: what only those had is stopped."""
        over = [live for until, live in self._retired if until <= generation]
        self._retired = [one for one in self._retired if one[0] > generation]
        for live in over:
            self._runtime.spawn(f"stop of {live.label}", _stop(live))

    async def close(self) -> None:
        """The worker ends: stop them all, side by side."""
        live = [*self._live.values(), *(one for _, one in self._retired)]
        self._live = {}
        self._retired = []
        for task in [self._runtime.spawn(f"stop of {one.label}", _stop(one)) for one in live]:
            await task


def plugged(plugins: list[LivePlugin]) -> RoutePlugins | None:
    """What a route with these asks; None where they have nothing to say."""
    return RoutePlugins(plugins) if any(plugin.hooks for plugin in plugins) else None


async def _stop(live: LivePlugin) -> None:
    try:
        stopping: Any = live.made.stop()
        if stopping is not None:
            await asyncio.wait_for(stopping, START_PATIENCE)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a user's code may raise anything; nobody waits for it
        log.error("plugin %s failed while it was stopped", live.name, exc_info=error)
