"""Lists of units as a worker borrows them: opened where control has them, replaced under the plans that use them."""

import os
from pathlib import Path
from typing import Any

import pytest

from proxy.dataplane.borrowing import Borrowed
from proxy.settings.unit_files import UnitFile, read_unit_file
from tests.specs import request_head


def read(tmp_path: Path, *units: bytes) -> UnitFile:
    path = tmp_path / "list.txt"
    path.write_bytes(b"\n".join(units))
    return read_unit_file(path)


def offer(**lists: UnitFile) -> dict[str, Any]:
    """The message."""
    return {
        "pid": os.getpid(),
        "lists": [
            {"name": name, "descriptor": one.memory.descriptor, "inode": one.memory.inode, "size": one.memory.size}
            for name, one in lists.items()
        ],
    }


def has(borrowed: Borrowed, name: str, unit: bytes) -> bool:
    request = request_head()
    request.unit = unit
    return borrowed.lists[name].has_unit(request)


def test_list_is_taken_and_its_table_replaced_under_who_holds_it(tmp_path: Path) -> None:
    borrowed = Borrowed()
    first = read(tmp_path, b"alice")
    borrowed.take(offer(a=first))
    held = borrowed.lists["a"]
    table = held.table
    borrowed.take(offer(a=first))
    assert held.table is table
    second = read(tmp_path, b"bob")
    borrowed.take(offer(a=second))
    assert borrowed.lists["a"] is held
    assert (has(borrowed, "a", b"alice"), has(borrowed, "a", b"bob")) == (False, True)


def test_memory_stays_when_its_owner_has_let_it_go(tmp_path: Path) -> None:
    borrowed = Borrowed()
    one = read(tmp_path, b"alice")
    borrowed.take(offer(a=one))
    del one
    assert has(borrowed, "a", b"alice")


@pytest.mark.parametrize("wrong", [{"pid": 2**22 + 1}, {"descriptor": 10**6}, {"inode": 1}, {"size": 64}])
def test_list_that_is_not_there_any_more_leaves_the_one_before(
    tmp_path: Path, wrong: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    borrowed = Borrowed()
    one = read(tmp_path, b"alice")
    borrowed.take(offer(a=one))
    another = read(tmp_path, b"bob")
    message = offer(a=another, b=another)
    for key, value in wrong.items():
        if key == "pid":
            message[key] = value
        else:
            message["lists"][0][key] = value
    borrowed.take(message)
    assert has(borrowed, "a", b"alice")
    assert "the list a could not be taken" in caplog.text
    assert ("b" in borrowed.lists) is ("pid" not in wrong)
    borrowed.take(offer(a=another))  # told once more
    assert has(borrowed, "a", b"bob")


def test_descriptor_that_has_become_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    borrowed = Borrowed()
    reader, writer = os.pipe()
    one = read(tmp_path, b"alice")
    message = offer(a=one)
    message["lists"][0]["descriptor"] = reader
    borrowed.take(message)
    assert borrowed.lists == {}
    os.close(reader)
    os.close(writer)


def test_list_goes_when_neither_control_nor_the_plan_has_it(tmp_path: Path) -> None:
    borrowed = Borrowed()
    one = read(tmp_path, b"alice")
    borrowed.take(offer(a=one, b=one))
    held = borrowed.lists["a"]
    borrowed.take(offer(b=one))
    borrowed.leave(["a"])  # the plan before, which is still in force
    borrowed.take(offer(a=one, b=one))
    assert borrowed.lists["a"] is held
    borrowed.take(offer(b=one))
    borrowed.leave([])
    assert list(borrowed.lists) == ["b"]
