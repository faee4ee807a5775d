"""Drains: named as people name endpoints, kept over restarts, ended in time, forgotten with the file."""

import asyncio

import pytest

from proxy.control import drained_endpoints as subject
from proxy.control.drained_endpoints import Drain, Drained, TooManyDrainedError
from proxy.control.state import MemoryStore, SqliteStore, StoreError
from tests.specs import upstream_spec
from tests.unit.telemetry.memory import endpoint_spec

URL = "http://shop.internal:80"
FIRST, SECOND = (endpoint_spec(URL, f"10.0.0.{one}", 80) for one in (1, 2))
OTHER = endpoint_spec("http://127.0.0.1:9001")
SHOP = upstream_spec("shop", endpoints=[FIRST, SECOND, OTHER])
WHY = Drain("a new disk", "ann", 100.0)


def made(store=None, now=100.0):
    return Drained(store or MemoryStore(), lambda: now)


def test_a_url_stands_for_all_its_addresses_and_a_label_for_one():
    async def script():
        drained = made()
        await drained.put("shop", f"{URL} (10.0.0.2)", WHY)
        assert drained.keys(SHOP) == ["10.0.0.2:80:False:"]
        assert drained.of("shop", FIRST) is None
        await drained.put("shop", URL, WHY)
        assert drained.keys(SHOP) == ["10.0.0.1:80:False:", "10.0.0.2:80:False:"]
        await drained.remove([("shop", URL)])
        assert drained.keys(SHOP) == ["10.0.0.2:80:False:"]
        assert drained.of("another", SECOND) is None

    asyncio.run(script())


def test_drains_survive_a_restart_with_who_and_why(tmp_path):
    async def script():
        store = SqliteStore(tmp_path / "state.db")
        await made(store).put("shop", OTHER["url"], WHY)
        await store.close()
        again = SqliteStore(tmp_path / "state.db")
        drained = made(again)
        assert drained.lasting
        await drained.load()
        assert drained.of("shop", OTHER) == WHY
        await again.close()

    asyncio.run(script())


def test_what_a_later_version_kept_is_understood_and_what_is_no_drain_is_told():
    """An upgrade may be given up: then an older program reads what a newer one wrote."""

    async def script():
        store = MemoryStore()
        later = {"reason": "a new disk", "by": "ann", "since": 100.0, "ticket": 7}
        await store.put("drained", {"shop": {OTHER["url"]: later}})
        drained = made(store)
        await drained.load()
        assert drained.of("shop", OTHER) == WHY
        await store.put("drained", {"shop": {OTHER["url"]: "later"}})
        with pytest.raises(StoreError, match="cannot be understood"):
            await made(store).load()

    asyncio.run(script())


def test_what_the_store_refuses_has_not_happened():
    class Broken(MemoryStore):
        async def put(self, key, value):
            raise OSError("full")

    async def script():
        drained = made(Broken())
        with pytest.raises(OSError, match="full"):
            await drained.put("shop", URL, WHY)
        assert drained.keys(SHOP) == []

    asyncio.run(script())


def test_time_ends_only_what_has_an_end():
    async def script():
        drained = made(now=100.0)
        for name, until in (("a", None), ("b", 100.0), ("c", 100.1)):
            await drained.put("shop", name, Drain("", "ann", 1.0, until))
        assert drained.over() == [("shop", "b")]

    asyncio.run(script())


def test_strays_are_those_whose_url_the_file_no_longer_has():
    async def script():
        drained = made()
        for name in (URL, f"{URL} (10.9.9.9)", "http://shop.internal:8", OTHER["url"]):
            await drained.put("shop", name, WHY)
        await drained.put("gone", URL, WHY)
        assert drained.strays([SHOP]) == [("shop", "http://shop.internal:8"), ("gone", URL)]

    asyncio.run(script())


def test_there_are_not_endlessly_many(monkeypatch):
    monkeypatch.setattr(subject, "LIMIT", 2)

    async def script():
        drained = made()
        await drained.put("shop", "a", WHY)
        await drained.put("shop", "b", WHY)
        await drained.put("shop", "b", WHY)
        with pytest.raises(TooManyDrainedError, match="2 endpoints"):
            await drained.put("other", "c", WHY)

    asyncio.run(script())


def test_what_was_inherited_does_not_replace_what_is_known():
    async def script():
        drained = made()
        await drained.put("shop", URL, WHY)
        drained.inherit("shop", URL)
        drained.inherit("shop", OTHER["url"])
        assert drained.named("shop", URL) == WHY
        assert "control process" in drained.of("shop", OTHER).reason

    asyncio.run(script())
