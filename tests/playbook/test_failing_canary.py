"""The canary fails. Its users notice little, the others nothing, and when it is well they are back with it."""

from tests.playbook.specs import breaker, retry, two_services
from tests.playbook.world import Visit, World, playing

FAILS, RECOVERS, ENDS = 20.0, 58.0, 90.0


def failed(visit: Visit) -> bool:
    return visit.status != 200


def play(world: World) -> None:
    """200 requests a second, 20 % of them canary's; it answers 503 from FAILS to RECOVERS."""
    world.service("10.0.0.1")
    canary = world.service("10.0.0.2")
    world.at(FAILS, lambda: setattr(canary, "status", 503))
    world.at(RECOVERS, lambda: setattr(canary, "status", 200))
    world.visits(rate=200, seconds=ENDS)
    world.run(ENDS + 1)


def of_canary(world: World, start: float, end: float) -> list[Visit]:
    return [visit for visit in world.made(start, end) if visit.version == "canary"]


def test_the_breaker_alone() -> None:
    with playing(two_services(20.0, canary={"breaker": breaker()})) as world:
        play(world)
        assert not [visit for visit in world.made() if visit.version == "stable" and failed(visit)]
        during = of_canary(world, FAILS, RECOVERS)
        # It opens when half of the last ten seconds' requests have failed, at the latest; then only probes reach the canary.
        before = of_canary(world, FAILS - 10, FAILS)
        assert sum(map(failed, during)) <= 0.5 * len(before) + 5 * 5
        late = of_canary(world, FAILS + 10, RECOVERS)
        assert sum(map(failed, late)) / len(late) < 0.02
        assert all(visit.served == "stable" and "FB" in visit.flags for visit in late if not failed(visit))
        back = of_canary(world, RECOVERS + 15, ENDS)
        assert back
        assert all(visit.served == "canary" for visit in back)


def test_with_retries_on_the_fallback_nobody_notices() -> None:
    spec = two_services(
        20.0, canary={"breaker": breaker()}, route={"retry": retry(budget={"percent": 100.0, "minimum": 10})}
    )
    with playing(spec) as world:
        play(world)
        assert world.share(failed) == 0.0
        saved = [visit for visit in of_canary(world, 0, ENDS) if "5xx" in visit.flags]
        assert all(visit.served == "stable" for visit in saved)
        # Nobody noticed, and yet the canary is charged: for each that it failed, not for those whom its breaker sent elsewhere.
        assert world.stage.flags() == {"5xx": len(saved)}
        sent_elsewhere = [visit for visit in of_canary(world, 0, ENDS) if visit.flags == {"FB"}]
        assert 100 < len(saved) < 300 < len(sent_elsewhere)
        assert all(visit.served == "canary" for visit in of_canary(world, RECOVERS + 15, ENDS))


def test_a_slow_canary_opens_the_breaker() -> None:
    slow = breaker(error_percent=0.0, slow={"above": 0.5, "percent": 50.0})
    with playing(two_services(20.0, canary={"breaker": slow})) as world:
        world.service("10.0.0.1")
        canary = world.service("10.0.0.2")
        world.at(20.0, lambda: setattr(canary, "latency", lambda _rng: 2.0))
        world.visits(rate=200, seconds=60)
        world.run(65)
        late = of_canary(world, 35, 60)
        assert sum(visit.seconds > 0.5 for visit in late) / len(late) < 0.05
        assert not [visit for visit in world.made() if failed(visit)]
