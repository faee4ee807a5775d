"""Where no units are dealt by chance, shares of requests stand side by side: copies before any user, and after the last step."""

import asyncio
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.control.rollouts.evidence import Evidences
from proxy.control.state import MemoryStore
from proxy.rollout.machine import due, tick
from proxy.rollout.rollout import Rollout
from proxy.rollout.states import CauseKind
from proxy.telemetry.counters import (
    M_CODES,
    M_DURATION,
    M_OUTCOMES,
    M_TIMEOUTS,
    MIRROR_OUTCOMES,
    V_DURATION,
    V_FLAGS,
    Cells,
)
from proxy.telemetry.facts import EvidenceFacts
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.measures import Measures
from tests.specs import route_spec, version_spec
from tests.unit.rollout.compiled import NOW, plan, started, told
from tests.unit.telemetry.memory import cells_of, mirror_spec, shop_spec

REST = "hold: 10s, kind: mirror_first, minimum: {requests: 200}, steps: [{shadow: 20}, 50, 100], metrics: METRICS"
ERRORS = "{name: errors, judge: error_rate, weight: critical}"
UNREACHABLE = MIRROR_OUTCOMES.index("dropped_unreachable")


class Room:
    """Evidence over counters that a test writes."""

    def __init__(self, cells: Cells) -> None:
        ledger = Ledger(cells)
        versions = [version_spec("stable", 100.0), version_spec("canary", 0.0, upstream="shadow")]
        shop = route_spec("shop", versions=versions, mirror=[mirror_spec("shadow")])
        self.spec = ledger.place({**shop_spec(secrets={"cookie": [], "unit_hash": "k"}), "routes": [shop]})
        self.view = cells.view
        self.now = NOW
        self.evidence = Evidences(
            MemoryStore(), Measures(cells, ledger), lambda: self.spec, lambda: self.now, lambda: self.now,
            EvidenceFacts(), run,
        )  # fmt: skip
        asyncio.run(self.evidence.load())

    def serve(self, count: int, errors: int = 0) -> None:
        """By the old version."""
        slot = self.spec["routes"][0]["versions"][0]["slot"]
        self.view[slot + V_DURATION + 50] += count
        self.view[slot + V_FLAGS + 3] += errors

    def copy(self, count: int, errors: int = 0, *, late: int = 0, unreachable: int = 0) -> None:
        """To the new one."""
        slot = self.spec["routes"][0]["mirror"][0]["slot"]
        self.view[slot + M_DURATION + 50] += count
        self.view[slot + M_CODES + 200] += count - errors
        self.view[slot + M_CODES + 503] += errors
        self.view[slot + M_TIMEOUTS] += late
        self.view[slot + M_OUTCOMES + UNREACHABLE] += unreachable

    def asked(self, rollout: Rollout) -> CauseKind | None:
        """What is due after ten seconds more."""
        for _ in range(10):
            rollout = tick(rollout, 1.0)
        self.now += 10.0
        verdict = self.evidence.verdict(rollout, self.now)
        found = due(rollout, self.now, verdict=verdict, samples=self.evidence.samples(rollout))
        return found and found.kind


def run(_name: str, work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


@pytest.fixture
def room() -> Iterator[Room]:
    with cells_of() as cells:
        yield Room(cells)


def rollout(tmp_path: Path, metrics: str = f"[{ERRORS}]") -> Rollout:
    return started(plan(tmp_path, REST.replace("METRICS", metrics)))


def test_copies_that_go_well_let_users_in(room: Room, tmp_path: Path) -> None:
    shadowed = rollout(tmp_path)
    room.copy(5000, 5000)  # before the rollout
    assert room.evidence.wish(shadowed) is not None
    room.serve(1000, 10)
    room.copy(200, 2)
    assert room.evidence.samples(shadowed)["canary"].requests == 200
    assert room.asked(shadowed) is CauseKind.STEP_PASSED


def test_too_few_copies_let_nobody_in(room: Room, tmp_path: Path) -> None:
    shadowed = rollout(tmp_path)
    room.evidence.wish(shadowed)
    room.serve(1000)
    room.copy(199)
    assert room.asked(shadowed) is None


@pytest.mark.parametrize("bad", [{"errors": 30}, {"late": 30}, {"unreachable": 30}])
def test_copies_that_fail_stop_it_before_any_user(room: Room, tmp_path: Path, bad: dict[str, int]) -> None:
    shadowed = rollout(tmp_path)
    room.evidence.wish(shadowed)
    room.serve(1000, 5)
    room.copy(300, **bad)
    assert room.asked(shadowed) is CauseKind.STEP_FAILED


def test_what_wants_units_by_chance_decides_nothing_of_copies(room: Room, tmp_path: Path) -> None:
    more = "{name: split, judge: sample_ratio}, {name: buys, judge: proportion, event: buy}"
    shadowed = rollout(tmp_path, f"[{ERRORS}, {more}]")
    room.evidence.wish(shadowed)
    room.serve(1000)
    room.copy(300)
    assert room.asked(shadowed) is CauseKind.STEP_PASSED


def test_where_nothing_else_is_asked_for_copies_go_by_time(tmp_path: Path) -> None:
    steps = rollout(tmp_path, "[{name: split, judge: sample_ratio}]").steps
    assert [one["judged"] for one in steps] == [False, True, True]


def test_with_the_next_step_its_own_users_count(room: Room, tmp_path: Path) -> None:
    shadowed = rollout(tmp_path)
    room.evidence.wish(shadowed)
    room.copy(300, 300)
    dealt = told(shadowed, "skip", at=NOW + 60)
    room.evidence.wish(dealt)
    assert room.evidence.samples(dealt)["canary"].requests == 0


def canary(room: Room, count: int, errors: int) -> None:
    slot = room.spec["routes"][0]["versions"][1]["slot"]
    room.view[slot + V_DURATION + 50] += count
    room.view[slot + V_FLAGS + 3] += errors


@pytest.mark.parametrize(("errors", "result"), [(12, "pass"), (60, "fail")])
def test_after_the_last_step_it_is_held_against_what_the_old_version_had_before(
    room: Room, tmp_path: Path, errors: int, result: str
) -> None:
    dealt = told(rollout(tmp_path), "skip", at=NOW + 60)
    room.evidence.wish(dealt)
    room.serve(1000, 10)
    watching = told(dealt, "promote", at=NOW + 120)
    room.evidence.wish(watching)
    canary(room, 1000, errors)
    for _ in range(10):
        watching = tick(watching, 1.0)
    room.now += 10.0
    found = room.evidence.verdict(watching, NOW + 130)
    assert found is not None
    assert (found.result, "1.00% at `stable` in the step before" in found.reason) == (result, True)


def test_what_went_to_the_end_at_once_has_nothing_to_be_held_against(room: Room, tmp_path: Path) -> None:
    watching = told(rollout(tmp_path), "promote")
    room.evidence.wish(watching)
    canary(room, 1000, 50)
    room.now += 10.0
    found = room.evidence.verdict(watching, NOW)
    assert found is not None
    assert found.result == "insufficient"
    assert "0 of 100 requests at `stable`" in found.reason


def test_copies_that_fail_pull_the_brake_for_nobody_knows_whose_they_are(room: Room, tmp_path: Path) -> None:
    shadowed = rollout(tmp_path)
    room.evidence.wish(shadowed)
    causes = []
    for _ in range(3):
        room.serve(500)
        room.copy(100, errors=60)
        room.now += 1.0
        causes.append(room.evidence.brake(shadowed, room.now))
    assert causes[-1] is not None
    assert causes[-1].kind is CauseKind.BRAKE
    assert "units" not in causes[-1].numbers
