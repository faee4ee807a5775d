"""When endpoints are checked, how many at a time, and what of it survives a reload: with a clock that jumps."""

import asyncio
import logging
from collections import Counter

import pytest

from proxy.control.health import AT_ONCE, Prober
from proxy.control.probe import PASSED, STATUS, TIMEOUT, Result
from proxy.control.tasks import Tasks
from proxy.core.health import Verdict
from tests.specs import upstream_spec
from tests.unit.control.clock import Timers
from tests.unit.core.test_health import SPEC
from tests.unit.telemetry.memory import endpoint_spec

GOOD = Result(PASSED)
BAD = Result(STATUS, "status 503, expected 200-299")


def endpoint(port):
    return endpoint_spec(f"http://127.0.0.1:{port}", port=port)


def shop(*ports, name="shop", **policy):
    health = SPEC | {"expected": [[200, 299]]} | policy
    return upstream_spec(name, endpoints=[endpoint(port) for port in ports], health=health)


class Ward:
    """A prober whose checks give what the test says, at once unless `held`."""

    def __init__(self):
        self.timers = Timers()
        self.tasks = Tasks()
        self.results = {}
        self.checked = Counter()
        self.changes = []
        self.counts = {}
        self.held = None
        self.under_way = 0
        self.most = 0
        self.draw = 0.5
        self.prober = Prober(
            self.check, self.timers, lambda: 1000 + self.timers.now, lambda: self.draw, self.tasks,
            self.changes.append, self.counts,
        )  # fmt: skip

    async def check(self, target):
        self.checked[target.port] += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        try:
            if self.held is not None:
                await self.held.wait()
        finally:
            self.under_way -= 1
        result = self.results.get(target.port, GOOD)
        if isinstance(result, Exception):
            raise result
        return result

    async def let(self, seconds):
        """Let time pass, a quarter of a second at a time, and checks end."""
        end = self.timers.now + seconds
        while self.timers.now < end:
            self.timers.jump(min(0.25, end - self.timers.now))
            for _ in range(6):
                await asyncio.sleep(0)

    def verdict(self, port, upstream="shop"):
        found = self.prober.of(upstream, endpoint(port))
        return None if found is None else found.verdict


def play(script):
    async def run():
        ward = Ward()
        try:
            await script(ward)
        finally:
            ward.prober.close()
            await ward.tasks.close()

    asyncio.run(run())


def test_an_endpoint_is_checked_soon_and_then_once_an_interval():
    async def script(ward):
        ward.prober.bring([shop(1)])
        assert ward.verdict(1) is Verdict.UNKNOWN
        await ward.let(0.25)
        assert ward.checked[1] == 1
        assert ward.verdict(1) is Verdict.HEALTHY
        await ward.let(50)
        assert ward.checked[1] == 11
        assert ward.counts == {("shop", "http://127.0.0.1:1"): Counter(passed=11) | dict.fromkeys(
            ("status", "timeout", "unreachable", "broken", "late"), 0)}  # fmt: skip

    play(script)


def test_an_upstream_without_health_is_left_alone():
    async def script(ward):
        ward.prober.bring([upstream_spec("shop", endpoints=[endpoint(1)])])
        await ward.let(20)
        assert not ward.checked
        assert ward.verdict(1) is None
        assert ward.prober.unhealthy("shop") == []

    play(script)


def test_a_verdict_changes_after_its_threshold_and_is_told_once(caplog):
    caplog.set_level(logging.INFO)

    async def script(ward):
        ward.prober.bring([shop(1)])
        await ward.let(1)
        assert ward.changes == []  # unknown and healthy are the same to who is told
        ward.results[1] = BAD
        await ward.let(10)
        assert (ward.verdict(1), ward.changes) == (Verdict.HEALTHY, [])
        await ward.let(5)
        assert (ward.verdict(1), ward.changes) == (Verdict.UNHEALTHY, ["shop"])
        assert ward.prober.unhealthy("shop") == ["127.0.0.1:1:False:"]
        assert ward.prober.of("shop", endpoint(1)).reason == BAD.reason
        ward.results[1] = GOOD
        await ward.let(5)
        assert ward.verdict(1) is Verdict.UNHEALTHY
        await ward.let(5)
        assert (ward.verdict(1), ward.changes) == (Verdict.HEALTHY, ["shop", "shop"])
        assert ward.prober.of("shop", endpoint(1)).reason == ""

    play(script)
    assert [record.getMessage() for record in caplog.records] == [
        "http://127.0.0.1:1 of shop is unhealthy: status 503, expected 200-299",
        "http://127.0.0.1:1 of shop is healthy again",
    ]


def test_a_first_check_that_fails_is_told():
    async def script(ward):
        ward.results[1] = BAD
        ward.prober.bring([shop(1, 2)])
        await ward.let(1)
        assert ward.changes == ["shop"]
        assert ward.prober.unhealthy("shop") == ["127.0.0.1:1:False:"]

    play(script)


def test_many_that_are_new_together_are_spread_over_the_interval():
    async def script(ward):
        draws = iter(range(10_000))
        ward.draw = None
        ward.prober._rng = lambda: next(draws) % 1000 / 1000
        ward.prober.bring([shop(*range(1, 1001))])
        seen = []
        for _ in range(20):
            before = sum(ward.checked.values())
            await ward.let(0.25)
            seen.append(sum(ward.checked.values()) - before)
        assert max(seen[:18]) <= 52
        assert min(seen[:18]) >= 48
        assert set(ward.checked.values()) <= {1, 2}

    play(script)


def test_checks_under_way_are_bounded_and_the_rest_come_in_turn():
    async def script(ward):
        ward.held = asyncio.Event()
        ward.draw = 0.0
        ward.prober.bring([shop(*range(1, AT_ONCE + 51))])
        await ward.let(0.25)
        assert ward.under_way == AT_ONCE
        ward.held.set()
        await ward.let(0.25)
        assert ward.most == AT_ONCE
        assert set(ward.checked.values()) == {1}
        assert len(ward.checked) == AT_ONCE + 50

    play(script)


def test_a_slow_check_does_not_push_the_next_one_away():
    async def script(ward):
        ward.prober.bring([shop(1)])
        ward.held = asyncio.Event()
        await ward.let(4)
        ward.held.set()
        await ward.let(1.25)
        assert ward.checked[1] == 2

    play(script)


def test_timeouts_say_nothing_while_this_process_is_late_itself():
    async def script(ward):
        ward.results[1] = Result(TIMEOUT, "timeout after 1 s")
        ward.held = asyncio.Event()
        ward.prober.bring([shop(1)])
        await ward.let(0.25)
        ward.timers.now += 1.2  # nobody ran in between
        ward.held.set()
        await ward.let(0.25)
        assert (ward.verdict(1), ward.changes) == (Verdict.UNKNOWN, [])
        assert ward.counts["shop", "http://127.0.0.1:1"]["late"] == 1
        await ward.let(5)  # on time again
        assert ward.verdict(1) is Verdict.UNHEALTHY

    play(script)


def test_a_check_that_dies_is_logged_and_the_endpoint_is_checked_again(caplog):
    async def script(ward):
        ward.results[1] = RuntimeError("a bug")
        ward.prober.bring([shop(1)])
        await ward.let(6)
        assert ward.checked[1] == 2
        assert ward.verdict(1) is Verdict.UNKNOWN

    play(script)
    assert "health check of http://127.0.0.1:1 died" in caplog.text


def test_a_reload_touches_only_what_is_checked_otherwise_and_that_keeps_its_verdict():
    async def script(ward):
        ward.results[1] = ward.results[2] = BAD
        ward.prober.bring([shop(1, name="a"), shop(2, name="b")])
        await ward.let(1)
        timers = list(ward.timers.waiting)
        heavier = shop(1, name="a")
        heavier["endpoints"][0] |= {"weight": 3, "slot": 77}
        ward.prober.bring([heavier, shop(2, name="b", path="/other")])
        kept = [timer for timer in timers if not timer.cancelled]
        assert [timer.args[0].target.upstream for timer in kept] == ["a"]
        assert ward.verdict(2, "b") is Verdict.UNHEALTHY
        assert ward.prober.of("b", endpoint(2)).reason == BAD.reason
        ward.results[2] = GOOD
        await ward.let(0.25)
        assert (ward.checked[1], ward.checked[2]) == (1, 2)
        assert ward.verdict(2, "b") is Verdict.UNHEALTHY  # it takes two, as ever
        await ward.let(5)
        assert ward.verdict(2, "b") is Verdict.HEALTHY

    play(script)


def test_addresses_are_followed_and_what_left_says_nothing_any_more():
    async def script(ward):
        ward.results[1] = BAD
        ward.held = asyncio.Event()
        ward.prober.bring([shop(1)])
        await ward.let(0.25)
        ward.prober.bring([shop(2)])
        ward.held.set()
        await ward.let(6)
        assert (ward.verdict(1), ward.verdict(2)) == (None, Verdict.HEALTHY)
        assert ward.checked[1] == 1
        assert ward.changes == []
        assert list(ward.counts) == [("shop", "http://127.0.0.1:2")]
        ward.prober.bring([])
        await ward.let(20)
        assert ward.checked[2] == 2
        assert ward.counts == {}

    play(script)


def test_an_address_named_twice_is_checked_once():
    async def script(ward):
        ward.prober.bring([shop(1, 1)])
        await ward.let(1)
        assert ward.checked[1] == 1

    play(script)


def test_what_an_earlier_control_process_found_is_begun_with():
    async def script(ward):
        ward.prober.bring([shop(1, 2)], {"shop": ["127.0.0.1:1:False:"]})
        assert ward.verdict(1) is Verdict.UNHEALTHY
        assert ward.verdict(2) is Verdict.UNKNOWN
        await ward.let(1)
        assert ward.verdict(1) is Verdict.UNHEALTHY
        await ward.let(5)
        assert ward.verdict(1) is Verdict.HEALTHY

    play(script)


def test_an_interval_of_nothing_does_not_spin():
    async def script(ward):
        ward.prober.bring([shop(1, interval=0.0)])
        await ward.let(5)
        assert ward.checked[1] <= 51

    play(script)


@pytest.mark.parametrize("secure", [True, False])
def test_contexts_are_wanted_for_what_goes_through_tls(secure):
    async def script(ward):
        upstream = shop(1)
        upstream["endpoints"][0]["tls"] = secure
        ward.prober.bring([upstream])
        assert ward.prober.tls() == ([None] if secure else [])

    play(script)
