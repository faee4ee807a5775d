"""Lists of units in a block of memory: who is in them, exactly."""

import pytest
from mmh3 import mmh3_32_uintdigest

from proxy.core.unit_table import HEADER, MAX_SIZE, TableBuilder, UnitList, UnitTable, table_size
from tests.specs import request_head
from tests.unit.core.unit_tables import built, table_of


def test_units_are_in_it_and_others_are_not():
    table = table_of(b"alice", b"bob", "Müller".encode())
    assert table.units == 3
    for unit in (b"alice", b"bob", "Müller".encode()):
        assert table.contains(unit)
    for unit in (b"", b"al", b"alice ", b"Alice", b"carol", b"alicebob", b"\n", b"x" * 5000):
        assert not table.contains(unit)


def test_unit_with_a_line_end_is_not_two_that_are_neighbours():
    table = table_of(b"a", b"b")
    assert not table.contains(b"a\nb")
    assert not table.contains(b"a\n")


def test_equal_hashes_are_told_apart():
    one, other = b"user4266074", b"user8200374"
    assert mmh3_32_uintdigest(one, 0) == mmh3_32_uintdigest(other, 0)
    assert table_of(one).contains(one)
    assert not table_of(one).contains(other)
    both = table_of(one, other)
    assert both.units == 2
    assert both.contains(one)
    assert both.contains(other)


def test_unit_that_is_there_twice_counts_once_and_is_blanked_out():
    builder, table = built([b"a", b"bb", b"a", b"bb", b"a"])
    assert (builder.units, builder.duplicates, table.units) == (2, 3, 2)
    assert table.absent_from(table_of()) == 2


def test_nobody_is_in_an_empty_list():
    table = table_of()
    assert table.units == 0
    assert not table.contains(b"")
    assert not table.contains(b"alice")


def test_a_search_goes_round_the_end_of_the_table():
    units = [unit for n in range(4000) if mmh3_32_uintdigest(unit := b"u%d" % n, 0) > 0xFFFFFFFF * 0.99]
    table = table_of(*units)
    assert len(units) > 20
    assert all(table.contains(unit) for unit in units)
    assert not any(table.contains(unit + b"x") for unit in units)


def test_who_enters_is_counted():
    old, new = table_of(b"a", b"b", b"c"), table_of(b"c", b"d", b"e", b"f")
    assert (new.absent_from(old), old.absent_from(new), old.absent_from(old)) == (3, 2, 0)


def test_large_list_is_made_in_several_bites():
    units = [b"user-%d" % number for number in range(20_000)]
    builder, table = built(units, room=100)
    assert builder.units == table.units == 20_000
    assert table.contains(units[0])
    assert table.contains(units[-1])
    assert not table.contains(b"user-20000")
    assert table.absent_from(table_of(*units[:5])) == 19_995


@pytest.mark.parametrize(
    "memory",
    [b"", b"x" * 63, bytes(200), (0x3154494E5547544A).to_bytes(8, "little") + b"\xff" * 56],
    ids=["nothing", "short", "zeros", "a header that promises more"],
)
def test_what_is_no_table_is_refused(memory):
    with pytest.raises(ValueError, match="no table"):
        UnitTable(memoryview(memory))


def test_table_that_was_cut_off_is_refused():
    whole = bytes(built([b"a", b"b"])[1]._memory)
    with pytest.raises(ValueError, match="no table"):
        UnitTable(memoryview(whole[:-8]))


def test_more_than_an_entry_can_name_is_refused():
    with pytest.raises(ValueError, match="bytes of units"):
        TableBuilder(memoryview(bytearray(HEADER)), 1, MAX_SIZE + 1)
    memory = bytearray(table_size(1, 1 << 17))
    with pytest.raises(ValueError, match="a unit of more"):
        TableBuilder(memoryview(memory), 1, 1 << 17).step()


def test_a_list_goes_by_the_requests_unit_and_its_table_may_be_replaced():
    units = UnitList(table_of(b"alice"))
    request = request_head()
    assert not units.has_unit(request)
    request.unit = b"alice"
    assert units.has_unit(request)
    units.table = table_of(b"bob")
    assert not units.has_unit(request)
