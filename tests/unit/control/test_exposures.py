"""Exposures between workers, the store and whoever asks."""

import asyncio
import threading
import time

import pytest

from proxy.control.exposures import Exposures
from proxy.core.hashing import UnitHasher
from proxy.exposure.queries import Wanted
from proxy.exposure.schema import ExposureError
from proxy.settings import load
from proxy.telemetry.facts import ExposureFacts
from tests.unit.exposure.telling import Teller

FILE = """
listen: 127.0.0.1:80
{state}
upstreams: {{a: {{endpoints: [http://127.0.0.1:1]}}}}
routes: [{{name: shop, unit: [{{header: u}}], versions: {{v: {{upstream: a}}}}, exposure: {on}}}]
"""
SPEC = {"secrets": {"unit_hash": "a key of some length"}}


def settings(tmp_path, on="true", state="state: sqlite:tidegate.db"):
    file = tmp_path / "tidegate.yaml"
    file.write_text(FILE.format(on=on, state=state))
    return load(file, {}).settings


class Room:
    def __init__(self):
        self.forgotten = []
        self.facts = ExposureFacts()
        self.exposures = Exposures(self.facts, lambda: SPEC, self.forgotten.append)

    async def tell(self, message):
        done = asyncio.Event()
        caller = threading.get_ident()

        def stored():
            assert threading.get_ident() == caller  # on the loop, wherever it was written
            done.set()

        self.exposures.take(message, stored)
        await asyncio.wait_for(done.wait(), 20)


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_what_workers_say_is_stored_found_shown_and_erased(tmp_path):
    async def run():
        room = Room()
        exposures = room.exposures
        await exposures.follow(settings(tmp_path))
        alice = exposures.hash_of("alice")
        assert alice == int(UnitHasher(b"a key of some length")(b"alice"), 16)
        await room.tell(Teller(time.time()).message((alice, "stable"), ("other", "canary"), ("other", "canary")))
        page = await exposures.ask(lambda reader: reader.find(Wanted(unit=alice)))
        assert [one["version"] for one in page.records] == ["stable"]
        exposures.tick()
        facts = room.facts
        assert (facts.recorded, facts.repeated, facts.records, facts.failing) == ({"shop": 2}, {"shop": 1}, 2, "")
        assert [one[:3] for one in facts.ratios] == [("shop", "", "")]
        assert await exposures.erase(alice) == 1
        assert room.forgotten == [f"{alice:016x}"]
        await exposures.close()

    asyncio.run(run())
    assert (tmp_path / "tidegate-exposures.db").exists()


def test_sums_go_on_when_recording_is_switched_off_and_on(tmp_path):
    async def run():
        room = Room()
        for on in ("true", "false", "true"):
            await room.exposures.follow(settings(tmp_path, on))
            await room.tell(Teller(time.time()).message((f"u{on}", "stable")))
        room.exposures.tick()
        assert room.facts.recorded == {"shop": 1}
        assert room.facts.repeated == {"shop": 1}
        await room.exposures.close()

    asyncio.run(run())


def test_where_nothing_is_recorded_workers_are_answered_all_the_same(tmp_path):
    async def run():
        room = Room()
        await room.exposures.follow(settings(tmp_path, "false", ""))
        await room.tell(Teller().message(("u", "stable")))
        with pytest.raises(ExposureError, match="there is no `state"):
            await room.exposures.ask(lambda reader: reader.summary())
        with pytest.raises(ExposureError, match="no route records"):
            await room.exposures.erase(1)
        room.exposures.tick()
        assert room.facts == ExposureFacts()

    asyncio.run(run())


def test_an_erasure_that_fails_says_so_and_nobody_forgets(tmp_path, monkeypatch):
    monkeypatch.setattr("proxy.control.exposures.ERASING", 0.05)

    async def run():
        room = Room()
        await room.exposures.follow(settings(tmp_path, state="state: sqlite:missing/tidegate.db"))
        with pytest.raises(ExposureError):
            await room.exposures.erase(1)
        assert room.forgotten == []
        await room.exposures.close()

    asyncio.run(run())
