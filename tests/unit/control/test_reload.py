"""Files that change are noticed however they change, and read one at a time."""

import asyncio
import os
from pathlib import Path

import pytest

from proxy.control.reload import Reloader
from proxy.control.watch import fingerprint, looks
from proxy.settings.problems import Place, Problem, SettingsError


class Files:
    """A configuration of one file in a directory."""

    def __init__(self, path):
        self.files = [path]
        self.directories = [path.parent]
        self.loads = 0
        self.hold = None

    def load(self):
        self.loads += 1
        text = self.files[0].read_text() if self.files[0].is_file() else ""
        if not text.strip():
            raise SettingsError([Problem(Place(str(self.files[0]), 1, 1), (), "is empty")])
        return text


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "etc" / "tidegate.yaml"
    path.parent.mkdir()
    path.write_text("one")
    return path


def save_in_place(path):
    path.write_text("other text")


def replace_by_rename(path):
    draft = path.with_suffix(".draft")
    draft.write_text("two")
    os.utime(draft, ns=(path.stat().st_mtime_ns,) * 2)  # the same size and time: another file all the same
    draft.replace(path)


def delete(path):
    path.unlink()


def turn_into_a_directory(path):
    path.unlink()
    path.mkdir()


def empty(path):
    path.write_text("")


def add_a_file(path):
    path.with_name("more.yaml").write_text("")


CHANGES = [save_in_place, replace_by_rename, delete, turn_into_a_directory, empty, add_a_file]


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_changes_the_fingerprint(path, change):
    files = Files(path)
    before = fingerprint(files)
    assert fingerprint(files) == before
    change(path)
    assert fingerprint(files) != before


def test_a_swapped_link_above_the_file_changes_the_fingerprint(path):
    files = mounted(path)
    before = fingerprint(files)
    swap(path)
    assert fingerprint(files) != before


def test_other_files_beside_it_do_not(path):
    before = fingerprint(Files(path))
    path.with_name("tidegate.db").write_text("rows")
    path.with_name(".tidegate.yaml.swp").write_text("an editor's")
    assert fingerprint(Files(path)) == before


def mounted(path):
    """As Kubernetes mounts a ConfigMap: tidegate.yaml -> ..data/tidegate.yaml, ..data -> ..1."""
    path.unlink()
    home = path.parent
    (home / "..1").mkdir()
    (home / "..1" / path.name).write_text("one")
    (home / "..data").symlink_to("..1")
    path.symlink_to(Path("..data") / path.name)
    return Files(path)


def swap(path):
    home = path.parent
    (home / "..2").mkdir()
    (home / "..2" / path.name).write_text("two")
    (home / "..tmp").symlink_to("..2")
    (home / "..tmp").replace(home / "..data")


async def noticed(files, change):
    """Whether looking is asked for after `change`, and then shows it."""
    before = fingerprint(files)
    watching = looks(files, lambda: False)
    first = asyncio.ensure_future(anext(watching))
    await asyncio.sleep(0.1)  # the watch must stand before the change: nothing tells when it does
    change()
    while True:
        await asyncio.wait_for(first, 3)
        if fingerprint(files) != before:
            break
        first = asyncio.ensure_future(anext(watching))
    await watching.aclose()


@pytest.mark.slow
@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed_by_its_events(path, change):
    asyncio.run(noticed(Files(path), lambda: change(path)))


@pytest.mark.slow
def test_a_swapped_link_is_noticed_by_its_events(path):
    asyncio.run(noticed(mounted(path), lambda: swap(path)))


@pytest.mark.slow
def test_a_directory_that_goes_and_comes_back_is_noticed(path):
    def change():
        path.unlink()
        path.parent.rmdir()

    asyncio.run(noticed(Files(path), change))
    files = Files(path)

    def restore():
        path.parent.mkdir()
        path.write_text("back")

    asyncio.run(noticed(files, restore))


def play(files, script):
    """Run `script` with a reloader over `files`; what was accepted and refused."""
    accepted, refused = [], []

    async def accept(loaded):
        accepted.append(loaded)

    async def run():
        reloader = Reloader(files, accept, refused.append, lambda: True)
        task = asyncio.ensure_future(reloader.run())
        try:
            await script(reloader, accepted, refused)
        finally:
            task.cancel()

    asyncio.run(run())
    return accepted, refused


async def until(true):
    async with asyncio.timeout(5):
        while not true():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


def test_a_good_file_is_accepted_and_a_bad_one_refused(path):
    async def script(reloader, accepted, refused):
        reloader.ask()
        await until(lambda: accepted)
        path.write_text("")
        reloader.ask()
        await until(lambda: refused)
        path.write_text("three")
        reloader.ask()
        await until(lambda: len(accepted) == 2)

    accepted, refused = play(Files(path), script)
    assert accepted == ["one", "three"]
    assert str(refused[0]) == f"{path}:1:1: is empty"


def test_a_storm_of_a_hundred_saves_settles_on_the_last(path):
    files = Files(path)

    async def script(reloader, accepted, refused):
        for number in range(100):
            path.write_text(f"save {number}")
            reloader.ask()
            await asyncio.sleep(0)
        await until(lambda: accepted and accepted[-1] == "save 99")

    accepted, _ = play(files, script)
    assert accepted[-1] == "save 99"
    assert files.loads < 100


def test_readings_never_overlap(path):
    running, most = 0, 0

    async def accept(_loaded):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    async def run():
        files = Files(path)
        reloader = Reloader(files, accept, lambda error: None, lambda: True)
        task = asyncio.ensure_future(reloader.run())
        while files.loads < 5:
            reloader.ask()
            await asyncio.sleep(0)
        task.cancel()

    asyncio.run(run())
    assert most == 1
