"""The patterns of docs/audience.md: each a whole file, and edits one after the other, with what they move and whom they serve."""

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from proxy.core.build import build_plan
from proxy.settings.changes import Changes, compare, percent
from proxy.settings.loader import load
from proxy.surfaces.asking import Wish, answer
from proxy.surfaces.cli.main import tidegate

from .test_audience_page import EARLY, PAGE, Row, rows_with

EDIT = re.compile(r"`([^`]+)` to `([^`]+)`")
PATTERNS = ("A ring ramp", "One user off", "One user on", "City by city", "A/B/n with a holdout", "An opt-in beta")


def steps() -> list[tuple[str, str, Row]]:
    """Of each row: the file before its edits, the file after them, and the row."""
    found: list[tuple[str, str, Row]] = []
    file = text = ""
    for row in rows_with("now gets"):
        if row.text != file:
            file = text = row.text
        before = text
        for old, new in EDIT.findall(row.cells["edit"]):
            assert text.count(old) == 1, f"{old} stands {text.count(old)} times in the file"
            text = text.replace(old, new)
        found.append((before, text, row))
    return found


def moves(changes: Changes) -> str:
    """What the table says of a change: the share of units, and whom else it is about."""
    (change,) = changes.changed_routes or [None]
    told = "0 %" if change is None else percent(change.moved)
    about = [] if change is None else list(change.beyond)
    if any("decides by" in line for line in changes.lines):
        about.append("segments")
    return told + (f", and whom {' and '.join(about)} are about" if about else "")


@pytest.mark.parametrize(
    ("before", "after", "row"),
    steps(),
    ids=lambda one: " ".join(one.cells.values()).replace("`", "") if isinstance(one, Row) else "",
)
def test_edit_moves_and_serves_as_the_page_says(before: str, after: str, row: Row, tmp_path: Path) -> None:
    old, new = tmp_path / "old.yaml", tmp_path / "new.yaml"
    old.write_text(before)
    new.write_text(after)
    spec = load(new, {}).spec
    cells = row.cells
    fields = re.findall(r"`([^`]+)`", cells["fields"])
    wish = Wish(route="shop", unit=cells["unit"], headers=fields, at=EARLY)
    explained = answer(wish, build_plan(spec), spec)
    because = f"{explained['reason']} `{explained['rule']}`" if explained["rule"] else explained["reason"]
    told = moves(compare(load(old, {}).spec, spec, at=EARLY)) if cells["edit"] else ""
    assert (told, explained["version"], because) == (cells["moves"], cells["now gets"], cells["why"])
    asked = ["explain", "-c", str(new), "--route", "shop", "--unit", cells["unit"], "--at", "2026-11-21T00:00:00Z"]
    said = CliRunner().invoke(tidegate, [*asked, "--json", *(part for field in fields for part in ("-H", field))])
    assert json.loads(said.stdout)["version"] == cells["now gets"]


def test_every_pattern_is_there_with_its_edits() -> None:
    page = PAGE.read_text()
    sections = re.split(r"^### ", page.partition("## Patterns\n")[2].partition("\n## ")[0], flags=re.MULTILINE)[1:]
    assert tuple(section.partition("\n")[0] for section in sections) == PATTERNS
    for section in sections:
        assert "\n```yaml\nlisten: " in section
        assert len(EDIT.findall(section)) >= 3
