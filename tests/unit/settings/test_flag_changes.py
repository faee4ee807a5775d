"""What is told about a change of flags: which one, what of it, and how many units get another variant."""

import json
from pathlib import Path

import pytest

from proxy.settings import load
from proxy.settings.changes import Changes, compare

BASE = """\
listen: 0.0.0.0:80
upstreams: {a: {endpoints: ["http://127.0.0.1:1"]}}
segments: {norway: {attribute: country, in: ["NO"]}}
ofrep: {listen: 127.0.0.1:9902}
flags:
  cart: {default: off, split: {on: 10, off: 90}}
  ruled: {default: off, rules: [{units: [alice], variant: on}, {segment: norway, variant: on}]}
  plain: {variants: {low: 1, high: 2}, default: low}
  needy: {default: off, prerequisites: {plain: low}, split: {on: 10, off: 90}}
  shop: {route: shop}
routes:
  - name: shop
    unit: [{header: x-user}]
    versions: {stable: {upstream: a, weight: 95}, canary: {upstream: a, weight: 5}}
"""
EARLY = 1_763_700_000.0


def changed(tmp_path: Path, *replacements: tuple[str, str]) -> Changes:
    text = BASE
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new, 1)
    loaded = []
    for name, one in (("old", BASE), ("new", text)):
        path = tmp_path / f"{name}.yaml"
        path.write_text(one)
        loaded.append(load(path, {}))
    one, other = loaded
    changes = compare(one.spec, other.spec, one.settings, other.settings, at=EARLY)
    bare = compare(one.spec, other.spec, at=EARLY)
    assert bare.flags == changes.flags
    assert json.loads(json.dumps(changes.as_dict()))["flags"] == changes.flags
    return changes


CART = "cart: {default: off, split: {on: 10, off: 90}}"
NEEDY = "needy: {default: off, prerequisites: {plain: low}, split: {on: 10, off: 90}}"
RULED = "ruled: {default: off, rules: [{units: [alice], variant: on}, {segment: norway, variant: on}]}"
ALL_OUT = "100 % of units move (100 % into off, 100 % out of on)"


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (
            CART, "cart: {default: off, split: {on: 20, off: 80}}",
            ["flag cart: split on 10 -> 20, off 90 -> 80; 10 % of units move (10 % into on, 10 % out of off)"],
        ),
        (
            CART, "cart: {default: off}",
            [
                ("flag cart: split on 10 -> none, off 90 -> none;"
                " 10 % of units move (10 % into off, 10 % out of on)"),
            ],
        ),
        (CART, "cart: {default: on, split: {on: 10, off: 90}}", ["flag cart: changed default; 0 % of units move"]),
        (
            CART, "cart: {default: off, split: {on: 10, off: 90}, on: false}",
            ["flag cart: changed on; 10 % of units move (10 % into off, 10 % out of on)"],
        ),
        (
            CART, "cart: {default: off, split: {on: 10, off: 90}, until: 2025-11-01T00:00:00Z}",
            ["flag cart: changed until; 10 % of units move (10 % into off, 10 % out of on)"],
        ),
        (
            CART, "cart: {default: off, split: {on: 10, off: 90}, until: 2099-11-01T00:00:00Z}",
            ["flag cart: changed until; 0 % of units move"],
        ),
        (
            CART, "cart: {default: off, split: {on: 10, off: 90}, salt: other}",
            [
                ("flag cart: changed salt; the cards are dealt anew; 18 % of units move"
                " (9 % into on, 9 % into off, 9 % out of on, 9 % out of off)"),
            ],
        ),
        (
            RULED, "ruled: {default: off, rules: [{units: [alice, bob], variant: on}]}",
            [
                ("flag ruled: changed rules; 0 % of units move, and those whom rules are about (2 named):"
                " how many depends on who comes"),
            ],
        ),
        (
            RULED, f"{RULED[:-1]}, on: false}}",
            [
                ("flag ruled: changed on; 0 % of units move, and those whom rules are about (1 named):"
                " how many depends on who comes"),
            ],
        ),
        (
            'in: ["NO"]', 'in: ["NO", "SE"]',
            [
                "segment norway changed: where",
                "flag ruled decides by norway: how many units move depends on who comes",
            ],
        ),
        (
            "variants: {low: 1, high: 2}", "variants: {low: 1, high: 3}",
            [
                "flag plain: another value of high; 0 % of units move",
                "flag needy needs plain: how many units move depends on who comes",
            ],
        ),
        (
            "default: low}", "default: high}",
            [
                "flag plain: changed default, off; 100 % of units move (100 % into high, 100 % out of low)",
                "flag needy needs plain: how many units move depends on who comes",
            ],
        ),
        (
            NEEDY, NEEDY.replace("on: 10, off: 90", "on: 1, off: 0"),
            [
                ("flag needy: split on 10 -> 1, off 90 -> 0; 90 % of units that have what it needs move"
                " (90 % into on, 90 % out of off)"),
            ],
        ),
        (
            NEEDY, NEEDY.replace("plain: low", "plain: high"),
            [
                ("flag needy: changed prerequisites; 0 % of units move, and those whom prerequisites are about:"
                " how many depends on who comes"),
            ],
        ),
        (
            "stable: {upstream: a, weight: 95}, canary: {upstream: a, weight: 5}",
            "stable: {upstream: a, weight: 90}, canary: {upstream: a, weight: 10}",
            [
                ("route shop: weights stable 95 -> 90, canary 5 -> 10; 5 % of units move"
                " (5 % into canary, 5 % out of stable)"),
                "flag shop: follows route shop; 5 % of units move (5 % into canary, 5 % out of stable)",
            ],
        ),
        (
            "    unit: [{header: x-user}]\n",
            "    unit: [{header: x-user}]\n    rules: [{units: [alice], version: canary}]\n",
            [
                ("route shop: changed rules; 0 % of units move, and those whom rules are about (1 named):"
                " how many depends on who comes"),
                ("flag shop: follows route shop; 0 % of units move, and those whom rules of route shop are about"
                " (1 named): how many depends on who comes"),
            ],
        ),
        (
            "  shop: {route: shop}\n", "  shop: {route: shop, on: false}\n",
            ["flag shop: changed on; follows route shop; 5 % of units move (5 % into stable, 5 % out of canary)"],
        ),
        (f"  {CART}\n", "", ["flag cart removed"]),
        (f"  {CART}\n", f"  {CART}\n  new: {{default: on}}\n", ["flag new added"]),
    ],
)  # fmt: skip
def test_change_of_a_flag_is_told(old: str, new: str, lines: list[str], tmp_path: Path) -> None:
    changes = changed(tmp_path, (old, new))
    assert changes.lines == lines
    assert [one.flag for one in changes.changed_flags] == changes.flags["changed"]


def test_flags_that_stay_are_not_told(tmp_path: Path) -> None:
    changes = changed(tmp_path, ("listen: 127.0.0.1:9902", "listen: 127.0.0.1:9903"))
    assert changes.flags == {"added": [], "removed": [], "changed": []}
    assert changes.lines == ["ofrep.listen changed"]


def test_numbers_are_there_for_programs(tmp_path: Path) -> None:
    told = changed(tmp_path, (CART, "cart: {default: off, split: {on: 20, off: 80}}")).as_dict()
    (split,) = told["flag_splits"]
    assert split["moved"] == pytest.approx(0.1)
    assert split["entering"] == {"on": pytest.approx(0.1)}
    assert split["weights"] == {"on": {"old": 10.0, "new": 20.0}, "off": {"old": 90.0, "new": 80.0}}
    assert "flags" not in told["keys"]
