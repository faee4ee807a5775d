"""`explain` over every reason there is: what decides, what would have been next without it, and who stands by."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from proxy.core.build import build_plan
from proxy.core.cookies import Kept
from proxy.core.plan import REASONS
from proxy.settings.loader import load
from proxy.surfaces.asking import Wish, answer
from proxy.surfaces.cli.main import tidegate

FILE = """
listen: 127.0.0.1:8080
secrets: {cookie: [0123456789abcdef]}
upstreams: {a: {endpoints: ["http://127.0.0.1:9001"]}}
segments:
  staff: {header: x-email, suffix: "@example.com"}
  oslo: {header: x-geo-city, is: Oslo}
holdouts: {q4: {percent: 30}}
layers: {checkout: {}}
routes:
  - name: shop
    unit: [{header: x-user}]
    versions: {stable: {upstream: a, weight: 50}, canary: {upstream: a, weight: 50, fallback: stable}}
    preview: {}
    rules:
      - {units: [bob], deny: canary}
      - {units: [alice], version: canary}
      - {segment: oslo, version: canary}
    rings: [{version: canary, order: [staff], open: staff}]
    holdout: q4
    layer: {name: checkout, from: 0, to: 60}
    stickiness: pinned
  - name: killed
    match: {path: /killed}
    kill: true
    unit: [{header: x-user}]
    preview: {}
    versions: {stable: {upstream: a, weight: 0}, canary: {upstream: a, weight: 100}}
  - name: denied
    match: {path: /denied}
    unit: [{header: x-user}]
    rules: [{units: [bob], deny: canary}]
    versions: {stable: {upstream: a, weight: 1}, canary: {upstream: a, weight: 1000, fallback: stable}}
"""
PREVIEW = "x-tidegate-version: canary"
STAFF = "x-email: a@example.com"
OSLO = "x-geo-city: Oslo"


class Asked:
    """The file, asked about units that are so or so."""

    def __init__(self, directory: Path) -> None:
        self.file = directory / "tidegate.yaml"
        self.file.write_text(FILE)
        self.spec = load(self.file, {}).spec
        self.plan = build_plan(self.spec)
        self.route = self.plan.routes[0]

    def unit(self, held_out: bool, in_layer: bool, version: str) -> str:
        """The first unit that a holdout has or not, a layer has or not, and the draw gives this version."""
        route = self.route
        assert route.holdout is not None
        assert route.layer is not None
        for number in range(10_000):
            unit = b"user-%d" % number
            so = (route.holdout.holds(unit, 0.0), route.layer.has(unit), route.versions[route.split.deal(unit)].name)
            if so == (held_out, in_layer, version):
                return unit.decode()
        raise AssertionError

    def record(self, unit: str, version: str) -> str:
        """The field with a unit's record of a version."""
        sticky = self.route.sticky
        assert sticky is not None
        kept = self.plan.cookies.keep(sticky.scope, unit.encode(), Kept(version.encode(), 0, 1_763_700_000))
        return f"cookie: {sticky.cookie.decode()}={kept.decode()}"

    def explained(self, route: str, unit: str | None, *headers: str) -> dict[str, Any]:
        wish = Wish(route=route, unit=unit, headers=headers, at=1_763_700_001.0)
        return answer(wish, self.plan, self.spec)


Told = tuple[str | None, str, str] | None
CASES: dict[str, tuple[str, tuple[bool, bool, str] | str | None, tuple[str, ...], Told, Told]] = {
    "kill": ("killed", "bob", (PREVIEW,), ("stable", "kill", "route.kill"), ("canary", "preview", "")),
    "deny": ("denied", "bob", (), ("stable", "deny", "rules[0]"), ("stable", "deny", "rules[0]")),
    "preview": ("shop", "alice", (PREVIEW,), ("canary", "preview", ""), ("canary", "override", "rules[1]")),
    "override": ("shop", "alice", (STAFF,), ("canary", "override", "rules[1]"), ("canary", "ring", "rings[0].staff")),
    "ring": ("shop", "zoe", (STAFF, OSLO), ("canary", "ring", "rings[0].staff"), ("canary", "segment", "rules[2]")),
    "segment": (
        "shop", (True, True, "canary"), (OSLO,), ("canary", "segment", "rules[2]"), ("stable", "holdout", "holdouts.q4"),
    ),
    "holdout": (
        "shop", (True, False, "canary"), (), ("stable", "holdout", "holdouts.q4"), ("stable", "layer", "layers.checkout"),
    ),
    "layer": (
        "shop", (False, False, "stable"), ("record",), ("stable", "layer", "layers.checkout"), ("canary", "sticky", ""),
    ),
    "sticky": ("shop", (False, True, "stable"), ("record",), ("canary", "sticky", ""), ("stable", "split", "")),
    "split": ("shop", (False, True, "canary"), (), ("canary", "split", ""), ("stable", "default", "")),
    "default": ("shop", None, (), ("stable", "default", ""), None),
}  # fmt: skip


@pytest.mark.parametrize("reason", [one for one in REASONS if one != "fallback"])
def test_path_is_whole_for_every_reason_and_says_what_would_have_been_next(reason: str, tmp_path: Path) -> None:
    asked = Asked(tmp_path)
    route, who, headers, given, following = CASES[reason]
    unit = asked.unit(*who) if isinstance(who, tuple) else who
    if "record" in headers:
        assert unit is not None
        headers = (asked.record(unit, "canary"),)
    told = asked.explained(route, unit, *headers)
    assert told["reason"] == reason
    assert (told["version"], told["reason"], told["rule"]) == given
    after = told["next"]
    assert (None if after is None else (after["version"], after["reason"], after["rule"])) == following
    path = told["path"]
    kinds = list(dict.fromkeys(step["kind"] for step in path))
    assert kinds == [*(one for one in REASONS if one != "fallback"), "fallback"]
    outcomes = [step["outcome"] for step in path if step["outcome"] in {"decides", "would have been next"}]
    assert outcomes == ["decides", "would have been next"][: 1 + (following is not None)]
    found = CliRunner().invoke(
        tidegate,
        ["explain", "-c", str(asked.file), "--route", route, "--at", "2025-11-21T04:40:01Z"]
        + ([] if unit is None else ["--unit", unit])
        + [part for header in headers for part in ("-H", header)],
    )
    assert found.exit_code == 0
    lines = found.stdout.splitlines()
    assert [one.strip() for one in lines if one.startswith("  reason")] == [
        f"reason   {reason}" + (f" ({told['rule']})" if told["rule"] else "")
    ]
    shown = [one for one in lines if one.startswith("    ") and one[4] != " "]
    assert [one.split()[0].rstrip(":") for one in shown] == [step["kind"] for step in path]
    assert [step["kind"] for step in path if step["outcome"] == "decides"] == [
        one.split()[0].rstrip(":") for one in shown if ": decides" in one
    ]


@pytest.mark.parametrize(
    ("route", "unit", "headers", "fallbacks", "step"),
    [
        ("shop", "alice", (), ["stable"], ("versions.canary.fallback", "stands by", "stable")),
        ("shop", None, (), [], ("", "not configured", None)),
        ("denied", "zoe", (), ["stable"], ("versions.canary.fallback", "stands by", "stable")),
    ],
)
def test_who_stands_by_is_told(
    route: str, unit: str | None, headers: tuple[str, ...], fallbacks: list[str], step: tuple[Any, ...], tmp_path: Path
) -> None:
    asked = Asked(tmp_path)
    told = asked.explained(route, unit, *headers)
    assert told["fallbacks"] == fallbacks
    last = told["path"][-1]
    assert last["kind"] == "fallback"
    assert (last["rule"], last["outcome"], last["version"]) == step
    assert json.loads(json.dumps(told)) == told
