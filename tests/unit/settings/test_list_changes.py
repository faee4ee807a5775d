"""Who enters and leaves a list of units, told before it does."""

from pathlib import Path

import pytest

from proxy.settings import Loaded, load
from proxy.settings.changes import Changes, compare

CONFIG = """\
listen: 0.0.0.0:80
upstreams: {a: {endpoints: [http://127.0.0.1:1]}}
segments: {beta: {units_file: one.txt}, wide: {any: [{segment: beta}, {header: x, exists: true}]}}
routes: [{name: r, unit: [{header: x-user}], versions: {v: {upstream: a}}, rules: [{segment: wide, version: v}]}]
"""


def loaded(directory: Path, text: str = CONFIG, **lists: str) -> Loaded:
    directory.mkdir(exist_ok=True)
    for name, content in lists.items():
        (directory / f"{name}.txt").write_text(content)
    (directory / "x.yaml").write_text(text)
    return load(directory / "x.yaml", {})


def changed(tmp_path: Path, old: str, new: str, **lists: str) -> Changes:
    """`lists` are by side and name: old_one, new_one, new_two."""
    sides = []
    for side, text in (("old", old), ("new", new)):
        own = {name.partition("_")[2]: content for name, content in lists.items() if name.startswith(side)}
        sides.append(loaded(tmp_path / side, text, **own))
    before, after = sides
    return compare(before.spec, after.spec, lists=(before.lists, after.lists))


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("a\nb\n", "b\nc\nd\n", "list one.txt: 2 units enter, 1 leaves"),
        ("a\n", "a\nb\na\n", "list one.txt: 1 unit enters, 0 leave"),
        ("a\nb\n", "", "list one.txt: 0 units enter, 2 leave"),
    ],
)
def test_units_of_a_list_that_enter_and_leave_are_counted(tmp_path: Path, old: str, new: str, line: str) -> None:
    changes = changed(tmp_path, CONFIG, CONFIG, old_one=old, new_one=new)
    assert changes.lines == [line, "route r decides by wide: how many units move depends on who comes"]


@pytest.mark.parametrize("new", ["a\nb\n", "# the same\r\na\r\nb\r\n", "b\na\nb\n"])
def test_the_same_units_are_no_change(tmp_path: Path, new: str) -> None:
    assert changed(tmp_path, CONFIG, CONFIG, old_one="a\nb\n", new_one=new).lines == []


def test_other_file_in_the_same_segment_is_compared_with_the_one_before(tmp_path: Path) -> None:
    changes = changed(tmp_path, CONFIG, CONFIG.replace("one.txt", "two.txt"), old_one="a\nb\n", new_two="b\nc\n")
    assert "list two.txt instead of one.txt: 1 unit enters, 1 leaves" in changes.lines
    assert changes.as_dict()["lists"] == [
        {"name": "two.txt", "was": "one.txt", "units": 2, "entering": 1, "leaving": 1}
    ]


def test_lists_come_and_go(tmp_path: Path) -> None:
    other = CONFIG.replace("units_file: one.txt", "any: [{units_file: two.txt}, {units: [a]}]")
    changes = changed(tmp_path, CONFIG, other, old_one="a\nb\n", new_two="c\n")
    assert changes.lines[1:3] == ["list one.txt removed: 2 units", "list two.txt added: 1 unit"]


def test_without_the_lists_nobody_looks_into_them(tmp_path: Path) -> None:
    before = loaded(tmp_path / "old", one="a\n")
    after = loaded(tmp_path / "new", one="b\n")
    assert compare(before.spec, after.spec).lists == []
