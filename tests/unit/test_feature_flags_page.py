"""The table of docs/feature-flags.md: what each flag of the example above it comes to."""

import json
import re
from pathlib import Path

import pytest

from proxy.core.build import build_flags
from proxy.settings.loader import load
from tests.specs import request_head

from .test_audience_page import Row, rows_with

PAGE = Path(__file__).resolve().parents[2] / "docs/feature-flags.md"


@pytest.mark.parametrize("row", rows_with("finer", PAGE), ids=lambda row: f"{row.cells['flag']} {row.cells['unit']}")
def test_flag_comes_to_what_the_table_says(row: Row, tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(row.text)
    cells = row.cells
    request = request_head()
    request.unit = unit = cells["unit"].encode() or None
    request.attributes = {
        name.encode(): value.encode() for name, value in re.findall(r"`(\w+)=(\w+)`", cells["attributes"])
    }
    found = build_flags(load(file, {}).spec).evaluate(cells["flag"], request, unit)
    finer = f"{found.detail} `{found.rule}`" if found.rule else found.detail
    assert (f"`{found.variant}`", f"`{json.dumps(found.value)}`", found.reason, finer) == (
        cells["variant"], cells["value"], cells["reason"], cells["finer"],
    )  # fmt: skip
