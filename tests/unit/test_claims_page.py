"""The tables of docs/claims.md: who gets what from the example above them, and every outcome."""

import re
from pathlib import Path

import pytest

from proxy.core.bearer import TOKEN_OUTCOMES
from proxy.core.build import build_plan
from proxy.settings.loader import load
from proxy.surfaces.asking import Wish, answer
from tests.unit.test_audience_page import EARLY, Row, rows_with

PAGE = Path(__file__).resolve().parents[2] / "docs/claims.md"


@pytest.mark.parametrize(
    "row", rows_with("because", PAGE), ids=lambda row: " ".join(row.cells.values()).replace("`", "")
)
def test_claims_get_what_the_table_says(row: Row, tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(row.text)
    spec = load(file, {}).spec
    claims = re.findall(r"`([^`]+)`", row.cells["claims"])
    explained = answer(Wish(route="shop", claims=claims, at=EARLY), build_plan(spec), spec)
    because = f"{explained['reason']} `{explained['rule']}`" if explained["rule"] else explained["reason"]
    assert (explained["version"], because) == (row.cells["gets"], row.cells["because"])
    assert explained["unit_kind"] == "claim"


def test_every_outcome_has_its_line() -> None:
    named = [name for row in rows_with("the token", PAGE) for name in re.findall(r"`(\w+)`", row.cells["outcome"])]
    assert sorted(named) == sorted(TOKEN_OUTCOMES)
