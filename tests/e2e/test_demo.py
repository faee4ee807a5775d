"""`tidegate demo` as a person starts it: real processes, a real proxy, and nothing left behind."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest


def _start(directory: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "proxy", "demo", "--plain", *options],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(directory), "PYTHONUNBUFFERED": "1"},
    )


def _left_behind(directory: Path) -> list[str]:
    """Command lines of the processes that were started with `directory` for their temporary files."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(directory).encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text())
        except OSError:  # it ended while we looked, or is not ours
            continue
    return found


@pytest.mark.slow
def test_demo_tells_its_story_and_ends_by_itself(tmp_path: Path) -> None:
    picture = tmp_path / "demo.svg"
    room = tmp_path / "room"
    room.mkdir()
    with _start(room, "--duration", "6", "--svg", str(picture)) as demo:
        out, error = demo.communicate(timeout=60)
    assert (demo.returncode, error) == (0, "")
    for chapter in ("The canary has 5 %", "The file was edited: 25 %", "Edited again: 50 %"):
        assert chapter in out
    last = out.strip().splitlines()[-1]
    assert "stable weight" in last
    assert "; 0 unanswered" in last
    assert ", 0 left it" in last
    assert "<svg" in picture.read_text()
    assert list(room.iterdir()) == []
    assert _left_behind(room) == []


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_demo_ends_cleanly_when_told_to(number: signal.Signals, tmp_path: Path) -> None:
    with _start(tmp_path) as demo:
        assert demo.stdout is not None
        assert demo.stderr is not None
        while "The canary has 5 %" not in demo.stdout.readline():
            assert demo.poll() is None, demo.stderr.read()
        assert _left_behind(tmp_path) != []
        demo.send_signal(number)
        _, error = demo.communicate(timeout=30)
    assert (demo.returncode, error) == (0, "")
    assert list(tmp_path.iterdir()) == []
    assert _left_behind(tmp_path) == []


@pytest.mark.slow
def test_two_demos_at_once_get_ports_of_their_own(tmp_path: Path) -> None:
    rooms = [tmp_path / "one", tmp_path / "two"]
    for room in rooms:
        room.mkdir()
    demos = [_start(room, "--duration", "1") for room in rooms]
    for demo in demos:
        with demo:
            _, error = demo.communicate(timeout=60)
        assert (demo.returncode, error) == (0, "")
