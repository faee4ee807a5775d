"""Processes as /proc shows them: whose child, which command, how much memory. Only ever asked about our own."""

import os
import signal
from pathlib import Path


def children(pid: int) -> list[int]:
    """The children of `pid`; empty when it is gone."""
    found: list[int] = []
    try:
        for task in Path(f"/proc/{pid}/task").iterdir():
            found.extend(int(one) for one in (task / "children").read_text("ascii").split())
    except OSError:
        return found
    return found


def descendants(pid: int) -> list[int]:
    """All below `pid`, parents first."""
    found: list[int] = []
    for child in children(pid):
        found.append(child)
        found.extend(descendants(child))
    return found


def command(pid: int) -> str:
    """The command line of `pid`, its words joined with spaces; empty when it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def alive(pid: int) -> bool:
    """Whether `pid` runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()[0] not in {"Z", "X"}
    except OSError:
        return False


def memory(pid: int) -> int:
    """Resident bytes of `pid`."""
    pages = int(Path(f"/proc/{pid}/statm").read_text("ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def kill(pid: int, number: signal.Signals = signal.SIGKILL) -> None:
    """Signal `pid`, if it still is there."""
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
