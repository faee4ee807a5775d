"""Samples of a version or an endpoint that is still warming up are marked, so that analysis can leave them out."""

from collections.abc import Callable
from typing import Any

from proxy.telemetry.counters import V_MARKED_ERRORS, V_MARKED_REQUESTS
from tests.specs import version_spec
from tests.unit.dataplane.stage import OK, Spec, Stage, answer, get, pool_spec, shop, two_versions
from tests.unit.dataplane.test_breaking import visit

StageOf = Callable[..., Stage]

ASK = get("/", "X-User-Id: u1")


def weighted(stable: float, canary: float, **parts: Any) -> Spec:
    versions = [
        version_spec("stable", stable, upstream="old"),
        version_spec("canary", canary, upstream="new", fallback="stable", warm_up=30.0),
    ]
    return two_versions(route={"versions": versions}, **parts)


def test_the_first_seconds_with_a_weight_are_marked(stage_of: StageOf) -> None:
    stage = stage_of(weighted(100.0, 0.0))
    stage.bring(weighted(0.0, 100.0, generation=2))
    client = stage.client()
    visit(stage, client)
    stage.pass_time(29)
    visit(stage, client, answer(500, body=b"sorry"))
    assert stage.of_version(V_MARKED_REQUESTS, "canary") == 2
    assert stage.of_version(V_MARKED_ERRORS, "canary") == 1
    stage.pass_time(1.1)
    visit(stage, client)
    assert stage.of_version(V_MARKED_REQUESTS, "canary") == 2


def test_a_reload_that_changes_no_weight_to_one_does_not_begin_anew(stage_of: StageOf) -> None:
    stage = stage_of(weighted(100.0, 0.0))
    stage.bring(weighted(0.0, 10.0, generation=2))
    stage.pass_time(20)
    stage.bring(weighted(0.0, 50.0, generation=3))
    stage.pass_time(11)
    visit(stage, stage.client())
    assert stage.of_version(V_MARKED_REQUESTS, "canary") == 0


def test_what_has_its_weight_when_the_worker_starts_is_warm(stage_of: StageOf) -> None:
    stage = stage_of(weighted(0.0, 100.0))
    visit(stage, stage.client())
    assert stage.of_version(V_MARKED_REQUESTS, "canary") == 0


def test_a_version_that_comes_with_its_weight_is_cold(stage_of: StageOf) -> None:
    stage = stage_of(
        shop(route={"versions": [version_spec("stable", 1.0, upstream="old")]}, upstreams=[pool_spec("old")])
    )
    stage.bring(weighted(0.0, 100.0, generation=2))
    visit(stage, stage.client())
    assert stage.of_version(V_MARKED_REQUESTS, "canary") == 1


def test_an_endpoint_that_starts_slowly_marks_what_it_answers(stage_of: StageOf) -> None:
    slow = {"window": 10.0, "aggression": 1.0, "minimum_percent": 10.0}
    stage = stage_of(shop(upstreams=[pool_spec("u", "10.0.0.1", slow_start=slow)]))
    client = stage.client()
    visit(stage, client)
    before = stage.of_version(V_MARKED_REQUESTS)
    stage.bring(shop(upstreams=[pool_spec("u", "10.0.0.2", slow_start=slow)], generation=2))
    client.send(ASK)
    stage.accept().send(OK)
    assert stage.of_version(V_MARKED_REQUESTS) == before + 1
