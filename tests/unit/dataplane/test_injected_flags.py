"""Flags told to the upstream."""

from collections.abc import Callable
from typing import Any

import pytest

from proxy.core.cookies import Kept, sign_record
from tests.specs import route_spec, version_spec
from tests.unit.core.test_flags import flag
from tests.unit.dataplane.stage import Stage, get, pool_spec, two_versions

StageOf = Callable[..., Stage]


def recorded(canary: float, cookie: str) -> dict[str, Any]:
    """What a route has that keeps records, and lets everybody choose the canary."""
    return {
        "versions": [version_spec("stable", 100.0 - canary), version_spec("canary", canary)],
        "stickiness": {
            "mode": "pinned",
            "cookie": f"kept_{cookie}",
            "max_age": 600.0,
            "drain": 600.0,
            "until": "",
            "step": 0,
        },
        "choice": {
            "versions": ["canary"],
            "segment": None,
            "path": f"/{cookie}/choice",
            "cookie": f"chosen_{cookie}",
            "rate": 1.0,
            "burst": 30,
        },
    }


def test_upstream_is_told_of_flags_and_a_client_cannot_pretend(stage_of: StageOf) -> None:
    rules = [{"label": "rules[0]", "units": ["alice"], "variant": "off"}]
    spec = two_versions(route={"inject_flags": ["new-cart"]}, flags=[flag("new-cart", rules=rules), flag("other")])
    stage = stage_of(spec)
    for user, variant in (("alice", b"off"), ("bob", b"on")):
        client = stage.client()
        client.send(get("/", f"X-User-Id: {user}", "X-Tidegate-Flag-New-Cart: fake", "X_Tidegate_Flag_New_Cart: fake"))
        head = stage.accept().take()
        assert head.count(b"x-tidegate-flag-new-cart: " + variant + b"\r\n") == 1
        assert b"fake" not in head
        assert b"flag-other" not in head


@pytest.mark.parametrize(
    ("name", "scope", "variant"),
    [
        ("kept_shop", "shop\0pinned\0shop", b"stable"),
        ("chosen_shop", "shop\0choice", b"stable"),
        ("kept_other", "other\0pinned\0other", b"canary"),
        ("chosen_other", "other\0choice", b"canary"),
    ],
)
def test_a_flag_that_follows_another_route_goes_by_the_records_of_that_one(
    stage_of: StageOf, name: str, scope: str, variant: bytes
) -> None:
    spec = two_versions(
        route=recorded(100.0, "shop") | {"inject_flags": ["other"]},
        flags=[flag("other", route="other", variants={"stable": "s", "canary": "c"}, default="stable")],
        secrets={"cookie": ["secret"], "unit_hash": "k"},
        timed=True,
        upstreams=[pool_spec("u")],
    )
    spec["routes"].append(route_spec("other", **recorded(0.0, "other")))
    stage = stage_of(spec)
    record = sign_record(b"secret", scope.encode(), b"alice", Kept(b"canary", 0, int(stage.runtime.wall())))
    stage.client().send(get("/", "X-User-Id: alice", f"Cookie: {name}={record.decode()}"))
    assert b"\r\nx-tidegate-flag-other: " + variant + b"\r\n" in stage.accept().take()
