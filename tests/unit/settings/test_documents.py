"""What is generated is current, and the examples are fine."""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from proxy.core.build import build_plan
from proxy.settings import load
from proxy.settings.later import KEYS
from proxy.settings.reference import reference
from proxy.settings.schema import json_schema, schema_text
from proxy.settings.source import parse_document

ROOT = Path(__file__).resolve().parents[3]
CONFIGS = sorted((ROOT / "config").glob("*.yaml"))


def test_the_committed_schema_is_current() -> None:
    assert (ROOT / "config/tidegate.schema.json").read_text() == schema_text()


def test_the_committed_reference_is_current() -> None:
    assert (ROOT / "docs/configuration.md").read_text() == reference()


def test_all_examples_are_there() -> None:
    assert {path.stem for path in CONFIGS} >= {
        "tidegate",
        "canary",
        "blue-green",
        "abn",
        "shadow",
        "container",
        "resilience",
    }


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_an_example_is_fine_without_any_environment(path: Path) -> None:
    loaded = load(path, {})
    assert [warning.line() for warning in loaded.warnings] == []
    build_plan(loaded.spec)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_the_schema_takes_an_example(path: Path) -> None:
    schema = json_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    # Read as the loader reads it: PyYAML takes the key `on` for a truth value.
    values = parse_document(path.name, path.read_bytes(), {}).values
    jsonschema.Draft202012Validator(schema).validate(values)


@pytest.mark.parametrize(
    "text",
    [
        "lisen: 0.0.0.0:80",
        "drain: {delay: 5}",
        "drain: {delay: 5 s}",
        "watch: never",
        "routes: [{name: r, versions: {}}]",
        "routes: [{name: r}]",
        "routes: [{name: r, versions: {v: {upstream: a}}, mirror: [{upstream: a, percent: 101}]}]",
        "upstreams: {a: {endpoints: []}}",
        "upstreams: {a: {endpoints: [x], balance: least}}",
        "upstreams: {a: {endpoints: [x], health: {expected: [6xx]}}}",
        "routes: [{name: r, versions: {v: {upstream: a}}, retry: {attempts: 1}}]",
        "routes: [{name: r, versions: {v: {upstream: a}}, rate_limits: [{rate: 100}]}]",
        "routes: [{name: r, versions: {v: {upstream: a}}, rate_limits: [{rate: 1/d}]}]",
        "routes: [{name: r, versions: {v: {upstream: a}}, faults: [{abort: 200, percent: 1}]}]",
        "segments: {s: {time: {days: [monday]}}}",
        "segments: {s: {between: {form: '2027-01-01T00:00:00Z'}}}",
        "segments: {s: {header: x, between: [1]}}",
    ],
)
def test_the_schema_refuses_what_is_wrong(text: str) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(json_schema()).validate(yaml.safe_load(text))


@pytest.mark.parametrize(
    "text",
    [
        "listen: [{address: 0.0.0.0:80, proxy_protocol: true}, 'unix:/run/x.sock']",
        "admin: {address: 127.0.0.1:1, tokens: [aaaaaaaaaaaaaaaaaaaaaaaa]}",
        "drain: {delay: '${DELAY:-5s}'}",
        "workers: auto",
        "routes: [{name: r, match: {host: x.org, headers: {x-a: b, x-c: {in: [d]}}}, versions: {v: {upstream: a}}}]",
        "routes: [{name: r, unit: [client_ip, {header: x}], versions: {v: {upstream: a}}}]",
        "routes: [{name: r, versions: {v: {upstream: a}}, errors: {codes: [429, 5xx]}}]",
        "upstreams: {a: {endpoints: [x], health: tcp, slow_start: 30s}}",
        "upstreams: {a: {endpoints: [x], health: {expected: 200-204}, slow_start: {window: '${W:-1s}'}}}",
        "routes: [{name: r, versions: {v: {upstream: a}}, deadline: x-t, retry: {budget: 5, methods: safe}}]",
        "routes: [{name: r, versions: {v: {upstream: a}}, rate_limits: [{rate: 1.5/m, by: unit}]}]",
        "routes: [{name: r, versions: {v: {upstream: a}}, rate_limits: [{rate: '${R:-5/s}', by: {header: x}}]}]",
        "routes: [{name: r, versions: {v: {upstream: a}}, rate_limits: [{rate: 1/h, by: [unit, {cookie: x}]}]}]",
        "segments: {s: {any: [{header: x, is: a}, {not: {client_ip: {cidr: 10.0.0.0/8}}}]}}",
        "segments: {s: {all: [{time: {from: '22:00', days: mon}}, {between: {to: '2027-01-01T00:00:00Z'}}]}}",
        "segments: {s: {any: [{units: [a]}, {units_file: b.txt}, {header: x, trusted: true, between: [1, 2]}]}}",
    ],
)
def test_the_schema_takes_short_forms_and_references(text: str) -> None:
    jsonschema.Draft202012Validator(json_schema()).validate(yaml.safe_load(text))


def test_every_key_has_its_meaning_in_the_schema() -> None:
    def undocumented(node: object, path: str) -> list[str]:
        if not isinstance(node, dict):
            return []
        found = [
            f"{path}.{name}"
            for name, one in node.get("properties", {}).items()
            if "description" not in one and "$ref" not in one
        ]
        for name, one in node.get("$defs", {}).items():
            found += undocumented(one, name)
        return found

    assert undocumented(json_schema(), "") == []


def test_what_comes_later_is_not_in_the_schema() -> None:
    text = json.dumps(json_schema())
    for path in KEYS:
        if path[-1] not in {"flags", "claim"}:  # words that mean something else elsewhere
            assert f'"{path[-1]}":' not in text, path
