"""The store at work: what it answers, what it does about a disk that fails, and how it ends."""

import sqlite3
import threading

import pytest

from proxy.exposure import writer as module
from proxy.exposure.jsonl import Stream
from proxy.exposure.queries import Reader, Wanted
from proxy.exposure.records import Records
from proxy.exposure.writer import Keeping, Writer
from tests.unit.exposure.telling import NOW, Teller, store, unit_of

PATIENCE = 20.0


class House:
    """A writer, and whoever listens to it."""

    def __init__(self, path, **keeping):
        self.path = path
        self.teller = Teller()
        self.said = []
        self.heard = threading.Condition()
        self.keeping = Keeping(**({"retention": 1e9, "max_size": 1 << 40} | keeping))
        self.writer = Writer(path, self.keeping, lambda: NOW + 1000, self.hear)

    def hear(self, level, text):
        with self.heard:
            self.said.append((level, text))
            self.heard.notify_all()

    def until_said(self, words):
        with self.heard:
            assert self.heard.wait_for(lambda: any(words in text for _, text in self.said), PATIENCE), self.said

    def tell(self, *records, **parts):
        """Returns when they are stored."""
        assert self.start(*records, **parts).wait(PATIENCE), self.said

    def start(self, *records, **parts):
        stored = threading.Event()
        self.writer.take(self.teller.message(*records, **parts), stored.set)
        return stored

    def units(self):
        with Reader(self.path) as reader:
            return [one["unit"] for one in reader.find(Wanted(), 1000).records]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "e.db"


@pytest.fixture
def house(path):
    made = House(path)
    yield made
    made.writer.close()


def test_what_is_acknowledged_is_in_the_file(house):
    house.tell(("a", "stable"), ("a", "stable"), ("b", "canary"))
    assert len(house.units()) == 2
    standing = house.writer.standing
    assert (standing.recorded, standing.repeated, standing.records) == ({"shop": 2}, {"shop": 1}, 2)
    assert standing.failing == ""
    assert [one.counts for one in standing.ratios] == [{"stable": 1, "canary": 1}]


def test_what_waits_is_written_before_the_end(path):
    house = House(path)
    stored = [house.start((f"u{number}", "stable")) for number in range(50)]
    house.writer.close()
    assert all(one.is_set() for one in stored)
    assert len(house.units()) == 50


def test_a_full_disk_is_said_once_and_tried_again_until_there_is_room(house, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.001)
    write = Records.write
    failures = iter(range(5))

    def fail(self, payloads, now):
        if next(failures, None) is not None:
            raise sqlite3.OperationalError("database or disk is full")
        return write(self, payloads, now)

    monkeypatch.setattr(Records, "write", fail)
    house.tell(("a", "stable"))
    assert len(house.units()) == 1
    assert house.writer.standing.failures["store"] == 5
    house.until_said("are written again")
    said = [text for level, text in house.said if level == "error"]
    assert len(said) == 1
    assert "disk is full" in said[0]
    assert "traffic is served on" in said[0]


def test_a_corrupt_file_is_set_aside(path):
    store(path, Teller().message(*((f"u{number}", "a") for number in range(1000)))).close()
    data = bytearray(path.read_bytes())
    data[100:20000] = b"\xff" * 19900
    path.write_bytes(data)
    house = House(path)
    house.tell(("a", "stable"))
    house.writer.close()
    assert len(house.units()) == 1
    assert house.writer.standing.failures["corrupt"] == 1
    house.until_said("set aside")
    assert len(list(path.parent.glob("e.db.corrupt-*"))) == 1


def test_a_file_that_is_no_database_is_set_aside(path):
    path.write_bytes(b"not at all a database, but long enough to be looked at" * 100)
    house = House(path)
    house.tell(("a", "stable"))
    house.writer.close()
    assert house.writer.standing.failures["corrupt"] == 1


def test_a_directory_that_is_not_there_is_no_reason_to_stop(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.001)
    house = House(tmp_path / "not yet" / "e.db")
    stored = house.start(("a", "stable"))
    house.until_said("cannot be written")
    (tmp_path / "not yet").mkdir()
    assert stored.wait(PATIENCE)
    house.writer.close()


def test_a_store_that_never_opens_still_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.001)
    house = House(tmp_path / "never" / "e.db")
    stored = house.start(("a", "stable"))
    house.until_said("cannot be written")
    house.writer.close()
    assert not stored.is_set()
    assert not house.writer._thread.is_alive()


def test_two_processes_do_not_record_at_once(house, monkeypatch):
    monkeypatch.setattr(module, "PAUSE", 0.001)
    monkeypatch.setattr(module, "HANDOVER", 0.0)
    house.tell(("a", "stable"))
    second = House(house.path)
    stored = second.start(("b", "stable"))
    second.until_said("another process records there")
    assert not stored.is_set()
    house.writer.close()
    assert stored.wait(PATIENCE)
    second.writer.close()
    assert len(house.units()) == 2


def test_messages_that_cannot_be_read_are_counted_and_answered(house):
    stored = threading.Event()
    house.writer.take(b"nonsense", stored.set)
    assert stored.wait(PATIENCE)
    assert house.writer.standing.failures["message"] == 1
    house.until_said("could not be taken in")


def test_a_unit_is_erased_from_file_and_stream(path):
    stream = Stream(path.with_name("e.jsonl"), 1 << 20, 3)
    house = House(path, stream=stream)
    house.tell(("a", "stable"), ("b", "canary"))
    assert stream.path.read_text().count("\n") == 2
    assert house.writer.erase(unit_of("a")).result(PATIENCE) == 1
    assert house.writer.erase(unit_of("a")).result(PATIENCE) == 0
    assert len(house.units()) == 1
    assert stream.path.read_text().count("\n") == 1
    assert house.writer.standing.records == 1
    house.writer.close()


def test_an_erasure_that_nobody_waits_for_any_more_is_none_and_no_failure(house, monkeypatch):
    write = Records.write
    going, waiting = threading.Event(), threading.Event()

    def slow(self, payloads, now):
        waiting.set()
        assert going.wait(PATIENCE)
        return write(self, payloads, now)

    monkeypatch.setattr(Records, "write", slow)
    stored = house.start(("a", "stable"))
    assert waiting.wait(PATIENCE)
    assert house.writer.erase(unit_of("a")).cancel()
    going.set()
    assert stored.wait(PATIENCE)
    assert house.writer.erase(unit_of("b")).result(PATIENCE) == 0
    assert len(house.units()) == 1
    assert house.writer.standing.failures["store"] == 0
    assert house.said == []


def test_a_stream_that_cannot_be_written_is_said_once_and_hurts_nobody(path):
    house = House(path, stream=Stream(path.with_name("none") / "e.jsonl", 1 << 20, 3))
    house.tell(("a", "stable"))
    house.tell(("b", "stable"))
    house.writer.close()
    assert len(house.units()) == 2
    assert house.writer.standing.failures["stream"] == 2
    assert sum("cannot be written there" in text for _, text in house.said) == 1


def test_what_is_too_old_goes_when_the_store_is_opened_or_told(path, house, monkeypatch):
    monkeypatch.setattr(module, "TEND", 0.01)
    house.tell(("a", "stable"))
    house.writer.keep(Keeping(999.0, 1 << 40))
    house.until_said("1 exposures deleted")
    assert house.units() == []


def test_a_mismatch_is_a_warning(house):
    units = [(f"u{number}", "stable") for number in range(200)]
    house.tell(*units, weights='{"stable":50.0,"canary":50.0}')
    house.until_said("the split is not what was asked for")
    assert [level for level, text in house.said if "split" in text] == ["warning"]


def test_a_process_that_makes_way_is_waited_for_in_silence(house):
    house.tell(("a", "stable"))
    second = House(house.path)
    stored = second.start(("b", "stable"))
    house.writer.close()
    assert stored.wait(PATIENCE)
    second.writer.close()
    assert second.said == []
    assert second.writer.standing.failures["store"] == 0


def test_what_nobody_expected_does_not_end_the_writer(house, monkeypatch):
    write = Records.write
    failures = iter(range(1))

    def fail(self, payloads, now):
        if next(failures, None) is not None:
            raise KeyError("surprise")
        return write(self, payloads, now)

    monkeypatch.setattr(Records, "write", fail)
    house.tell(("a", "stable"))
    house.until_said("surprise")
    house.until_said("what they said is lost")
    house.tell(("b", "stable"))
    assert len(house.units()) == 1
    assert house.writer.standing.failures["message"] == 1
