"""A schedule is asked with the time and, where it wants it, with the rate of the route over the last seconds."""

import pytest

from proxy.control.rollouts.schedules import WINDOW, Schedules
from proxy.rollout.machine import begin
from tests.unit.control.rollouts.rolling import FILE, plan

SPEC = {"zone": "UTC", "allow": [], "freeze": [], "below_rate": 0.0}


class House:
    def __init__(self):
        self.now = 0.0
        self.requests = 0
        self.asked = 0
        self.schedules = Schedules(self.count, lambda: self.now)

    def count(self, route):
        self.asked += 1
        return self.requests

    def let(self, rollout, seconds, rate):
        for _ in range(int(seconds)):
            self.now += 1.0
            self.requests += rate
            said = self.schedules.closed(rollout, self.now)
        return said


def rollout(**schedule):
    return begin("shop", plan(schedule=SPEC | schedule if schedule else None), FILE, 0.0)


@pytest.fixture
def house():
    return House()


def test_without_a_schedule_any_time_will_do_and_nothing_is_counted(house):
    assert house.let(rollout(), 3, 100) == ""
    assert house.asked == 0


def test_a_freeze_closes_and_what_wants_no_rate_counts_none(house):
    frozen = rollout(freeze=[{"from": 10.0, "to": 20.0}])
    assert house.let(frozen, 5, 100) == ""
    assert house.let(frozen, 10, 100).startswith("frozen")
    assert house.let(frozen, 10, 100) == ""
    assert house.asked == 0


def test_peaks_are_avoided_by_the_rate_of_the_last_seconds(house):
    quiet = rollout(below_rate=50.0)
    assert "nobody knows yet" in house.let(quiet, 1, 10)
    assert house.let(quiet, WINDOW, 10) == ""
    assert house.let(quiet, WINDOW, 100) == "100 requests/s are more than 50"
    assert house.let(quiet, WINDOW + 1, 10) == ""


def test_counters_that_were_replaced_are_not_known_yet(house):
    quiet = rollout(below_rate=50.0)
    assert house.let(quiet, 20, 10) == ""
    house.requests = 0
    assert "nobody knows yet" in house.let(quiet, 1, 10)
    assert house.let(quiet, WINDOW, 10) == ""


def test_another_revision_has_its_own_schedule(house):
    assert house.let(rollout(below_rate=5.0), 20, 10) != ""
    assert house.let(rollout(below_rate=50.0), 1, 10) == ""
    assert house.let(rollout(), 1, 10) == ""
    assert "nobody knows yet" in house.let(rollout(below_rate=50.0), 1, 10)
