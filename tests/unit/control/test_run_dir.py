"""The run directory: one control process at a time, nobody else's business, and a record of who runs."""

import os
from pathlib import Path

import pytest

from proxy.control.run_dir import AlreadyRunningError, RunDir, RunDirError, default_run_dir


def test_where_it_is_by_default():
    config = Path("/etc/tidegate/tidegate.yaml")
    assert default_run_dir(config, {"RUNTIME_DIRECTORY": "/run/tidegate:/run/other"}) == Path("/run/tidegate")
    mine = default_run_dir(config, {"XDG_RUNTIME_DIR": "/run/user/1"})
    assert mine.parent == Path("/run/user/1/tidegate")
    assert mine != default_run_dir(Path("/etc/other.yaml"), {"XDG_RUNTIME_DIR": "/run/user/1"})
    assert default_run_dir(config, {}).parent == Path(f"/tmp/tidegate-{os.getuid()}")


def test_it_is_made_for_its_owner_alone(tmp_path):
    run_dir = RunDir(tmp_path / "a" / "b")
    assert run_dir.path.stat().st_mode & 0o777 == 0o700
    run_dir.close()


def test_one_that_others_may_enter_is_closed_to_them(tmp_path):
    (tmp_path / "r").mkdir(mode=0o755)
    RunDir(tmp_path / "r").close()
    assert (tmp_path / "r").stat().st_mode & 0o777 == 0o700


def test_two_at_a_time_are_refused_and_the_holder_is_named(tmp_path):
    first = RunDir(tmp_path / "r")
    with pytest.raises(AlreadyRunningError, match=f"control process {os.getpid()}, run directory"):
        RunDir(tmp_path / "r")
    first.close()
    RunDir(tmp_path / "r").close()


def test_a_place_that_is_no_directory(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RunDirError):
        RunDir(tmp_path / "file")
    (tmp_path / "link").symlink_to(tmp_path)
    with pytest.raises(RunDirError, match="is no directory"):
        RunDir(tmp_path / "link")


def test_one_of_another_user_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    with pytest.raises(RunDirError, match="belongs to user"):
        RunDir(tmp_path / "r")


def test_the_record_of_workers(tmp_path):
    run_dir = RunDir(tmp_path / "r")
    assert run_dir.recorded() == {}
    run_dir.record({0: (12, 34), 3: (56, 78)})
    assert run_dir.recorded() == {0: (12, 34), 3: (56, 78)}
    (run_dir.path / "workers.json").write_text("[")
    assert run_dir.recorded() == {}
    run_dir.close()


def test_sockets_are_found_by_number(tmp_path):
    run_dir = RunDir(tmp_path / "r")
    for index in (10, 2):
        run_dir.socket_path(index).touch()
    (run_dir.path / "worker-x.sock").touch()
    assert run_dir.sockets() == [run_dir.socket_path(2), run_dir.socket_path(10)]
    run_dir.close()
