"""One truth for each upstream: told when it changes, whole, gathered, and begun with what survivors hold."""

import asyncio

import pytest

from proxy.control.drained_endpoints import Drained
from proxy.control.endpoints import DrainedOtherwiseError, Endpoints, LastEndpointError, UnknownEndpointError
from proxy.control.health import Prober
from proxy.control.probe import PASSED, UNREACHABLE, Result
from proxy.control.state import MemoryStore, SqliteStore
from proxy.control.tasks import Tasks
from proxy.telemetry.totals import EndpointTotals
from tests.specs import upstream_spec
from tests.unit.control.clock import Timers
from tests.unit.control.test_health import endpoint, shop
from tests.unit.telemetry.memory import endpoint_spec

ONE, TWO, THREE = (f"127.0.0.1:{port}:False:" for port in (1, 2, 3))
URL1, URL2, URL3 = (f"http://127.0.0.1:{port}" for port in (1, 2, 3))


class Desk:
    """Endpoints over checks that fail for the ports in `dead`, and what the workers were told."""

    def __init__(self, store=None, totals=None, *, inherit=False):
        self.timers = Timers()
        self.tasks = Tasks()
        self.dead = set()
        self.now = 100.0
        self.told = []
        self.totals = totals or {}
        self.drained = Drained(store or MemoryStore(), lambda: self.now)
        self.endpoints = Endpoints(
            lambda changed: Prober(
                self.check, self.timers, self.timers.time, lambda: 0.5, self.tasks, changed, {}
            ),
            self.drained,
            lambda *said: self.told.append(said),
            lambda: self.totals,
            self.timers,
            self.tasks,
            inherit=inherit,
        )  # fmt: skip

    async def check(self, target):
        return Result(UNREACHABLE, "connection refused") if target.port in self.dead else Result(PASSED)

    def bring(self, *upstreams):
        self.endpoints.bring(list(upstreams), list(upstreams))

    async def let(self, seconds):
        end = self.timers.now + seconds
        while self.timers.now < end:
            self.timers.jump(0.25)
            await self.settle()

    async def settle(self):
        for _ in range(8):
            await asyncio.sleep(0)

    def heard(self):
        told, self.told = self.told, []
        return told


def play(script, *args, **how):
    async def run():
        desk = Desk(*args, **how)
        try:
            await desk.endpoints.load()
            await script(desk)
        finally:
            desk.endpoints.close()
            await desk.tasks.close()

    asyncio.run(run())


def plain(*ports, name="shop"):
    return upstream_spec(name, endpoints=[endpoint(port) for port in ports])


def test_nothing_is_told_while_all_is_well():
    async def script(desk):
        desk.bring(shop(1, 2))
        await desk.let(10)
        assert desk.heard() == []

    play(script)


def test_changes_that_come_together_are_told_as_one():
    async def script(desk):
        desk.dead = {1, 2}
        desk.bring(shop(1, 2, 3))
        await desk.let(1)
        assert desk.heard() == [("shop", [ONE, TWO], [])]
        desk.dead = {2}
        await desk.let(11)
        assert desk.heard() == [("shop", [TWO], [])]

    play(script)


def test_a_reload_tells_only_what_is_different():
    async def script(desk):
        desk.dead = {1}
        desk.bring(shop(1, 2), plain(3, name="other"))
        await desk.let(1)
        desk.heard()
        desk.bring(shop(1, 2), plain(3, name="other"))
        assert desk.heard() == []
        desk.bring(plain(1, 2), plain(3, name="other"))  # not checked any more
        assert desk.heard() == [("shop", [], [])]
        desk.bring(plain(3, name="other"))
        assert desk.heard() == [("shop", [], [])]

    play(script)


def test_an_endpoint_is_drained_and_used_again():
    async def script(desk):
        desk.bring(plain(1, 2))
        assert desk.endpoints.of("shop", endpoint(1)).usable
        concerned = await desk.endpoints.drain("shop", URL1, "a new disk", "ann", 500.0)
        assert [one["url"] for one in concerned] == [URL1]
        assert desk.heard() == [("shop", [], [ONE])]
        standing = desk.endpoints.of("shop", endpoint(1))
        assert (standing.drain.reason, standing.drain.by, standing.drain.until) == ("a new disk", "ann", 500.0)
        assert not standing.usable
        await desk.endpoints.undrain("shop", URL1, "ann")
        assert desk.heard() == [("shop", [], [])]
        await desk.endpoints.undrain("shop", URL1, "ann")  # nothing to end
        assert desk.heard() == []

    play(script)


def test_a_name_that_resolves_anew_stays_drained():
    url = "http://shop.internal:80"

    def at(*hosts):
        return upstream_spec("shop", endpoints=[endpoint_spec(url, host, 80) for host in hosts] + [endpoint(1)])

    async def script(desk):
        configured = [at("shop.internal")]
        desk.endpoints.bring([at("10.0.0.1")], configured)
        await desk.endpoints.drain("shop", url, "", "ann")
        desk.heard()
        desk.endpoints.bring([at("10.0.0.2", "10.0.0.3")], configured)
        assert desk.heard() == [("shop", [], ["10.0.0.2:80:False:", "10.0.0.3:80:False:"])]
        desk.endpoints.bring([at()], configured)  # no address at the moment
        await desk.settle()
        assert desk.drained.named("shop", url) is not None
        desk.endpoints.bring([at("10.0.0.2")], configured)
        with pytest.raises(DrainedOtherwiseError, match=r"drained through http://shop.internal:80;"):
            await desk.endpoints.undrain("shop", f"{url} (10.0.0.2)", "ann")

    play(script)


def test_unknown_ones_are_told_the_known_names():
    async def script(desk):
        desk.bring(plain(*range(1, 30)), plain(1, name="other"))
        with pytest.raises(UnknownEndpointError, match=r"no upstream nope; there are: shop, other"):
            await desk.endpoints.drain("nope", URL1, "", "ann")
        with pytest.raises(UnknownEndpointError, match=r"http://127.0.0.1:20 and 9 more"):
            await desk.endpoints.drain("shop", "http://127.0.0.1:99", "", "ann")
        with pytest.raises(UnknownEndpointError):
            await desk.endpoints.undrain("shop", "http://127.0.0.1:99", "ann")

    play(script)


def test_the_last_usable_endpoint_is_kept_unless_forced():
    async def script(desk):
        desk.dead = {3}
        desk.totals = {("shop", URL2): EndpointTotals(up=True, failures=0, ejected=1)}
        desk.bring(shop(1, 2, 3))
        await desk.let(1)
        with pytest.raises(LastEndpointError, match="force"):
            await desk.endpoints.drain("shop", URL1, "", "ann")
        desk.totals = {}
        await desk.endpoints.drain("shop", URL1, "", "ann")
        await desk.endpoints.drain("shop", URL1, "another reason", "ann")
        with pytest.raises(LastEndpointError):
            await desk.endpoints.drain("shop", URL2, "", "ann")
        await desk.endpoints.drain("shop", URL2, "", "ann", force=True)
        assert desk.heard()[-1] == ("shop", [THREE], [ONE, TWO])

    play(script)


def test_two_drains_at_once_do_not_take_both():
    async def script(desk):
        desk.bring(plain(1, 2))
        drains = [desk.endpoints.drain("shop", url, "", "ann") for url in (URL1, URL2)]
        one, two = await asyncio.gather(*drains, return_exceptions=True)
        assert [type(one), type(two)] == [list, LastEndpointError]

    play(script)


def test_a_drain_ends_when_its_time_is_up():
    async def script(desk):
        desk.bring(plain(1, 2))
        await desk.endpoints.drain("shop", URL1, "", "ann", 200.0)
        desk.heard()
        desk.endpoints.tick()
        await desk.settle()
        assert desk.heard() == []
        desk.now = 200.0
        desk.endpoints.tick()
        await desk.settle()
        assert desk.heard() == [("shop", [], [])]

    play(script)


def test_a_drain_is_forgotten_when_the_file_has_it_no_more():
    async def script(desk):
        desk.bring(plain(1, 2))
        await desk.endpoints.drain("shop", URL1, "", "ann")
        desk.bring(plain(2))
        await desk.settle()
        desk.bring(plain(1, 2))
        assert desk.endpoints.of("shop", endpoint(1)).drain is None

    play(script)


def test_what_survivors_hold_is_begun_with_and_told_anew():
    totals = {
        ("shop", URL1): EndpointTotals(up=True, failures=0, unhealthy=2),
        ("shop", URL2): EndpointTotals(up=True, failures=0, drained=2),
        ("other", URL3): EndpointTotals(up=True, failures=0, unhealthy=1),
    }

    async def script(desk):
        desk.dead = {1}
        desk.bring(shop(1, 2, 3), plain(3, name="other"))
        assert desk.heard() == [("shop", [ONE], [TWO]), ("other", [], [])]  # `other` is checked no more
        await desk.let(30)
        assert desk.heard() == []
        desk.dead = set()
        await desk.let(11)
        assert desk.heard() == [("shop", [], [TWO])]

    play(script, totals=totals, inherit=True)


def test_a_lasting_store_knows_better_than_survivors(tmp_path):
    totals = {("shop", URL1): EndpointTotals(up=True, failures=0, drained=1)}

    async def script(desk):
        desk.bring(plain(1, 2))
        assert desk.heard() == [("shop", [], [])]
        await desk.endpoints.drain("shop", URL2, "", "ann")
        await desk.drained._store.close()

    play(script, SqliteStore(tmp_path / "state.db"), totals, inherit=True)

    async def again(desk):
        desk.bring(plain(1, 2))
        assert desk.heard() == [("shop", [], [TWO])]
        await desk.drained._store.close()

    play(again, SqliteStore(tmp_path / "state.db"))
