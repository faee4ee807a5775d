"""The tables of docs/audience.md: who gets what from the example above them, and how many units a change to it moves."""

import re
from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import pytest

from proxy.cap_files import FileRecord, make_cap_file
from proxy.core.build import build_plan
from proxy.core.decide import decide
from proxy.core.hashing import UnitHasher
from proxy.core.plan import REASONS
from proxy.dataplane.capping import Capping
from proxy.settings.changes import compare, percent
from proxy.settings.loader import load
from proxy.surfaces.asking import Wish, answer
from tests.specs import request_head

PAGE = Path(__file__).resolve().parents[2] / "docs/audience.md"
BLOCKS = re.compile(r"^```yaml\n(?P<yaml>.*?)^```|(?P<table>(?:^\|[^\n]*\n)+)", re.DOTALL | re.MULTILINE)
EARLY = datetime.fromisoformat("2026-11-21T00:00:00Z").timestamp()


class Row(NamedTuple):
    """A line of a table, by the words over its columns, and the example it is about."""

    text: str
    cells: dict[str, str]


def rows_with(column: str, page: Path = PAGE) -> list[Row]:
    found = []
    text = ""
    for block in BLOCKS.finditer(page.read_text()):
        if block["yaml"]:
            text = block["yaml"]
            continue
        lines = [[cell.strip() for cell in line.strip().strip("|").split("|")] for line in block["table"].splitlines()]
        if column in lines[0]:
            found += [Row(text, dict(zip(lines[0], line, strict=True))) for line in lines[2:]]
    return found


@pytest.mark.parametrize("row", rows_with("because"), ids=lambda row: " ".join(row.cells.values()).replace("`", ""))
def test_unit_gets_what_the_table_says(row: Row, tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(row.text)
    spec = load(file, {}).spec
    cells = row.cells
    at = datetime.fromisoformat(cells["at"]).timestamp() if cells.get("at") else EARLY
    route = cells.get("route") or spec["routes"][0]["name"]
    fields = re.findall(r"`([^`]+)`", cells.get("fields", ""))
    wish = Wish(route=route, unit=cells["unit"], headers=fields, at=at)
    explained = answer(wish, build_plan(spec), spec)
    because = f"{explained['reason']} `{explained['rule']}`" if explained["rule"] else explained["reason"]
    assert (explained["version"], because) == (cells["gets"], cells["because"])


@pytest.mark.parametrize("row", rows_with("units that move"), ids=lambda row: row.cells["change"].replace("`", ""))
def test_as_many_units_move_as_the_table_says(row: Row, tmp_path: Path) -> None:
    old, new = re.findall(r"`([^`]+)`", row.cells["change"])
    assert old in row.text
    specs = []
    for name, text in (("old", row.text), ("new", row.text.replace(old, new))):
        file = tmp_path / f"{name}.yaml"
        file.write_text(text)
        specs.append(load(file, {}).spec)
    told = []
    for change in compare(*specs, at=EARLY).changed_routes:
        sides = [f"{percent(share)} into {name}" for name, share in change.entering.items()]
        told.append(f"{change.route}: {', '.join(sides)}")
    assert "; ".join(told) == row.cells["units that move"]


def test_units_that_come_one_after_the_other_get_what_the_table_says(tmp_path: Path) -> None:
    rows = rows_with("comes")
    file = tmp_path / "tidegate.yaml"
    file.write_text(rows[0].text)
    plan = build_plan(load(file, {}).spec)
    route = plan.routes[0]
    counted = tmp_path / "caps"
    limit = max(version.cap.limit for version in route.capped if version.cap is not None)
    capping = Capping(memoryview(bytearray(1 << 16)).cast("q"))
    for version in route.capped:
        assert version.cap is not None
        version.cap.record = FileRecord(make_cap_file(counted, limit), UnitHasher(b"key"))
    got = []
    for row in rows:
        request = request_head()
        request.unit = unit = row.cells["comes"].encode()
        decision = capping.settle(route, request, unit, decide(route, request, unit))
        assert decision.version is not None
        because = f"{decision.reason_name} `{decision.rule}`" if decision.rule else decision.reason_name
        got.append((unit.decode(), decision.version.name, because))
    assert got == [(row.cells["comes"], row.cells["gets"], row.cells["why"]) for row in rows]


def test_the_order_of_the_table_is_that_of_the_code() -> None:
    table = PAGE.read_text().partition("<!-- order:begin -->")[2].partition("<!-- order:end -->")[0]
    shown = re.findall(r"^\| `(\w+)`", table, re.MULTILINE)
    assert shown == [reason for reason in REASONS if reason in shown]
    assert set(REASONS) - set(shown) == {"fallback"}


def test_every_example_is_tried() -> None:
    columns = ("because", "units that move", "now gets", "comes")
    tried = {row.text for column in columns for row in rows_with(column)}
    assert tried == set(re.findall(r"^```yaml\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE))
