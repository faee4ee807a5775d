"""What is kept of what workers say: each first assignment, each change, and nothing twice."""

import sqlite3

import pytest

from proxy.channel.exposures import RANDOMISED, ROBOT
from proxy.core.plan import OVERRIDE, STICKY
from proxy.exposure.queries import Reader, Wanted
from proxy.exposure.records import Records
from proxy.exposure.schema import OtherSchemaError, file_beside
from tests.unit.exposure.telling import NOW, Teller, store, unit_of


@pytest.fixture
def path(tmp_path):
    return tmp_path / "exposures.db"


def history(path, unit="u"):
    """What a unit got, the oldest first: version, the one before, whether it was its first record."""
    with Reader(path) as reader:
        records = reader.find(Wanted(unit=unit_of(unit)), 1000).records
    return [(one["version"], one["before"], one["first"]) for one in reversed(records)]


def test_first_assignment_and_changes_are_kept(path):
    teller = Teller()
    store(path, *(teller.message(("u", version)) for version in ("a", "b", "a"))).close()
    assert history(path) == [("a", None, True), ("b", "a", False), ("a", "b", False)]


def test_what_is_known_is_told_in_vain(path):
    teller = Teller()
    records = store(path)
    assert records.write([teller.message(("u", "a"), ("u", "a"))], 0).repeated == {"shop": 1}  # in one message
    twice = records.write([teller.message(("u", "a")), teller.message(("u", "a"))], 0)  # of two workers
    assert (twice.recorded, twice.repeated) == ({}, {"shop": 2})
    records.close()
    again = Records(path)  # after a restart
    assert again.write([teller.message(("u", "a"), ("v", "a"))], 0).recorded == {"shop": 1}
    again.close()
    assert history(path) == [("a", None, True)]


def test_a_new_reason_is_a_change_and_a_pin_is_none(path):
    teller = Teller()
    message = teller.message(
        ("u", "a"), ("u", "a", STICKY), ("u", "a", OVERRIDE, "rules[0]"), ("u", "a", OVERRIDE, "rules[1]")
    )
    written = store(path).write([message], 0)
    assert (written.recorded, written.repeated) == ({"shop": 3}, {"shop": 1})


def test_units_are_told_apart_by_route(path):
    teller = Teller()
    written = store(path).write([teller.message(("u", "a")), teller.message(("u", "a"), route="cart")], 0)
    assert written.recorded == {"shop": 1, "cart": 1}
    with Reader(path) as reader:
        assert [one["first"] for one in reader.find(Wanted(unit=unit_of("u"))).records] == [True, True]


def test_known_units_are_known_over_segments_and_restarts(path):
    teller = Teller()
    records = store(path, segment_records=10)
    for number in range(100):
        records.write([teller.message((f"u{number}", "a"))], 0)
    records.close()
    records = Records(path, segment_records=10)
    written = records.write([teller.message(*((f"u{number}", "a") for number in range(100)))], 0)
    assert (written.recorded, written.repeated) == ({}, {"shop": 100})
    written = records.write([teller.message(*((f"u{number}", "b") for number in range(0, 100, 2)))], 0)
    assert written.recorded == {"shop": 50}
    assert records.records() == 150
    records.close()
    assert history(path, "u4") == [("a", None, True), ("b", "a", False)]


def test_a_message_that_cannot_be_read_does_not_spoil_the_others(path):
    teller = Teller()
    written = store(path).write([b"nonsense", teller.message(("u", "a"))], 0)
    assert (written.broken, written.recorded) == (1, {"shop": 1})


def test_an_error_leaves_nothing_half_written(path, monkeypatch):
    teller = Teller()
    records = store(path)

    def fail(*_):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(records.ratios, "save", fail)
    with pytest.raises(sqlite3.OperationalError, match="full"):
        records.write([teller.message(("u", "a"))], 0)
    records.close()
    again = Records(path)
    assert again.records() == 0
    assert again.write([teller.message(("u", "a"))], 0).recorded == {"shop": 1}
    again.close()
    assert history(path) == [("a", None, True)]


# Letting go.


def test_what_is_too_old_goes_and_counts_no_more(path):
    teller = Teller()
    records = store(path, segment_records=10)
    for number in range(25):
        records.write([teller.message((f"u{number}", "a"))], 0)
    assert records.tend(int((NOW + 15) * 1e6), 1 << 40) == 15
    with Reader(path) as reader:
        (summary,) = reader.summary()
        assert (summary.units, summary.records, summary.first) == (10, 10, NOW + 15)
        assert len(reader.find(Wanted(), 100).records) == 10
    written = records.write([teller.message(("u1", "a"), ("u20", "a"))], 0)
    assert (written.recorded, written.repeated) == ({"shop": 1}, {"shop": 1})  # who was forgotten is new
    records.close()


def test_size_is_bounded_by_letting_the_oldest_go(path):
    teller = Teller()
    records = store(path, segment_records=500)
    for _ in range(20):
        first = int(teller.now)
        records.write([teller.message(*((first + number, "a") for number in range(500)))], 0)
    size = records.size()
    gone = records.tend(0, size // 2)
    assert gone > 4000
    assert records.size() <= size // 2
    with Reader(path) as reader:
        assert reader.find(Wanted(), 1).records[0]["at"] == teller.now - 1
    records.close()


def test_words_that_nobody_uses_go_with_their_segment(path):
    teller = Teller()
    records = store(path, segment_records=1)
    for number in range(5):
        records.write([teller.message((f"u{number}", "a"), weights=f'{{"a":{number + 1}.0}}')], 0)
    records.tend(int((NOW + 3) * 1e6), 1 << 40)
    assert not [text for text in records.words().values() if text in ('{"a":1.0}', '{"a":2.0}')]
    records.write([teller.message(("u9", "a"), weights='{"a":1.0}')], 0)
    records.close()
    with Reader(path) as reader:
        assert [one["weights"] for one in reader.find(Wanted(), 9).records] == [{"a": 1.0}, {"a": 5.0}, {"a": 4.0}]


# The file.


def test_all_fields_are_kept(path):
    teller = Teller()
    message = teller.message(
        ("u", "canary", OVERRIDE, "rules[2]"), flags=ROBOT, bucket=-1, epoch=4, plan=99, source="minted", raw=b"al\xffice",
        request_id=b"my-own-id",
    )  # fmt: skip
    store(path, message).close()
    with Reader(path) as reader:
        (record,) = reader.find(Wanted()).records
    assert record == {
        "at": NOW, "route": "shop", "unit": f"{unit_of('u'):016x}", "raw": "al\\xffice", "source": "minted", "version": "canary",
        "before": None, "first": True, "reason": "override", "rule": "rules[2]", "randomised": False, "bot": True, "bucket": -1,
        "weights": {"stable": 95.0, "canary": 5.0}, "plan": 99, "epoch": 4, "request_id": "my-own-id",
    }  # fmt: skip
    assert RANDOMISED != ROBOT


def test_the_file_is_for_its_owner_alone_and_beside_the_state(path, tmp_path):
    store(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    assert file_beside("sqlite:tidegate.db", tmp_path) == tmp_path / "tidegate-exposures.db"
    assert file_beside("sqlite:/var/lib/state", tmp_path).as_posix() == "/var/lib/state-exposures.db"


def test_a_file_of_another_version_is_not_touched(path):
    database = sqlite3.connect(path)
    database.execute("CREATE TABLE other (x)")
    database.commit()
    database.close()
    before = path.read_bytes()
    with pytest.raises(OtherSchemaError, match="move the file away"):
        Records(path)
    assert path.read_bytes() == before
    with pytest.raises(Exception, match="nothing was recorded"):
        Reader(path)


def test_a_unit_that_goes_to_and_fro_is_one_unit_of_each_version(path):
    teller = Teller()
    records = store(path)
    for number in range(300):
        records.write([teller.message(("u", "ab"[number % 2]))], 0)
    written = records.write([teller.message(("u", "b"), ("u", "c"), ("u", "a"))], 0)
    assert (written.recorded, written.repeated) == ({"shop": 2}, {"shop": 1})
    records.close()
    with Reader(path) as reader:
        assert {one.version: one.units for one in reader.summary()} == {"a": 1, "b": 1, "c": 1}


def test_sieves_of_another_size_are_made_anew(path):
    teller = Teller()
    records = store(path, *(teller.message((f"u{number}", "a")) for number in range(9)), segment_records=3)
    records.database.execute("UPDATE segments SET sieve = x'00' WHERE sealed")
    records.close()
    records = Records(path)
    assert records.write([teller.message(*((f"u{number}", "a") for number in range(9)))], 0).repeated == {"shop": 9}
    records.close()
