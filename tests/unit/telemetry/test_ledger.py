import json

import pytest

from proxy.telemetry import ledger as ledger_module
from proxy.telemetry.counters import (
    E_DOWN,
    REGION_SLOTS,
    U_ACTIVE,
    V_FLAGS,
    V_IN_FLIGHT,
    V_REASONS,
    W_ACCEPTED,
    W_CONNECTIONS,
    WORKER_SLOTS,
)
from proxy.telemetry.ledger import Ledger, LedgerError, LedgerFullError
from tests.unit.telemetry.memory import cells_of, endpoint_spec, shop_spec, versions_spec


def version_slot(placed, route, version):
    (found,) = (one for one in placed["routes"] if one["name"] == route)
    return next(one["slot"] for one in found["versions"] if one["name"] == version)


def test_every_part_of_a_plan_gets_a_slot_behind_the_workers_own_block():
    with cells_of() as cells:
        given = shop_spec()
        before = json.dumps(given)
        placed = Ledger(cells).place(given)
        stable, canary = placed["routes"][0]["versions"]
        assert len(stable["codes"]) == 1
        assert len(canary["codes"]) == 2  # itself, then its fallback
        slots = [
            placed["none_slot"], placed["none_codes"], stable["slot"], *stable["codes"], stable["codes_none"],
            canary["slot"], *canary["codes"], canary["codes_none"], placed["routes"][0]["mirror"][0]["slot"],
            *(one["slot"] for one in placed["upstreams"]), placed["upstreams"][0]["endpoints"][0]["slot"],
        ]  # fmt: skip
        assert len(set(slots)) == len(slots)
        assert min(slots) >= WORKER_SLOTS
        assert json.dumps(given) == before


def test_labels_keep_their_slots_when_weights_and_neighbours_change():
    with cells_of() as cells:
        ledger = Ledger(cells)
        before = ledger.place(versions_spec(1, {"a": ["x", "y"]}))
        after = ledger.place(versions_spec(2, {"z": ["n"], "a": ["y", "x", "w"]}))
        for version in ("x", "y"):
            assert version_slot(before, "a", version) == version_slot(after, "a", version)


def test_a_version_that_comes_back_finds_its_counts(monkeypatch):
    with cells_of() as cells:
        ledger = Ledger(cells)
        slot = version_slot(ledger.place(versions_spec(1, {"a": ["x", "y"]})), "a", "y")
        ledger.place(versions_spec(2, {"a": ["x"]}))
        assert not ledger.settled(2)
        assert version_slot(ledger.place(versions_spec(3, {"a": ["x", "y"]})), "a", "y") == slot


def fold_one(ledger, cells, monkeypatch):
    monkeypatch.setitem(ledger_module.RETIRED_LIMITS, "version", 0)
    placed = ledger.place(versions_spec(1, {"a": ["x", "y"]}))
    for worker in range(cells.workers):
        cells.view[worker * REGION_SLOTS + version_slot(placed, "a", "y") + V_REASONS] = 3
        cells.view[worker * REGION_SLOTS + placed["routes"][0]["versions"][1]["codes"][0] + 200] = 2
    ledger.place(versions_spec(2, {"a": ["x"]}))
    return placed


def test_the_oldest_retired_version_folds_into_removed_only_when_all_have_settled(monkeypatch):
    with cells_of(2) as cells:
        ledger = Ledger(cells)
        fold_one(ledger, cells, monkeypatch)
        assert not ledger.settled(1)
        assert ("a", "y") in dict(ledger.blocks("version"))
        assert ledger.settled(2)
        assert ("a", "y") not in dict(ledger.blocks("version"))
        assert ledger.folded("version")["a", "removed"] == {V_REASONS: 6}
        assert ledger.folded("codes")["a", "removed", "removed"] == {200: 4}


def test_a_freed_block_is_cleared_in_all_regions_before_another_has_it(monkeypatch):
    with cells_of(2) as cells:
        ledger = Ledger(cells)
        freed = version_slot(fold_one(ledger, cells, monkeypatch), "a", "y")
        ledger.settled(2)
        assert cells.total(freed + V_REASONS) == 6  # until it is given away: a crash must not lose it
        slot = version_slot(ledger.place(versions_spec(3, {"a": ["x", "new"]})), "a", "new")
        assert slot == freed
        assert cells.total(slot + V_REASONS) == 0


def test_routes_that_are_gone_are_bounded_too(monkeypatch):
    monkeypatch.setitem(ledger_module.RETIRED_LIMITS, "version", 0)
    monkeypatch.setattr(ledger_module, "REMOVED_ROUTES", 2)
    with cells_of() as cells:
        ledger = Ledger(cells)
        for generation in range(1, 8):
            placed = ledger.place(versions_spec(generation, {f"r{generation}": ["x"]}))
            cells.view[version_slot(placed, f"r{generation}", "x") + V_FLAGS] = 1
            ledger.settled(generation)
        routes = {route for route, _ in ledger.folded("version")}
        assert routes == {"removed", "r5", "r6"}
        assert sum(one.get(V_FLAGS, 0) for one in ledger.folded("version").values()) == 6
        assert ledger.folded("version")["removed", "removed"] == {V_FLAGS: 4}


def test_a_dump_loads_into_the_same_ledger(monkeypatch):
    with cells_of() as cells:
        ledger = Ledger(cells)
        fold_one(ledger, cells, monkeypatch)
        ledger.settled(2)
        again = Ledger.load(ledger.dump(), cells)
        assert again.dump() == ledger.dump()
        assert again.folded("version") == ledger.folded("version")
        assert again.place(versions_spec(3, {"a": ["x", "n"]})) == ledger.place(versions_spec(3, {"a": ["x", "n"]}))


def test_the_newest_of_the_workers_dumps_is_taken():
    with cells_of() as cells:
        ledger = Ledger(cells)
        ledger.place(versions_spec(1, {"a": ["x"]}))
        old = ledger.dump()
        ledger.place(versions_spec(2, {"a": ["x", "y"]}))
        assert Ledger.newest([old, ledger.dump(), old], cells).serial == ledger.serial
        with pytest.raises(LedgerError, match="no worker"):
            Ledger.newest([], cells)


@pytest.mark.parametrize("data", [b"", b"[]", b"{}", b"\xff", b'{"format": 1, "layout": {}}', b'{"format": 2}'])
def test_what_is_no_ledger_is_refused(data):
    with cells_of() as cells, pytest.raises(LedgerError):
        Ledger.load(data, cells)


def test_a_plan_that_does_not_fit_changes_nothing(monkeypatch):
    with cells_of() as cells:
        ledger = Ledger(cells)
        ledger.place(versions_spec(1, {"a": ["x"]}))
        before = ledger.dump()
        monkeypatch.setattr(ledger_module, "LEDGER_SLOTS", ledger.used + 100)
        with pytest.raises(LedgerFullError, match=r"100 of .* are left"):
            ledger.place(versions_spec(2, {"a": ["x", "y"]}))
        monkeypatch.undo()
        assert ledger.dump() == before


def test_addresses_that_do_not_fit_leave_the_old_ones_in_place(monkeypatch):
    with cells_of() as cells:
        ledger = Ledger(cells)
        ledger.place(shop_spec(1))
        before = ledger.dump()
        monkeypatch.setattr(ledger_module, "LEDGER_SLOTS", ledger.used + 1)
        with pytest.raises(LedgerFullError):
            ledger.place_endpoints("u", [endpoint_spec("http://shop:80", "10.0.0.1", 80)])
        monkeypatch.undo()
        assert ledger.dump() == before


def test_the_present_of_a_dead_worker_is_cleared_and_its_counts_stay():
    with cells_of(2) as cells:
        ledger = Ledger(cells)
        placed = ledger.place(shop_spec())
        slot = placed["routes"][0]["versions"][0]["slot"]
        upstream = placed["upstreams"][0]["slot"]
        endpoint = placed["upstreams"][0]["endpoints"][0]["slot"]
        present = [slot + V_IN_FLIGHT, upstream + U_ACTIVE, endpoint + E_DOWN, W_CONNECTIONS]
        past = [slot + V_REASONS, W_ACCEPTED]
        for region in (0, REGION_SLOTS):
            for place in present + past:
                cells.view[region + place] = 5
        ledger.reset_present(cells.view, 1)
        assert [cells.total(place) for place in present] == [5, 5, 5, 5]
        assert [cells.view[place] for place in present] == [5, 5, 5, 5]
        assert [cells.total(place) for place in past] == [10, 10]


def test_addresses_that_come_back_have_their_block_and_waiting_ones_are_bounded(monkeypatch):
    monkeypatch.setattr(ledger_module, "WAITING_ENDPOINTS", 3)
    monkeypatch.setitem(ledger_module.RETIRED_LIMITS, "endpoint", 1)
    with cells_of() as cells:
        ledger = Ledger(cells)
        ledger.place(shop_spec(1))
        names = [endpoint_spec("http://shop:80", f"10.0.0.{number}", 80) for number in range(9)]
        first = ledger.place_endpoints("u", names[:1])[0]["slot"]
        ledger.place_endpoints("u", names[1:2])
        assert ledger.place_endpoints("u", names[:1])[0]["slot"] == first
        for name in names[1:]:
            slots = [one["slot"] for one in ledger.place_endpoints("u", [name, names[0]])]
        assert slots[1] == first
        assert ("u", "other") in dict(ledger.blocks("endpoint"))
        assert not ledger.settled(1)  # they were named in generation 1
        ledger.place(shop_spec(2))
        assert ledger.settled(2)
        assert len(list(ledger.blocks("endpoint"))) == 2  # the plan's own, and one retired
