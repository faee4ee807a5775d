"""Parts and digests: what did not change keeps its digest, what stands on something that changed does not."""

import copy
import json

from proxy.channel import messages
from proxy.channel.frames import FrameReader
from proxy.control.publish import compose

SPEC = {
    "generation": 7,
    "listeners": [],
    "upstreams": [{"name": "a", "endpoints": [1]}, {"name": "b", "endpoints": [2]}, {"name": "c", "endpoints": [3]}],
    "segments": [
        {"name": "staff", "where": {"source": "path", "test": "is", "value": "/"}},
        {"name": "near", "where": {"any": [{"not": {"segment": "staff"}}]}},
        {"name": "far", "where": {"source": "path", "test": "is", "value": "/far"}},
    ],
    "routes": [
        {
            "name": "one",
            "where": None,
            "versions": [{"upstream": "a"}],
            "mirror": [{"upstream": "c"}],
            "rules": [{"units": ["u"], "deny": "x"}, {"where": {"segment": "near"}, "version": "x"}],
            "faults": [],
        },
        {
            "name": "two",
            "where": None,
            "versions": [{"upstream": "b"}],
            "mirror": [],
            "rules": [],
            "faults": [{"kind": "reset"}, {"kind": "abort", "where": {"segment": "far"}}],
        },
    ],
}


def decoded(publication):
    reader = FrameReader()
    frames = reader.feed(b"".join((*publication.parts.values(), publication.plan)))
    return [(kind, json.loads(payload)) for kind, payload in frames]


def route_digests(spec):
    return dict(zip(("one", "two"), decoded(compose(spec))[-1][1]["routes"], strict=True))


def changed(change):
    spec = copy.deepcopy(SPEC)
    change(spec)
    before, after = route_digests(SPEC), route_digests(spec)
    return {name for name in before if before[name] != after[name]}


def test_parts_come_before_what_names_them_and_the_plan_last():
    frames = decoded(compose(SPEC))
    assert [kind for kind, _ in frames] == [messages.PART] * 8 + [messages.PLAN]
    assert [part["kind"] for _, part in frames[:-1]] == ["upstream"] * 3 + ["segment"] * 3 + ["route"] * 2
    plan = frames[-1][1]
    digests = [part["digest"] for _, part in frames[:-1]]
    assert plan["upstreams"] + plan["segments"] + plan["routes"] == digests
    assert plan["spec"] == {"generation": 7, "listeners": []}


def test_the_specs_travel_whole():
    frames = decoded(compose(SPEC))
    assert [part["spec"] for _, part in frames[:-1]] == SPEC["upstreams"] + SPEC["segments"] + SPEC["routes"]


def test_a_generation_alone_changes_no_part():
    assert changed(lambda spec: spec.update(generation=8)) == set()


def test_a_route_is_another_when_its_upstream_is():
    assert changed(lambda spec: spec["upstreams"][0].update(endpoints=[9])) == {"one"}
    assert changed(lambda spec: spec["upstreams"][1].update(endpoints=[9])) == {"two"}


def test_a_route_is_another_when_its_mirror_is():
    assert changed(lambda spec: spec["upstreams"][2].update(endpoints=[9])) == {"one"}


def test_a_route_is_another_when_a_segment_below_its_segment_is():
    assert changed(lambda spec: spec["segments"][0]["where"].update(value="/x")) == {"one"}


def test_a_route_is_another_when_the_segment_of_a_fault_is():
    assert changed(lambda spec: spec["segments"][2]["where"].update(value="/x")) == {"two"}


def test_plan_names_each_expression_once():
    one, other = {"cel": "true", "reads": {}}, {"cel": 'unit == ""', "reads": {"unit": None}}
    spec = copy.deepcopy(SPEC)
    spec["segments"][0]["where"] = {"all": [one, {"not": other}]}
    spec["routes"][1]["faults"][0]["where"] = one
    assert decoded(compose(spec))[-1][1]["expressions"] == [one, other]
    assert decoded(compose(SPEC))[-1][1]["expressions"] == []
