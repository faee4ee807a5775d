"""The tables of docs/segments.md: who gets what from the example above them."""

import re
from datetime import datetime
from pathlib import Path

import pytest

from proxy.core.build import build_plan
from proxy.core.unit_table import UnitList
from proxy.settings.loader import load
from proxy.settings.zones import FIRST, LAST
from proxy.surfaces.asking import Wish, answer
from tests.unit.test_audience_page import EARLY, Row, rows_with

PAGE = Path(__file__).resolve().parents[2] / "docs/segments.md"
LISTS = dict(re.findall(r"^```text\n(# ([\w.-]+): .*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE))


@pytest.mark.parametrize(
    "row", rows_with("because", PAGE), ids=lambda row: " ".join(row.cells.values()).replace("`", "")
)
def test_unit_gets_what_the_table_says(row: Row, tmp_path: Path) -> None:
    for content, name in LISTS.items():
        (tmp_path / name).write_text(content)
    file = tmp_path / "tidegate.yaml"
    file.write_text(row.text)
    loaded = load(file, {})
    lists = {name: UnitList(one.table()) for name, one in loaded.lists.items()}
    cells = row.cells
    wish = Wish(
        route=loaded.spec["routes"][0]["name"],
        unit=cells["unit"],
        headers=re.findall(r"`([^`]+)`", cells.get("fields", "")),
        client=cells.get("client", "192.0.2.1"),
        at=datetime.fromisoformat(cells["at"]).timestamp() if "at" in cells else EARLY,
    )
    explained = answer(wish, build_plan(loaded.spec, lists=lists), loaded.spec, lists)
    because = f"{explained['reason']} `{explained['rule']}`" if explained["rule"] else explained["reason"]
    assert (explained["version"], because) == (cells["gets"], cells["because"])


def test_every_example_is_tried() -> None:
    tried = {row.text for row in rows_with("because", PAGE)}
    assert tried == set(re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE))


def test_years_of_the_zones_are_those_of_the_code() -> None:
    assert f"for the years {FIRST} to {LAST}" in PAGE.read_text()
