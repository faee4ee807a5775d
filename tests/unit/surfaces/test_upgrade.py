"""`tidegate upgrade` while it looks on: it returns, whatever becomes of the proxy."""

import contextlib
import json
import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.control.desk import DESK, UpgradeError
from proxy.surfaces.cli import upgrade

STATUS = {"pid": 2, "failure": "", "upgraded": True, "serving": 1, "draining": 1, "drain_limit": 0.05}


@contextlib.contextmanager
def desk(run_dir: Path, *said: dict[str, Any], last: Callable[[], object] = lambda: None) -> Iterator[None]:
    """Somebody who answers so often, does `last` before the last answer, and then is gone."""
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(run_dir / DESK))
    door.listen()

    def serve() -> None:
        for number, status in enumerate(said, 1):
            caller, _ = door.accept()
            if number == len(said):
                last()
            with caller:
                caller.recv(1 << 16)
                caller.sendall(json.dumps(status).encode() + b"\n")
        door.close()
        (run_dir / DESK).unlink()

    thread = threading.Thread(target=serve)
    thread.start()
    yield
    thread.join()


@pytest.fixture(autouse=True)
def in_haste(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upgrade, "_LOOK", 0.01)
    monkeypatch.setattr(upgrade, "_BEYOND", 0.1)


def test_it_returns_when_nothing_of_the_old_program_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with subprocess.Popen(["sleep", "60"]) as old:
        said = (STATUS | {"upgraded": False}, STATUS, STATUS | {"draining": 0}, STATUS | {"draining": 0})

        def end() -> None:
            assert "gone" not in capsys.readouterr().out, "its process is there still"
            old.kill()
            old.wait()

        with desk(tmp_path, *said, last=end):
            upgrade._watch(tmp_path, old.pid, float("inf"))
    assert capsys.readouterr().out == "the old program is gone\n"


def test_a_proxy_that_ends_while_the_old_workers_drain_does_not_hold_it_up(tmp_path: Path) -> None:
    with desk(tmp_path, STATUS), pytest.raises(UpgradeError, match="that the old program is gone"):
        upgrade._watch(tmp_path, 1, float("inf"))
