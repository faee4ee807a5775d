"""What `tidegate diff` says of a rollout: what begins, what waits for the next revision, and what stops one under way."""

from pathlib import Path

import pytest

from proxy.settings import load
from proxy.settings.changes import compare

BASE = """
listen: 127.0.0.1:8080
state: sqlite:x.db
upstreams: {a: {endpoints: [http://127.0.0.1:1]}, b: {endpoints: [http://127.0.0.1:2]}}
segments: {staff: {header: x-staff, exists: true}}
secrets: {cookie: [abcdefghijklmnop]}
routes:
  - name: shop
    unit: [{header: x-user}]
    versions: {stable: {upstream: a, weight: 100}, canary: {upstream: b, weight: 0}}
    rings: [{version: canary, order: [staff], open: none}]
    ROLLOUT
"""
V1 = "rollout: {revision: v1, steps: [1, 100]}"


def lines(tmp_path: Path, old: str, new: str, weights: str = "weight: 0") -> list[str]:
    specs = []
    for text in (BASE.replace("ROLLOUT", old), BASE.replace("ROLLOUT", new).replace("weight: 0", weights)):
        file = tmp_path / "x.yaml"
        file.write_text(text)
        specs.append(load(file, {}).spec)
    return compare(*specs).lines


def test_nothing_changes(tmp_path: Path) -> None:
    assert lines(tmp_path, V1, V1) == []


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("", V1, "rollout of revision v1 begins: canary from stable to canary, 1 % -> 100 %"),
        (
            V1,
            "rollout: {revision: v2, kind: mirror_first, steps: [{shadow: 5}, {ring: staff}, 1, {approve: true}, 100]}",
            (
                "rollout of revision v2 begins, in the place of v1: mirror_first from stable to canary,"
                " 5 % copied -> ring staff -> 1 % -> approval -> 100 %"
            ),
        ),
        (
            V1,
            "rollout: {revision: v2, kind: blue_green}",
            "rollout of revision v2 begins, in the place of v1: blue_green from stable to canary, preview -> 100 %",
        ),
        (
            V1,
            "rollout: {revision: v2, steps: {linear: 2}}",
            (
                "rollout of revision v2 begins, in the place of v1: canary from stable to canary,"
                " 2 % -> 4 % -> 6 % -> 8 % -> 10 % -> 12 % -> ... (50 steps) -> 98 % -> 100 %"
            ),
        ),
        (
            V1,
            "rollout: {revision: v1, steps: [5, 100], alpha: 2}",
            "the rollout's steps, alpha changed, revision v1 did not: that counts from the next revision on",
        ),
        (V1, "", "no rollout; one of revision v1 under way stops"),
    ],
)
def test_a_change_of_the_rollout(tmp_path: Path, old: str, new: str, told: str) -> None:
    changed, line = lines(tmp_path, old, new)
    assert changed == "route shop: changed rollout; 0 % of units move"
    assert line == f"route shop: {told}"


def test_a_change_of_the_weights_pauses_it(tmp_path: Path) -> None:
    _, line = lines(tmp_path, V1, V1, "weight: 1")
    assert line == "route shop: the weights changed: a rollout of revision v1 that is under way pauses"


def test_a_new_revision_beside_new_weights_begins_and_pauses_nothing(tmp_path: Path) -> None:
    _, line = lines(tmp_path, V1, V1.replace("v1", "v2"), "weight: 1")
    assert line.startswith("route shop: rollout of revision v2 begins")
