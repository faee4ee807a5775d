"""The stores keep JSON values by key; SQLite's survives, and says what is wrong with a file it cannot use."""

import asyncio
import sqlite3

import pytest

from proxy.control.keys import Keys, keep_keys, warn_of_keys
from proxy.control.legacy import Legacy, LegacyError
from proxy.control.state import MemoryStore, SqliteStore, StoreError, open_store


@pytest.fixture(params=["memory", "sqlite"])
def make(request, tmp_path):
    return MemoryStore if request.param == "memory" else lambda: SqliteStore(tmp_path / "s.db")


def test_a_value_is_kept_replaced_and_forgotten(make):
    async def script():
        store = make()
        assert await store.get("a") is None
        await store.put("a", {"x": [1, None]})
        await store.put("b", 1)
        assert await store.get("a") == {"x": [1, None]}
        await store.put("a", 2)
        assert await store.get("a") == 2
        await store.delete("a")
        await store.delete("a")
        assert await store.get("a") is None
        assert await store.get("b") == 1
        await store.close()

    asyncio.run(script())


def test_sqlite_survives_and_only_its_owner_may_read(tmp_path):
    path = tmp_path / "s.db"

    async def put():
        store = SqliteStore(path)
        await store.put("a", "kept")
        await store.close()

    async def get():
        store = SqliteStore(path)
        value = await store.get("a")
        await store.close()
        return value

    asyncio.run(put())
    assert path.stat().st_mode & 0o777 == 0o600
    assert asyncio.run(get()) == "kept"


def test_the_file_is_its_owners_from_its_first_moment(tmp_path, monkeypatch):
    path = tmp_path / "s.db"
    modes = []

    def connect(*arguments, **more):
        database = opened(*arguments, **more)
        modes.append(path.stat().st_mode & 0o777)
        return database

    opened = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", connect)

    async def put():
        store = SqliteStore(path)
        await store.put("a", "kept")
        await store.close()

    asyncio.run(put())
    assert modes == [0o600]


def test_sqlite_says_what_is_wrong_with_the_file(tmp_path):
    (tmp_path / "text.db").write_text("this is no database, and long enough to be taken for one" * 20)

    async def get(path):
        store = SqliteStore(path)
        try:
            with pytest.raises(StoreError, match=f"state: {path}: .*must be writable"):
                await store.get("a")
        finally:
            await store.close()

    asyncio.run(get(tmp_path / "text.db"))
    asyncio.run(get(tmp_path / "no" / "such" / "s.db"))


def test_sqlite_can_be_read_while_it_is_open(tmp_path):
    async def script():
        store = SqliteStore(tmp_path / "s.db")
        await store.put("a", 1)
        other = sqlite3.connect(tmp_path / "s.db")
        assert other.execute("SELECT value FROM state").fetchall() == [("1",)]
        other.close()
        await store.close()

    asyncio.run(script())


def test_the_configuration_chooses_the_store(tmp_path):
    assert not open_store(None, tmp_path).lasting
    assert open_store("sqlite:s.db", tmp_path).lasting
    with pytest.raises(StoreError, match="redis://x is no store this version has"):
        open_store("redis://x", tmp_path)


def test_keys_are_made_once(tmp_path):
    async def script():
        store = MemoryStore()
        first = await keep_keys(store, Keys())
        assert len(first.cookie) >= 32
        assert first.cookie != first.unit_hash
        assert await keep_keys(store, Keys("another", "other")) == first
        return first

    assert asyncio.run(script()) != asyncio.run(script())


def test_keys_come_from_the_control_process_before_when_no_store_has_them():
    keys = Keys("cookie-key", "hash-key")
    assert asyncio.run(keep_keys(MemoryStore(), keys)) == keys


def test_configured_keys_stand_before_made_ones():
    keys = Keys("made", "made too")
    assert keys.fill({"cookie": [], "unit_hash": ""}) == {"cookie": ["made"], "unit_hash": "made too"}
    assert keys.fill({"cookie": ["c"], "unit_hash": "h"}) == {"cookie": ["c"], "unit_hash": "h"}


def test_made_keys_are_told():
    nothing = {"cookie": [], "unit_hash": ""}
    assert "secrets.cookie and secrets.unit_hash" in warn_of_keys(nothing, lasting=True)[0]
    assert "a stop forgets them" in warn_of_keys(nothing, lasting=False)[0]
    assert warn_of_keys({"cookie": ["c"], "unit_hash": "h"}, lasting=False) == []


def test_a_legacy_is_read_as_it_was_written():
    legacy = Legacy(
        7, b'{"serial":3}', Keys("a", "b"), {0: 2, 1: 0}, {0: 1.5}, ["127.0.0.1:80", "unix:/s"], [3], {"by": "me"}
    )
    assert Legacy.unpack(legacy.pack()) == legacy


@pytest.mark.parametrize(
    "data",
    [b"", b"[]", b"{}", b'{"format":99}', b"\xff", Legacy(1, b"x").pack().replace(b'"keys":{', b'"keys":{"z":1,')],
)
def test_a_legacy_that_cannot_be_read_says_so(data):
    with pytest.raises(LegacyError):
        Legacy.unpack(data)
