"""What is told about a change of configuration."""

from pathlib import Path

import pytest

from proxy.settings import Loaded, load
from proxy.settings.changes import Changes, compare

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
