"""Plans as they come from control: in parts, once each; what did not change stays; what fails changes nothing."""

import asyncio
import gc
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random
from typing import Any

from proxy.channel import messages
from proxy.dataplane.intake import Intake
from proxy.dataplane.runtime import Runtime
from proxy.dataplane.upstreams import Upstreams
from proxy.settings.unit_files import read_unit_file
from proxy.telemetry.counters import W_FAILURES, Cells, create_memory
from tests.specs import request_head, route_spec, version_spec
from tests.unit.dataplane.certificates import Authority
from tests.unit.dataplane.stage import Spec, endpoint_spec, mirror_spec, pool_spec, shop


class Worker:
    """The intake, what it said, and when it swapped."""

    def __init__(self, cells: Cells) -> None:
        self.now = 0.0
        self.runtime = Runtime(asyncio.get_running_loop(), cells, self._clock, lambda: 0.0, Random(1))
        self.said: list[tuple[int, Spec]] = []
        self.swapped: list[list[Spec]] = []
        self.runtime.send = self._send
        self.upstreams = Upstreams(self.runtime)
        self.intake = Intake(self.runtime, self.upstreams, self.swapped.append)

    def _clock(self) -> float:
        self.now += 0.0001
        return self.now

    def _send(self, kind: int, payload: bytes) -> bool:
        self.said.append((kind, json.loads(payload)))
        return True

    def part(self, kind: str, digest: str, spec: Spec) -> None:
        payload = json.dumps({"kind": kind, "digest": digest, "spec": spec}).encode()
        self.intake.take(messages.PART, payload)

    def plan(
        self,
        spec: Spec,
        *,
        upstreams: list[str],
        routes: list[str],
        segments: list[str] | None = None,
        lists: list[str] | None = None,
        expressions: list[Spec] | None = None,
    ) -> None:
        rest = {key: value for key, value in spec.items() if key not in ("upstreams", "segments", "routes")}
        message = {
            "generation": spec["generation"], "spec": rest, "upstreams": upstreams, "segments": segments or [], "routes": routes,
            "lists": lists or [], "expressions": expressions or [],
        }  # fmt: skip
        self.intake.take(messages.PLAN, json.dumps(message).encode())

    def shop(self, generation: int = 1, *, upstream: Spec | None = None, digest: str = "u1", **parts: Any) -> None:
        """A whole plan of one upstream and one route whose digest covers it."""
        spec = shop(upstreams=[upstream or pool_spec("u")], generation=generation, **parts)
        self.part("upstream", digest, spec["upstreams"][0])
        self.part("route", f"r-{digest}", spec["routes"][0])
        self.plan(spec, upstreams=[digest], routes=[f"r-{digest}"])

    async def done(self) -> None:
        while self.runtime._tasks:  # noqa: ASYNC110
            await asyncio.sleep(0)

    def answers(self, kind: int) -> list[Spec]:
        return [said for what, said in self.said if what == kind]


def working(play: Callable[[Worker], Awaitable[None]]) -> None:
    async def run() -> None:
        descriptor = create_memory()
        cells = Cells(descriptor, 0, 1)
        worker = Worker(cells)
        await play(worker)
        cells.view.release()
        os.close(descriptor)

    asyncio.run(run())


def test_plan_is_in_force_when_its_parts_have_come() -> None:
    async def play(worker: Worker) -> None:
        worker.shop(3, listeners=[{"address": "a", "tls": None, "proxy_protocol": False}])
        assert worker.runtime.plan is None
        await worker.done()
        plan = worker.runtime.plan
        assert plan is not None
        assert plan.generation == 3
        assert [route.name for route in plan.routes] == ["shop"]
        assert list(worker.upstreams.pools) == ["u"]
        assert worker.answers(messages.READY)[0]["generation"] == 3
        assert worker.swapped == [[{"address": "a", "tls": None, "proxy_protocol": False}]]

    working(play)


def test_parts_that_did_not_change_are_not_sent_and_not_built_again() -> None:
    async def play(worker: Worker) -> None:
        worker.shop(1)
        await worker.done()
        before = worker.runtime.plan
        pool = worker.upstreams.pools["u"]
        assert before is not None
        worker.part("route", "r2", route_spec("second", versions=[version_spec("stable", 1.0)], path="/second"))
        worker.plan(shop(generation=2), upstreams=["u1"], routes=["r2", "r-u1"])
        await worker.done()
        after = worker.runtime.plan
        assert after is not None
        assert after.generation == 2
        assert after.routes[1] is before.routes[0]
        assert after.upstreams["u"] is before.upstreams["u"]
        assert worker.upstreams.pools["u"] is pool
        assert after.routes[0].versions[0].upstream is after.upstreams["u"]

    working(play)


def test_upstream_that_changed_keeps_its_pool_and_the_routes_know_it() -> None:
    async def play(worker: Worker) -> None:
        worker.shop(1)
        await worker.done()
        pool = worker.upstreams.pools["u"]
        worker.shop(2, upstream=pool_spec("u", timeouts={"response": 3.0}), digest="u2")
        await worker.done()
        plan = worker.runtime.plan
        assert plan is not None
        assert worker.upstreams.pools["u"] is pool
        assert pool.upstream is plan.upstreams["u"] is plan.routes[0].versions[0].upstream
        assert pool.upstream.response == 3.0

    working(play)


def test_upstream_that_left_loses_its_pool() -> None:
    async def play(worker: Worker) -> None:
        worker.shop(1)
        await worker.done()
        spec = shop(
            route={"versions": [version_spec("b", 1.0, upstream="v")], "default": "b"},
            upstreams=[pool_spec("v")],
            generation=2,
        )
        worker.part("upstream", "v1", spec["upstreams"][0])
        worker.part("route", "r-v", spec["routes"][0])
        worker.plan(spec, upstreams=["v1"], routes=["r-v"])
        await worker.done()
        assert list(worker.upstreams.pools) == ["v"]

    working(play)


def test_mirrors_have_pools_of_their_own() -> None:
    async def play(worker: Worker) -> None:
        worker.shop(1, route={"mirror": [mirror_spec("u")]})
        await worker.done()
        assert worker.upstreams.shadows["u"] is not worker.upstreams.pools["u"]
        worker.shop(2, digest="u2")
        await worker.done()
        assert worker.upstreams.shadows == {}

    working(play)


def test_plan_that_cannot_be_taken_leaves_the_one_before_in_force(caplog: Any) -> None:
    async def play(worker: Worker) -> None:
        worker.shop(1)
        await worker.done()
        before = worker.runtime.plan
        worker.plan(shop(generation=2), upstreams=["unknown"], routes=["r-u1"])
        worker.part("route", "bad", {"name": "bad"})
        worker.plan(shop(generation=3), upstreams=["u1"], routes=["bad"])
        worker.part("route", "odd", route_spec("odd") | {"salt": None})
        worker.plan(shop(generation=4), upstreams=["u1"], routes=["odd"])
        await worker.done()
        assert worker.runtime.plan is before
        assert gc.isenabled()
        assert [said["generation"] for said in worker.answers(messages.FAILED)] == [2, 3, 4]
        assert len(worker.swapped) == 1
        worker.plan(shop(generation=5), upstreams=["u1"], routes=["r-u1"])
        await worker.done()
        assert worker.runtime.plan is not None
        assert worker.runtime.plan.generation == 5
        assert "the one before goes on" in caplog.text

    working(play)


def test_certificate_that_is_missing_fails_the_plan(tmp_path: Path) -> None:
    async def play(worker: Worker) -> None:
        endpoint = endpoint_spec(tls=True, server_name="u")
        upstream = pool_spec("u", tls={"ca": str(tmp_path / "missing"), "certificate": None, "key": None, "stamp": "1"})
        worker.shop(1)
        await worker.done()
        worker.shop(2, upstream=upstream | {"endpoints": [endpoint]}, digest="u2")
        await worker.done()
        assert worker.runtime.plan is not None
        assert worker.runtime.plan.generation == 1
        assert [said["generation"] for said in worker.answers(messages.FAILED)] == [2]
        assert worker.upstreams.pools["u"].upstream.endpoints[0].tls is False

    working(play)


def test_tls_context_is_loaded_once_for_the_same_files(authority: Authority) -> None:
    async def play(worker: Worker) -> None:
        endpoint = endpoint_spec(tls=True, server_name="u")
        tls = {"ca": str(authority.path), "certificate": None, "key": None, "stamp": "1"}
        worker.shop(1, upstream=pool_spec("u", tls=tls) | {"endpoints": [endpoint]})
        await worker.done()
        context = worker.upstreams.pools["u"].tls
        assert context is not None
        worker.shop(2, upstream=pool_spec("u", tls=tls, limits={"idle": 7}) | {"endpoints": [endpoint]}, digest="u2")
        await worker.done()
        assert worker.upstreams.pools["u"].tls is context
        worker.shop(3, upstream=pool_spec("u", tls=tls | {"stamp": "2"}) | {"endpoints": [endpoint]}, digest="u3")
        await worker.done()
        assert worker.upstreams.pools["u"].tls is not context

    working(play)


def test_name_that_resolved_anew_changes_endpoints_and_the_next_plan_keeps_them() -> None:
    async def play(worker: Worker) -> None:
        worker.shop(1, route={"mirror": [mirror_spec("u")]})
        resolved = {"upstream": "u", "endpoints": [endpoint_spec("10.0.0.7"), endpoint_spec("10.0.0.8")]}
        worker.intake.take(messages.ENDPOINTS, json.dumps(resolved).encode())
        await worker.done()
        for pools in (worker.upstreams.pools, worker.upstreams.shadows):
            assert [state.endpoint.host for state in pools["u"].states] == ["10.0.0.7", "10.0.0.8"]
        worker.plan(shop(generation=2), upstreams=["u1"], routes=["r-u1"])
        await worker.done()
        assert [state.endpoint.host for state in worker.upstreams.pools["u"].states] == ["10.0.0.7", "10.0.0.8"]

    working(play)


def test_health_that_comes_before_the_first_plan_holds_when_it_serves() -> None:
    async def play(worker: Worker) -> None:
        health = {"upstream": "u", "unhealthy": ["10.0.0.1:80:False:"], "drained": []}
        worker.intake.take(messages.HEALTH, json.dumps(health).encode())
        worker.shop(1)
        await worker.done()
        assert [state.unhealthy for state in worker.upstreams.pools["u"].states] == [True]
        assert worker.runtime.view[W_FAILURES] == 0

    working(play)


def test_health_is_taken_after_the_plan_before_it() -> None:
    async def play(worker: Worker) -> None:
        worker.shop(1, route={"mirror": [mirror_spec("u")]})
        health = {"upstream": "u", "unhealthy": ["10.0.0.1:80:False:"], "drained": []}
        worker.intake.take(messages.HEALTH, json.dumps(health).encode())
        worker.intake.take(messages.HEALTH, json.dumps(health | {"upstream": "gone"}).encode())
        await worker.done()
        for pools in (worker.upstreams.pools, worker.upstreams.shadows):
            assert [state.unhealthy for state in pools["u"].states] == [True]
        worker.intake.take(messages.HEALTH, json.dumps(health | {"unhealthy": []}).encode())
        await worker.done()
        assert [state.unhealthy for state in worker.upstreams.pools["u"].states] == [False]
        assert worker.runtime.view[W_FAILURES] == 0

    working(play)


def test_endpoints_of_an_upstream_that_left_are_passed_over() -> None:
    async def play(worker: Worker) -> None:
        worker.shop(1)
        worker.intake.take(messages.ENDPOINTS, b'{"upstream": "gone", "endpoints": []}')
        await worker.done()
        assert worker.runtime.view[W_FAILURES] == 0

    working(play)


def test_large_plan_is_built_in_bites_between_which_others_run() -> None:
    async def play(worker: Worker) -> None:
        worker.part("upstream", "u1", pool_spec("u"))
        digests = []
        for number in range(300):
            digests.append(f"r{number}")
            versions = [version_spec("stable", 1.0)]
            worker.part("route", digests[-1], route_spec(f"r{number}", versions=versions, path=f"/{number}"))
        worker.plan(shop(), upstreams=["u1"], routes=digests)
        turns = 0
        while worker.runtime.plan is None:
            turns += 1
            await asyncio.sleep(0)
        # The clock moves a tenth of a bite with each look at it.
        assert turns > 30
        await worker.done()

    working(play)


def test_segments_reach_the_routes_that_name_them() -> None:
    async def play(worker: Worker) -> None:
        where = {"source": "header", "name": "x-beta", "test": "is", "value": "1"}
        worker.part("segment", "s1", {"name": "beta", "where": where})
        worker.part("segment", "s2", {"name": "not-beta", "where": {"not": {"segment": "beta"}}})
        rules = [{"label": "rules[0]", "where": {"segment": "not-beta"}, "version": "stable"}]
        spec = shop(route={"rules": rules})
        worker.part("upstream", "u1", spec["upstreams"][0])
        worker.part("route", "r1", spec["routes"][0])
        worker.plan(spec, upstreams=["u1"], segments=["s1", "s2"], routes=["r1"])
        await worker.done()
        assert worker.runtime.plan is not None
        assert worker.answers(messages.FAILED) == []
        assert worker.runtime.plan.routes[0].segment_rules[0].matcher is not None

    working(play)


def test_one_bad_message_does_not_hold_up_the_next() -> None:
    async def play(worker: Worker) -> None:
        worker.intake.take(messages.PART, b"{nonsense")
        worker.shop(1)
        await worker.done()
        assert worker.runtime.plan is not None
        assert worker.runtime.view[W_FAILURES] == 1

    working(play)


def test_lists_are_there_before_the_plan_that_names_them_and_go_with_it(tmp_path: Path) -> None:
    async def play(worker: Worker) -> None:
        (tmp_path / "beta.txt").write_bytes(b"alice\n")
        memory = read_unit_file(tmp_path / "beta.txt").memory
        described = {"descriptor": memory.descriptor, "inode": memory.inode, "size": memory.size}
        listed = {"source": "unit", "test": "listed", "value": "beta.txt"}
        spec = shop(
            route={"rules": [{"label": "rules[0]", "where": {"segment": "beta"}, "version": "stable"}]},
            upstreams=[pool_spec("u")],
        )

        def send(generation: int) -> None:
            worker.part("upstream", "u1", spec["upstreams"][0])
            worker.part("segment", "s1", {"name": "beta", "where": listed})
            worker.part("route", "r1", spec["routes"][0])
            rest = {**spec, "generation": generation}
            worker.plan(rest, upstreams=["u1"], segments=["s1"], routes=["r1"], lists=["beta.txt"])

        send(1)
        await worker.done()
        assert "units_file: beta.txt" in worker.answers(messages.FAILED)[0]["error"]
        offered = {"pid": os.getpid(), "lists": [{"name": "beta.txt", **described}]}
        worker.intake.take(messages.UNITS, json.dumps(offered).encode())
        send(2)
        await worker.done()
        plan = worker.runtime.plan
        assert plan is not None
        matcher = plan.routes[0].segment_rules[0].matcher
        assert matcher is not None
        request = request_head()
        request.unit = b"alice"
        assert matcher(request)
        worker.intake.take(messages.UNITS, json.dumps({"pid": os.getpid(), "lists": []}).encode())
        worker.shop(3)
        await worker.done()
        assert worker.intake._lists.lists == {}

    working(play)
