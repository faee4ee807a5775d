"""The switch that ends all faults: it works first, is written down then, and is remembered."""

import asyncio

import pytest

from proxy.control.kill_switch import Kill, KillSwitch
from proxy.control.state import MemoryStore, StoreError


class Broken(MemoryStore):
    async def put(self, key, value):
        raise StoreError("nowhere to write")

    async def delete(self, key):
        raise StoreError("nowhere to write")


def switch(store):
    told = []
    made = KillSwitch(store, lambda: 5.0, lambda: told.append(made.kill is not None))
    return made, told


def test_it_is_remembered_until_it_is_lifted():
    store = MemoryStore()

    async def run():
        first, told = switch(store)
        await first.load(None)
        assert first.kill is None
        assert await first.throw("enough", "alice") == Kill("enough", "alice", 5.0)
        second, _ = switch(store)
        await second.load(None)
        assert second.kill == first.kill
        await second.lift("bob")
        third, _ = switch(store)
        await third.load(None)
        return told, second.kill, third.kill

    assert asyncio.run(run()) == ([True], None, None)


def test_what_a_later_version_kept_holds_all_the_same():
    async def run():
        store = MemoryStore()
        await store.put("faults_killed", {"by": "alice", "why": "enough", "ticket": 7})
        made, _ = switch(store)
        await made.load(None)
        return made.kill

    assert asyncio.run(run()) == Kill("", "alice", 0.0)


def test_what_workers_kept_counts_where_the_store_has_nothing():
    async def run():
        first, _ = switch(MemoryStore())
        await first.throw("enough", "alice")
        second, _ = switch(MemoryStore())
        await second.load(first.packed())
        return first.kill, second.kill

    first, second = asyncio.run(run())
    assert first == second


def test_faults_end_also_where_that_cannot_be_written_down():
    async def run():
        made, told = switch(Broken())
        with pytest.raises(StoreError):
            await made.throw("enough", "alice")
        with pytest.raises(StoreError):
            await made.lift("alice")
        return made.kill, told

    kill, told = asyncio.run(run())
    assert kill is not None
    assert told == [True]


def test_lifting_what_was_not_thrown_tells_nobody():
    made, told = switch(MemoryStore())
    asyncio.run(made.lift("alice"))
    assert told == []
    assert made.packed() is None
