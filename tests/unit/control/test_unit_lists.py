"""Lists in life: lent when they come, replaced when their files change, and kept when those go bad."""

import asyncio
import gc
import json
import logging
import os
from pathlib import Path

import pytest

from proxy.channel import messages
from proxy.channel.frames import FrameReader
from proxy.control.unit_lists import UnitLists
from proxy.settings.unit_files import UnitFiles
from proxy.telemetry.facts import Facts
from tests.unit.control.clock import Timers


class Lending:
    """The lists of a directory, and what the workers were told."""

    def __init__(self, directory):
        self.directory = directory
        self.files = UnitFiles(directory)
        self.facts = Facts()
        self.timers = Timers()
        self.frames = []
        self._others = 0  # what other tests of this process hold
        self._others = self.open_memories()
        self.lists = UnitLists(self.files, self.facts, self.frames.append, self.timers, lambda: True)

    def write(self, name, content):
        fresh = self.directory / f".{name}"
        fresh.write_bytes(content)
        fresh.rename(self.directory / name)

    def bring(self, *names):
        """As a configuration that names these does."""
        for name in names:
            self.files.look(name)
        self.files.keep(names)
        self.lists.bring({name: self.files.known[name] for name in names})

    def told(self):
        """What was lent since the last time: by name, the units in the memory named."""
        frames, self.frames[:] = list(self.frames), []
        found = []
        for kind, payload in (pair for frame in frames for pair in FrameReader().feed(frame)):
            assert kind == messages.UNITS
            said = json.loads(payload)
            assert said["pid"] == os.getpid()
            found.append({one["name"]: self.held(one) for one in said["lists"]})
        return found

    def held(self, one):
        state = os.fstat(one["descriptor"])
        assert (state.st_ino, state.st_size) == (one["inode"], one["size"])
        with open(f"/proc/self/fd/{one['descriptor']}", "rb") as memory:  # noqa: PTH123 - a descriptor and no file
            memory.seek(64)
            return memory.readline()

    def open_memories(self):
        gc.collect()
        return sum(self.is_memory(one) for one in Path("/proc/self/fd").iterdir()) - self._others

    @staticmethod
    def is_memory(descriptor):
        try:
            return "tidegate-units" in str(descriptor.readlink())
        except OSError:  # of the directory that was listed
            return False


@pytest.fixture
def lending(tmp_path):
    return Lending(tmp_path)


def test_lists_are_lent_when_they_come_and_again_when_others_do(lending):
    lending.write("a.txt", b"alice\n")
    lending.write("b.txt", b"bob\n")
    lending.bring("a.txt")
    lending.bring("a.txt")
    lending.bring("a.txt", "b.txt")
    lending.bring()
    assert lending.told() == [{"a.txt": b"alice\n"}, {"a.txt": b"alice\n", "b.txt": b"bob\n"}, {}]


def test_where_there_are_no_lists_nobody_is_told(lending):
    lending.bring()
    assert lending.frames == []


def test_file_that_changed_replaces_its_list(lending, caplog):
    caplog.set_level(logging.INFO, "tidegate")
    lending.write("a.txt", b"alice\n")
    lending.bring("a.txt")
    before = dict(lending.lists.tables())
    lending.write("a.txt", b"bob\n\xff\nbob\ncarol\n")
    asyncio.run(lending.lists.look())
    assert lending.told()[-1] == {"a.txt": b"bob\n"}
    facts = lending.facts.lists["a.txt"]
    assert (facts.units, facts.taken, facts.refused, facts.problem) == (2, 2, 0, "")
    assert facts.skipped == {"not_text": 1, "too_long": 0, "duplicate": 1}
    assert "the list a.txt is now of 2 units, and was of 1" in caplog.messages
    assert f"1 lines of {lending.directory / 'a.txt'} are no units; the first is line 2" in caplog.messages
    after = lending.lists.tables()
    assert after["a.txt"] is before["a.txt"]  # a plan that holds on to it sees the new table
    assert after["a.txt"].table.contains(b"carol")


def test_file_that_says_the_same_is_no_change_to_people(lending, caplog):
    caplog.set_level(logging.INFO, "tidegate")
    lending.write("a.txt", b"alice\n")
    lending.bring("a.txt")
    lending.write("a.txt", b"# staff\nalice\n")
    asyncio.run(lending.lists.look())
    assert "the list a.txt was read again; nothing has changed" in caplog.messages


def test_file_that_goes_bad_leaves_the_list_and_is_told_once(lending, caplog):
    caplog.set_level(logging.INFO, "tidegate")
    lending.write("a.txt", b"alice\n")
    lending.bring("a.txt")
    lending.told()
    (lending.directory / "a.txt").unlink()
    for _ in range(3):
        asyncio.run(lending.lists.look())
    facts = lending.facts.lists["a.txt"]
    assert facts.problem == f"there is no file {lending.directory / 'a.txt'}"
    assert facts.refused == 1
    assert [one for one in caplog.messages if "stays as it was" in one] == [
        f"{facts.problem}; the list stays as it was, of 1 units"
    ]
    assert lending.told() == []
    assert lending.lists.tables()["a.txt"].table.contains(b"alice")
    lending.bring("a.txt")  # another configuration meanwhile
    assert lending.facts.lists["a.txt"].problem == facts.problem
    lending.write("a.txt", b"bob\n")
    asyncio.run(lending.lists.look())
    assert facts.problem == ""
    assert "the list a.txt can be used again" in caplog.messages
    assert lending.told() == [{"a.txt": b"bob\n"}]


def test_list_that_a_refused_configuration_has_read_counts_all_the_same(lending):
    lending.write("a.txt", b"alice\n")
    lending.bring("a.txt")
    lending.write("a.txt", b"bob\n")
    lending.files.look("a.txt")  # the loader did, and then found a mistake elsewhere
    asyncio.run(lending.lists.look())
    assert lending.told()[-1] == {"a.txt": b"bob\n"}


def test_of_a_list_two_are_held_at_most_and_one_after_a_while(lending):
    lending.write("a.txt", b"0\n")
    lending.bring("a.txt")
    for number in range(1, 5):
        lending.write("a.txt", b"%d\n" % number)
        asyncio.run(lending.lists.look())
        assert lending.open_memories() == 2
    lending.timers.jump(60.0)
    assert lending.open_memories() == 1
    del lending.frames[:-1]  # the others are of memories that are gone
    assert lending.told() == [{"a.txt": b"4\n"}]


def test_lists_that_left_are_let_go(lending):
    lending.write("a.txt", b"alice\n")
    lending.bring("a.txt")
    lending.lists.tables()
    lending.bring()
    assert lending.facts.lists == {}
    assert lending.lists.tables() == {}
    lending.timers.jump(60.0)
    assert lending.open_memories() == 0


def test_files_are_watched_from_when_there_are_any(lending, monkeypatch):
    monkeypatch.setattr("proxy.control.watch._LOOK", 0.001)

    async def play():
        watching = asyncio.create_task(lending.lists.watch())
        await asyncio.sleep(0.01)
        lending.write("a.txt", b"alice\n")
        lending.bring("a.txt")
        for content in (b"bob\n", b"carol\n"):
            lending.write("a.txt", content)
            while lending.told()[-1:] != [{"a.txt": content}]:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
            lending.bring()
            await asyncio.sleep(0.01)
            lending.bring("a.txt")
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching

    asyncio.run(asyncio.wait_for(play(), 20))
