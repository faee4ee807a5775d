"""Expressions in a worker: compiled once, kept from plan to plan, their errors counted and told once a plan."""

import logging
import os
from collections.abc import Iterator
from typing import Any

import pytest

from proxy.core.match import Matcher
from proxy.dataplane.expressing import TOLD, Expressing
from proxy.expressions import check
from proxy.telemetry.counters import EXPRESSION_ABSENT, EXPRESSION_FAILED, W_EXPRESSIONS, Cells, create_memory
from tests.specs import request_head, route_spec, version_spec
from tests.unit.dataplane.stage import pool_spec, shop
from tests.unit.dataplane.test_intake import Worker, working

ABSENT = 'request.headers["x-plan"] == "pro"'
WRONG = "int(unit) > 3"


def specs(*texts: str) -> list[dict[str, Any]]:
    return [{"cel": text, "reads": check(text)} for text in texts]


@pytest.fixture
def cells() -> Iterator[Cells]:
    descriptor = create_memory()
    cells = Cells(descriptor, 0, 1)
    yield cells
    cells.view.release()
    os.close(descriptor)


def brought(expressing: Expressing, *texts: str) -> dict[str, Matcher]:
    found: dict[str, Matcher] = {}

    async def play(_: Worker) -> None:
        found.update(await expressing.bring(specs(*texts)))

    working(play)
    return found


def test_errors_are_counted_by_cause_and_told_once_a_plan(cells: Cells, caplog: pytest.LogCaptureFixture) -> None:
    expressing = Expressing(cells.view, cells.base)
    request = request_head()
    caplog.set_level(logging.INFO, "tidegate.worker")
    for plan in (1, 2):
        matchers = brought(expressing, ABSENT, WRONG)
        for _ in range(3):
            assert not any(matcher(request) for matcher in matchers.values())
        counts = cells.view[cells.base + W_EXPRESSIONS : cells.base + W_EXPRESSIONS + 2]
        assert (counts[EXPRESSION_ABSENT], counts[EXPRESSION_FAILED]) == (3 * plan, 3 * plan)
        said = [(record.levelname, record.expression) for record in caplog.records]  # type: ignore[attr-defined]
        assert said == [("INFO", ABSENT), ("WARNING", WRONG)] * plan
        counts.release()


def test_only_so_many_are_told(cells: Cells, caplog: pytest.LogCaptureFixture) -> None:
    expressing = Expressing(cells.view, cells.base)
    texts = [f'request.headers["x-{number}"] == "a"' for number in range(TOLD + 5)]
    caplog.set_level(logging.INFO, "tidegate.worker")
    for matcher in brought(expressing, *texts).values():
        matcher(request_head())
    assert len(caplog.records) == TOLD


def test_what_stays_in_the_plan_is_not_compiled_again(cells: Cells) -> None:
    expressing = Expressing(cells.view, cells.base)
    first = brought(expressing, ABSENT, WRONG)
    second = brought(expressing, ABSENT)
    assert second[ABSENT] == first[ABSENT]
    third = brought(expressing, ABSENT, WRONG)
    assert third[WRONG] != first[WRONG]


def test_plan_with_expressions_is_taken_and_decides_by_them() -> None:
    async def play(worker: Worker) -> None:
        spec = specs(ABSENT)[0]
        where = {"all": [{"segment": "pro"}, spec]}
        versions = [version_spec("stable", 1.0), version_spec("canary")]
        rules = [{"label": "rules[0]", "where": where, "version": "canary"}]
        worker.part("upstream", "u1", pool_spec("u"))
        worker.part("segment", "s1", {"name": "pro", "where": spec})
        worker.part("route", "r1", route_spec("shop", versions=versions, rules=rules))
        worker.plan(shop(generation=1), upstreams=["u1"], segments=["s1"], routes=["r1"], expressions=[spec])
        await worker.done()
        plan = worker.runtime.plan
        assert plan is not None
        matcher = plan.routes[0].segment_rules[0].matcher
        assert matcher is not None
        assert matcher(request_head(fields={b"x-plan": b"pro"}))
        assert not matcher(request_head())
        assert worker.runtime.view[worker.runtime.base + W_EXPRESSIONS + EXPRESSION_ABSENT] == 1

    working(play)


def test_plan_whose_expression_cannot_be_compiled_changes_nothing() -> None:
    async def play(worker: Worker) -> None:
        worker.shop(1)
        await worker.done()
        before = worker.runtime.plan
        worker.plan(shop(generation=2), upstreams=["u1"], routes=["r-u1"], expressions=[{"cel": "1 +", "reads": {}}])
        await worker.done()
        assert worker.runtime.plan is before

    working(play)
