"""A version fails, and its users hardly notice: breaker, retries, fallback and hedges in a world with numbers."""

from typing import Any

import pytest

from tests.playbook.world import Visit, playing
from tests.unit.dataplane.stage import Spec, breaker_spec, hedge_spec, pool_spec, retry_spec, shop, two_versions

OLD, NEW = "10.0.0.1", "10.0.0.2"


def with_canary(weight: float, *, breaker: Spec | None = None, **route: Any) -> Spec:
    spec = two_versions(route={"debug": ["0.0.0.0/0"], **route})
    stable, canary = spec["routes"][0]["versions"]
    stable["weight"], canary["weight"] = 100.0 - weight, weight
    canary["breaker"] = breaker
    return spec


def one_upstream(*hosts: str, **route: Any) -> Spec:
    return shop(route={"debug": ["0.0.0.0/0"], **route}, upstreams=[pool_spec("u", *hosts)])


def failed(visit: Visit) -> bool:
    return visit.status != 200


def of_canary(visit: Visit) -> bool:
    return visit.version == "canary"


def of_stable(visit: Visit) -> bool:
    return visit.version == "stable"


@pytest.mark.slow
def test_users_of_a_canary_that_answers_503_see_the_threshold_and_nobody_else_sees_anything() -> None:
    """200 requests a second, a fifth of them on the canary, which fails from 10 s to 40 s."""
    spec = with_canary(20.0, breaker=breaker_spec(minimum_requests=20, error_percent=50.0, window=10.0, max_open=10.0))
    with playing(spec) as world:
        stable, canary = world.service(OLD), world.service(NEW)
        world.at(10, lambda: setattr(canary, "status", 503))
        world.at(40, lambda: setattr(canary, "status", 200))
        world.visits(rate=200, seconds=80)
        world.run(81)
        assert world.share(lambda visit: of_stable(visit) and failed(visit)) == 0
        # Before it opens: as many failures as successes in the window. After: one probe at each half-open moment.
        errors = [visit for visit in world.made() if of_canary(visit) and failed(visit)]
        before = [visit for visit in errors if visit.at < 25]
        assert 150 < len(before) < 250  # 40 a second, until half of the window's ten seconds have failed
        assert len(errors) - len(before) <= 10
        assert world.share(lambda visit: of_canary(visit) and visit.served == "stable", 25, 40) > 0.15
        assert all(visit.served == "canary" for visit in world.made(60, 80) if of_canary(visit))
        assert stable.asked_between(0, 81) > 0
        world.end()


@pytest.mark.slow
def test_a_canary_that_fails_is_answered_by_stable_when_the_route_retries() -> None:
    """The same, with retries: the users of the canary see nothing either, and the canary is charged."""
    spec = with_canary(
        20.0,
        breaker=breaker_spec(minimum_requests=20, error_percent=50.0),
        retry=retry_spec("gateway_error", attempts=1, budget={"percent": 100.0, "minimum": 20}),
    )
    with playing(spec) as world:
        world.service(OLD)
        canary = world.service(NEW)
        world.at(5, lambda: setattr(canary, "status", 503))
        world.visits(rate=200, seconds=30)
        world.run(31)
        assert world.share(failed) == 0
        assert world.share(lambda visit: of_canary(visit) and visit.served == "stable", 5, 30) > 0.15
        assert world.stage.retries("canary")["success"] > 20
        assert world.stage.retries("stable") == {}


@pytest.mark.slow
@pytest.mark.parametrize("rate", [200, 500])
def test_a_storm_of_retries_stays_within_its_budget(rate: int) -> None:
    """Everything fails: the upstream gets at most 1.2 requests for each that a client sent."""
    spec = one_upstream(OLD, retry=retry_spec("5xx", attempts=4))
    with playing(spec) as world:
        service = world.service(OLD)
        service.latency = lambda rng: 0.1 + 0.1 * rng.random()
        world.at(5, lambda: setattr(service, "status", 503))
        world.visits(rate=rate, seconds=12)
        world.run(14)
        asked = service.asked_between(5.5, 12)
        made = len(world.made(5.5, 12))
        assert asked <= 1.2 * made
        assert asked > 1.02 * made
        assert world.stage.retries()["budget_exhausted"] > 0
        world.end()


@pytest.mark.slow
def test_a_rare_failure_is_never_seen() -> None:
    spec = one_upstream(OLD, "10.0.0.3", retry=retry_spec("5xx", "reset", attempts=3))
    with playing(spec) as world:
        for host in (OLD, "10.0.0.3"):
            service = world.service(host)
            service.failing = 0.02
        world.visits(rate=200, seconds=20)
        world.run(21)
        assert world.share(failed) < 0.001
        assert world.stage.retries()["success"] > 40


@pytest.mark.slow
def test_hedges_cut_the_tail_for_a_few_percent_more_load() -> None:
    """Each answer takes 10 ms, but one in fifty a second."""

    def latency(rng: Any) -> float:
        return 1.0 if rng.random() < 0.02 else 0.01

    def slowest(hedge: Spec | None) -> tuple[float, float]:
        with playing(one_upstream(OLD, "10.0.0.3", hedge=hedge)) as world:
            services = [world.service(OLD), world.service("10.0.0.3")]
            for service in services:
                service.latency = latency
            world.visits(rate=200, seconds=30)
            world.run(32)
            asked = sum(service.asked_between(5, 30) for service in services)
            assert world.share(failed) == 0
            assert len(world.made(5, 30)) <= asked
            world.end()
            return world.slowest(99, 5, 30), asked / len(world.made(5, 30))

    without, _ = slowest(None)
    with_hedges, load = slowest(hedge_spec(minimum_samples=100, budget_percent=10.0))
    assert without > 0.9
    assert with_hedges < 0.1
    assert load < 1.1


@pytest.mark.slow
def test_an_endpoint_that_hangs_costs_its_requests_one_try_each() -> None:
    spec = one_upstream(
        OLD, NEW, "10.0.0.3", retry=retry_spec("timeout", per_try_timeout=0.3, budget={"percent": 50.0, "minimum": 10})
    )
    with playing(spec) as world:
        for host in (OLD, "10.0.0.3"):
            world.service(host)
        hanging = world.service(NEW)
        world.at(5, lambda: setattr(hanging, "hanging", True))
        world.visits(rate=100, seconds=20)
        world.run(22)
        assert world.share(failed, 5, 20) < 0.02
        assert world.slowest(98, 6, 20) < 0.6
        world.end()
