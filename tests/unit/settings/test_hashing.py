"""`hash`: what its short form stands for, and what a family takes without complaint. Complaints are in mistakes/hashing.txt."""

from pathlib import Path

import pytest

from proxy.settings import Loaded, load

ROUTE = """\
listen: 0.0.0.0:80
upstreams: {{a: {{endpoints: [http://127.0.0.1:1]}}}}
routes:
  - name: shop
    unit: [{{header: x-user}}]
    {hash}
    versions: {versions}
    {default}
"""


TWO = "{v0: {upstream: a, weight: 5}, v1: {upstream: a, weight: 95}}"


def loaded(tmp_path: Path, hashed: str, versions: str = TWO, default: str = "default: v1") -> Loaded:
    path = tmp_path / "x.yaml"
    path.write_text(ROUTE.format(hash=hashed, versions=versions, default=default))
    return load(path, {})


@pytest.mark.parametrize(
    ("hashed", "spec"),
    [
        ("", None),
        ("hash: tidegate", None),
        ("hash: flagd-v1", {"family": "flagd-v1", "key": "shop", "cat": None}),
        ("hash: unleash", {"family": "unleash", "group": "shop", "variants": False, "total": 1000}),
        ("hash: growthbook", {"family": "growthbook", "key": "shop", "hash_version": 2}),
    ],
)
def test_a_name_stands_for_the_family_with_the_routes_salt(tmp_path: Path, hashed: str, spec: object) -> None:
    assert loaded(tmp_path, hashed).spec["routes"][0]["hash"] == spec


@pytest.mark.parametrize(
    ("hashed", "key"),
    [
        ("{family: flagd-v3, cat: ''}", "key"),
        ("{family: flagd-v2, cat: seed-}", "key"),
        ("{family: launchdarkly, seed: 61}", "key"),
    ],
)
def test_the_routes_salt_does_not_matter_where_something_stands_in_its_place(
    tmp_path: Path, hashed: str, key: str
) -> None:
    assert loaded(tmp_path, f"hash: {hashed}").spec["routes"][0]["hash"][key] == ""


@pytest.mark.parametrize(
    ("hashed", "weights"),
    [
        ("growthbook", (1, 1, 1)),
        ("flagd-v1", (0.01, 99.99, 0)),
        ("flagd-v2", (0.000001, 1, 1)),
        ("flagd-v3", (1000000, 1000000, 1)),
        ("unleash", (1, 1, 2)),
        ("{family: unleash, variants: true}", (0.1, 99.9, 0)),
        ("{family: unleash, variants: true, total: 3}", (1, 1, 1)),
        ("{family: split, seed: 1}", (0, 0, 0.1)),
        ("{family: optimizely, experiment: '1'}", (33.33, 33.33, 33.34)),
        ("{family: launchdarkly, salt: x}", (0.001, 99.999, 0)),
    ],
)
def test_weights_that_a_family_can_express_are_taken(
    tmp_path: Path, hashed: str, weights: tuple[float, float, float]
) -> None:
    versions = ", ".join(f"v{place}: {{upstream: a, weight: {weight}}}" for place, weight in enumerate(weights))
    assert loaded(tmp_path, f"hash: {hashed}", f"{{{versions}}}").warnings == []


def test_one_version_with_all_of_it_is_whole_in_every_family(tmp_path: Path) -> None:
    flip = "{blue: {upstream: a}, green: {upstream: a}}"
    assert loaded(tmp_path, "hash: unleash", flip, "active: green").warnings == []
