"""An upstream that has too much to do, with and without what stands before it."""

from tests.playbook.world import playing
from tests.specs import version_spec
from tests.unit.dataplane.stage import Spec, pool_spec, shop

ADAPTIVE = {
    "minimum": 5, "maximum": 500, "buffer_percent": 25.0, "samples": 50, "interval": 20.0, "jitter_percent": 15.0,
}  # fmt: skip
CONCURRENCY = {
    "limit": 50, "queue": 20, "queue_timeout": 0.5, "shed_at_percent": 80.0, "shed_first": [], "adaptive": None,
}  # fmt: skip


def one_version(**route: object) -> Spec:
    return shop(
        route={"debug": ["0.0.0.0/0"], "versions": [version_spec("stable", 100.0)]} | route,
        upstreams=[pool_spec("u", "10.0.0.1")],
    )


def test_limit_that_follows_keeps_an_overloaded_upstream_quick() -> None:
    spec = one_version(concurrency=CONCURRENCY | {"adaptive": ADAPTIVE, "limit": 100})
    with playing(spec) as world:
        service = world.service("10.0.0.1")
        service.workers = 10
        service.latency = lambda rng: 0.04 + 0.02 * rng.random()  # 200 a second
        world.visits(rate=300, seconds=30)
        world.run(32)
        late = [visit for visit in world.made() if visit.at > 10]
        served = [visit for visit in late if visit.status == 200]
        assert len(served) / 20 > 200 * 0.93  # all but all that it can do
        assert {next(iter(visit.flags)) for visit in late if visit.status == 503} == {"UO"}
        slowest = sorted(visit.seconds for visit in served)[len(served) * 99 // 100]
        assert slowest < 0.5  # of which most is the queue before it


def test_canary_is_shed_first_and_stable_users_notice_nothing() -> None:
    spec = one_version(
        concurrency=CONCURRENCY | {"limit": 20, "queue": 20, "shed_first": ["canary"], "shed_at_percent": 50.0},
        versions=[version_spec("stable", 50.0), version_spec("canary", 50.0, fallback="stable")],
    )
    with playing(spec) as world:
        service = world.service("10.0.0.1")
        service.latency = lambda rng: 0.1
        world.visits(rate=240, seconds=20)  # 120 of the stable version's users want 12 places
        world.run(22)
        assert world.share(lambda visit: visit.status == 200 or visit.version != "stable") > 0.999
        assert service.most_busy <= 20
        refused = [visit for visit in world.made() if visit.status == 503]
        assert refused
        assert all(visit.version == "canary" and visit.flags == {"LS"} for visit in refused)
