"""The limit that follows the latency, against an upstream that is a queue with so many servers."""

import heapq
from collections import deque
from random import Random

import pytest

from proxy.core.concurrency import AdaptiveLimit, AdaptivePolicy


def policy(**parts: object) -> AdaptivePolicy:
    return AdaptivePolicy(
        {"minimum": 5, "maximum": 500, "buffer_percent": 25.0, "samples": 50, "interval": 20.0, "jitter_percent": 15.0}
        | parts
    )


class Simulation:
    """Requests come at random at `rate`; those beyond the limit are refused, the others wait for one of `servers`."""

    def __init__(
        self, *, rate: float, servers: int, service: float = 0.05, workers: int = 1, start: int = 100, **parts: object
    ) -> None:
        self.rng = Random(3)
        self.rate, self.servers, self.service = rate, servers, service
        self.limits = [AdaptiveLimit(policy(**parts), start) for _ in range(workers)]
        self.shared = 0
        self.time = 0.0
        self.in_use = self.busy = 0
        self.waiting: deque[tuple[float, int, int]] = deque()
        self.events: list[tuple[float, int, tuple[float, int, int] | None]] = [(0.0, 0, None)]
        self.serial = 0
        self.history: list[tuple[float, int]] = []  # the limit, whenever it moved
        self.answered: list[tuple[float, float]] = []  # when, and in how many seconds
        self.measuring = 0.0  # seconds

    def run(self, seconds: float) -> None:
        until = self.time + seconds
        while self.events[0][0] < until:
            now, _, done = heapq.heappop(self.events)
            self.measuring += (now - self.time) * (self.shared < 0)
            self.time = now
            if done is None:
                self.come()
            else:
                self.go(done)
        self.time = until

    def later(self, seconds: float, what: tuple[float, int, int] | None) -> None:
        self.serial += 1
        heapq.heappush(self.events, (self.time + seconds, self.serial, what))

    def come(self) -> None:
        self.later(self.rng.expovariate(self.rate), None)
        worker = self.rng.randrange(len(self.limits))
        limit = self.limits[worker]
        if self.in_use >= limit.permitted(self.shared):
            return
        self.in_use += 1
        self.waiting.append((self.time, worker, limit.begun(self.shared, self.in_use, self.time)))
        self.serve()

    def serve(self) -> None:
        while self.waiting and self.busy < self.servers:
            self.busy += 1
            self.later(self.service * self.rng.uniform(0.8, 1.2), self.waiting.popleft())

    def go(self, done: tuple[float, int, int]) -> None:
        begun, worker, phase = done
        self.busy -= 1
        self.in_use -= 1
        seconds = self.time - begun
        self.answered.append((self.time, seconds))
        shared = self.limits[worker].ended(seconds, phase, self.shared, self.time, self.rng.random())
        if shared != self.shared:
            self.shared = shared
            self.history.append((self.time, shared))
        self.serve()

    def limits_since(self, since: float) -> list[int]:
        """The limits in force, without what there was while the floor was measured."""
        return [limit for time, limit in self.history if time >= since and limit > 0]

    def throughput(self, since: float, until: float) -> float:
        """Answers a second, as a share of what the servers can do."""
        count = sum(since <= time < until for time, _ in self.answered)
        return count / (until - since) / (self.servers / self.service)

    def median(self, since: float) -> float:
        taken = sorted(seconds for time, seconds in self.answered if time >= since)
        return taken[len(taken) // 2]


@pytest.mark.parametrize("workers", [1, 4])
def test_limit_settles_a_little_above_what_keeps_the_upstream_busy(workers: int):
    world = Simulation(rate=800, servers=20, workers=workers)  # twice what the servers can do
    world.run(40)
    settled = world.limits_since(10)
    assert min(settled) >= 20
    assert max(settled) <= 45
    assert world.throughput(10, 40) > 0.97
    assert world.median(10) < 0.05 * 2
    assert all(limit.floor == pytest.approx(0.05, rel=0.15) for limit in world.limits if limit.floor)


@pytest.mark.parametrize("workers", [1, 4])
def test_limit_follows_a_capacity_that_halves_and_comes_back(workers: int):
    world = Simulation(rate=800, servers=20, workers=workers)
    world.run(30)
    world.servers = 10
    world.run(5)
    halved = world.limits_since(32)
    assert min(halved) >= 10
    assert max(halved) <= 26
    world.run(25)
    assert world.median(40) < 0.05 * 2.2
    world.servers = 20
    world.run(5)
    back = world.limits_since(63)
    assert min(back) >= 18
    assert max(back) <= 45
    world.run(25)
    assert world.throughput(65, 90) > 0.97


def test_upstream_that_became_slower_for_good_is_not_taken_for_overloaded():
    world = Simulation(rate=300, servers=40)
    world.run(30)
    world.service = 0.1
    world.run(40)  # an interval and its jitter
    assert world.limits[0].floor == pytest.approx(0.1, rel=0.2)
    assert world.throughput(60, 70) > 0.7  # of 400 a second it is asked for 300
    assert world.median(60) < 0.1 * 1.3


@pytest.mark.parametrize("workers", [1, 4])
def test_measuring_the_floor_makes_no_dip(workers: int):
    world = Simulation(rate=800, servers=20, workers=workers, interval=5.0)
    world.run(60)
    begun = [time for time, shared in world.history if shared < 0 and time > 10]
    assert len(begun) >= 8
    assert world.measuring < 60 * 0.12
    for time in begun:
        assert world.throughput(time - 0.1, time + 0.4) > 0.8
    answered = [world.throughput(second, second + 1) for second in range(10, 59)]
    assert min(answered) > 0.9


def test_limit_does_not_grow_while_nobody_comes_near_it():
    world = Simulation(rate=40, servers=20)  # two of twenty at work
    world.run(60)
    assert max(world.limits_since(0)) <= 100
    assert world.limits[0].floor == pytest.approx(0.05, rel=0.1)


def test_limit_stays_within_its_bounds():
    slow = Simulation(rate=800, servers=2)
    slow.run(30)
    assert min(slow.limits_since(0)) >= 5
    fast = Simulation(rate=20_000, servers=2000, maximum=150)
    fast.run(5)
    assert max(fast.limits_since(0)) == 150


def test_new_bounds_of_a_reload_hold_from_the_next_window_on():
    world = Simulation(rate=800, servers=20)
    world.run(10)
    world.limits[0].policy = policy(minimum=60)
    world.run(5)
    assert min(world.limits_since(12)) >= 60


def test_worker_that_comes_anew_takes_the_others_limit():
    world = Simulation(rate=800, servers=20, workers=2)
    world.run(20)
    fresh = world.limits[0] = AdaptiveLimit(policy(), 100)
    assert fresh.permitted(world.shared) == abs(world.shared)
    world.run(10)
    assert max(world.limits_since(20)) <= 45


def test_number_that_was_lost_is_put_back():
    world = Simulation(rate=800, servers=20)
    world.run(19)
    limit = world.limits[0].limit
    world.shared = 0  # as when the first worker died
    assert world.limits[0].permitted(0) == limit
    world.run(1)
    assert world.shared != 0


def test_measurement_of_a_worker_that_died_is_ended_by_another():
    world = Simulation(rate=800, servers=20, interval=100.0)
    world.run(20)
    world.shared = -7
    world.run(5)
    assert world.shared > 0


def test_few_samples_must_do_where_nobody_comes():
    world = Simulation(rate=1, servers=20, interval=20.0)
    world.run(120)
    assert world.limits[0].floor == pytest.approx(0.05, rel=0.2)
    assert world.shared > 0


def test_same_draws_give_the_same_limits():
    histories = []
    for _ in range(2):
        world = Simulation(rate=800, servers=20)
        world.run(10)
        histories.append(world.history)
    assert histories[0] == histories[1]
