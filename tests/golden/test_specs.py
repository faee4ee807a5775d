"""YAML in, spec out: the files in settings/. `python -m tests.golden.test_specs` writes the specs anew; read the difference."""

import json
from pathlib import Path

import pytest

from proxy.core.build import build_plan
from proxy.core.unit_table import UnitList
from proxy.expressions import matchers_of
from proxy.settings import load

HERE = Path(__file__).with_name("settings")
EXAMPLES = Path(__file__).resolve().parents[2] / "config"
CASES = [*sorted(HERE.glob("*.yaml")), *sorted(EXAMPLES.glob("*.yaml"))]
ENVIRON = {"COOKIE_KEY": "0123456789abcdef", "HOST": "shop.example.com"}


def spec_text(path: Path) -> str:
    text = json.dumps(load(path, ENVIRON).spec, indent=1, ensure_ascii=False) + "\n"
    return text.replace(f"{HERE}/", "")  # wherever the checkout is


def golden(path: Path) -> Path:
    return HERE / f"{path.stem}.json"


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_a_configuration_compiles_to_its_spec(path: Path) -> None:
    assert spec_text(path) == golden(path).read_text()
    lists = {name: UnitList(one.table()) for name, one in load(path, ENVIRON).lists.items()}
    spec = json.loads(golden(path).read_text())
    build_plan(spec, lists=lists, expressions=matchers_of(spec))


def test_every_golden_spec_has_its_configuration() -> None:
    assert {path.stem for path in HERE.glob("*.json")} == {path.stem for path in CASES}


if __name__ == "__main__":
    for one in CASES:
        golden(one).write_text(spec_text(one))
