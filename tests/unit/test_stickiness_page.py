"""The tables of docs/stickiness.md: who keeps what in the example, and what a change is told to move."""

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from proxy.core.build import build_plan
from proxy.core.cookies import Kept
from proxy.settings.changes import compare, percent
from proxy.settings.loader import load
from proxy.surfaces.asking import Wish, answer
from tests.unit.test_audience_page import EARLY, Row, rows_with

PAGE = Path(__file__).resolve().parents[2] / "docs/stickiness.md"


def spec_of(text: str, tmp_path: Path) -> dict[str, Any]:
    file = tmp_path / "tidegate.yaml"
    file.write_text(text)
    return load(file, {}).spec


@pytest.mark.parametrize("row", rows_with("because", PAGE), ids=lambda row: " ".join(row.cells.values()))
def test_unit_keeps_what_the_table_says(row: Row, tmp_path: Path) -> None:
    spec = spec_of(row.text, tmp_path)
    plan = build_plan(spec)
    cells = row.cells
    fields = []
    if cells["has a record of"]:
        number, unit, _ = cells["given"].split()
        given = EARLY - timedelta(**{unit: int(number)}).total_seconds()
        sticky = next(one.sticky for one in plan.routes if one.name == cells["route"])
        assert sticky is not None
        kept = Kept(cells["has a record of"].encode(), 0, int(given))
        signed = plan.cookies.keep(sticky.scope, cells["unit"].encode(), kept)
        fields = [f"cookie: {sticky.cookie.decode()}={signed.decode()}"]
    wish = Wish(route=cells["route"], unit=cells["unit"], headers=fields, at=EARLY)
    explained = answer(wish, plan, spec)
    because = f"{explained['reason']} `{explained['rule']}`" if explained["rule"] else explained["reason"]
    assert (explained["version"], because) == (cells["gets"], cells["because"])


def test_change_is_told_as_the_page_says(tmp_path: Path) -> None:
    (row,) = rows_with("units that move", PAGE)
    old, new = re.findall(r"`([^`]+)`", row.cells["change"])
    changes = compare(spec_of(row.text, tmp_path), spec_of(row.text.replace(old, new), tmp_path), at=EARLY)
    (change,) = changes.changed_routes
    told = ", ".join(f"{percent(share)} into {name}" for name, share in change.entering.items())
    assert f"{change.route}: {told}" == row.cells["units that move"]
    shown = PAGE.read_text().partition("<!-- diff:begin -->")[2].partition("<!-- diff:end -->")[0]
    assert shown.strip().strip("`").removeprefix("text").split() == changes.lines[0].split()
