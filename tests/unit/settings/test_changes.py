"""What is told about a change of configuration."""

from pathlib import Path

import pytest

from proxy.settings import Loaded, load
from proxy.settings.changes import Changes, compare
from tests.specs import plan_spec, route_spec

BASE = """\
listen: 0.0.0.0:80
admin: 127.0.0.1:9901
state: sqlite:x.db
upstreams: {a: {endpoints: [http://127.0.0.1:1]}, b: {endpoints: [http://127.0.0.1:2]}}
segments: {staff: {header: x-staff, exists: true}}
routes:
  - name: shop
    match: {path: /shop}
    unit: [{header: x-user}]
    versions: {stable: {upstream: a, weight: 95}, canary: {upstream: b, weight: 5}}
  - name: api
    match: {path: /api}
    versions: {blue: {upstream: a}, green: {upstream: b}}
    active: blue
"""


def loaded(tmp_path: Path, text: str) -> Loaded:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    return load(path, {})


def changed(tmp_path: Path, *replacements: tuple[str, str]) -> Changes:
    text = BASE
    for old, new in replacements:
        assert old in text
        text = text.replace(old, new)
    old_one, new_one = loaded(tmp_path, BASE), loaded(tmp_path, text)
    return compare(old_one.spec, new_one.spec, old_one.settings, new_one.settings)


def test_nothing_changes(tmp_path: Path) -> None:
    changes = changed(tmp_path, ("sqlite:x.db\n", "sqlite:x.db  # a comment\n"))
    assert not changes
    assert changes.lines == []


RAISED = "route shop: weights stable 95 -> 90, canary 5 -> 10; 5 % of units move (5 % into canary, 5 % out of stable)"
FLIP = (
    "route api: weights blue 100 -> 0, green 0 -> 100; changed default;"
    " 100 % of units move (100 % into green, 100 % out of blue)"
)
ANEW = (
    "the cards are dealt anew; 9.5 % of units move"
    " (4.75 % into stable, 4.75 % into canary, 4.75 % out of stable, 4.75 % out of canary)"
)
RESTART = "changed: takes a restart, the running value stays until then"
UNIT = "unit: [{header: x-user}]"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "weight: 95}",
            "weight: 90}",
            "route shop: weights stable 95 -> 90; 0.263 % of units move (0.263 % into canary, 0.263 % out of stable)",
        ),
        (
            "stable: {upstream: a, weight: 95}, canary: {upstream: b, weight: 5}",
            "stable: {upstream: a, weight: 90}, canary: {upstream: b, weight: 10}",
            RAISED,
        ),
        (
            "active: blue",
            "active: green",
            FLIP,
        ),
        (UNIT, f"{UNIT}\n    salt: anew", f"route shop: changed salt; {ANEW}"),
        (UNIT, "unit: [{cookie: sid}]", f"route shop: changed unit; units are found elsewhere, so that {ANEW}"),
        (
            "canary: {upstream: b, weight: 5}",
            "canary: {upstream: a, weight: 5}",
            "route shop: changed versions.canary.upstream; 0 % of units move",
        ),
        ("match: {path: /api}", "match: {path: /v2}", "route api: changed path; 0 % of units move"),
        ("127.0.0.1:2]", "127.0.0.1:3]", "upstream b changed: endpoints"),
        ("x-staff", "x-team", "segment staff changed: where"),
        ("listen: 0.0.0.0:80", "listen: 0.0.0.0:81", f"listen {RESTART}"),
        ("127.0.0.1:9901", "127.0.0.1:9902", f"admin.address {RESTART}"),
        ("x.db", "y.db", f"state {RESTART}"),
        ("admin:", "drain: {delay: 1s}\nadmin:", "drain.delay changed"),
        ("admin:", "faults: {enabled: false}\nadmin:", "faults.enabled changed"),
        ("admin:", "zone: a\nadmin:", "zone changed"),
        ("127.0.0.1:2]", "127.0.0.1:2], balance: maglev, health: tcp", "upstream b changed: balance, health"),
        (
            "match: {path: /api}",
            "match: {path: /api}\n    retry: {}\n    rate_limits: [{rate: 1/s}]",
            "route api: changed retry, rate_limits; 0 % of units move",
        ),
        (
            "blue: {upstream: a}",
            "blue: {upstream: a, warm_up: 1m, breaker: {}}",
            "route api: changed versions.blue.warm_up, versions.blue.breaker; 0 % of units move",
        ),
        ("admin:", "client: {limits: {fields: 5}}\nadmin:", "client.limits.fields changed"),
    ],
)
def test_a_change_is_told_in_a_line(tmp_path: Path, old: str, new: str, line: str) -> None:
    assert changed(tmp_path, (old, new)).lines == [line]


ORDERED = "canary: {upstream: b, weight: 10}, blue: {upstream: b, weight: 20}, stable: {upstream: a, weight: 70}"
UNLEASH = BASE.replace(
    "versions: {stable: {upstream: a, weight: 95}, canary: {upstream: b, weight: 5}}",
    f"default: stable\n    hash: unleash\n    versions: {{{ORDERED}}}",
)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "canary: {upstream: b, weight: 10}, blue: {upstream: b, weight: 20}, stable: {upstream: a, weight: 70}",
            "canary: {upstream: b, weight: 20}, blue: {upstream: b, weight: 20}, stable: {upstream: a, weight: 60}",
            (
                "route shop: weights canary 10 -> 20, stable 70 -> 60; 20 % of units move"
                " (10 % into canary, 10 % into blue, 10 % out of blue, 10 % out of stable)"
            ),
        ),
        (
            ORDERED,
            "stable: {upstream: a, weight: 70}, blue: {upstream: b, weight: 20}, canary: {upstream: b, weight: 10}",
            (
                "route shop: changed the order of versions; 60 % of units move"
                " (10 % into canary, 20 % into blue, 30 % into stable, 10 % out of canary, 20 % out of blue, 30 % out of stable)"
            ),
        ),
        (
            "hash: unleash",
            "hash: {family: unleash, group: other}",
            (
                "route shop: changed hash; the cards are dealt anew; 46 % of units move"
                " (9 % into canary, 16 % into blue, 21 % into stable, 9 % out of canary, 16 % out of blue, 21 % out of stable)"
            ),
        ),
        (
            "hash: unleash",
            "hash: tidegate",
            (
                "route shop: changed hash; the cards are dealt anew; 46 % of units move"
                " (9 % into canary, 16 % into blue, 21 % into stable, 9 % out of canary, 16 % out of blue, 21 % out of stable)"
            ),
        ),
        (
            "hash: unleash",
            "salt: other\n    hash: {family: unleash, group: shop}",
            "route shop: changed salt; 0 % of units move",
        ),
        (
            "    unit: [{header: x-user}]",
            "    unit: []",
            (
                "route shop: changed unit; units are found elsewhere, so that the cards are dealt anew; 30 % of units move"
                " (30 % into stable, 10 % out of canary, 20 % out of blue)"
            ),
        ),
    ],
)
def test_a_change_under_a_family_is_told_in_a_line(tmp_path: Path, old: str, new: str, line: str) -> None:
    assert old in UNLEASH
    before, after = loaded(tmp_path, UNLEASH).spec, loaded(tmp_path, UNLEASH.replace(old, new)).spec
    assert compare(before, after).lines == [line]


def test_the_next_version_of_flagds_hash_is_not_a_new_deal(tmp_path: Path) -> None:
    text = UNLEASH.replace("hash: unleash", "hash: flagd-v1")
    changes = compare(loaded(tmp_path, text).spec, loaded(tmp_path, text.replace("flagd-v1", "flagd-v2")).spec)
    assert not changes.changed_routes[0].redealt
    # Both fold the same hash, so that more stay than by chance: 1 - (.1^2 + .2^2 + .7^2) = .46 would move.
    assert changes.changed_routes[0].moved == pytest.approx(0.35)


def test_the_bounds_of_faults_and_the_zone_are_told_without_the_settings_too(tmp_path: Path) -> None:
    old, new = loaded(tmp_path, BASE).spec, loaded(tmp_path, f"{BASE}zone: a\nfaults: {{max_percent: 1}}\n").spec
    changes = compare(old, new)
    assert changes.lines == ["faults changed", "zone changed"]
    assert changes.upstreams["changed"] == []


def test_restart_only_keys_are_told_apart(tmp_path: Path) -> None:
    changes = changed(tmp_path, ("0.0.0.0:80", "0.0.0.0:81"), ("admin:", "drain: {delay: 1s}\nadmin:"))
    assert changes.keys == ["listen", "drain.delay"]
    assert changes.restart == ["listen"]


def test_parts_that_come_and_go(tmp_path: Path) -> None:
    text = (
        BASE.replace("a: {endpoints", "c: {endpoints")
        .replace("upstream: a", "upstream: c")
        .replace("name: api", "name: v2")
    )
    old, new = loaded(tmp_path, BASE), loaded(tmp_path, text.replace("staff:", "team:"))
    changes = compare(old.spec, new.spec)
    assert changes.upstreams == {"added": ["c"], "removed": ["a"], "changed": []}
    assert changes.segments == {"added": ["team"], "removed": ["staff"], "changed": []}
    assert changes.routes == {"added": ["v2"], "removed": ["api"], "changed": ["shop"]}
    assert changes.as_dict()["changed"]


def test_the_order_of_routes_is_told(tmp_path: Path) -> None:
    old = loaded(tmp_path, BASE).spec
    changes = compare(old, {**old, "routes": old["routes"][::-1]})
    assert changes.lines == ["the order of the routes changed: the first that matches takes a request"]


def test_a_version_that_comes_takes_its_share_and_no_more(tmp_path: Path) -> None:
    changes = changed(
        tmp_path,
        ("canary: {upstream: b, weight: 5}}", "canary: {upstream: b, weight: 5}, blue: {upstream: b, weight: 25}}"),
    )
    (route,) = changes.changed_routes
    assert route.weights == {"blue": (None, 25)}
    assert route.moved == pytest.approx(0.2)
    assert list(route.entering) == ["blue"]


AUDIENCE = """\
listen: 127.0.0.1:80
upstreams: {a: {endpoints: [http://127.0.0.1:1]}}
segments:
  staff: {header: x-staff, exists: true}
  all-staff: {any: [{segment: staff}, {header: x-boss, exists: true}]}
holdouts: {q4: {percent: 10}}
layers: {checkout: {}}
routes:
  - name: shop
    unit: [{header: x-user}]
    holdout: q4
    layer: {name: checkout, from: 0, to: 50}
    versions: {stable: {upstream: a, weight: 80}, canary: {upstream: a, weight: 20}}
    rules: [{units: [ann, bob], version: canary}]
    rings: [{version: canary, order: [all-staff], open: none}]
"""
END = 1_900_000_000.0  # 2030-03-17T17:46:40Z


@pytest.mark.parametrize(
    ("old", "new", "lines"),
    [
        (
            "holdouts:",
            "kill: true\nholdouts:",
            ["route shop: changed kill; 9 % of units move (9 % into stable, 9 % out of canary)", "kill.on changed"],
        ),
        (
            "- name: shop",
            "- name: shop\n    kill: true",
            ["route shop: changed kill; 9 % of units move (9 % into stable, 9 % out of canary)"],
        ),
        (
            "weight: 20}",
            "weight: 20, kill: true}",
            ["route shop: changed versions.canary.kill; 9 % of units move (9 % into stable, 9 % out of canary)"],
        ),
        (
            "weight: 80}",
            "weight: 80, kill: true}",
            ["route shop: changed versions.stable.kill; 91 % of units move (91 % into canary, 91 % out of stable)"],
        ),
        (
            "percent: 10",
            "percent: 30",
            ["route shop: changed holdout; 2 % of units move (2 % into stable, 2 % out of canary)", "holdouts changed"],
        ),
        (
            "holdout: q4",
            "epoch: 0",
            [
                "route shop: changed holdout; 1 % of units move (1 % into canary, 1 % out of stable)",
            ],
        ),
        (
            "to: 50",
            "to: 100",
            ["route shop: changed layer; 9 % of units move (9 % into canary, 9 % out of stable)"],
        ),
        (
            "from: 0, to: 50",
            "from: 50, to: 100",
            [
                (
                    "route shop: changed layer; 18 % of units move"
                    " (9 % into stable, 9 % into canary, 9 % out of stable, 9 % out of canary)"
                )
            ],
        ),
        (
            "holdout: q4",
            "holdout: q4\n    epoch: 1",
            [
                (
                    "route shop: changed epoch; the cards are dealt anew; 14.4 % of units move"
                    " (7.2 % into stable, 7.2 % into canary, 7.2 % out of stable, 7.2 % out of canary)"
                )
            ],
        ),
        (
            "weight: 80}, canary: {upstream: a, weight: 20}",
            "weight: 60}, canary: {upstream: a, weight: 40}",
            [
                (
                    "route shop: weights stable 80 -> 60, canary 20 -> 40; 9 % of units move"
                    " (9 % into canary, 9 % out of stable)"
                )
            ],
        ),
        (
            "open: none",
            "open: all-staff",
            [
                (
                    "route shop: changed rings; 0 % of units move,"
                    " and those whom rings are about: how many depends on who comes"
                )
            ],
        ),
        (
            "[{units: [ann, bob], version: canary}]",
            "[{units: [ann, bob, eve], version: canary}, {segment: staff, version: canary}]",
            [
                (
                    "route shop: changed rules; 0 % of units move,"
                    " and those whom rules are about (3 named): how many depends on who comes"
                )
            ],
        ),
        (
            "header: x-staff",
            "header: x-team",
            [
                "segment staff changed: where",
                "route shop decides by all-staff: how many units move depends on who comes",
            ],
        ),
        # What is over moves nobody, and a kill that ends has moved its units back by then.
        (
            "- name: shop",
            "- name: shop\n    kill: {until: 2030-01-01T00:00:00Z}",
            ["route shop: changed kill; 0 % of units move"],
        ),
        (
            "weight: 80}",
            "weight: 80, kill: {until: 2030-01-01T00:00:00Z}}",
            ["route shop: changed versions.stable.kill; 0 % of units move"],
        ),
        (
            "percent: 10",
            "percent: 10, until: 2030-01-01T00:00:00Z",
            ["route shop: changed holdout; 1 % of units move (1 % into canary, 1 % out of stable)", "holdouts changed"],
        ),
    ],
)
def test_how_many_units_move_is_told_for_what_keeps_them_in_out_or_apart(
    tmp_path: Path, old: str, new: str, lines: list[str]
) -> None:
    assert old in AUDIENCE
    before, after = loaded(tmp_path, AUDIENCE), loaded(tmp_path, AUDIENCE.replace(old, new, 1))
    assert compare(before.spec, after.spec, before.settings, after.settings, at=END).lines == lines


def test_where_every_version_is_killed_nobody_is_served(tmp_path: Path) -> None:
    before = loaded(tmp_path, AUDIENCE)
    both = AUDIENCE.replace("weight: 80}", "weight: 80, kill: true}").replace("weight: 20}", "weight: 20, kill: true}")
    after = loaded(tmp_path, both)
    (route,) = compare(before.spec, after.spec, at=END).changed_routes
    assert route.moved == pytest.approx(1.0)
    assert route.entering == {"none": pytest.approx(1.0)}


def test_what_cannot_be_told_is_said_in_json_too(tmp_path: Path) -> None:
    before, after = loaded(tmp_path, AUDIENCE), loaded(tmp_path, AUDIENCE.replace("bob]", "eve]"))
    (route,) = compare(before.spec, after.spec, at=END).as_dict()["splits"]
    assert (route["beyond"], route["named"], route["moved"]) == (["rules"], 3, 0.0)


def test_route_that_comes_to_look_at_claims_is_told_by_its_keys_alone() -> None:
    old, new = (
        plan_spec(route_spec(unit=[{"kind": kind, "name": "sub"}], claimed=kind == "claim"))
        for kind in ("header", "claim")
    )
    assert [one.keys for one in compare(old, new).changed_routes] == [["unit"]]


STICKY = """\
listen: 0.0.0.0:80
upstreams: {a: {endpoints: [http://127.0.0.1:1]}}
secrets: {cookie: [abcdefghijklmnop]}
routes:
  - name: shop
    unit: [{header: x-user}]
    stickiness: pinned
    versions: {stable: {upstream: a, weight: 80}, canary: {upstream: a, weight: 20}}
"""
TENTH = "10 % of units without a record move (10 % into canary, 10 % out of stable)"


@pytest.mark.parametrize(
    ("replaced", "line"),
    [
        (
            [("weight: 80", "weight: 70"), ("weight: 20", "weight: 30")],
            f"route shop: weights stable 80 -> 70, canary 20 -> 30; {TENTH}; who has a record of stable or canary stays",
        ),
        (
            [("weight: 20", "weight: 20, kill: true")],
            (
                "route shop: changed versions.canary.kill; 20 % of units without a record move (20 % into stable,"
                " 20 % out of canary); who has a record of stable stays"
            ),
        ),
        (
            [("weight: 20", "weight: 0")],
            (
                "route shop: weights canary 20 -> 0; 20 % of units without a record move (20 % into stable,"
                " 20 % out of canary); who has a record of stable or canary stays"
            ),
        ),
        (
            [("weight: 20", "weight: 0"), ("stickiness: pinned", "stickiness: {mode: pinned, drain: off}")],
            (
                "route shop: weights canary 20 -> 0; changed stickiness; 20 % of units without a record move (20 % into stable,"
                " 20 % out of canary); who has a record of stable stays"
            ),
        ),
        (
            [("weight: 80", "weight: 70"), ("weight: 20", "weight: 30"), ("pinned", "hash")],
            (
                "route shop: weights stable 80 -> 70, canary 20 -> 30; changed stickiness; 10 % of units move (10 % into canary,"
                " 10 % out of stable)"
            ),
        ),
        (
            [("stickiness: pinned", "stickiness: pinned\n    epoch: 1")],
            (
                "route shop: changed epoch; the cards are dealt anew; 32 % of units move (16 % into stable, 16 % into canary,"
                " 16 % out of stable, 16 % out of canary)"
            ),
        ),
    ],
)
def test_who_stays_by_a_record_is_told(tmp_path: Path, replaced: list[tuple[str, str]], line: str) -> None:
    text = STICKY
    for old, new in replaced:
        assert old in text
        text = text.replace(old, new)
    changes = compare(loaded(tmp_path, STICKY).spec, loaded(tmp_path, text).spec, at=END)
    assert changes.lines == [line]
    (route,) = changes.as_dict()["splits"]
    assert bool(route["stay"]) == ("stays" in line)


def test_plugins_are_told_by_what_changed_of_them_and_who_asks_them(tmp_path: Path) -> None:
    source = "from proxy.plugin import Plugin\nclass P(Plugin):\n    def unit(self, request):\n        return None\n"
    file = tmp_path / "p.py"
    file.write_text(source)
    text = BASE + "plugins: [{name: p, file: p.py, config: {a: 1}}]\n"
    text = text.replace("    match: {path: /shop}\n", "    match: {path: /shop}\n    plugins: [p]\n")
    base, before = loaded(tmp_path, BASE), loaded(tmp_path, text)
    changes = compare(base.spec, before.spec, base.settings, before.settings)
    assert changes.lines[0] == "plugin p added"
    assert "how many depends on who comes" in changes.lines[1]
    file.write_text(source + "# edited\n")
    after = loaded(tmp_path, text.replace("a: 1", "a: 2"))
    changes = compare(before.spec, after.spec, before.settings, after.settings)
    assert changes.lines == [
        "plugin p changed: source, config",
        "route shop asks p: how many units move depends on who comes",
    ]
    assert changes.keys == ["plugins"]


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (
            "weight: 5", "weight: 5, cap: 10",
            "route shop: changed versions.canary.cap; 0 % of units move; at most 10 units ever get canary",
        ),
        (
            "stable: {upstream: a, weight: 95}, canary: {upstream: b, weight: 5}",
            "stable: {upstream: a, weight: 90}, canary: {upstream: b, weight: 10, cap: 10}",
            RAISED.replace("5 -> 10;", "5 -> 10; changed versions.canary.cap;") + "; at most 10 units ever get canary",
        ),
    ],
)  # fmt: skip
def test_cap_is_told_beside_what_moves(tmp_path: Path, old: str, new: str, line: str) -> None:
    text = BASE.replace("unit: [{header: x-user}]", "unit: [{header: x-user}]\n    exposure: true")
    changes = compare(loaded(tmp_path, text).spec, loaded(tmp_path, text.replace(old, new)).spec)
    assert changes.lines == [line]
    (route,) = changes.as_dict()["splits"]
    assert route["caps"] == {"canary": 10}


def test_how_many_choose_otherwise_depends_on_who_comes(tmp_path: Path) -> None:
    text = STICKY + "    choice: {versions: [canary]}\n"
    changes = compare(loaded(tmp_path, STICKY).spec, loaded(tmp_path, text).spec, at=END)
    assert changes.lines == [
        (
            "route shop: changed choice; 0 % of units without a record move, and those whom choice are about:"
            " how many depends on who comes"
        )
    ]
    both = text.replace("[canary]", "[canary], segment: staff") + "segments: {staff: {header: x-staff, is: a}}\n"
    changes = compare(loaded(tmp_path, both).spec, loaded(tmp_path, both.replace("is: a", "is: b")).spec, at=END)
    assert changes.lines[-1] == "route shop decides by staff: how many units move depends on who comes"
