"""Files of caps: shared by processes, counted exactly, longer when more may, and never an error of a request."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from proxy.cap_files import (
    ADMITTED,
    CONTENDED,
    FULL,
    KNOWN,
    CapFile,
    cap_file,
    forget_in_files,
    look_into_files,
    make_cap_file,
)
from proxy.core.build import build_flags
from proxy.core.caps import FIRST_TABLE, size_for
from proxy.core.hashing import UnitHasher
from tests.specs import plan_spec, request_head, route_spec, version_spec


def test_file_lies_beside_the_state() -> None:
    assert cap_file("sqlite:data/tidegate.db", "shop", "canary", 2) == "data/tidegate-caps/shop~canary~2"


def test_unit_is_admitted_once_and_nobody_beyond_the_cap(tmp_path: Path) -> None:
    file = make_cap_file(tmp_path / "caps" / "one", 2)
    assert [file.admit(unit, 2) for unit in (5, 5, 6, 7, 5, 6)] == [ADMITTED, KNOWN, ADMITTED, FULL, KNOWN, KNOWN]
    assert file.table.count == 2
    assert (tmp_path / "caps" / "one").stat().st_mode & 0o777 == 0o600


def test_what_one_writes_others_see_at_once_and_the_next_ones_too(tmp_path: Path) -> None:
    path = tmp_path / "one"
    first, second = make_cap_file(path, 2), CapFile(str(path))
    assert first.admit(5, 2) == ADMITTED
    assert second.admit(5, 2) == KNOWN
    assert second.admit(6, 2) == ADMITTED
    assert first.admit(7, 2) == FULL
    del first, second
    again = make_cap_file(path, 2)
    assert (again.table.count, again.admit(6, 2), again.admit(8, 2)) == (2, KNOWN, FULL)


def test_raised_cap_makes_the_file_longer_and_keeps_what_is_in_it(tmp_path: Path) -> None:
    path = tmp_path / "one"
    old = make_cap_file(path, 1)
    assert old.admit(5, 1) == ADMITTED
    large = make_cap_file(path, FIRST_TABLE)
    assert path.stat().st_size == size_for(FIRST_TABLE)
    assert not old.is_current()
    for unit in range(100, 100 + FIRST_TABLE):
        large.admit(unit, FIRST_TABLE)
    assert large.table.count == FIRST_TABLE
    assert (large.admit(5, FIRST_TABLE), old.admit(5, 1), old.admit(6, 1)) == (KNOWN, KNOWN, FULL)
    assert make_cap_file(path, 1).table.count == FIRST_TABLE  # a lowered one makes it no shorter


def test_lock_that_cannot_be_had_lets_nobody_in(tmp_path: Path) -> None:
    path = tmp_path / "one"
    file = make_cap_file(path, 2)
    with path.open("rb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert file.admit(5, 2) == CONTENDED
        with pytest.raises(TimeoutError):
            file.take_up([5], 1)
    assert file.admit(5, 2) == ADMITTED


def test_file_that_went_away_lets_nobody_in_and_keeps_who_has_had_it(tmp_path: Path) -> None:
    path = tmp_path / "one"
    file = make_cap_file(path, 2)
    file.admit(5, 2)
    path.unlink()
    assert (file.admit(5, 2), file.admit(6, 2)) == (KNOWN, CONTENDED)
    make_cap_file(path, 2)
    assert file.admit(6, 2) == CONTENDED  # another file is another record
    assert not file.is_current()


def test_units_of_the_store_are_taken_up_whatever_the_cap(tmp_path: Path) -> None:
    file = make_cap_file(tmp_path / "one", 2)
    file.admit(5, 2)
    assert file.take_up([5, 6, 7, 6], 1234) == 2
    assert (file.table.count, file.table.taken_up) == (3, 1234)
    assert file.admit(8, 2) == FULL


def test_forgotten_unit_is_new_and_frees_no_place(tmp_path: Path) -> None:
    file = make_cap_file(tmp_path / "one", 2)
    file.admit(5, 2)
    file.admit(6, 2)
    assert file.forget(5)
    assert not file.forget(5)
    assert (file.table.count, file.admit(5, 2), file.admit(6, 2)) == (2, FULL, KNOWN)


def test_what_is_no_such_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "one"
    path.write_bytes(b"x" * 100_000)
    with pytest.raises(ValueError, match="no record of a cap"):
        make_cap_file(path, 2)
    path.write_bytes(b"x")
    with pytest.raises(ValueError, match="no record of a cap"):
        CapFile(str(path))
    with pytest.raises(FileNotFoundError):
        CapFile(str(tmp_path / "none"))


def test_file_for_which_there_was_no_room_is_made_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(descriptor: int, start: int, size: int) -> None:
        os.ftruncate(descriptor, start + size // 2)
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as full:
        full.setattr(os, "posix_fallocate", half)
        with pytest.raises(OSError, match="No space"):
            make_cap_file(tmp_path / "one", 2)
    made = make_cap_file(tmp_path / "one", 2)
    assert made.admit(5, 2) == ADMITTED
    with monkeypatch.context() as full:
        full.setattr(os, "posix_fallocate", half)
        with pytest.raises(OSError, match="No space"):
            make_cap_file(tmp_path / "one", 1_000_000)
    assert made.is_current()
    assert CapFile(str(tmp_path / "one")).admit(5, 2) == KNOWN


def test_files_of_others_stay_as_they_are(tmp_path: Path) -> None:
    path, link = tmp_path / "notes", tmp_path / "link"
    path.write_bytes(b"not to be lost")
    link.symlink_to(path)
    with pytest.raises(ValueError, match="no record"):
        make_cap_file(path, 2)
    for open_link in (lambda: make_cap_file(link, 2), lambda: CapFile(str(link))):
        with pytest.raises(OSError, match="symbolic links"):
            open_link()
    assert path.read_bytes() == b"not to be lost"


def test_unit_is_forgotten_in_all_files_and_what_is_none_is_told(tmp_path: Path) -> None:
    files = [make_cap_file(tmp_path / name, 2) for name in ("shop~canary~0", "shop~canary~1")]
    for file in files:
        file.admit(5, 2)
    (tmp_path / "shop~canary~0.corrupt-1").write_bytes(b"x")
    (problem,) = forget_in_files(tmp_path, 5)
    assert problem.endswith("corrupt-1: this is no record of a cap")
    assert [file.table.has(5) for file in files] == [False, False]
    assert forget_in_files(tmp_path / "none", 5) == []


def test_flag_that_follows_a_route_says_what_its_cap_says(tmp_path: Path) -> None:
    path = tmp_path / "shop~canary~0"
    hasher = UnitHasher(b"key")
    cap = {"limit": 1, "file": str(path)}
    versions = [version_spec("stable", 0.0), version_spec("canary", 100.0, cap=cap)]
    flag = {
        "name": "new", "type": "string", "variants": {"stable": "stable", "canary": "canary"}, "default": "stable", "off": "stable",
        "on": True, "until": 0.0, "salt": "new", "route": "shop", "prerequisites": {}, "rules": [], "split": None,
    }  # fmt: skip
    flags = build_flags(plan_spec(route_spec(versions=versions, default="stable"), flags=[flag]))
    route = flags.flags["new"].route
    assert route is not None
    make_cap_file(path, 1).admit(int(hasher(b"al"), 16), 1)
    look_into_files([route], hasher)
    said = {}
    for unit in (b"al", b"bo"):
        request = request_head()
        request.unit = unit
        said[unit] = flags.evaluate("new", request, unit).variant
    assert said == {b"al": "canary", b"bo": "stable"}


def test_processes_that_write_at_once_never_exceed_the_cap_and_lose_nobody(tmp_path: Path) -> None:
    path = tmp_path / "one"
    cap = 3_000
    made = make_cap_file(path, cap)
    program = (
        "import sys\nfrom proxy.cap_files import *\nfile = CapFile(sys.argv[1])\nstart = int(sys.argv[2])\n"
        "units = [(start + n) % 4000 * 0x9E3779B97F4A7C15 % 2**64 for n in range(4000)]\n"
        "got = [(unit, file.admit(unit, 3000)) for unit in units]\n"
        "print(sum(o == ADMITTED for _, o in got), sum(o == CONTENDED for _, o in got))\n"
        "assert all(file.table.has(unit) for unit, o in got if o in (ADMITTED, KNOWN))\n"
    )
    running = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(path), str(start)],
            stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
        )
        for start in (0, 1000, 2000)
    ]  # fmt: skip
    said = [one.communicate(timeout=60)[0].split() for one in running]
    assert [one.returncode for one in running] == [0, 0, 0]
    assert sum(int(admitted) for admitted, _ in said) == made.table.count == cap
    made.table.recount()
    assert made.table.count == cap
