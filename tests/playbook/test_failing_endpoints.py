"""Some of a version's endpoints fail, and the rest carry on."""

import pytest

from tests.playbook.specs import endpoints, hedge, outlier, retry
from tests.playbook.world import Service, Visit, playing


def failed(visit: Visit) -> bool:
    return visit.status != 200


def test_one_of_three_hangs_and_p99_recovers_within_an_ejection_interval() -> None:
    upstream = {"timeouts": {"response": 1.0}, "outlier": outlier(max_ejected_percent=34.0)}
    with playing(endpoints(3, upstream=upstream)) as world:
        bad, *_ = (world.service(f"10.0.0.{number}") for number in (1, 2, 3))
        world.at(20.0, lambda: setattr(bad, "hanging", True))
        world.visits(rate=100, seconds=48)
        world.run(50)
        calm = world.slowest(99, 0, 20)
        assert world.slowest(99, 20, 22) > 0.9  # it was felt
        assert world.slowest(99, 22, 48) <= calm * 1.5  # and within two seconds no more
        assert sum(map(failed, world.made())) <= 5 + 100 / 3 * 1.1  # those under way when the fifth failed


def test_one_of_three_hangs_for_longer_than_the_route_allows_and_is_ejected_after_five() -> None:
    with playing(
        endpoints(3, upstream={"outlier": outlier(max_ejected_percent=34.0)}, route={"timeout": 0.5})
    ) as world:
        bad, *_ = (world.service(f"10.0.0.{number}") for number in (1, 2, 3))
        world.at(10.0, lambda: setattr(bad, "hanging", True))
        world.visits(rate=100, seconds=30)
        world.run(32)
        assert world.share(failed, 0, 10) == world.share(failed, 11, 30) == 0.0
        assert sum(map(failed, world.made())) <= 5 + 100 / 3 * 0.5 * 1.3  # those under way when the fifth failed


def test_one_of_three_hangs_behind_hedges_and_is_ejected_when_five_are_late() -> None:
    upstream = {"timeouts": {"response": 2.0}, "outlier": outlier(max_ejected_percent=34.0)}
    with playing(endpoints(3, upstream=upstream, route={"hedge": hedge(budget_percent=100.0)})) as world:
        bad, *_ = (world.service(f"10.0.0.{number}") for number in (1, 2, 3))
        world.at(20.0, lambda: setattr(bad, "hanging", True))
        world.visits(rate=100, seconds=45)
        world.run(47)
        assert world.share(failed) == 0.0  # the hedges answered
        assert world.slowest(99, 20, 22) < 0.1
        assert bad.asked_between(20.0, 22.0) > 50
        assert bad.asked_between(22.5, 45.0) == 0


def test_impatient_callers_eject_nobody() -> None:
    route = {"timeout": 2.0, "deadline": {"header": "x-request-timeout"}}
    spec = endpoints(3, upstream={"outlier": outlier(max_ejected_percent=67.0)}, route=route)
    with playing(spec | {"trusted_proxies": ["192.0.2.0/24"]}) as world:
        for number in (1, 2, 3):
            world.service(f"10.0.0.{number}").latency = lambda rng: 0.3 + 0.1 * rng.random()
        world.visits(rate=50, seconds=20)
        world.visits(rate=50, seconds=20, users=5, path="/now", fields=("X-Request-Timeout: 100ms",))
        world.run(22)
        hasty = [visit for visit in world.made() if visit.path == "/now"]
        assert all(visit.status == 504 for visit in hasty)
        assert all(visit.status == 200 for visit in world.made() if visit.path == "/")
        asked = [world.service(f"10.0.0.{number}").asked_between(10, 20) for number in (1, 2, 3)]
        assert min(asked) > 0.9 * max(asked)


def test_one_of_three_breaks_its_answers_off_and_is_ejected_after_five() -> None:
    with playing(endpoints(3, upstream={"outlier": outlier(max_ejected_percent=34.0)})) as world:
        bad, *_ = (world.service(f"10.0.0.{number}") for number in (1, 2, 3))
        world.at(10.0, lambda: setattr(bad, "breaking_off", True))
        world.visits(rate=100, seconds=28)
        world.run(30)
        assert 5 <= sum(map(failed, world.made())) <= 7  # and those under way when the fifth failed


def test_a_dead_endpoint_costs_its_users_nothing_with_retries() -> None:
    with playing(endpoints(3, upstream={"outlier": outlier()}, route={"retry": retry()})) as world:
        bad, *_ = (world.service(f"10.0.0.{number}") for number in (1, 2, 3))
        world.at(10.0, lambda: setattr(bad, "resetting", True))
        world.visits(rate=100, seconds=30)
        world.run(31)
        assert world.share(failed) == 0.0


@pytest.mark.parametrize("failing", [0.3, 1.0])
@pytest.mark.parametrize("rate", [20, 300])
def test_retries_never_add_a_fifth_to_the_load(failing: float, rate: int) -> None:
    spec = endpoints(3, route={"retry": retry(attempts=4, budget={"percent": 20.0, "minimum": 3})})
    with playing(spec) as world:
        services = [world.service(f"10.0.0.{number}") for number in (1, 2, 3)]
        for service in services:
            service.failing = failing
        world.visits(rate=rate, seconds=40)
        world.run(42)
        for start in (0, 10, 20, 30):
            asked = sum(service.asked_between(start, start + 10) for service in services)
            assert asked <= 1.2 * len(world.made(start, start + 10)) + 10


def restart(service: Service, begins: bool) -> None:
    service.refusing = service.resetting = begins


def test_endpoints_restarted_one_after_another_cost_nothing() -> None:
    """Each refuses connections for five seconds, and resets those it has: what had been sent is repeated where that is safe."""
    spec = endpoints(3, route={"retry": retry()})
    with playing(spec) as world:
        services = [world.service(f"10.0.0.{number}") for number in (1, 2, 3)]
        for turn, service in enumerate(services):
            world.at(10.0 + 15.0 * turn, lambda service=service: restart(service, True))  # type: ignore[misc]
            world.at(15.0 + 15.0 * turn, lambda service=service: restart(service, False))  # type: ignore[misc]
        world.visits(rate=200, seconds=60)
        world.run(62)
        assert world.share(failed) == 0.0
        for turn, service in enumerate(services):
            begins = 10.0 + 15.0 * turn
            assert service.asked_between(begins + 1, begins + 5) <= 64, "at most what was left of its connections"
            # It rests for at most five seconds after it was last found dead; then it has its third again.
            assert service.asked_between(begins + 10.5, begins + 15) >= 0.3 * 200 * 4.5
        assert world.slowest(99) < 0.1
        world.end()
