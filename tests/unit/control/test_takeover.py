"""Workers that lost their control are met when they listen, not when their sockets appear."""

import os
import signal
import socket
from pathlib import Path

import pytest

from proxy.control import takeover
from proxy.control.process import birth
from proxy.control.run_dir import RunDir
from proxy.control.takeover import find_survivors


@pytest.fixture
def killed(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Who was killed; nobody is."""
    found: list[tuple[int, int]] = []
    monkeypatch.setattr(takeover.os, "kill", lambda pid, number: found.append((pid, number)))
    return found


def lost(tmp_path: Path) -> tuple[RunDir, socket.socket]:
    """A worker that lives, this process, and its socket, bound and not listened at."""
    run_dir = RunDir(tmp_path / "run")
    born = birth(os.getpid())
    assert born is not None
    run_dir.record({0: (os.getpid(), born)})
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.bind(str(run_dir.socket_path(0)))
    return run_dir, server


def test_a_worker_that_does_not_listen_yet_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: list[tuple[int, int]]
) -> None:
    run_dir, server = lost(tmp_path)
    looks = 0

    def a_moment(_seconds: float) -> None:
        nonlocal looks
        looks += 1
        server.listen()

    monkeypatch.setattr(takeover.time, "sleep", a_moment)
    monkeypatch.setattr(takeover, "_ANSWER", 0.2)
    with server:
        find_survivors(run_dir)
        server.setblocking(False)
        server.accept()[0].close()  # it was met; that it said nothing is another matter
    assert looks == 1
    assert run_dir.socket_path(0).exists()
    assert killed == [(os.getpid(), signal.SIGKILL)]
    run_dir.close()


def test_one_that_never_listens_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, killed: list[tuple[int, int]], caplog: pytest.LogCaptureFixture
) -> None:
    run_dir, server = lost(tmp_path)
    monkeypatch.setattr(takeover, "_ANSWER", 0.05)
    with server:
        assert find_survivors(run_dir) == []
    assert "nobody listens at it" in caplog.text
    assert killed == [(os.getpid(), signal.SIGKILL)]
    run_dir.close()


def test_the_socket_of_one_that_is_gone_is_removed(tmp_path: Path, killed: list[tuple[int, int]]) -> None:
    run_dir, server = lost(tmp_path)
    server.close()
    run_dir.record({})
    assert find_survivors(run_dir) == []
    assert not run_dir.socket_path(0).exists()
    assert killed == []
    run_dir.close()
