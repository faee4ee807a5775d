"""Nothing happens: what every other play is measured against."""

from tests.playbook.world import playing
from tests.unit.dataplane.stage import two_versions


def shop_with_canary(weight: float) -> dict[str, object]:
    spec = two_versions(route={"debug": ["0.0.0.0/0"]})
    stable, canary = spec["routes"][0]["versions"]
    stable["weight"], canary["weight"] = 100.0 - weight, weight
    return spec


def test_users_keep_their_version_and_nobody_fails() -> None:
    with playing(shop_with_canary(20.0)) as world:
        world.service("10.0.0.1")
        world.service("10.0.0.2")
        world.visits(rate=200, seconds=30)
        world.run(31)
        assert world.share(lambda visit: visit.status == 200) == 1.0
        versions: dict[str, set[str]] = {}
        for visit in world.made():
            versions.setdefault(visit.user, set()).add(visit.served)
        assert all(len(served) == 1 for served in versions.values())
        assert 0.15 < world.share(lambda visit: visit.served == "canary") < 0.25
        assert world.slowest(99) < 0.02
