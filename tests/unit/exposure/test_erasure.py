"""Forgetting one unit, in the file of a proxy that runs and of one that does not."""

from proxy.exposure.erasure import erase_records
from proxy.exposure.queries import Reader, Wanted
from proxy.exposure.schema import open_for_writing, signed
from tests.unit.exposure.telling import Teller, store, unit_of


def test_a_unit_is_forgotten_and_nobody_else(tmp_path):
    path = tmp_path / "e.db"
    teller = Teller()
    records = store(path, segment_records=3)
    for version in "aba":
        records.write([teller.message(*((f"u{number}", version) for number in range(5)), raw=b"RAWNAME")], 0)
    beside = open_for_writing(path)
    assert erase_records(beside, signed(unit_of("u2"))) == 3
    assert erase_records(beside, signed(unit_of("u2"))) == 0
    beside.close()
    with Reader(path) as reader:
        assert reader.find(Wanted(unit=unit_of("u2"))).records == []
        assert len(reader.find(Wanted(), 100).records) == 12
        assert {one.version: (one.units, one.records) for one in reader.summary()} == {"a": (4, 8), "b": (4, 4)}
    # The writer goes on, and whoever was erased is new to it.
    written = records.write([teller.message(("u2", "a"), ("u3", "a"))], 0)
    assert (written.recorded, written.repeated) == ({"shop": 1}, {"shop": 1})
    records.close()
    with Reader(path) as reader:
        assert [one["first"] for one in reader.find(Wanted(unit=unit_of("u2"))).records] == [True]


def test_nothing_of_it_is_left_in_the_files(tmp_path):
    path = tmp_path / "e.db"
    teller = Teller()
    records = store(path, teller.message(("u1", "a"), raw=b"ALICE-IN-CLEAR"), teller.message(("u2", "a"), raw=b"BOB"))
    erase_records(records.database, signed(unit_of("u1")))
    everything = b"".join(file.read_bytes() for file in tmp_path.iterdir())
    assert b"ALICE-IN-CLEAR" not in everything
    assert b"BOB" in everything
    records.close()
