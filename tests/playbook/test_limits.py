"""More comes than can be carried: what is kept out, and what those who are let in notice."""

from tests.playbook.specs import concurrency, endpoints, hedge, two_services
from tests.playbook.world import Visit, playing


def failed(visit: Visit) -> bool:
    return visit.status != 200


def test_a_limit_keeps_the_upstream_at_its_best() -> None:
    """A service that works on 20 at a time for 0.1 s carries 200/s; 400/s come."""
    with playing(
        endpoints(1, route={"concurrency": concurrency(20, queue=10, queue_timeout=0.2, shed_first=[])})
    ) as world:
        service = world.service("10.0.0.1")
        service.workers = 20
        service.latency = lambda _rng: 0.1
        world.visits(rate=400, seconds=30)
        world.run(32)
        served = [visit for visit in world.made(5, 30) if visit.status == 200]
        assert 0.95 * 25 * 200 <= len(served) <= 1.02 * 25 * 200
        assert max(visit.seconds for visit in served) <= 0.1 + 0.2 + 0.06
        assert service.most_busy <= 20
        refused = [visit for visit in world.made(5, 30) if visit.status != 200]
        assert {visit.status for visit in refused} == {503}
        assert all("retry-after" in visit.fields for visit in refused)


def test_the_canary_is_shed_first() -> None:
    """Both versions share the route's limit; beyond 80 % of it only the canary's users are refused."""
    spec = two_services(30.0, route={"concurrency": concurrency(40, queue=0, queue_timeout=0.0)})
    with playing(spec) as world:
        for host in ("10.0.0.1", "10.0.0.2"):
            world.service(host).latency = lambda _rng: 0.1
        world.visits(rate=330, seconds=30)
        world.run(32)
        stable = [visit for visit in world.made(5, 30) if visit.version == "stable"]
        canary = [visit for visit in world.made(5, 30) if visit.version == "canary"]
        assert sum(map(failed, canary)) / len(canary) > 0.3
        assert sum(map(failed, stable)) / len(stable) < 0.03


def test_adaptive_concurrency_finds_the_capacity_and_follows_it() -> None:
    adaptive = {
        "minimum": 4, "maximum": 500, "buffer_percent": 25.0, "samples": 50, "interval": 10.0, "jitter_percent": 15.0,
    }  # fmt: skip
    limit = concurrency(1000, queue=0, queue_timeout=0.0, shed_first=[], adaptive=adaptive)
    with playing(endpoints(1, route={"concurrency": limit})) as world:
        service = world.service("10.0.0.1")
        service.workers = 20
        service.latency = lambda rng: 0.09 + 0.02 * rng.random()
        world.at(60, lambda: setattr(service, "workers", 8))
        world.visits(rate=300, seconds=120)
        world.run(122)
        for start, end, capacity in ((30, 60, 200), (90, 120, 80)):
            served = [visit for visit in world.made(start, end) if visit.status == 200]
            assert len(served) >= 0.8 * capacity * (end - start)
            assert world.slowest(50, start, end) < 0.3
            waits = sorted(visit.seconds for visit in served)
            assert waits[len(waits) * 95 // 100] < 0.5


def test_hedging_takes_the_tail_off() -> None:
    spec = endpoints(3, route={"hedge": hedge()})
    with playing(spec) as world:
        services = [world.service(f"10.0.0.{number}") for number in (1, 2, 3)]
        for service in services:
            service.latency = lambda rng: 0.5 if rng.random() < 0.02 else 0.01 + 0.005 * rng.random()
        world.visits(rate=100, seconds=60)
        world.run(62)
        assert world.share(lambda visit: visit.status == 200) == 1.0
        assert world.slowest(99, 10, 60) < 0.1
        asked = sum(service.asked_between(10, 60) for service in services)
        assert asked <= 1.12 * len(world.made(10, 60))
