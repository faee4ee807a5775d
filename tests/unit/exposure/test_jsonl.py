"""The stream: whole lines, bounded files, and no lines of who was erased."""

import json

import pytest

from proxy.exposure.erasure import erase_lines
from proxy.exposure.jsonl import Stream, rotated


@pytest.fixture
def path(tmp_path):
    return tmp_path / "e.jsonl"


def records(*numbers, unit="00000000000000aa"):
    return [{"unit": unit, "number": number} for number in numbers]


def numbers(path):
    return [json.loads(line)["number"] for line in path.read_text().splitlines()]


def test_records_are_lines(path):
    Stream(path, 1 << 20, 3).write(records(1, 2))
    Stream(path, 1 << 20, 3).write(records(3))
    assert numbers(path) == [1, 2, 3]
    assert path.stat().st_mode & 0o777 == 0o600


def test_full_files_are_renamed_and_the_oldest_deleted(path):
    stream = Stream(path, 120, 2)
    for number in range(10, 30):
        stream.write(records(number))
    files = [path, *rotated(path)]
    assert [file.name for file in files] == ["e.jsonl", "e.jsonl.1", "e.jsonl.2"]
    assert all(file.stat().st_size <= 120 for file in files)
    kept = [number for file in reversed(files) for number in numbers(file)]
    assert kept == list(range(30 - len(kept), 30))


def test_one_batch_may_fill_several_files(path):
    Stream(path, 120, 100).write(records(*range(10, 30)))
    files = [path, *rotated(path)]
    assert [number for file in reversed(files) for number in numbers(file)] == list(range(10, 30))


def test_no_renamed_files_at_all(path):
    stream = Stream(path, 120, 0)
    stream.write(records(*range(10, 30)))
    assert rotated(path) == []
    assert numbers(path)[-1] == 29


def test_a_line_longer_than_a_file_may_be_has_one_for_itself(path):
    Stream(path, 10, 5).write(records(1, 2))
    assert numbers(path) == [2]
    assert [numbers(file) for file in rotated(path)] == [[1]]


def test_a_file_that_was_moved_away_is_begun_anew(path):
    stream = Stream(path, 1 << 20, 3)
    stream.write(records(1))
    path.rename(path.with_name("elsewhere"))
    stream.write(records(2))
    assert numbers(path) == [2]


def test_lines_of_an_erased_unit_are_gone_from_all_files(path):
    stream = Stream(path, 300, 5)
    for number in range(20):
        stream.write(records(number, unit="00000000000000bb" if number % 2 else "00000000000000aa"))
    assert len(rotated(path)) > 1
    assert erase_lines(path, 0xAA) == 10
    left = "".join(file.read_text() for file in (path, *rotated(path)))
    assert "aa" not in left
    assert left.count("\n") == 10
    assert erase_lines(path, 0xAA) == 0
    stream.write(records(99))
    assert numbers(path)[-1] == 99


def test_half_a_line_that_names_the_unit_goes_too(path):
    path.write_text(
        '{"unit":"00000000000000aa","numb\n{"unit":"00000000000000bb","number":1}\n{"rule":"00000000000000aa"}\n'
    )
    assert erase_lines(path, 0xAA) == 1
    assert path.read_text().count("\n") == 2


def test_erasing_where_there_is_no_file(path):
    assert erase_lines(path, 0xAA) == 0
