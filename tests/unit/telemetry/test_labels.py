"""Every part of a plan has labels of its own, and its slots stand where workers look for them."""

from proxy.core.plan import NONE
from proxy.telemetry.labels import endpoint_key, fallback_chains, labels_of, with_slots
from tests.specs import version_spec
from tests.unit.telemetry.memory import endpoint_spec, shop_spec


def test_an_endpoint_behind_a_name_is_told_by_its_address():
    assert endpoint_key("u", endpoint_spec()) == ("u", "http://127.0.0.1:9001")
    assert endpoint_key("u", endpoint_spec("http://[::1]:80", "::1", 80)) == ("u", "http://[::1]:80")
    assert endpoint_key("u", endpoint_spec("http://shop:80", "10.0.0.7", 80)) == ("u", "http://shop:80 (10.0.0.7)")
    socket = endpoint_spec("unix:/run/shop", "", 0) | {"unix": "/run/shop"}
    assert endpoint_key("u", socket) == ("u", "unix:/run/shop")


def test_a_version_is_answered_for_by_those_behind_it_once_each():
    versions = [version_spec("a", 1.0, fallback="b"), version_spec("b", 1.0, fallback="c"), version_spec("c", 1.0)]
    assert fallback_chains(versions) == {"a": ["a", "b", "c"], "b": ["b", "c"], "c": ["c"]}
    circle = [version_spec("a", 1.0, fallback="b"), version_spec("b", 1.0, fallback="a")]
    assert fallback_chains(circle) == {"a": ["a", "b"], "b": ["b", "a"]}


def test_all_labels_of_a_plan_are_named_and_their_slots_put_in():
    spec = shop_spec(plugins=[{"name": "tenant"}])
    labels = {kind: list(keys) for kind, keys in labels_of(spec).items()}
    assert labels == {
        "version": [(NONE, NONE), ("shop", "stable"), ("shop", "canary")],
        "codes": [
            (NONE, NONE, NONE),
            ("shop", "stable", "stable"),
            ("shop", "stable", NONE),
            ("shop", "canary", "canary"),
            ("shop", "canary", "stable"),
            ("shop", "canary", NONE),
        ],
        "mirror": [("shop", "shadow")],
        "upstream": [("u",), ("shadow",)],
        "endpoint": [("u", "http://127.0.0.1:9001")],
        "plugin": [("tenant",)],
    }
    asked = []
    placed = with_slots(spec, lambda kind, key: asked.append((kind, key)) or len(asked))
    assert sorted(asked) == sorted((kind, key) for kind, keys in labels.items() for key in keys)
    canary = placed["routes"][0]["versions"][1]
    assert [asked[slot - 1][1] for slot in canary["codes"]] == [
        ("shop", "canary", "canary"),
        ("shop", "canary", "stable"),
    ]
    assert "slot" not in spec["upstreams"][0]
