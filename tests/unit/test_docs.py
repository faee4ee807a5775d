"""What the pages show is true: configurations load, commands exist, tables say what the code says, links lead somewhere."""

import json
import re
import shlex
from pathlib import Path
from xml.etree import ElementTree as ET

import click
import pytest
from click.testing import CliRunner

import proxy
from proxy.analysis.sample_ratio import sample_ratio
from proxy.core.breaker import STATES, TABLE, Event
from proxy.core.exposed import is_robot
from proxy.core.route_cache import CACHE_OUTCOMES
from proxy.errors import FLAGS
from proxy.exposure.queries import as_values
from proxy.exposure.writer import Standing
from proxy.settings.changes import compare
from proxy.settings.loader import load
from proxy.settings.models.hashing import TAKES
from proxy.surfaces.cli.main import tidegate
from proxy.telemetry.counters import FAULT_OUTCOMES, LIMITED_CAUSES, MIRROR_OUTCOMES

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "bench/README.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"(?P<before>[^\n]*)\n+```(?P<language>\w*)\n(?P<text>.*?)^```", re.DOTALL | re.MULTILINE)


def _blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of a language, without those announced as a part of a file (`<!-- fragment -->` before them)."""
    return [
        found["text"]
        for found in FENCE.finditer(page.read_text())
        if found["language"] == language and "<!-- fragment -->" not in found["before"]
    ]


def _commands() -> list[tuple[str, list[str]]]:
    """(page, words after `tidegate`) of each command line shown."""
    found = []
    for page in PAGES:
        for block in _blocks(page, "sh"):
            for line in block.replace("\\\n", " ").splitlines():
                for part in line.split("&&"):
                    words = shlex.split(part, comments=True)
                    if words and Path(words[0]).name == "tidegate":
                        found.append((page.name, words[1:]))
    return found


YAML = [(page, number, text) for page in PAGES for number, text in enumerate(_blocks(page, "yaml"))]


@pytest.mark.parametrize(("page", "number", "text"), YAML, ids=[f"{page.stem}-{number}" for page, number, _ in YAML])
def test_every_configuration_shown_loads_without_a_warning(page: Path, number: int, text: str, tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(text)
    for name in re.findall(r"units_file: ([\w.-]+)", text):
        (tmp_path / name).write_text("alice\n")
    (tmp_path / "plugins").mkdir()
    for source in _blocks(page, "python"):
        if source.startswith("# plugins/"):
            (tmp_path / source.partition("\n")[0].removeprefix("# ")).write_text(source)
    loaded = load(file, {})
    # An example need not say where its keys are kept; the warning about that is the right one.
    assert [warning.message for warning in loaded.warnings if "without `state`" not in warning.message] == []


@pytest.mark.parametrize(("page", "words"), _commands(), ids=lambda value: "-".join(value[:1]) if value else "")
def test_every_command_shown_exists_with_its_options(page: str, words: list[str]) -> None:
    context = click.Context(tidegate)
    command = tidegate.get_command(context, words[0])
    assert command is not None, (page, words)
    while isinstance(command, click.Group):  # `tidegate rollout status`
        words = words[1:]
        assert words, (page, command.name)
        command = command.get_command(context, words[0])
        assert command is not None, (page, words)
    known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
    for word in words[1:]:
        if word.startswith("-"):
            assert word.partition("=")[0] in known, (page, words)


def test_readme_names_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert "python3 -m venv .venv && .venv/bin/pip install . && .venv/bin/tidegate demo" in text
    tests = text.partition("<!-- tests:begin -->")[2].partition("<!-- tests:end -->")[0]
    assert "python3 -m venv .venv && .venv/bin/pip install -e '.[test]' && .venv/bin/python -m pytest" in tests


def test_table_of_flags_is_that_of_the_code() -> None:
    table = (ROOT / "docs/http.md").read_text().partition("<!-- flags:begin -->")[2].partition("<!-- flags:end -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()[2:]]
    assert rows == [
        [flag.code, str(flag.status or "as it was"), flag.side, "yes" if flag.error else "no", flag.meaning]
        for flag in FLAGS
    ]


def test_table_of_mirror_outcomes_is_that_of_the_code() -> None:
    text = (ROOT / "docs/mirroring.md").read_text()
    table = text.partition("<!-- outcomes:begin -->")[2].partition("<!-- outcomes:end -->")[0]
    assert tuple(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == MIRROR_OUTCOMES


def test_table_of_causes_is_that_of_the_code() -> None:
    table = (
        (ROOT / "docs/limits.md").read_text().partition("<!-- causes:begin -->")[2].partition("<!-- causes:end -->")[0]
    )
    assert tuple(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == LIMITED_CAUSES


def test_table_of_faults_is_that_of_the_code() -> None:
    text = (ROOT / "docs/faults.md").read_text()
    table = text.partition("<!-- kinds:begin -->")[2].partition("<!-- kinds:end -->")[0]
    assert tuple(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == FAULT_OUTCOMES


def test_table_of_deadlines_has_every_deadline_of_the_reference_with_its_default() -> None:
    text = (ROOT / "docs/deadlines.md").read_text()
    table = text.partition("<!-- deadlines:begin -->")[2].partition("<!-- deadlines:end -->")[0]
    shown = dict(re.findall(r"^\| `([^`]+)` \| (\w+) \|", table, re.MULTILINE))
    known = {}
    for section in re.split(r"^## ", (ROOT / "docs/configuration.md").read_text(), flags=re.MULTILINE)[1:]:
        name = section.partition("\n")[0].strip("`")
        timeouts = name.endswith(".timeouts")
        for key, default, unit in re.findall(
            r"^\| `(\w+)` \| .* \| ([^|]*) \| (\w*) \| \w+ \|$", section, re.MULTILINE
        ):
            if unit == "duration" and (timeouts or (key.endswith("timeout") and name.startswith("routes[]"))):
                known[f"{name}.{key}"] = default.strip()
    known.pop("routes[].concurrency.queue_timeout")  # bounds a queue, and is said where the queue is
    known.pop("routes[].rollout.webhooks[].timeout")  # of the control process, and no request waits for it
    assert {key: "off" if default in {"", "0s"} else default for key, default in known.items()} == shown


def test_table_of_cache_outcomes_is_that_of_the_code() -> None:
    text = (ROOT / "docs/caching.md").read_text()
    table = text.partition("<!-- outcomes:begin -->")[2].partition("<!-- outcomes:end -->")[0]
    assert tuple(re.findall(r"^\| `(\w+)`", table, re.MULTILINE)) == CACHE_OUTCOMES


def test_fields_of_exposures_are_those_of_the_code() -> None:
    text = (ROOT / "docs/exposure.md").read_text()
    table = text.partition("<!-- fields:begin -->")[2].partition("<!-- fields:end -->")[0]
    row = (1, 0, 2, 1, None, 9, 0, 1, 1, 0, 1, 1, 1, b"", None)
    fields = list(as_values(row, {1: ("shop", "stable")}, "", "{}", "header"))
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == fields
    (example,) = _blocks(ROOT / "docs/exposure.md", "json")
    assert list(json.loads(example)) == fields


def test_robots_on_the_page_are_those_of_the_code() -> None:
    text = (ROOT / "docs/exposure.md").read_text().partition("**bot**")[2].partition("It is a rule")[0]
    words = re.findall(r"`(\w+)`", text)
    assert len(words) == 7
    assert all(is_robot(f"An{word}/1.0".encode()) for word in words)


def test_sample_ratios_on_the_page_are_those_of_the_code() -> None:
    text = (ROOT / "docs/exposure.md").read_text()
    shown = re.findall(r"(\d+) (?:against|to) (\d+)[^;.]*?give (-?[\d.]+\d)", text)
    assert len(shown) == 2
    for first, second, factor in shown:
        assert f"{sample_ratio([int(first), int(second)], [1, 1]):.1f}" == factor


def test_failures_of_exposures_on_the_page_are_those_of_the_code() -> None:
    text = (ROOT / "docs/exposure.md").read_text()
    assert set(re.findall(r'kind="(\w+)"', text)) == set(Standing().failures) - {"message"}
    sources = "".join(file.read_text() for file in (Path(proxy.__file__).parent / "exposure").glob("*.py"))
    for line in re.findall(r'log "([^"]+)"', text):
        assert line in sources, line


def test_table_of_the_breaker_is_that_of_the_code() -> None:
    text = (ROOT / "docs/resilience.md").read_text()
    table = text.partition("<!-- breaker:begin -->")[2].partition("<!-- breaker:end -->")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.strip().splitlines()]
    assert rows[0] == ["event", *(state.value for state in STATES)]
    assert rows[2:] == [
        [
            event.value,
            *(f"{after.value}: {action.value}" for after, action in (TABLE[state, event] for state in STATES)),
        ]
        for event in Event
    ]


def _hash_families(name: str) -> str:
    """What stands between the marks of this name."""
    text = (ROOT / "docs/hash-families.md").read_text()
    return text.partition(f"<!-- {name}:begin -->")[2].partition(f"<!-- {name}:end -->")[0]


def test_every_hash_family_has_its_formula_what_it_takes_and_its_proof() -> None:
    families = {name: set(takes) for name, takes in TAKES.items() if takes}
    rows = re.findall(r"^\| `([\w-]+)` \| .* \| ([^|]*) \|$", _hash_families("families"), re.MULTILINE)
    assert {name: set(re.findall(r"`(\w+)`", takes)) for name, takes in rows} == families
    for name in ("weights", "proofs"):
        cells = re.findall(r"^\| (`[^|]*) \|", _hash_families(name), re.MULTILINE)
        assert {word for cell in cells for word in re.findall(r"`([\w-]+)`", cell)} - {"variants"} == set(families)


def test_explanation_of_a_hash_family_is_what_explain_says(tmp_path: Path) -> None:
    file = tmp_path / "tidegate.yaml"
    file.write_text(_blocks(ROOT / "docs/hash-families.md", "yaml")[0])
    result = CliRunner().invoke(tidegate, ["explain", "-c", str(file), "--route", "shop", "--unit", "alice"])
    shown = _hash_families("explained").partition("```text\n")[2].partition("```")[0]
    assert shown
    assert result.stdout.startswith(shown)


def test_more_units_move_under_a_hash_family_as_the_page_says(tmp_path: Path) -> None:
    moved = {}
    for family in ("tidegate", "unleash"):
        specs = []
        for weights in ((90, 5, 5), (80, 10, 10)):
            versions = ", ".join(f"v{place}: {{upstream: u, weight: {weight}}}" for place, weight in enumerate(weights))
            file = tmp_path / "tidegate.yaml"
            file.write_text(
                "listen: 127.0.0.1:8080\nupstreams: {u: {endpoints: [http://127.0.0.1:9001]}}\n"
                f"routes: [{{name: r, unit: [client_ip], default: v0, hash: {family}, versions: {{{versions}}}}}]\n"
            )
            specs.append(load(file, {}).spec)
        moved[family] = round(compare(*specs).changed_routes[0].moved, 6)
    rows = re.findall(
        r"^\| (?:`tidegate`|any other family) \| (\d+) %", (ROOT / "docs/hash-families.md").read_text(), re.MULTILINE
    )
    assert [round(100 * share) for share in moved.values()] == [int(row) for row in rows] == [10, 15]


def _what_happens() -> list[list[str]]:
    """The cells of the tables of what happens when: what, for the client, next, where it shows, the key."""
    text = (ROOT / "docs/resilience.md").read_text().partition("## What happens when")[2].partition("\n## ")[0]
    rows = [line.strip("|").split("|") for line in text.splitlines() if line.startswith("| ")]
    assert {len(row) for row in rows} == {5}
    return rows


def test_keys_of_what_happens_when_have_the_defaults_of_the_reference() -> None:
    known: dict[str, set[str]] = {}
    for section in re.split(r"^## ", (ROOT / "docs/configuration.md").read_text(), flags=re.MULTILINE)[1:]:
        name = section.partition("\n")[0].strip("`").replace("[]", "").replace(".NAME", "")
        for key, default in re.findall(r"^\| `(\w+)` \| .* \| ([^|]*) \| \w* \| \w+ \|$", section, re.MULTILINE):
            words = f"{name}.{key}".split(".")
            value = "off" if default.strip() in {"", "0s", "0.0"} else default.strip()
            for start in range(len(words)):
                known.setdefault(".".join(words[start:]), set()).add(value)
    shown = [found for row in _what_happens() for found in re.findall(r"`([\w.]+)` \(((?:[^()]|`)*)\)", row[4])]
    assert len(shown) > 50
    assert [(key, default) for key, default in shown if default not in known.get(key, ())] == []


def test_metrics_and_log_lines_of_what_happens_when_exist() -> None:
    named = (ROOT / "docs/metrics.md").read_text()
    sources = "".join(file.read_text() for file in Path(proxy.__file__).parent.rglob("*.py"))
    for row in _what_happens()[1:]:
        for name in re.findall(r"`([a-z_]+)(?:\{[^}]*\})?`", row[3]):
            assert f"tidegate_{name} " in named or f"tidegate_{name}_total " in named or name == "marked", name
        for line in re.findall(r'log "([^"]+)"', row[3]):
            assert line in sources, line


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_that_are_there(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


def test_index_names_every_page() -> None:
    index = (ROOT / "docs/index.md").read_text()
    assert [
        page.name for page in (ROOT / "docs").glob("*.md") if page.name != "index.md" and page.name not in index
    ] == []


def test_files_named_in_the_life_of_a_request_exist() -> None:
    text = (ROOT / "docs/life-of-a-request.md").read_text()
    sources = Path(proxy.__file__).parents[1]  # a wheel is not tested beside the checkout
    folder = ""
    for name in re.findall(r"`((?:proxy/\w+/)?\w+\.py)`", text):
        folder = name.rpartition("/")[0] or folder
        assert (sources / folder / name.rpartition("/")[2]).exists(), name


@pytest.mark.parametrize("picture", sorted((ROOT / "docs").glob("*.svg")), ids=lambda picture: picture.name)
def test_pictures_are_well_formed(picture: Path) -> None:
    assert ET.parse(picture).getroot().tag.endswith("svg")
