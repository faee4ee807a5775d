"""Queries of metrics: asked now and then of a server that is there, and what it says lies in the rollout's look."""

import asyncio
import json
from collections.abc import Coroutine
from math import isnan
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.control.rollouts.look import Look
from proxy.control.rollouts.querying import ASK_EVERY, Querying
from proxy.rollout.gates import Gates
from proxy.rollout.rollout import Rollout
from proxy.rollout.units import Run
from proxy.telemetry.facts import EvidenceFacts
from tests.unit.rollout.evidence import metric
from tests.unit.rollout.rollouts import a_plan, a_rollout


class Room:
    """A Prometheus that says `value`, and what is asked of it."""

    def __init__(self) -> None:
        self.value: str | None = "0.5"
        self.asked: list[str] = []
        self.now = 100.0
        self.facts = EvidenceFacts()
        self.looks: dict[str, Look] = {}
        self.works: list[asyncio.Task[None]] = []
        self.querying = Querying(self.looks, self.facts, self.spawn, lambda: self.now)

    def spawn(self, _name: str, work: Coroutine[Any, Any, None]) -> None:
        self.works.append(asyncio.get_running_loop().create_task(work))

    async def answer(self, request: web.Request) -> web.Response:
        self.asked.append(str((await request.post())["query"]))
        result = [] if self.value is None else [{"metric": {}, "value": [1.0, self.value]}]
        return web.Response(text=json.dumps({"status": "success", "data": {"resultType": "vector", "result": result}}))

    async def ask(self, rollout: Rollout) -> None:
        self.querying.ask(rollout)
        await asyncio.gather(*self.works)
        self.works.clear()

    def run(self, script: Any) -> None:
        async def all_of_it() -> None:
            application = web.Application()
            application.router.add_post("/api/v1/query", self.answer)
            server = TestServer(application)
            await server.start_server()
            try:
                await script(str(server.make_url("/")).rstrip("/"))
            finally:
                await self.querying.close()
                await server.close()

        asyncio.run(all_of_it())

    def rollout(self, url: str) -> Rollout:
        """One that asks, followed."""
        cpu = metric("threshold", name="cpu", query="avg(cpu)", prometheus=url, at_most=0.8)
        rollout = a_rollout(plan=a_plan(metrics=[cpu], alpha=0.01, beta=0.05))
        self.looks[rollout.route] = Look(
            rollout.revision, rollout.started, rollout.began, rollout.step, 0, 1, 0.0, "", {}, {}, Gates(rollout.plan),
            Run("", ()), None,
        )  # fmt: skip
        return rollout


def test_an_answer_lies_in_the_look_and_is_asked_for_again_in_its_time() -> None:
    room = Room()

    async def script(url: str) -> None:
        rollout = room.rollout(url)
        await room.ask(rollout)
        look = room.looks[rollout.route]
        assert look.answers.values == {"cpu": 0.5}
        assert look.answered == room.now
        room.now += ASK_EVERY - 0.1
        await room.ask(rollout)
        assert room.asked == ["avg(cpu)"]
        room.now += 0.1
        room.value = "0.9"
        await room.ask(rollout)
        assert look.answers.values == {"cpu": 0.9}
        assert room.facts.queries == {(rollout.route, "answered"): 2}

    room.run(script)


def test_a_query_that_gives_nothing_is_told_once_and_counted_each_time(caplog: pytest.LogCaptureFixture) -> None:
    room = Room()
    room.value = None

    async def script(url: str) -> None:
        rollout = room.rollout(url)
        for _ in range(2):
            await room.ask(rollout)
            room.now += ASK_EVERY
        assert isnan(room.looks[rollout.route].answers.values.get("cpu", float("nan")))
        assert room.facts.queries == {(rollout.route, "empty"): 2}

    room.run(script)
    assert len([one for one in caplog.messages if "metric cpu has no number" in one]) == 1


def test_a_rollout_without_queries_asks_nobody_and_one_that_ended_meanwhile_is_left_alone() -> None:
    room = Room()

    async def script(url: str) -> None:
        await room.ask(a_rollout(plan=a_plan(metrics=[metric("error_rate")])))
        assert room.asked == []
        rollout = room.rollout(url)
        room.looks.clear()
        await room.ask(rollout)
        assert room.asked == ["avg(cpu)"]
        assert room.facts.queries == {}

    room.run(script)
