"""What a route's short words come to."""

from pathlib import Path
from typing import Any

import pytest

from proxy.core.build import build_plan
from proxy.settings import load

UPSTREAMS = "listen: 0.0.0.0:80\nupstreams: {a: {endpoints: [http://127.0.0.1:1]}}\n"


def route(tmp_path: Path, text: str) -> dict[str, Any]:
    path = tmp_path / "x.yaml"
    path.write_text(f"{UPSTREAMS}routes: [{{name: r, {text}}}]\n")
    spec = load(path, {}).spec
    build_plan(spec)
    found: dict[str, Any] = spec["routes"][0]
    return found


MINTED = [{"kind": "mint_cookie", "name": "tg_unit"}]


@pytest.mark.parametrize(
    ("text", "unit"),
    [
        ("versions: {v: {upstream: a}}", []),
        ("versions: {v: {upstream: a}, w: {upstream: a}}, active: v", []),
        ("versions: {v: {upstream: a, weight: 1}, w: {upstream: a, weight: 0}}", []),
        ("versions: {v: {upstream: a, weight: 1}, w: {upstream: a, weight: 1}}", MINTED),
        ("versions: {v: {upstream: a, weight: 1}, w: {upstream: a, weight: 1}}, unit: []", []),
        ("versions: {v: {upstream: a}}, rules: [{units: [bob], deny: v}]", MINTED),
        ("versions: {v: {upstream: a}}, rules: [{when: {header: x, exists: true}, split: {v: 1}}]", MINTED),
        ("versions: {v: {upstream: a}}, rules: [{when: {header: x, exists: true}, version: v}]", []),
        ("versions: {v: {upstream: a}}, unit: [client_ip, {header: X-User}]",
         [{"kind": "client_ip", "name": ""}, {"kind": "header", "name": "x-user"}]),
    ],
)  # fmt: skip
def test_a_cookie_is_minted_only_where_units_matter(tmp_path: Path, text: str, unit: list[dict[str, str]]) -> None:
    assert route(tmp_path, text)["unit"] == unit


@pytest.mark.parametrize(
    ("text", "weights", "default"),
    [
        ("versions: {v: {upstream: a}}", [100], "v"),
        ("versions: {v: {upstream: a, weight: 5}}", [5], "v"),
        ("versions: {v: {upstream: a}, w: {upstream: a}}, active: w", [0, 100], "w"),
        ("versions: {v: {upstream: a}, w: {upstream: a}}, active: w, default: v", [0, 100], "v"),
        ("versions: {v: {upstream: a}, w: {upstream: a, weight: 0.01}}", [0, 0.01], "v"),
        ("versions: {v: {upstream: a, weight: 1}, w: {upstream: a, weight: 2}}, default: w", [1, 2], "w"),
    ],
)
def test_weights_and_the_default(tmp_path: Path, text: str, weights: list[float], default: str) -> None:
    spec = route(tmp_path, text)
    assert [version["weight"] for version in spec["versions"]] == weights
    assert spec["default"] == default


@pytest.mark.parametrize(
    ("written", "methods"),
    [("safe", ["GET", "HEAD", "OPTIONS", "TRACE"]), ("all", []), ("[get, Post]", ["GET", "POST"])],
)
def test_methods_of_a_mirror(tmp_path: Path, written: str, methods: list[str]) -> None:
    mirror = f"mirror: [{{upstream: a, percent: 100, methods: {written}}}]"
    assert route(tmp_path, f"versions: {{v: {{upstream: a}}}}, {mirror}")["mirror"][0]["methods"] == methods


def test_errors_by_words_and_numbers(tmp_path: Path) -> None:
    spec = route(tmp_path, "versions: {v: {upstream: a}}, errors: {codes: [429, 5xx], flags: [UT]}")
    assert spec["errors"] == {"codes": [429, *range(500, 600)], "flags": ["UT"]}
    spec = route(tmp_path, "versions: {v: {upstream: a}}")
    assert spec["errors"] == {"codes": list(range(500, 600)), "flags": ["UH", "UF", "UO", "UT", "UC", "UR", "UPE"]}


def test_one_field_is_a_matcher_and_several_are_all_of_them(tmp_path: Path) -> None:
    one = {"source": "header", "name": "x-a", "test": "is", "value": "b"}
    versions = "versions: {v: {upstream: a}}"
    assert route(tmp_path, versions)["where"] is None
    assert route(tmp_path, f"{versions}, match: {{headers: {{X-A: b}}}}")["where"] == one
    match = "match: {headers: {x-a: b}, query: {q: {exists: true}}, cookies: {c: {in: [d]}}, client_ip: 10.0.0.1}"
    assert route(tmp_path, f"{versions}, {match}")["where"] == {
        "all": [
            one,
            {"source": "query", "name": "q", "test": "exists", "value": True},
            {"source": "cookie", "name": "c", "test": "in", "value": ["d"]},
            {"source": "client_ip", "test": "cidr", "value": ["10.0.0.1/32"]},
        ]
    }
