"""Flags told to the upstream."""

from collections.abc import Callable

from tests.unit.core.test_flags import flag
from tests.unit.dataplane.stage import Stage, get, two_versions

StageOf = Callable[..., Stage]


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
