"""Evidence in the control process: stretches begin and go on, and what is lost or in doubt never helps the new version."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import replace
from math import pi
from typing import Any

import pytest

from proxy.channel.evidence import evidence_payload
from proxy.control.rollouts.evidence import BadEventError, Evidences, Happened
from proxy.control.state import MemoryStore
from proxy.core.evidence import FIRST
from proxy.rollout.rollout import Rollout
from proxy.rollout.states import CauseKind, State
from proxy.telemetry.counters import V_DURATION, V_FLAGS, V_MARKED_DURATION, V_MARKED_ERRORS, V_MARKED_REQUESTS, Cells
from proxy.telemetry.facts import EvidenceFacts
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.measures import Measures
from tests.unit.rollout.evidence import metric
from tests.unit.rollout.rollouts import a_plan, a_rollout
from tests.unit.telemetry.memory import cells_of, shop_spec

EVENTS = [{"name": "purchase", "field": ""}, {"name": "signup", "field": "x-event"}]
BRAKE = {"errors": 3.0, "window": 10.0, "minimum": 20}


def rollout(**given: Any) -> Rollout:
    plan = a_plan(
        metrics=[metric("error_rate", weight="critical"), metric("proportion")],
        events=EVENTS, brake=BRAKE, alpha=0.01, beta=0.05,
    ) | given.pop("plan", {})  # fmt: skip
    return a_rollout(plan=plan, **given)


class Room:
    """Evidence over counters that a test writes, and a clock that it sets."""

    def __init__(self, cells: Cells, store: MemoryStore | None = None) -> None:
        self.store = store or MemoryStore()
        self.ledger = Ledger(cells)
        self.cells = cells
        self.spec = self.ledger.place(shop_spec(secrets={"cookie": ["a"], "unit_hash": "k"}))
        self.now = 1000.0
        self.facts = EvidenceFacts()
        self.evidence = self.another()

    def another(self) -> Evidences:
        """As the next control process makes it."""
        made = Evidences(
            self.store, Measures(self.cells, self.ledger), lambda: self.spec, lambda: self.now, lambda: self.now,
            self.facts, run,
        )  # fmt: skip
        asyncio.run(made.load())
        return made

    def answer(self, version: str, count: int = 1, *, errors: int = 0, marked: bool = False) -> None:
        slot = next(one["slot"] for one in self.spec["routes"][0]["versions"] if one["name"] == version)
        view = self.cells.view
        view[slot + V_DURATION + 50] += count
        view[slot + V_FLAGS + 3] += errors
        if marked:
            view[slot + V_MARKED_REQUESTS] += count
            view[slot + V_MARKED_DURATION + 50] += count
            view[slot + V_MARKED_ERRORS] += errors

    def later(self, seconds: float = 1.0) -> float:
        self.now += seconds
        return self.now


def run(_name: str, work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


@pytest.fixture
def room() -> Iterator[Room]:
    with cells_of(2) as cells:
        yield Room(cells)


def told(
    wish: dict[str, Any],
    units: Sequence[tuple[int, int, int]] = (),
    firsts: Sequence[tuple[int, int]] = (),
    **more: Any,
) -> bytes:
    """A worker's message: units as (hash, version, errors) with ten requests each, first errors as (hash, version)."""
    head = {
        "route": "shop", "run": wish["run"], "stretch": wish["stretch"], "weights": wish["weights"],
        "versions": ["stable", "canary"], "columns": ["requests", "errors", "bytes", "microseconds"], "level": 0, "again": False,
        "first_versions": ["stable", "canary"], "samples": [], "brake": None,
    } | more  # fmt: skip
    records = b"".join(FIRST.pack(unit, 5.0, wish["stretch"], version, 1) for unit, version in firsts)
    return evidence_payload(
        head, [(version, f"{unit:016x}", [10, errors, 0, 0]) for unit, version, errors in units], records
    )


def test_a_stretch_lasts_as_long_as_the_step_and_its_weights(room: Room) -> None:
    first = room.evidence.wish(rollout())
    assert first is not None
    assert first == room.evidence.wish(rollout(sequence=9, state=State.PAUSED))
    assert (first["weights"], first["from"], first["to"], first["brake"]) == (
        {"stable": 95.0, "canary": 5.0}, "stable", "canary", BRAKE,
    )  # fmt: skip
    second = room.evidence.wish(rollout(step=2, began=1200.0, weights={"stable": 75.0, "canary": 25.0}))
    assert second is not None
    assert (second["run"], second["stretch"] != first["stretch"]) == (first["run"], True)


@pytest.mark.parametrize("given", [{"state": State.ABORTED}, {"overruled": True}, {"step": -1}])
def test_nothing_is_counted_for_who_is_not_under_way(room: Room, given: dict[str, Any]) -> None:
    assert room.evidence.wish(rollout(**given)) is None
    assert room.evidence.verdict(rollout(**given), 1.0) is None
    assert room.evidence.brake(rollout(**given), 1.0) is None


def test_who_begins_anew_begins_another_run(room: Room) -> None:
    first = room.evidence.wish(rollout())
    again = room.evidence.wish(rollout(began=1100.0))
    room.evidence.wish(rollout(state=State.ABORTED))
    retried = room.evidence.wish(rollout(began=1300.0))
    runs = {one["run"] for one in (first, again, retried) if one is not None}
    assert len(runs) == 3


def test_a_step_counts_from_where_its_counters_stood_and_leaves_out_what_is_marked(room: Room) -> None:
    room.answer("canary", 500, errors=100)
    room.evidence.wish(rollout())
    room.answer("canary", 30, errors=2)
    room.answer("canary", 7, errors=7, marked=True)
    room.later()
    seen = room.evidence.evidence(rollout(), room.now).version("canary").counts
    assert (seen.requests, seen.errors, seen.marked) == (30, 2, 7)
    assert room.evidence.samples(rollout())["canary"].requests == 30


def test_the_next_control_process_goes_on_where_the_step_began(room: Room) -> None:
    room.answer("canary", 500)
    wish = room.evidence.wish(rollout())
    room.answer("canary", 30)
    room.later()
    successor = room.another()
    assert successor.wish(rollout()) == wish
    room.later()
    assert successor.samples(rollout())["canary"].requests == 30


def test_looks_of_ranks_are_charged_over_a_restart_in_blocks(room: Room) -> None:
    """A test for one look spends its budget by looks: who starts anew must not get all of it again."""
    given = rollout(plan={"metrics": [metric("mann_whitney")]})

    def points(evidences: Evidences, count: int) -> None:
        for _ in range(count):
            for version in ("stable", "canary"):
                room.answer(version, 10)
            evidences.verdict(given, room.later(10.0))

    points(room.evidence, 30)
    spent = room.evidence.verdict(given, room.now)
    assert spent is not None
    successor = room.another()
    points(successor, 22)
    found = successor.verdict(given, room.now)
    assert found is not None
    assert found.verdicts[0].samples == (21, 21)  # points are gone with the process that had them
    assert 0.0 < found.verdicts[0].alpha < 0.01 * 6.0 / (60.0 * pi) ** 2 < spent.verdicts[0].alpha


def test_over_other_counters_the_look_begins_anew(room: Room) -> None:
    room.answer("canary", 500)
    wish = room.evidence.wish(rollout())
    with cells_of(2) as cells:
        other = Room(cells, room.store)
        other.answer("canary", 600)
        assert other.evidence.wish(rollout()) == wish
        assert other.evidence.samples(rollout())["canary"].requests == 0
        other.answer("canary", 20)
        other.later()
        assert other.evidence.samples(rollout())["canary"].requests == 20


def test_what_workers_told_before_anybody_asked_is_kept(room: Room) -> None:
    wish = room.evidence.wish(rollout())
    assert wish is not None
    successor = room.another()
    successor.take(told(wish, [(1, 1, 1), (2, 0, 0)], [(1, 1)], again=True))
    assert successor.wish(rollout()) == wish
    seen = successor.evidence(rollout(), room.now)
    assert seen.version("canary").sums["errors"].total == 1
    assert [one.firsts for one in seen.stretches] == [{"canary": [1]}]


def test_a_message_that_cannot_be_read_or_is_another_runs_is_dropped_and_counted(room: Room) -> None:
    wish = room.evidence.wish(rollout())
    assert wish is not None
    room.evidence.take(b"nonsense")
    room.evidence.take(told(wish | {"run": "another"}, [(1, 1, 1)]))
    assert room.facts.dropped == {("", "message"): 1, ("shop", "of_another_run"): 1}
    assert room.evidence.evidence(rollout(), room.now).version("canary").units == 0


def test_first_errors_of_units_make_the_verdict(room: Room) -> None:
    wish = room.evidence.wish(rollout())
    assert wish is not None
    units = [(unit, unit % 2, int(unit % 40 == 1)) for unit in range(4000)]
    for start in range(0, 4000, 500):
        room.evidence.take(
            told(wish, units[start : start + 500], [(unit, v) for unit, v, e in units[start : start + 500] if e])
        )
    found = room.evidence.verdict(rollout(), room.now)
    assert found is not None
    assert (found.result, found.at_once) == ("fail", True)
    assert room.facts.verdicts["shop"] == {"error_rate": "fail", "proportion": "insufficient"}


def braked(room: Room, seconds: int, *, errors: int, stable: int = 0, of: Rollout | None = None) -> Any:
    for _ in range(seconds):
        room.answer("canary", 10, errors=errors)
        room.answer("stable", 190, errors=stable)
        cause = room.evidence.brake(of or rollout(), room.later())
        if cause is not None:
            return cause
    return None


def test_the_brake_is_pulled_within_seconds(room: Room) -> None:
    wish = room.evidence.wish(rollout())
    assert wish is not None
    room.evidence.take(told(wish, firsts=[(1, 1), (2, 1), (3, 1)]))
    assert room.evidence.brake(rollout(), room.now) is None
    cause = braked(room, 5, errors=8, stable=1)
    assert cause is not None
    assert cause.kind is CauseKind.BRAKE
    assert cause.numbers["errors"] >= 16
    assert room.facts.brakes == {("shop", "canary"): 1}
    assert braked(room, 1, errors=8) is not None
    assert room.facts.brakes == {("shop", "canary"): 1}  # once a stretch


def test_what_was_taken_over_is_watched_by_the_brake_alone_and_is_no_evidence_of_the_first_step(room: Room) -> None:
    pending = rollout(state=State.PENDING, step=-1, taken_over=True, revision="v3", began=950.0)
    wish = room.evidence.wish(pending)
    assert wish is not None
    assert room.evidence.verdict(pending, room.now) is None
    room.evidence.take(told(wish, firsts=[(1, 1), (2, 1), (3, 1)]))
    assert room.evidence.brake(pending, room.now) is None
    stopped = braked(room, 5, errors=8, of=pending)
    assert stopped is not None
    begun = replace(pending, state=State.PROGRESSING, step=0, taken_over=False, began=room.now)
    first = room.evidence.wish(begun)
    assert first is not None
    assert first["run"] != wish["run"]
    assert room.evidence.units_affected("shop") == {}


def test_the_brake_leaves_alone_who_is_well_and_what_one_user_does(room: Room) -> None:
    wish = room.evidence.wish(rollout())
    assert wish is not None
    assert braked(room, 60, errors=1, stable=19) is None
    room.evidence.take(told(wish, firsts=[(1, 1), (2, 1)]))
    assert braked(room, 20, errors=10) is None  # two users
    room.evidence.wish(rollout(plan={"brake": None}, revision="v3"))
    assert room.evidence.brake(rollout(plan={"brake": None}, revision="v3"), room.now) is None


def test_a_baseline_that_fails_as_often_is_no_fault_of_the_version(room: Room) -> None:
    """What both have is that they are fresh. The counters of `stable` stand for the baseline here."""
    given = rollout(plan={"from": "old", "baseline": "stable"})
    wish = room.evidence.wish(given)
    assert wish is not None
    room.evidence.take(told(wish, firsts=[(1, 1), (2, 1), (3, 1)]))

    def seconds(errors: int) -> Any:
        for _ in range(12):
            room.answer("canary", 10, errors=8)
            room.answer("stable", 10, errors=errors)
            cause = room.evidence.brake(given, room.later())
        return cause

    assert seconds(8) is None
    cause = seconds(0)
    assert cause is not None
    assert (cause.numbers["baseline_requests"], cause.numbers["baseline_errors"]) == (100, 0)


def test_one_client_that_fails_often_is_no_degradation(room: Room) -> None:
    wish = room.evidence.wish(rollout())
    assert wish is not None
    room.evidence.take(told(wish, firsts=[(unit, int(unit < 5)) for unit in range(100)]))
    assert braked(room, 30, errors=4, stable=2) is None  # forty percent fail, of as many users as its share is
    room.evidence.take(told(wish, firsts=[(unit, 1) for unit in range(200, 230)]))
    assert braked(room, 30, errors=4, stable=2) is not None


def test_what_a_worker_has_stopped_is_a_cause(room: Room) -> None:
    wish = room.evidence.wish(rollout())
    assert wish is not None
    said = {"version": "canary", "reason": "9 of 20 requests failed within 10 s", "numbers": {"errors": 9}}
    room.evidence.take(told(wish, brake=said))
    cause = room.evidence.brake(rollout(), room.now)
    assert cause is not None
    assert "while there was no control process: 9 of 20" in cause.reason
    room.evidence.wish(rollout(step=2, began=1500.0))
    assert room.evidence.brake(rollout(step=2, began=1500.0), room.now) is None


def test_events_count_for_units_that_came(room: Room) -> None:
    wish = room.evidence.wish(rollout())
    assert wish is not None
    room.evidence.take(told(wish, [(1, 1, 0), (2, 0, 0)]))
    assert room.evidence.happen("purchase", 1, 20.0, 1, None) == Happened(1)
    assert room.evidence.happen("purchase", 7, 1.0, 1, "shop") == Happened(1)  # nobody has told of this unit yet
    room.evidence.take(told(wish, [(7, 1, 0)]))
    canary = room.evidence.evidence(rollout(), room.now).version("canary").sums
    assert (canary["event:purchase"].affected, canary["event:purchase"].units) == (2, 2)
    assert canary["value:purchase"].total == 21_000
    assert room.facts.events == {"purchase": 2}


def test_an_event_with_a_mark_counts_once_for_an_hour_in_every_step(room: Room) -> None:
    wish = room.evidence.wish(rollout())
    assert wish is not None
    assert room.evidence.happen("purchase", 1, 20.0, 1, None, mark="order-7") == Happened(1)
    room.evidence.wish(rollout(step=2, began=1500.0))
    room.later(3599.0)
    assert room.evidence.happen("purchase", 1, 20.0, 1, None, mark="order-7") == Happened(0, again=True)
    room.later(1.0)
    assert room.evidence.happen("purchase", 1, 20.0, 1, None, mark="order-7") == Happened(1)
    assert room.facts.dropped == {("", "events_again"): 1}
    with pytest.raises(BadEventError, match="nobody asks"):
        room.evidence.happen("nothing", 1, 20.0, 1, None, mark="a")
    with pytest.raises(BadEventError, match="nobody asks"):  # what was not counted is not remembered
        room.evidence.happen("nothing", 1, 20.0, 1, None, mark="a")


RING = {"weights": {"stable": 100.0, "canary": 0.0}, "ring": "staff"}


def ringed(room: Room, seconds: int, **given: Any) -> Any:
    """Half of what the ring asks fails; nobody is dealt the version."""
    for _ in range(seconds):
        room.answer("canary", 100, errors=60)
        room.answer("stable", 1900)
        cause = room.evidence.brake(rollout(**RING, **given), room.later())
        if cause is not None:
            return cause
    return None


def test_in_a_ring_one_client_that_fails_is_no_degradation_and_three_are(room: Room) -> None:
    wish = room.evidence.wish(rollout(**RING))
    assert wish is not None
    room.evidence.take(told(wish, called={"canary": [f"{1:016x}", f"{2:016x}"]}))
    assert ringed(room, 20) is None
    room.evidence.take(told(wish, called={"canary": [f"{2:016x}", f"{3:016x}"]}))  # of another worker
    cause = ringed(room, 3)
    assert cause is not None
    assert cause.numbers["units"] == 3


def test_in_a_ring_whose_requests_are_nobodys_they_alone_pull_it(room: Room) -> None:
    wish = room.evidence.wish(rollout(**RING))
    assert wish is not None
    room.evidence.take(told(wish, called={"canary": [""]}))
    assert ringed(room, 3) is not None


def test_whom_an_earlier_stretch_called_says_nothing_of_the_next(room: Room) -> None:
    wish = room.evidence.wish(rollout(**RING))
    assert wish is not None
    room.evidence.take(told(wish, called={"canary": [f"{unit:016x}" for unit in range(5)]}))
    second = room.evidence.wish(rollout(**RING | {"ring": "beta"}, step=2, began=1200.0))
    assert second is not None
    assert second["stretch"] != wish["stretch"]
    room.evidence.take(told(wish, called={"canary": [f"{unit:016x}" for unit in range(5)]}))  # late
    assert ringed(room, 10, step=2, began=1200.0) is None


def test_what_was_taken_over_of_other_versions_is_watched_as_theirs(room: Room) -> None:
    """The new revision brings in another version: until its first step the brake is over the one that has the share."""
    plan = {"to": "next", "from": "stable"}
    pending = rollout(
        state=State.PENDING, step=-1, taken_over=True, taken_arms=["stable", "canary", None], revision="v3", plan=plan
    )
    wish = room.evidence.wish(pending)
    assert wish is not None
    assert (wish["from"], wish["to"]) == ("stable", "canary")
    room.evidence.take(told(wish, firsts=[(1, 1), (2, 1), (3, 1)]))
    assert room.evidence.brake(pending, room.now) is None
    stopped = braked(room, 5, errors=8, of=pending)
    assert stopped is not None
    assert stopped.reason.startswith("`canary`: ")
    assert room.facts.brakes == {("shop", "canary"): 1}


def test_a_verdict_says_which_try_it_is(room: Room) -> None:
    for tries, words in ((1, ""), (2, " (try 2; each has an alpha of its own)")):
        found = room.evidence.verdict(rollout(tries=tries, began=1000.0 + tries), room.now)
        assert found is not None
        assert found.reason.endswith(words)
        assert ("try" in found.reason) == bool(words)
        assert found.numbers["budget"].get("tries", 1) == tries


@pytest.mark.parametrize(
    ("name", "words"), [("nothing", "events asked for now: purchase"), ("signup", "comes in a field of answers")]
)
def test_an_event_that_is_not_asked_for_is_refused(room: Room, name: str, words: str) -> None:
    with pytest.raises(BadEventError, match="no rollout under way"):
        room.evidence.happen(name, 1, 0.0, 1, None)
    wish = room.evidence.wish(rollout())
    room.spec["routes"][0]["evidence"] = wish
    with pytest.raises(BadEventError, match=words):
        room.evidence.happen(name, 1, 0.0, 1, None)


def test_an_event_of_another_route_is_refused_with_where_it_is_asked_for(room: Room) -> None:
    room.evidence.wish(rollout())
    with pytest.raises(BadEventError, match=r"of route `blog`; events asked for now: purchase \(route shop\)"):
        room.evidence.happen("purchase", 1, 0.0, 1, "blog")


def test_after_a_restart_events_count_only_for_units_that_come_again(room: Room) -> None:
    wish = room.evidence.wish(rollout())
    assert wish is not None
    successor = room.another()
    successor.wish(rollout())
    successor.take(told(wish, [(1, 1, 0), (2, 1, 0)], again=True))
    successor.take(told(wish, [(1, 1, 0)]))
    seen = successor.evidence(rollout(), room.now).version("canary")
    assert seen.units == 2
    assert seen.sums["event:purchase"].units == 1


def test_what_cannot_be_understood_in_the_store_is_begun_anew(room: Room) -> None:
    wish = room.evidence.wish(rollout())
    assert wish is not None
    kept = asyncio.run(room.store.get("evidence"))
    kept["shop"]["before"] = {"canary": {"requests": "many"}}
    asyncio.run(room.store.put("evidence", kept))
    successor = room.another()
    assert successor.wish(replace(rollout())) is not None
    assert successor.samples(rollout())["canary"].requests == 0
