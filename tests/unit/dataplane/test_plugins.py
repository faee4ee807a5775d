"""A worker's plugins over plans: made once, started, kept while nothing of them changes, stopped when nobody has them any more."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from proxy.core.build import build_plan
from proxy.core.plan import Plan
from proxy.dataplane.plugins import LivePlugin, Plugins, RoutePlugins
from proxy.dataplane.runtime import Runtime
from proxy.plugin_loading import PluginError
from proxy.telemetry.counters import CAUSE_ERROR, HOOK_START, P_ERRORS, Cells, create_memory
from proxy.telemetry.ledger import Ledger
from tests.specs import plan_spec, route_spec
from tests.unit.dataplane.test_plugged import plugin_spec

Spec = dict[str, Any]

SOURCE = """
from proxy.plugin import Plugin

class Noted(Plugin):
    async def start(self):
        self._note("start")
        if self.config.get("broken"):
            raise OSError("no such host")

    async def stop(self):
        self._note("stop")

    def unit(self, request):
        return None

    def _note(self, what):
        with open(self.config["log"], "a") as log:
            print(what, self.config.get("name", ""), file=log)
"""


class House:
    """Plugins of a worker that has real tasks, and what was written by those that it made."""

    def __init__(self, directory: Path) -> None:
        self.log = directory / "log"
        self.cells = Cells(create_memory(), 0, 1)
        self.ledger = Ledger(self.cells)
        loop = asyncio.get_running_loop()
        self.runtime = Runtime(loop, self.cells, loop.time, lambda: 0.0, Random(1))
        self.plugins = Plugins(self.runtime)
        self.generation = 0

    def plan(self, *entries: Spec, named: list[str] | None = None) -> Plan:
        self.generation += 1
        names = [one["name"] for one in entries] if named is None else named
        spec = plan_spec(route_spec(plugins=names), plugins=list(entries), generation=self.generation)
        return build_plan(self.ledger.place(spec))

    def entry(self, name: str = "p", source: str = SOURCE, **config: Any) -> Spec:
        return plugin_spec(name, source=source, config={"log": str(self.log), "name": name} | config)

    async def bring(self, plan: Plan) -> dict[str, LivePlugin]:
        prepared = await self.plugins.prepare(plan)
        self.plugins.use(plan, prepared)
        self.runtime.plan = plan
        return prepared

    def noted(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


def in_house(script: Callable[[House], Awaitable[None]], directory: Path) -> None:
    async def play() -> None:
        house = House(directory)
        try:
            await script(house)
        finally:
            await house.plugins.close()

    asyncio.run(play())


def test_a_plugin_is_kept_from_plan_to_plan_and_stopped_when_no_exchange_has_it(tmp_path: Path) -> None:
    async def script(house: House) -> None:
        first = (await house.bring(house.plan(house.entry())))["p"]
        second = (await house.bring(house.plan(house.entry() | {"budget": 1.0})))["p"]
        assert second.made is first.made
        assert second.budget == 1.0
        await house.bring(house.plan(house.entry(name="p", more=1)))
        house.plugins.settled(2)
        await asyncio.sleep(0)
        assert house.noted() == ["start p", "start p"]
        house.plugins.settled(3)
        for _ in range(3):
            await asyncio.sleep(0)
        assert house.noted() == ["start p", "start p", "stop p"]
        await house.plugins.close()
        assert house.noted() == ["start p", "start p", "stop p", "stop p"]

    in_house(script, tmp_path)


def test_routes_ask_what_the_plan_has_made(tmp_path: Path) -> None:
    async def script(house: House) -> None:
        plan = house.plan(house.entry("a"), house.entry("b"), named=["b"])
        assert set(await house.bring(plan)) == {"b"}, "nobody names the other"
        plugged = plan.routes[0].plugged
        assert isinstance(plugged, RoutePlugins)
        assert [hook.plugin.name for hook in plugged.hooks[0]] == ["b"]
        assert house.noted() == ["start b"]

    in_house(script, tmp_path)


@pytest.mark.parametrize(
    ("source", "config", "said"),
    [
        (SOURCE, {"broken": True}, "plugin p cannot start: OSError: no such host"),
        ("import nowhere", {}, "plugin p cannot be loaded: ModuleNotFoundError: No module named 'nowhere'"),
        (SOURCE.replace("def unit", "def units"), {}, "plugin p Noted has none of the hooks"),
    ],
)
def test_a_plan_whose_plugin_cannot_be_used_is_refused_and_the_one_before_goes_on(
    tmp_path: Path, source: str, config: Spec, said: str
) -> None:
    async def script(house: House) -> None:
        plan = house.plan(house.entry())
        await house.bring(plan)
        with pytest.raises(PluginError, match=said):
            await house.plugins.prepare(house.plan(house.entry(name="new"), house.entry(source=source, **config)))
        assert plan.routes[0].plugged is not None
        assert [line for line in house.noted() if line.startswith("stop")] == ["stop new"]
        slot = dict(house.ledger.blocks("plugin"))["p",]
        assert house.cells.view[slot + P_ERRORS + 8 * HOOK_START + CAUSE_ERROR] == 1

    in_house(script, tmp_path)


def test_a_worker_that_has_no_plan_yet_serves_without_what_cannot_be_used(tmp_path: Path, caplog: Any) -> None:
    async def script(house: House) -> None:
        plan = house.plan(house.entry("good"), house.entry("bad", broken=True))
        with caplog.at_level(logging.ERROR, "tidegate.worker"):
            await house.bring(plan)
        plugged = plan.routes[0].plugged
        assert isinstance(plugged, RoutePlugins)
        assert [hook.plugin.name for hook in plugged.hooks[0]] == ["good"]

    in_house(script, tmp_path)
    assert (
        "plugin bad cannot be used, and requests go on without it: cannot start: OSError: no such host" in caplog.text
    )


def test_a_plugin_that_fails_while_it_is_stopped_is_told_of(tmp_path: Path, caplog: Any) -> None:
    async def script(house: House) -> None:
        source = SOURCE.replace('self._note("stop")', 'raise RuntimeError("stuck")')
        await house.bring(house.plan(house.entry(source=source)))
        await house.plugins.close()

    in_house(script, tmp_path)
    assert "plugin p failed while it was stopped" in caplog.text
