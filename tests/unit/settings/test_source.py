"""YAML to plain values: what words mean, what the environment adds, and what is bounded."""

from pathlib import Path
from typing import Any

import pytest

from proxy.settings import source
from proxy.settings.source import MAX_BYTES, Document, parse_document, plain_value, read_file

ENVIRON = {"PORT": "8080", "EMPTY": "", "INJECTION": "a: {b: [c", "WORD": "true"}


def parsed(text: str | bytes) -> Document:
    return parse_document("x.yaml", text if isinstance(text, bytes) else text.encode(), ENVIRON)


def values(text: str | bytes) -> dict[str, Any]:
    document = parsed(text)
    assert document.problems == []
    return document.values


def messages(text: str | bytes) -> list[str]:
    return [problem.line() for problem in parsed(text).problems]


@pytest.mark.parametrize(
    ("word", "value"),
    [
        ("on", "on"), ("off", "off"), ("yes", "yes"), ("no", "no"), ("y", "y"),
        ("true", True), ("False", False), ("null", None), ("~", None), ("", None),
        ("0", 0), ("-5", -5), ("+5", 5), ("0123", "0123"), ("0x1f", "0x1f"), ("1_000", "1_000"), ("1:30", "1:30"),
        ("0.01", 0.01), (".5", 0.5), ("5.", 5.0), ("1e3", 1000.0), (".", "."),
        ("-", "-"), ("+.", "+."), (".inf", ".inf"),
        ("2026-11-21", "2026-11-21"), ("127.0.0.1", "127.0.0.1"), ("9" * 40, "9" * 40),
    ],
)  # fmt: skip
def test_plain_words_mean_what_yaml_1_2_says_without_octal(word: str, value: object) -> None:
    assert plain_value(word) == value
    assert type(plain_value(word)) is type(value)


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("${PORT}", 8080),
        ('"${PORT}"', "8080"),
        ("0.0.0.0:${PORT}", "0.0.0.0:8080"),
        ("${NOWHERE:-5s}", "5s"),
        ("${EMPTY}", ""),
        ("${EMPTY:-x}", "x"),
        ("${NOWHERE:-}", ""),
        ("${INJECTION}", "a: {b: [c"),
        ("${WORD}", True),
        ("$${PORT}", "${PORT}"),
        ("$PORT", "$PORT"),
        ("${NOWHERE:-a:-b}", "a:-b"),
    ],
)
def test_the_environment_is_read_inside_values(written: str, value: object) -> None:
    assert values(f"a: {written}\n") == {"a": value}


def test_the_environment_is_not_read_in_keys_and_comments() -> None:
    assert values("# ${NOWHERE}\n${PORT}: 1\n") == {"${PORT}": 1}


def test_a_byte_order_mark_and_dos_line_ends_are_fine() -> None:
    assert values(b"\xef\xbb\xbfa: 1\r\nb: 2\r\n") == {"a": 1, "b": 2}


def test_text_that_is_not_utf8_names_its_line() -> None:
    assert messages(b"a: 1\nb: \xff\n") == ["x.yaml:2:1: the file is not UTF-8 text"]


def test_a_control_character_names_its_place() -> None:
    assert messages("a: 1\nb: \x01\n") in (
        ["x.yaml:2:4: not valid YAML: a control character"],
        ["x.yaml:2:4: not valid YAML: control characters are not allowed"],
    )


def test_a_file_that_is_too_large_is_not_parsed() -> None:
    assert messages(b"a" * (MAX_BYTES + 1)) == ["x.yaml:1:1: the file is larger than 32 MiB"]


def test_aliases_may_be_used_and_maps_merged() -> None:
    text = "base: &base {a: 1, b: 2}\nuse: {<<: *base, b: 3}\nboth: {<<: [*base, {c: 4}]}\nlist: [*base]\n"
    base = {"a": 1, "b": 2}
    assert values(text) == {"base": base, "use": {"a": 1, "b": 3}, "both": {**base, "c": 4}, "list": [base]}


def test_aliases_cannot_grow_without_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    document = parsed("\n".join(lines))
    assert [problem.message for problem in document.problems] == ["aliases expand the file to more than 500000 values"]
    assert document.root is None


@pytest.mark.parametrize("opening", ["[", "{a: "])
def test_deep_nesting_is_an_error_and_no_crash(opening: str) -> None:
    assert messages("a: " + opening * 100_000) == ["x.yaml:1:1: not valid YAML: nested too deeply"]


def test_nesting_beyond_any_configuration_is_an_error() -> None:
    assert messages("a: " + "[" * 50 + "]" * 50) == ["x.yaml:1:43: nested deeper than 40 levels"]


def test_merging_in_a_circle_ends() -> None:
    assert parsed("a: &a {<<: *a, b: 1}\n").values == {"a": {"b": 1}}


def test_without_libyaml_the_same_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "a: {b: [1, 'x', '${PORT}'], <<: {c: on}}\nd: |\n  text\n"
    fast = values(text)
    monkeypatch.setattr(source.yaml, "__with_libyaml__", False)
    monkeypatch.setattr(source, "_COMPOSER", source._composer())
    assert values(text) == fast
    assert messages("a: 1\n\tb: 2\n")[0].startswith("x.yaml:2:1: not valid YAML: found character")
    assert messages("a: \x01\n") == ["x.yaml:1:4: not valid YAML: a control character"]


def test_files_that_cannot_be_read_say_why(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"^there is no such file$"):
        read_file(tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"^is a directory, not a file$"):
        read_file(tmp_path)
