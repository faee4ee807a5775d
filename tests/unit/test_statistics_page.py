"""docs/statistics.md: its examples run, its table is what the functions say, its pictures are what they draw."""

import doctest
import re
from pathlib import Path

import pytest

from bench.pictures import DOCS, PICTURES
from proxy.analysis.sizes import errors_needed
from tests.unit.test_audience_page import rows_with

PAGE = Path(__file__).resolve().parents[2] / "docs/statistics.md"
EXAMPLES = re.findall(r"^```pycon\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_say_what_they_say(number: int) -> None:
    names: dict[str, object] = {"exp": __import__("math").exp}
    example = doctest.DocTestParser().get_doctest(EXAMPLES[number], names, f"example {number}", str(PAGE), 0)
    assert len(example.examples) > 2
    runner = doctest.DocTestRunner()
    said: list[str] = []
    runner.run(example, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("row", rows_with("canary's share", PAGE), ids=lambda row: row.cells["canary's share"])
def test_table_of_errors_is_what_the_sizes_say(row) -> None:
    share = float(row.cells["canary's share"].removesuffix(" %")) / 100
    for words, ratio in (("1.5 times the errors", 1.5), ("twice", 2.0), ("three times", 3.0), ("ten times", 10.0)):
        assert float(row.cells[words]) == pytest.approx(errors_needed(share, ratio), abs=0.5)


@pytest.mark.slow
@pytest.mark.parametrize("name", PICTURES)
def test_pictures_are_what_the_functions_draw(name: str) -> None:
    assert (DOCS / name).read_text() == str(PICTURES[name]())
    assert f"({name})" in PAGE.read_text()
