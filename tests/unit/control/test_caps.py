"""Caps in control: files before plans, units that the store knows, what is said when one is reached."""

import asyncio
import logging
import sqlite3
from pathlib import Path

import pytest

from proxy.cap_files import ADMITTED, CapFile
from proxy.control.caps import EARLY, OFTEN, Caps
from proxy.core.caps import FIRST_TABLE
from proxy.exposure.records import Records
from proxy.telemetry.facts import CapFacts, Facts
from tests.specs import plan_spec, route_spec, version_spec
from tests.unit.exposure.telling import NOW, Teller, store, unit_of


def spec_with(file: Path, limit: int = 2, epoch: int = 0):
    cap = {"limit": limit, "file": str(file)}
    versions = [version_spec("stable", 50.0), version_spec("canary", 50.0, cap=cap)]
    return plan_spec(route_spec(versions=versions, epoch=epoch))


class Room:
    def __init__(self, directory: Path):
        self.now = NOW + 1000
        self.facts = Facts()
        self.store = directory / "exposures.db"
        self.file = directory / "caps" / "shop~canary~0"
        self.caps = Caps(self.facts, lambda: self.store, lambda: directory / "caps", lambda: self.now)

    def bring(self, limit: int = 2, epoch: int = 0):
        asyncio.run(self.caps.bring(spec_with(self.file, limit, epoch)))

    def tick(self, seconds: float = 1.0):
        self.now += seconds
        asyncio.run(self.caps.tick())

    def stands(self):
        return self.facts.caps[("shop", "canary")]


@pytest.fixture
def room(tmp_path):
    return Room(tmp_path)


def test_file_is_there_before_the_plan_and_shows_what_workers_write(room):
    room.bring()
    assert room.stands() == CapFacts(0, 2)
    worker = CapFile(str(room.file))
    assert worker.admit(7, 2) == ADMITTED
    room.tick()
    assert (room.stands().units, room.stands().reached) == (1, False)


def test_units_before_the_cap_count(room):
    store(
        room.store,
        Teller().message(("a", "canary"), ("b", "stable"), ("c", "canary")),
        Teller().message(("d", "canary"), epoch=1),
        Teller().message(("e", "canary"), route="other"),
    ).close()
    room.bring(limit=3)
    assert room.stands().units == 2
    file = CapFile(str(room.file))
    assert [file.table.has(unit_of(name)) for name in "abcde"] == [True, False, True, False, False]


def test_more_units_than_the_cap_had_it_before(room):
    store(room.store, Teller().message(*((f"u{number}", "canary") for number in range(5)))).close()
    room.bring(limit=2)
    assert (room.stands().units, room.stands().reached) == (5, True)


def test_there_is_room_for_all_who_had_it_before_the_cap(room):
    units = [number * 0x9E3779B97F4A7C15 % 2**64 for number in range(1, FIRST_TABLE + 1)]
    store(room.store, Teller().message(*((unit, "canary") for unit in units))).close()
    room.bring(limit=2)
    assert room.stands().units == FIRST_TABLE
    file = CapFile(str(room.file))
    assert all(file.table.has(unit) for unit in units)


def test_what_the_store_hears_late_counts_too_and_what_a_loss_of_power_undid(room):
    records = Records(room.store)
    room.bring(limit=5)
    assert room.stands().units == 0
    records.write([Teller(room.now).message(("late", "canary"))], int(room.now * 1e6))
    room.tick(EARLY + 1)
    room.tick()
    assert room.stands().units == 1
    CapFile(str(room.file)).table.replace(unit_of("late"), 99)  # the disk never had it
    room.tick(OFTEN + 1)
    room.tick()
    assert CapFile(str(room.file)).table.has(unit_of("late"))
    records.close()


def test_reached_and_open_again_are_said_once(room, caplog):
    caplog.set_level(logging.INFO, "tidegate.control")
    room.bring(limit=2)
    file = CapFile(str(room.file))
    for unit in (5, 6):
        file.admit(unit, 2)
    for _ in range(3):
        room.tick()
    room.bring(limit=4)
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "route shop: 2 units have had version canary, and its cap is 2: nobody new gets it",
        "route shop: version canary is open to new units again: 2 of 4 have had it",
    ]


def test_erased_unit_is_forgotten_and_its_place_stays_taken(room):
    room.bring()
    file = CapFile(str(room.file))
    file.admit(7, 2)
    room.caps.forget(7)
    assert (file.table.has(7), file.table.count) == (False, 1)


def test_file_that_is_none_is_set_aside_and_begun_from_the_store(room, caplog):
    store(room.store, Teller().message(("a", "canary"))).close()
    room.file.parent.mkdir()
    room.file.write_bytes(b"x" * 9000)
    room.bring()
    assert (room.stands().units, room.stands().problem) == (1, "")
    assert [one.name for one in room.file.parent.iterdir() if "corrupt" in one.name] != []
    assert "set aside" in caplog.text


def test_file_that_cannot_be_made_is_said_and_closes_the_cap(room, caplog):
    room.file.parent.write_text("no directory")
    room.bring()
    assert room.stands().reached
    assert room.stands().problem
    assert "nobody gets it" in caplog.text


def test_file_that_could_not_be_made_is_tried_again(room, caplog):
    caplog.set_level(logging.INFO)
    store(room.store, Teller().message(("a", "canary"))).close()
    room.file.parent.write_text("no directory")
    room.bring()
    room.tick(EARLY)
    room.tick(OFTEN)
    assert room.stands().problem
    assert caplog.text.count("nobody gets it") == 1
    room.file.parent.unlink()
    room.tick(OFTEN)
    room.tick()
    assert (room.stands().units, room.stands().problem) == (1, "")
    assert "can be counted again" in caplog.text
    assert CapFile(str(room.file)).table.has(unit_of("a"))


def test_store_that_cannot_be_read_is_said_and_stops_nothing(room, caplog):
    room.store.write_bytes(b"this is no database, but long enough to look like one" * 100)
    room.bring()
    assert room.stands() == CapFacts(0, 2)
    assert "were not compared with the store" in caplog.text


def test_cap_that_left_is_shown_no_more_and_goes_on_when_it_returns(room):
    room.bring()
    CapFile(str(room.file)).admit(7, 2)
    asyncio.run(room.caps.bring(plan_spec(route_spec())))
    assert room.facts.caps == {}
    room.bring()
    assert room.stands().units == 1


def test_retention_frees_no_place(room):
    records = store(room.store, Teller().message(("a", "canary")))
    room.bring()
    records.tend(int((NOW + 500) * 1e6), 1 << 40)
    records.close()
    with sqlite3.connect(room.store) as database:
        assert database.execute("SELECT count(*) FROM e1").fetchone() == (0,)
    room.bring()
    assert room.stands().units == 1
