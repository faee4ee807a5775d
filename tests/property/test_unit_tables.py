"""A table of units is the set of them, whatever they are and in whatever order."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.core.unit_tables import built

# Few and short, so that the same come again; and some that are like real ones.
units = st.one_of(
    st.binary(min_size=1, max_size=3).filter(lambda unit: b"\n" not in unit),
    st.integers(0, 300).map(lambda number: b"user-%d" % number),
)


@given(st.lists(units, max_size=200), st.lists(units, max_size=50))
def test_table_is_the_set(listed: list[bytes], asked: list[bytes]) -> None:
    builder, table = built(listed)
    held = set(listed)
    assert table.units == builder.units == len(held)
    assert builder.duplicates == len(listed) - len(held)
    for unit in (*listed, *asked, b"", b"\n".join(listed)):
        assert table.contains(unit) is (unit in held)


@given(st.lists(units, max_size=100), st.lists(units, max_size=100))
def test_difference_is_that_of_the_sets(one: list[bytes], other: list[bytes]) -> None:
    assert built(one)[1].absent_from(built(other)[1]) == len(set(one) - set(other))
