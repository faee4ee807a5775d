"""The access log can be moved, turned off and rotated, and one that cannot be opened takes nobody down."""

import asyncio
import logging

import pytest

from proxy.control.access_file import AccessFile
from proxy.errors import TidegateError


@pytest.fixture
def access():
    access = AccessFile()
    yield access
    access.close()


def test_lines_go_nowhere_until_it_is_opened(access, tmp_path):
    access.write(b"lost\n")
    access.reopen()
    assert access.lost == {}
    access.open("off")
    access.write(b"lost\n")
    assert access.target == "off"
    access.open(str(tmp_path / "log"))
    access.write(b"kept\n")
    access.close()
    assert (tmp_path / "log").read_bytes() == b"kept\n"
    assert access.lost == {"full": 0, "failed": 0}


def test_what_was_queued_before_a_move_goes_to_the_old_file(access, tmp_path):
    old, new = tmp_path / "old", tmp_path / "new"
    access.open(str(old))
    access.write(b"1\n")
    asyncio.run(access.move(str(new)))
    access.write(b"2\n")
    asyncio.run(access.move("off"))
    access.write(b"3\n")
    assert access.target == "off"
    assert (old.read_bytes(), new.read_bytes()) == (b"1\n", b"2\n")


def test_a_file_that_cannot_be_opened_ends_a_start_and_not_a_reload(access, tmp_path, caplog):
    nowhere = str(tmp_path / "missing" / "log")
    with pytest.raises(TidegateError, match=f"access_log: {nowhere} cannot be opened: No such file"):
        access.open(nowhere)
    access.open(str(tmp_path / "log"))
    with caplog.at_level(logging.ERROR):
        asyncio.run(access.move(nowhere))
    assert "cannot be opened: No such file" in caplog.text
    assert access.target == "off"


def test_a_rotated_file_is_opened_anew(access, tmp_path):
    path = tmp_path / "log"
    access.open(str(path))
    path.rename(tmp_path / "log.1")
    access.reopen()
    access.write(b"1\n")
    access.close()
    assert path.read_bytes() == b"1\n"


def test_lost_lines_stay_counted_when_the_log_moves(access, tmp_path):
    access.open("/dev/full")
    access.write(b"1\n2\n")
    asyncio.run(access.move("/dev/full"))
    access.write(b"3\n")
    asyncio.run(access.move("off"))
    assert access.lost == {"full": 0, "failed": 3}
    access.open(str(tmp_path / "log"))
    assert access.lost == {"full": 0, "failed": 3}
