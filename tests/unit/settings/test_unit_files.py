"""Files of units: what counts as one, what is left out and counted, and what stays when a file goes bad."""

import fcntl
import gc
import os
from pathlib import Path

import pytest

from proxy.settings import SettingsError, unit_files
from proxy.settings.loader import Loader
from proxy.settings.unit_files import MAX_UNIT, UnitFileError, UnitFiles, read_unit_file

NOTHING = {"not_text": 0, "too_long": 0, "duplicate": 0}


def written(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "list.txt"
    path.write_bytes(content)
    return path


def members(path: Path, *asked: bytes) -> list[bool]:
    table = read_unit_file(path).table()
    return [table.contains(one) for one in asked]


@pytest.mark.parametrize(
    ("content", "units"),
    [
        (b"alice\nbob\n", [b"alice", b"bob"]),
        (b"alice\nbob", [b"alice", b"bob"]),
        (b"alice\r\nbob\r\n", [b"alice", b"bob"]),
        (b"\xef\xbb\xbfalice\n", [b"alice"]),
        (b"# staff\nalice\n\n  \n\t# more\n bob \nc#d\n", [b"alice", b"bob", b"c#d"]),
        (b"\nalice\n", [b"alice"]),
        (b"two words\n", [b"two words"]),
        ("Müller\n日本\n".encode(), ["Müller".encode(), "日本".encode()]),
        (b"x" * MAX_UNIT + b"\n", [b"x" * MAX_UNIT]),
        (b"", []),
        (b"# nobody yet\n", []),
        (b"\n", []),
    ],
)
def test_a_line_is_a_unit(tmp_path: Path, content: bytes, units: list[bytes]) -> None:
    path = written(tmp_path, content)
    read = read_unit_file(path)
    assert (read.units, read.skipped, read.first_bad) == (len(units), NOTHING, 0)
    assert all(members(path, *units))
    assert not any(members(path, b"", b"#", b"# staff", b"alice\r", b"\xef\xbb\xbfalice", b" bob"))


def test_what_cannot_be_a_unit_is_left_out_and_counted(tmp_path: Path) -> None:
    long = b"x" * (MAX_UNIT + 1)
    path = written(
        tmp_path, b"\n".join([b"# list", b"alice", b"a\xff", b"b\0b", long, b"bob", b"alice", b"carol", b"dave"])
    )
    read = read_unit_file(path)
    assert read.units == 4
    assert read.skipped == {"not_text": 2, "too_long": 1, "duplicate": 1}
    assert read.first_bad == 3
    assert members(path, b"alice", b"carol", b"a\xff", b"b\0b", long) == [True, True, False, False, False]


@pytest.mark.parametrize("length", [5000, 1 << 20])
def test_line_without_an_end_takes_no_memory_and_the_next_one_counts(tmp_path: Path, length: int) -> None:
    path = written(tmp_path, b"alice\n" + b"x" * length + b"\nbob\ncarol\n" + b"y" * length)
    read = read_unit_file(path)
    assert (read.units, read.skipped["too_long"], read.first_bad) == (3, 2, 2)
    assert members(path, b"alice", b"bob", b"carol") == [True, True, True]


def test_lines_that_cross_blocks_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_files, "_BLOCK", 7)
    units = [b"user-%d" % number for number in range(200)]
    path = written(tmp_path, b"\n".join(units))
    assert read_unit_file(path).units == 200
    assert all(members(path, *units))


@pytest.mark.parametrize(
    "content",
    ["alice\nbob\ncarol\n".encode("utf-16"), b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\xff\xfe\n\xff\n", b"\xff\n" * 3 + b"a\n"],
)
def test_file_of_which_most_is_no_unit_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(UnitFileError, match=r"is no list of units: \d+ of its lines .* the first of them line \d"):
        read_unit_file(written(tmp_path, content))


def test_what_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnitFileError, match="there is no file"):
        read_unit_file(tmp_path / "gone.txt")
    with pytest.raises(UnitFileError, match="is no file"):
        read_unit_file(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UnitFileError, match="is no file"):
        read_unit_file(pipe)


def test_file_that_is_too_large_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "large.txt"
    with path.open("wb") as file:
        file.truncate((512 << 20) + 1)
    with pytest.raises(UnitFileError, match="larger than 512 MiB"):
        read_unit_file(path)


def test_file_that_changes_meanwhile_is_read_again_and_not_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = written(tmp_path, b"alice\n")
    changes = iter([b"bob and\n", b""])
    clean = unit_files._Lines.clean

    def meddled(lines: unit_files._Lines, block: bytes) -> bytes:
        if (change := next(changes, b"")) != b"":
            path.write_bytes(change)
        return clean(lines, block)

    monkeypatch.setattr(unit_files._Lines, "clean", meddled)
    assert members(path, b"bob and", b"alice") == [True, False]
    changes = iter([b"%d\n" % (10**number) for number in range(5, 0, -1)])
    with pytest.raises(UnitFileError, match="changes while it is read"):
        read_unit_file(path)


def test_nobody_can_change_what_was_read_and_it_is_let_go(tmp_path: Path) -> None:
    read = read_unit_file(written(tmp_path, b"alice\n"))
    descriptor = read.memory.descriptor
    assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) & fcntl.F_SEAL_WRITE
    with pytest.raises(PermissionError):
        os.pwrite(descriptor, b"x", 64)
    table = read.table()
    del read
    gc.collect()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)
    assert table.contains(b"alice")


def test_digest_is_of_the_units(tmp_path: Path) -> None:
    digests = [
        read_unit_file(written(tmp_path, content)).digest
        for content in (b"alice\nbob\n", b"# staff\r\nalice \r\nbob", b"bob\nalice\n")
    ]
    assert digests[0] == digests[1] != digests[2]


def test_file_is_read_when_it_has_changed_and_what_was_good_stays(tmp_path: Path) -> None:
    files = UnitFiles(tmp_path)
    path = written(tmp_path, b"alice\n")
    files.look("list.txt")
    first = files.known["list.txt"]
    assert not files.changed("list.txt")
    files.look("list.txt")
    assert files.known["list.txt"] is first
    path.unlink()
    assert files.changed("list.txt")
    files.look("list.txt")
    assert files.known["list.txt"] is first
    assert files.problems == {"list.txt": f"there is no file {path}"}
    assert not files.changed("list.txt")
    path.write_bytes(b"bob\n")
    files.look("list.txt")
    assert files.known["list.txt"].table().contains(b"bob")
    assert files.problems == {}
    files.keep(["other.txt"])
    assert files.known == {}


CONFIG = """\
listen: 0.0.0.0:80
upstreams: {a: {endpoints: [http://127.0.0.1:1]}}
segments: {beta: {units_file: list.txt}, again: {any: [{units_file: list.txt}, {units_file: more/list.txt}]}}
routes: [{name: r, unit: [{header: x-user}], versions: {v: {upstream: a}}, rules: [{segment: again, version: v}]}]
"""


def test_loader_reads_each_list_once_and_keeps_what_was_good(tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(CONFIG)
    path = written(tmp_path, b"alice\n")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/list.txt").write_bytes(b"bob\na\xff\n# c\nd\n")
    loader = Loader(file, {})
    loaded = loader.load()
    assert {name: one.units for name, one in loaded.lists.items()} == {"list.txt": 1, "more/list.txt": 2}
    assert path not in loader.files  # its change takes no load
    (warning,) = loaded.warnings
    assert warning.message == (
        f"1 of the lines of {tmp_path / 'more/list.txt'} are left out, the first of them line 2:"
        " a unit is UTF-8 text of at most 1024 bytes"
    )
    again = loader.load()
    assert again.lists["list.txt"] is loaded.lists["list.txt"]
    path.unlink()
    third = loader.load()
    assert third.lists["list.txt"] is loaded.lists["list.txt"]
    assert third.warnings[0].message == (f"there is no file {path}; the list read before stays, of 1 units")
    with pytest.raises(SettingsError, match="there is no file"):  # who starts now has nothing that could stay
        Loader(file, {}).load()
    path.write_bytes(b"")
    assert loader.load().warnings[0].message == f"{path} has no unit in it"
    file.write_text(
        CONFIG.replace("again: {any: [{units_file: list.txt}, {units_file: more/list.txt}]}", "again: {segment: beta}")
    )
    assert list(loader.load().lists) == ["list.txt"]
    assert list(loader.unit_files.known) == ["list.txt"]
