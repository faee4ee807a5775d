"""Flags of a flagd file: what they come to here, and what is told of those that cannot be said."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from proxy.core.build import build_flags
from proxy.flags.flagd import CannotSayError, import_flagd, notes_of
from proxy.settings.loader import load
from proxy.surfaces.cli.main import tidegate
from tests.unit.core.test_flags import asked

REST = """
listen: 127.0.0.1:8080
upstreams: {a: {endpoints: ["http://127.0.0.1:9001"]}}
routes: [{name: r, versions: {v: {upstream: a}}}]
"""
LETTERS = {"a": "A", "b": "B", "c": "C"}


def var(name: str) -> Any:
    return {"var": [name]}


def flag(targeting: Any = None, **parts: Any) -> Any:
    return {"state": "ENABLED", "variants": LETTERS, "defaultVariant": "c", "targeting": targeting} | parts


def imported(tmp_path: Path, document: Any, code: int = 0) -> tuple[Any, str]:
    """The flags as the proxy has them after an import with the command, and what that said."""
    file = tmp_path / "flagd.json"
    file.write_text(json.dumps(document))
    result = CliRunner().invoke(tidegate, ["flags", "import", str(file)])
    assert result.exit_code == code, result.output
    config = tmp_path / "tidegate.yaml"
    config.write_text(result.stdout + REST)
    return build_flags(load(config, {}).spec), result.stderr


CONDITIONS: dict[str, tuple[Any, dict[str, str], dict[str, str]]] = {
    "equal": ({"==": [var("plan"), "pro"]}, {"plan": "pro"}, {"plan": "free"}),
    "equal, the other way": ({"===": ["pro", {"var": "plan"}]}, {"plan": "pro"}, {}),
    "not equal": ({"!=": [var("plan"), "pro"]}, {}, {"plan": "pro"}),
    "a number and a truth value": ({"and": [{"==": [var("n"), 7]}, {"==": [var("b"), True]}]}, {"n": "7", "b": "true"}, {"n": "7"}),
    "one of": ({"in": [var("plan"), ["pro", "max"]]}, {"plan": "max"}, {"plan": "free"}),
    "contains": ({"in": ["@example.com", var("email")]}, {"email": "a@example.com"}, {"email": "a@example.org"}),
    "prefix": ({"starts_with": [var("id"), "abc"]}, {"id": "abcd"}, {"id": "xabc"}),
    "suffix": ({"ends_with": [var("id"), "xyz"]}, {"id": "wxyz"}, {"id": "xyza"}),
    "or": ({"or": [{"==": [var("a"), "1"]}, {"==": [var("b"), "1"]}]}, {"b": "1"}, {}),
    "not": ({"!": [{"==": [var("a"), "1"]}]}, {}, {"a": "1"}),
    "at least": ({">=": [var("age"), 18]}, {"age": "18"}, {"age": "17"}),
    "at most": ({"<=": [var("age"), 18]}, {"age": "18"}, {"age": "19"}),
    "version": ({"sem_ver": [var("v"), ">", "v1.1"]}, {"v": "1.1.1"}, {"v": "1.1.0"}),
    "same major version": ({"sem_ver": [var("v"), "^", "3.1.0"]}, {"v": "3.0.5"}, {"v": "4.0.0"}),
    "same minor version": ({"sem_ver": [var("v"), "~", "3.1.4"]}, {"v": "3.1.0"}, {"v": "3.2.0"}),
    "other version": ({"sem_ver": [var("v"), "!=", "3.1.4"]}, {"v": "3.1.0"}, {"v": "3.1.4"}),
    "evaluator": ({"$ref": "ballmer"}, {"email": "ballmer@macrosoft.com"}, {}),
}  # fmt: skip


@pytest.mark.parametrize("case", CONDITIONS.values(), ids=list(CONDITIONS))
def test_condition_holds_as_before(case: tuple[Any, dict[str, str], dict[str, str]], tmp_path: Path) -> None:
    condition, yes, no = case
    evaluators = {"ballmer": {"==": ["ballmer@macrosoft.com", var("email")]}}
    found, said = imported(tmp_path, {"flags": {"f": flag({"if": [condition, "a", "b"]})}, "$evaluators": evaluators})
    assert said == ""
    assert found.evaluate("f", asked(**yes), b"alice").value == "A"
    assert found.evaluate("f", asked(**no), b"alice").value == "B"


def test_chain_within_a_chain(tmp_path: Path) -> None:
    inner = {"if": [{"==": [var("y"), "1"]}, "a", "b"]}
    found, _ = imported(tmp_path, {"flags": {"f": flag({"if": [{"==": [var("x"), "1"]}, inner, None]})}})
    got = [found.evaluate("f", asked(**one), b"u").variant for one in ({"x": "1", "y": "1"}, {"x": "1"}, {"y": "1"})]
    assert got == ["a", "b", "c"]


def test_targeting_key_is_the_unit_and_shares_stay(tmp_path: Path) -> None:
    hit = {"if": [{"==": [{"var": "targetingKey"}, "alice"]}, "a"]}
    split = {"fractional": [{"var": "targetingKey"}, ["a", 0], ["b", 10]]}
    found, said = imported(tmp_path, {"flags": {"hit": flag(hit), "split": flag(split)}})
    assert [found.evaluate("hit", asked(one), one).variant for one in (b"alice", b"bob")] == ["a", "c"]
    assert found.evaluate("split", asked(), b"alice").variant == "b"
    assert "split is dealt anew" in said


def test_disabled_flag_is_off_and_texts_stay_texts(tmp_path: Path) -> None:
    variants = {"on": "1e3", "off": "${HOME}", "no": "true"}
    found, said = imported(
        tmp_path, {"flags": {"f": {"state": "DISABLED", "variants": variants, "defaultVariant": "off"}}}
    )
    assert found.flags["f"].variants == variants
    assert found.evaluate("f", asked(), b"u").reason == "DISABLED"
    assert "f is disabled" in said


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (flag(defaultVariant=None), "no defaultVariant that is one of its variants (a, b, c)"),
        (flag(defaultVariant=["a"]), "no defaultVariant"),
        (7, "no variants"),
        ({"variants": {}}, "no variants"),
        (flag({"fractional": [var("email"), ["a", 1]]}), "something else than the targeting key"),
        (flag({"fractional": [["a", 0]]}), "no weights"),
        (flag({"fractional": [["a", {"var": "w"}]]}), "computed"),
        (flag({"if": [{">": [var("age"), 18]}, "a"]}), "{'>': [{'var': ['age']}, 18]}; what can be said here is"),
        (flag({"if": [{"==": [var("age")]}, "a"]}), "`==` with 1 arguments; what can be said here is"),
        (flag({"if": [{"in": [var("age"), []]}, "a"]}), "an empty list"),
        (flag({"if": [True, "a"]}), "True where a condition must stand"),
        (flag({"if": [{"$ref": "nobody"}, "a"]}), "`$evaluators` has none"),
        (flag({"if": [{"$ref": {}}, "a"]}), "`$evaluators` has none"),
        (flag({"if": [{"==": [var("$flagd.timestamp"), 1]}, "a"]}), "name of an attribute"),
        (flag({"if": [{"==": [var("x"), 1]}, None, "a"]}), "past the rules"),
        (flag({"if": [{"sem_ver": [var("v"), "=", "x"]}, "a"]}), "'x' where a version such as 1.2.3 must stand"),
        (flag("nobody"), "'nobody' is none of its variants (a, b, c)"),
        (flag(variants={"c": [1]}), "not a list"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_told_and_left_out(broken: Any, why: str, tmp_path: Path) -> None:
    found, said = imported(tmp_path, {"flags": {"broken": broken, "fine": flag()}}, code=1)
    assert list(found.flags) == ["fine"]
    assert said.startswith("broken is left out: ")
    assert why in said


def test_file_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(CannotSayError):
        import_flagd({"flag": {}})
    deep: Any = "a"
    for _ in range(40):
        deep = {"if": [{"==": [var("x"), "1"]}, deep]}
    assert "nested too deeply" in next(notes_of(import_flagd({"flags": {"f": flag(deep)}})))
    for name, text, why in (
        ("a.json", "[]", ": it has no map `flags`: it is no flagd file"),
        ("b.yaml", "a: [", ":2:1: not valid YAML: did not find expected node content"),
    ):
        file = tmp_path / name
        file.write_text(text)
        result = CliRunner().invoke(tidegate, ["flags", "import", str(file)])
        assert (result.exit_code, result.stderr) == (1, f"Error: {file}{why}\n")


def test_yaml_is_read_too(tmp_path: Path) -> None:
    file = tmp_path / "flagd.yaml"
    file.write_text("flags: {f: {state: ENABLED, variants: {on: true, off: false}, defaultVariant: on}}\n")
    result = CliRunner().invoke(tidegate, ["flags", "import", str(file)])
    assert (result.exit_code, result.stderr) == (0, "")
