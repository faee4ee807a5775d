"""Caps: the record of who has had a version, and decisions about those who have and have not."""

import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from proxy.cap_files import FileRecord, make_cap_file
from proxy.core.build import build_plan
from proxy.core.caps import FIRST_TABLE, HEADER, MAGIC, MOST, CapRecord, CapTable, size_for
from proxy.core.decide import Decision, decide
from proxy.core.explanation import explain
from proxy.core.hashing import UnitHasher
from proxy.core.plan import DEFAULT, DENY, KILL, OVERRIDE, REASONS, SEGMENT, SPLIT, STICKY, Route
from tests.specs import plan_spec, request_head, route_spec, version_spec


def table(units: int) -> CapTable:
    memory = bytearray(size_for(units))
    struct.pack_into("<Q", memory, 0, MAGIC)
    return CapTable(memoryview(memory))


def had(*units: bytes, more: int = 0) -> CapRecord:
    """A record of these units; `more` others have had it, too."""
    hasher = UnitHasher(b"key")
    with TemporaryDirectory() as directory:
        file = make_cap_file(Path(directory) / "one", 100)
    for unit in units:
        file.table.add(int(hasher(unit), 16))
    for number in range(more):
        file.table.add(number + 1)
    return FileRecord(file, hasher)


def shop(record: CapRecord | None, limit: int = 2, **parts: object) -> Route:
    cap = {"limit": limit, "file": "caps/shop~canary~0"}
    versions = [version_spec("stable", 50.0), version_spec("canary", 50.0, cap=cap), version_spec("blue", 0.0)]
    route = build_plan(plan_spec(route_spec(versions=versions, **parts))).routes[0]
    version_cap = route.by_name["canary"].cap
    assert version_cap is not None
    version_cap.record = record
    return route


def gets(route: Route, unit: bytes | None) -> tuple[str, int]:
    decision = decided(route, unit)
    assert decision.version is not None
    return decision.version.name, decision.reason


def decided(route: Route, unit: bytes | None) -> Decision:
    request = request_head()
    request.unit = unit
    return decide(route, request, unit)


UNITS = [b"user-%d" % number for number in range(200)]
DRAWN = [unit for unit in UNITS if gets(shop(CapRecord()), unit)[0] == "canary"]


def test_table_has_what_was_added_over_all_its_tables() -> None:
    one = table(20_000)
    units = [number * 0x9E3779B97F4A7C15 % 2**64 for number in range(1, 20_001)]
    assert all(one.add(unit) for unit in units)
    assert one.count == 20_000
    assert all(one.has(unit) for unit in units)
    assert not any(one.has(unit + 1) for unit in units)


def test_table_keeps_hashes_that_collide_and_the_hash_of_none() -> None:
    one = table(100)
    units = [0, *(7 + number * FIRST_TABLE for number in range(60)), 2**64 - 1]
    assert all(one.add(unit) for unit in units)
    assert all(one.has(unit) for unit in units)
    assert not one.has(7 + 60 * FIRST_TABLE)


def test_table_takes_no_more_than_it_has_room_for() -> None:
    one = table(1)
    assert one.room == FIRST_TABLE // 2
    assert all(one.add(unit) for unit in range(1, one.room + 1))
    assert not one.add(2**60)
    assert one.count == one.room


def test_longer_memory_of_the_same_record_has_room_for_more() -> None:
    memory = bytearray(size_for(FIRST_TABLE))
    struct.pack_into("<Q", memory, 0, MAGIC)
    small = CapTable(memoryview(memory)[: size_for(1)])
    while small.add(small.count + 1000):
        pass
    large = CapTable(memoryview(memory))
    assert large.count == small.count == FIRST_TABLE // 2
    assert large.add(5)
    assert large.has(5)
    assert large.has(1000)
    assert not small.has(5)  # it is in a table that the small one does not see
    assert small.has(1000)


def test_unit_that_is_replaced_is_forgotten_and_its_place_stays_taken() -> None:
    one = table(10)
    units = [7 + number * FIRST_TABLE for number in range(5)]
    for unit in units:
        one.add(unit)
    assert one.replace(units[1], 123456789)
    assert not one.replace(units[1], 5)
    assert [one.has(unit) for unit in units] == [True, False, True, True, True]
    assert one.count == 5


def test_recounting_believes_the_higher_number() -> None:
    one = table(10)
    for unit in range(1, 6):
        one.add(unit)
    one._words[1] = 3
    one.recount()
    assert one.count == 5
    one._words[1] = 6  # who added died before the entry was there
    one.recount()
    assert one.count == 6


def test_what_is_no_record_is_refused() -> None:
    for memory in (bytearray(8), bytearray(HEADER)):
        with pytest.raises(ValueError, match="no record of a cap"):
            CapTable(memoryview(memory))


def test_size_is_bounded() -> None:
    assert size_for(10_000) == HEADER + 8 * 4096 * (1 + 2 + 4)
    assert size_for(MOST) < 300 << 20


def test_below_the_cap_everything_is_as_without() -> None:
    route = shop(had(DRAWN[0]), 2)
    for unit in UNITS:
        assert gets(route, unit) == ("canary" if unit in DRAWN else "stable", SPLIT)


def test_at_the_cap_who_has_had_it_goes_on_and_others_get_what_is_next() -> None:
    route = shop(had(*DRAWN[:2]), 2)
    for unit in DRAWN[:2]:
        assert gets(route, unit) == ("canary", STICKY)
    for unit in DRAWN[2:]:
        decision = decided(route, unit)
        assert decision.version is not None
        assert (decision.version.name, decision.reason) == ("stable", SPLIT)
        assert decision.denied == 2  # so it is no evidence of the split, and no fallback either
        assert not decision.dealt
    for unit in set(UNITS) - set(DRAWN):
        assert gets(route, unit) == ("stable", SPLIT)


def test_cap_holds_against_rules_rings_and_all_other_kinds() -> None:
    rules = [
        {"label": "rules[0]", "units": ["new", "old"], "version": "canary"},
        {"label": "rules[1]", "where": {"source": "method", "test": "is", "value": "GET"}, "split": {"canary": 1, "blue": 1}},
    ]  # fmt: skip
    route = shop(had(b"old", more=1), 2, rules=rules)
    assert gets(route, b"old") == ("canary", OVERRIDE)
    assert gets(route, b"new") == ("blue", SEGMENT)
    assert {gets(route, unit) for unit in UNITS} == {("blue", SEGMENT)}


def test_cap_and_deny_and_kill_go_together() -> None:
    deny = [{"label": "rules[0]", "units": ["old"], "deny": "canary"}]
    assert gets(shop(had(b"old", more=1), 2, rules=deny), b"old")[0] == "stable"
    killed = shop(had(*DRAWN[:1], more=1), 2, kill=[{"label": "kill", "until": 0.0}])
    assert gets(killed, DRAWN[0]) == ("stable", KILL)
    denied = shop(had(more=2), 2, rules=[{"label": "rules[0]", "units": ["user-1"], "deny": "stable"}])
    assert gets(denied, b"user-1") in {("stable", DENY), ("blue", DENY)}


def test_without_a_record_nobody_gets_it() -> None:
    route = shop(None)
    assert {gets(route, unit) for unit in UNITS} == {("stable", SPLIT)}


def test_without_a_unit_it_is_open_while_the_cap_is_not_reached() -> None:
    rules = [{"label": "rules[0]", "where": {"source": "method", "test": "is", "value": "GET"}, "version": "canary"}]
    assert gets(shop(had(more=1), 2, rules=rules), None) == ("canary", SEGMENT)
    assert gets(shop(had(more=2), 2, rules=rules), None) == ("stable", DEFAULT)


def test_who_is_closed_out_moves_as_if_the_weight_were_nothing() -> None:
    cap = {"limit": 1, "file": ""}
    versions = [version_spec("a", 20.0), version_spec("b", 30.0, cap=cap), version_spec("c", 50.0)]
    full = build_plan(plan_spec(route_spec(versions=versions, default="a"))).routes[0]
    version_cap = full.by_name["b"].cap
    assert version_cap is not None
    version_cap.record = had(more=1)
    none = build_plan(plan_spec(route_spec(weights={"a": 20.0, "b": 0.0, "c": 50.0}, default="a"))).routes[0]
    assert [gets(full, unit)[0] for unit in UNITS] == [gets(none, unit)[0] for unit in UNITS]


def test_explanation_says_how_the_cap_stands() -> None:
    def step(record: CapRecord | None, unit: bytes) -> tuple[str, str]:
        request = request_head()
        request.unit = unit
        explained = explain(shop(record), request, unit, "header", {})
        (found,) = [one for one in explained["path"] if one["kind"] == "cap"]
        assert found["rule"] == "versions.canary.cap"
        assert explained["capped"] == (["canary"] if found["outcome"] == "takes out" else [])
        return found["outcome"], found["why"]

    assert step(CapRecord(), b"x") == ("does not hold", "how many units have had it is not known here; 2 may")
    assert step(had(more=1), b"x") == ("does not hold", "1 units have had it, 2 may")
    assert step(had(b"x", more=1), b"x") == ("does not hold", "2 units have had it, 2 may, and this one has")
    assert step(had(more=2), b"x") == ("takes out", "2 units have had it, 2 may, and this one has not")


def test_reasons_stay_those_of_the_list() -> None:
    route = shop(had(*DRAWN[:2]), 2)
    assert {REASONS[gets(route, unit)[1]] for unit in UNITS} == {"split", "sticky"}
