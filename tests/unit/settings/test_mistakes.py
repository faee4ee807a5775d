"""Everything a configuration can get wrong, with the exact message: the tables in mistakes/*.txt.

A case is a title, the YAML, `>>>`, and the problems as `tidegate validate` prints them. Keys a configuration cannot do
without are appended, so that a case shows the mistake alone (not where the title begins with `raw:`).
`python -m tests.unit.settings.test_mistakes` writes the messages anew; read the difference before you commit it.
"""

import re
from pathlib import Path
from typing import NamedTuple

import pytest

from proxy.settings import SettingsError, load

TABLES = Path(__file__).with_name("mistakes")
NEEDED = {
    "listen": "listen: 0.0.0.0:8080",
    "upstreams": "upstreams: {a: {endpoints: [http://127.0.0.1:9001]}}",
    "routes": "routes: [{name: r, versions: {v: {upstream: a}}}]",
}
ENVIRON = {"TG_PORT": "8080"}
PLUGIN = "from proxy.plugin import Plugin\nclass Tenant(Plugin):\n    def unit(self, request):\n        return None\n"


class Case(NamedTuple):
    title: str
    text: str
    expected: list[str]


def cases_of(table: Path) -> list[Case]:
    cases = []
    for section in re.split(r"^### ", table.read_text(), flags=re.MULTILINE)[1:]:
        title, _, rest = section.partition("\n")
        text, _, expected = rest.partition("\n>>>\n") if not rest.startswith(">>>\n") else ("", "", rest[4:])
        cases.append(Case(title, text.rstrip("\n") + "\n" if text.strip() else "", expected.split("\n")))
    return [case._replace(expected=[line for line in case.expected if line]) for case in cases]


def told(case: Case, directory: Path) -> list[str]:
    """The problems of a case: its errors, or its warnings where it has none."""
    text = case.text
    if not case.title.startswith("raw:"):
        for key, line in NEEDED.items():
            if not re.search(rf"^{key}:", text, re.MULTILINE):
                text += f"{line}\n"
    (directory / "tenant.py").write_text(PLUGIN)
    (directory / "broken.py").write_text("import os\nimport nowhere\n")
    path = directory / "case.yaml"
    path.write_text(text)
    try:
        problems = load(path, ENVIRON).warnings
    except SettingsError as error:
        problems = error.problems
    return [problem.line().replace(f"{directory}/", "") for problem in problems]


ALL = [
    pytest.param(case, id=f"{table.stem}: {case.title}")
    for table in sorted(TABLES.glob("*.txt"))
    for case in cases_of(table)
]


@pytest.mark.parametrize("case", ALL)
def test_a_mistake_is_told_with_its_place(case: Case, tmp_path: Path) -> None:
    assert told(case, tmp_path) == case.expected
    assert case.expected


def write_tables(directory: Path) -> None:
    for table in sorted(TABLES.glob("*.txt")):
        sections = []
        for case in cases_of(table):
            lines = "\n".join(told(case, directory))
            sections.append(f"### {case.title}\n{case.text}>>>\n{lines}\n")
        table.write_text("\n".join(sections))


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        write_tables(Path(place))
