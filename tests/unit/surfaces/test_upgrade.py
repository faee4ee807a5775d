"""`tidegate upgrade` while it looks on: it returns, whatever becomes of the proxy."""

import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.control.desk import DESK, UpgradeError
from proxy.surfaces.cli import upgrade

STATUS = {"pid": 2, "failure": "", "upgraded": True, "serving": 1, "draining": 1, "drain_limit": 0.05}


@contextlib.contextmanager
def desk(run_dir: Path, *said: dict[str, Any]) -> Iterator[None]:
    """Somebody who answers so often, and then is gone."""
    door = socket.socket(socket.AF_UNIX)
    door.bind(str(run_dir / DESK))
    door.listen()

    def serve() -> None:
        for status in said:
            caller, _ = door.accept()
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


def test_it_returns_when_the_old_workers_are_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with desk(tmp_path, STATUS | {"upgraded": False}, STATUS, STATUS | {"draining": 0}):
        upgrade._watch(tmp_path, 1, float("inf"))
    assert capsys.readouterr().out.endswith("the old program is gone\n")


def test_a_proxy_that_ends_while_the_old_workers_drain_does_not_hold_it_up(tmp_path: Path) -> None:
    with desk(tmp_path, STATUS), pytest.raises(UpgradeError, match="that the old program is gone"):
        upgrade._watch(tmp_path, 1, float("inf"))
