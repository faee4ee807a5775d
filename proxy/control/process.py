"""What Linux says about a process: the few calls that Python's library does not wrap."""

import contextlib
import ctypes
import os
import resource
import signal
from pathlib import Path
from typing import Final

_PR_SET_PDEATHSIG: Final = 1
_PR_SET_CHILD_SUBREAPER: Final = 36
_TICKS: Final = os.sysconf("SC_CLK_TCK")

# Fields of /proc/PID/stat counted after the command's closing bracket (proc(5)): state is field 3.
_STATE: Final = 0
_USER: Final = 11
_SYSTEM: Final = 12
_START: Final = 19


def become_subreaper() -> None:
    """Adopt the orphans among this process's descendants, as PID 1 does. Raises OSError where the kernel refuses."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def die_with_parent(number: signal.Signals, parent: int) -> None:
    """Have the kernel send `number` to this process when `parent` ends; at once if it has ended already.

    Raises OSError where the kernel refuses.
    """
    _prctl(_PR_SET_PDEATHSIG, int(number))
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def cpu_seconds(pid: int) -> float | None:
    """User and system time of a process, also of one that has ended and was not waited for. None when there is none."""
    fields = _stat(pid)
    return None if fields is None else (int(fields[_USER]) + int(fields[_SYSTEM])) / _TICKS


def birth(pid: int) -> int | None:
    """When the process started, in clock ticks since boot: with the pid it names one process and no later one."""
    fields = _stat(pid)
    return None if fields is None or fields[_STATE] in {"Z", "X"} else int(fields[_START])


def stopped(pid: int) -> bool:
    """Whether somebody has stopped the process: by a signal, or with a debugger."""
    fields = _stat(pid)
    return fields is not None and fields[_STATE] in {"T", "t"}


def children() -> list[int]:
    """The pids of this process's children; empty where the kernel does not tell (CONFIG_PROC_CHILDREN)."""
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split()]
    except OSError:
        return []


def raise_descriptor_limit() -> None:
    """Let this process, and those that it starts, open as many files as it may (the hard limit).

    The soft limit is 1024 nearly everywhere, for the sake of select(), which nobody here uses.
    """
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def descriptor_limit() -> int:
    """How many files this process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def _prctl(option: int, value: int) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(option, value, 0, 0, 0) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
