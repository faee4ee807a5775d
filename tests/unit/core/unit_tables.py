"""Tables of units made in plain memory, for tests."""

from collections.abc import Iterable

from proxy.core.unit_table import HEADER, TableBuilder, UnitTable, table_size


def built(units: Iterable[bytes], *, room: int = 0) -> tuple[TableBuilder, UnitTable]:
    """The table, and what made it; `room` for more units than there are."""
    listed = list(units)
    data = b"".join(unit + b"\n" for unit in listed)
    memory = bytearray(table_size(len(listed) + room, len(data)))
    memory[HEADER : HEADER + len(data)] = data
    builder = TableBuilder(memoryview(memory), len(listed) + room, len(data))
    while builder.step():
        pass
    return builder, UnitTable(memoryview(bytes(memory)))


def table_of(*units: bytes) -> UnitTable:
    return built(units)[1]
