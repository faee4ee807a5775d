"""docs/expressions.md: who gets what from its example, and what is said of mistakes."""

import re
from pathlib import Path

import pytest

from bench.expressions import EXPRESSIONS
from proxy.core.build import build_plan
from proxy.expressions import LISTS, MAPS, SWITCHES, TEXTS, ExpressionError, check, matchers_of
from proxy.settings.loader import load
from proxy.surfaces.asking import Wish, answer
from tests.unit.test_audience_page import EARLY, Row, rows_with

PAGE = Path(__file__).resolve().parents[2] / "docs/expressions.md"


@pytest.mark.parametrize(
    "row", rows_with("because", PAGE), ids=lambda row: " ".join(row.cells.values()).replace("`", "")
)
def test_unit_gets_what_the_table_says(row: Row, tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(row.text)
    spec = load(file, {}).spec
    cells = row.cells
    fields = re.findall(r"`([^`]+)`", cells["fields"])
    wish = Wish(route="shop", unit=cells["unit"], path=cells["path"], headers=fields, at=EARLY)
    explained = answer(wish, build_plan(spec, expressions=matchers_of(spec)), spec)
    because = f"{explained['reason']} `{explained['rule']}`" if explained["rule"] else explained["reason"]
    assert (explained["version"], because) == (cells["gets"], cells["because"])


@pytest.mark.parametrize("row", rows_with("written", PAGE), ids=lambda row: row.cells["written"])
def test_mistakes_are_told_as_shown(row: Row) -> None:
    with pytest.raises(ExpressionError) as raised:
        check(row.cells["written"].strip("`"))
    assert str(raised.value) == row.cells["said"]


def test_every_name_is_in_the_table() -> None:
    named = [one for row in rows_with("name", PAGE) for one in re.findall(r"`([^`]+)`", row.cells["name"])]
    assert sorted(named) == sorted((*TEXTS, *MAPS, *LISTS, *SWITCHES))


def test_costs_are_of_what_the_bench_measures() -> None:
    measured = [row.cells["matcher"].strip("`") for row in rows_with("matcher", PAGE)]
    assert measured[1:] == list(EXPRESSIONS)
