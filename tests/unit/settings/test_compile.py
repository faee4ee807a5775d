"""What a route's short words come to."""

import re
from pathlib import Path
from typing import Any

import pytest

from proxy.core.build import build_plan
from proxy.settings import load
from proxy.settings.compile import has_to_do_with_time
from tests.specs import plan_spec, route_spec, upstream_spec, version_spec

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


ONE = "versions: {v: {upstream: a}}"
ALL = "versions: {v: {upstream: a, fallback: w}, w: {upstream: a}}, active: w"


def upstream(tmp_path: Path, text: str) -> dict[str, Any]:
    path = tmp_path / "x.yaml"
    path.write_text(
        f"listen: 0.0.0.0:80\nupstreams: {{a: {{endpoints: [http://127.0.0.1:1], {text}}}}}\nroutes: [{{name: r, {ONE}}}]\n"
    )
    spec = load(path, {}).spec
    build_plan(spec)
    found: dict[str, Any] = spec["upstreams"][0]
    return found


def test_what_is_not_configured_is_off(tmp_path: Path) -> None:
    """And tests/specs.py says the same, so that what is built there is what is built here."""
    made = route(tmp_path, ONE)
    off = route_spec("r", weights={"v": 100.0})
    assert made.keys() == off.keys()
    policies = list(off)[list(off).index("timeout") :]
    assert {key: made[key] for key in policies} == {key: off[key] for key in policies}
    assert made["versions"] == [version_spec("v", 100.0, upstream="a")]
    bare = upstream(tmp_path, "")
    assert bare == upstream_spec("a", endpoints=bare["endpoints"])
    whole = load(tmp_path / "x.yaml", {}).spec
    assert whole.keys() == plan_spec().keys()
    assert (whole["faults"], whole["zone"]) == (plan_spec()["faults"], plan_spec()["zone"])


@pytest.mark.parametrize(
    ("written", "key", "value"),
    [("tcp", "kind", "tcp"), ("http", "kind", "http"), ("/up?x=1", "path", "/up?x=1"), ("{}", "path", "/healthz")],
)
def test_short_forms_of_health(tmp_path: Path, written: str, key: str, value: str) -> None:
    assert upstream(tmp_path, f"health: {written}")["health"][key] == value


@pytest.mark.parametrize(
    ("written", "ranges"),
    [
        ("204", [[204, 204]]),
        ("2xx", [[200, 299]]),
        ("200-204", [[200, 204]]),
        ("[2xx, 301, 400 - 404]", [[200, 299], [301, 301], [400, 404]]),
    ],
)
def test_expected_status_codes(tmp_path: Path, written: str, ranges: list[list[int]]) -> None:
    assert upstream(tmp_path, f"health: {{expected: {written}}}")["health"]["expected"] == ranges


def test_a_slow_start_is_its_window(tmp_path: Path) -> None:
    short = upstream(tmp_path, "slow_start: 30s")["slow_start"]
    assert short == upstream(tmp_path, "slow_start: {window: 30s}")["slow_start"]
    assert short == {"window": 30.0, "aggression": 1.0, "minimum_percent": 10.0}


@pytest.mark.parametrize(
    ("written", "rate", "burst"),
    [
        ("rate: 100/s", 100, 100),
        ("rate: 6000/m", 100, 100),
        ("rate: 1000/h", 1000 / 3600, 1),
        ("rate: 2.5/s", 2.5, 3),
        ("rate: 1/s, burst: 7", 1, 7),
    ],
)
def test_a_rate_and_its_burst(tmp_path: Path, written: str, rate: float, burst: int) -> None:
    (limit,) = route(tmp_path, f"{ONE}, rate_limits: [{{{written}}}]")["rate_limits"]
    assert limit["rate"] == pytest.approx(rate)
    assert (limit["burst"], limit["by"], limit["label"]) == (burst, [], "rate_limits[0]")


@pytest.mark.parametrize(
    ("written", "by"),
    [
        ("route", []),
        ("client_ip", [("client_ip", "")]),
        ("{header: X-Key}", [("header", "x-key")]),
        ("[unit, {query: k}, {cookie: c}, version]", [("unit", ""), ("query", "k"), ("cookie", "c"), ("version", "")]),
    ],
)
def test_by_what_requests_are_told_apart(tmp_path: Path, written: str, by: list[tuple[str, str]]) -> None:
    text = f"{ONE}, unit: [client_ip], rate_limits: [{{rate: 1/s, by: {written}}}]"
    (limit,) = route(tmp_path, text)["rate_limits"]
    assert [(one["kind"], one["name"]) for one in limit["by"]] == by


def test_versions_with_a_fallback_are_shed_first(tmp_path: Path) -> None:
    assert route(tmp_path, f"{ALL}, concurrency: {{}}")["concurrency"]["shed_first"] == ["v"]
    assert route(tmp_path, f"{ALL}, concurrency: {{shed_first: []}}")["concurrency"]["shed_first"] == []


def test_short_forms_of_retry_and_deadline(tmp_path: Path) -> None:
    spec = route(tmp_path, f"{ONE}, deadline: X-Wait, retry: {{budget: 5, methods: safe}}")
    assert spec["deadline"] == {"header": "x-wait"}
    assert spec["retry"]["budget"] == {"percent": 5.0, "minimum": 3}
    assert spec["retry"]["methods"] == ["GET", "HEAD", "OPTIONS", "TRACE"]
    idempotent = route(tmp_path, f"{ONE}, retry: {{methods: idempotent}}")
    assert idempotent["retry"] == route(tmp_path, f"{ONE}, retry: {{}}")["retry"]


def test_faults_are_dealt_by_the_salt_and_their_kind(tmp_path: Path) -> None:
    faults = "faults: [{reset: true, percent: 1}, {abort: 503, header: {}}, {delay: 1s, percent: 1, salt: mine}]"
    first, second, third = route(tmp_path, f"{ONE}, salt: s, {faults}")["faults"]
    assert [one["salt"] for one in (first, second, third)] == ["s/reset", "s/abort", "mine"]
    assert (second["percent"], second["status"], second["header"]["name"]) == (100.0, 503, "x-tidegate-fault")
    assert "where" not in first


def test_a_fault_ends_at_the_same_moment_in_every_zone(tmp_path: Path) -> None:
    ends = ["2100-01-01T00:00:00Z", "2100-01-01t02:00:00+02:00", "2099-12-31T19:30:00.000-04:30"]
    faults = ", ".join(f"{{reset: true, percent: 1, until: {end!r}}}" for end in ends)
    assert {one["until"] for one in route(tmp_path, f"{ONE}, faults: [{faults}]")["faults"]} == {4102444800.0}


@pytest.mark.parametrize(
    ("parts", "timed"),
    [
        ([[], []], False),
        ([[{"name": "s", "where": {"all": [{"not": {"source": "time", "test": "window", "value": {}}}]}}], []], True),
        ([[{"name": "s", "where": {"source": "header", "name": "time", "test": "in", "value": ["until"]}}], []], False),
        ([[], [{"rules": [{"units": ["a"], "until": 0.0}]}]], False),
        ([[], [{"rules": [{"units": ["a"], "until": 1.0}]}]], True),
    ],
)
def test_plan_says_whether_anything_has_to_do_with_time(parts: list[Any], timed: bool) -> None:
    assert has_to_do_with_time(parts) is timed


@pytest.mark.parametrize(
    ("text", "top"),
    [
        ("kill: {until: 2099-01-01T00:00:00Z}", ""),
        ("rules: [{units: [a], deny: v, until: 2099-01-01T00:00:00Z}]", ""),
        ("preview: {until: 2099-01-01T00:00:00Z}", ""),
        ("holdout: h", "holdouts: {h: {percent: 1, until: 2099-01-01T00:00:00Z}}\n"),
        ("epoch: 1", "kill: {until: 2099-01-01T00:00:00Z}\n"),
        (
            "rings: [{version: v, order: [s], open: s, until: 2099-01-01T00:00:00Z}]",
            "segments: {s: {header: x, is: a}}\n",
        ),
    ],
)
def test_every_end_makes_the_plan_look_at_the_clock(tmp_path: Path, text: str, top: str) -> None:
    path = tmp_path / "x.yaml"
    whole = f"{UPSTREAMS}{top}routes: [{{name: r, versions: {{v: {{upstream: a}}}}, {text}}}]\n"
    path.write_text(whole)
    assert load(path, {}).spec["timed"] is True
    path.write_text(re.sub(r",? ?until: [^},]*", "", whole).replace("kill: {}", "kill: true"))
    assert load(path, {}).spec["timed"] is False
