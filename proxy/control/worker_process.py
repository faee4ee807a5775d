"""A worker as a process: started by this control process, or by an earlier one and taken over.

Watched through a pidfd, which works for processes that are not our children and can never mean another one.
"""

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, Protocol

from proxy.control.process import birth, cpu_seconds, stopped
from proxy.form import search_path


class Process(Protocol):
    """What the supervisor needs of a running worker."""

    @property
    def pid(self) -> int:
        """Its process id."""

    @property
    def birth(self) -> int:
        """With the pid, names this process and no later one."""

    def kill(self) -> None:
        """End it at once (SIGKILL)."""

    def say_where(self) -> None:
        """Have it write where it stands to its standard error, whatever it is doing."""

    def stopped(self) -> bool:
        """Whether somebody has stopped it."""

    def cpu_seconds(self) -> float:
        """User and system time until now; after its end, until then."""


Ended = Callable[[str], None]
"""Called on the loop when a process has ended; says how, in words."""


class Launcher(Protocol):
    """Where processes come from."""

    def launch(self, index: int, channel: socket.socket, ended: Ended) -> Process:
        """Start worker `index` with its end of the channel. Raises OSError."""

    def adopt(self, pid: int, ended: Ended) -> Process:
        """Watch a worker that runs already. Raises OSError when it does not any more."""


class WorkerProcess:
    """A process watched by its pidfd."""

    def __init__(self, pid: int, child: subprocess.Popen[bytes] | None, ended: Ended) -> None:
        """Raises ProcessLookupError when there is no such process."""
        self.pid: Final = pid
        self.birth: Final = birth(pid) or 0
        self._child: Final = child
        self._ended: Final = ended
        self._cpu = 0.0
        self._alive = True
        self._descriptor: Final = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._descriptor, self._on_end)

    def kill(self) -> None:
        """End it at once (SIGKILL)."""
        if self._alive:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGKILL)

    def say_where(self) -> None:
        """Have it write where it stands (SIGUSR1; see the worker's `run`)."""
        if self._alive:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._descriptor, signal.SIGUSR1)

    def stopped(self) -> bool:
        """Whether somebody has stopped it."""
        return self._alive and stopped(self.pid)

    def cpu_seconds(self) -> float:
        """User and system time until now; after its end, until then (or until the last look, if it was not our child)."""
        if self._alive:
            self._cpu = max(self._cpu, cpu_seconds(self.pid) or 0.0)
        return self._cpu

    def _on_end(self) -> None:
        self.cpu_seconds()  # a process that has ended and was not waited for still tells
        self._alive = False
        asyncio.get_running_loop().remove_reader(self._descriptor)
        os.close(self._descriptor)
        if self._child is None:
            how = "has ended"
        else:
            code = self._child.wait()
            how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with code {code}"
        self._ended(how)


class WorkerLauncher:
    """Starts workers of this program."""

    def __init__(
        self,
        workers: int,
        counters: int,
        listeners: Sequence[socket.socket],
        run_dir: Path | None,
        module: Sequence[str] = ("-m", "proxy.dataplane.worker"),
    ) -> None:
        """`workers`: over how many the limits are divided. `counters`: descriptor of the shared memory.

        `module`: what the interpreter runs.
        """
        self._workers: Final = workers
        self._counters: Final = counters
        self._listeners: Final = [listener.fileno() for listener in listeners]
        self._run_dir: Final = run_dir
        self._module: Final = module

    def launch(self, index: int, channel: socket.socket, ended: Ended) -> WorkerProcess:
        """Start worker `index` with its end of the channel. Raises OSError."""
        command = [
            sys.executable,
            "-P",  # a directory named `proxy` where the user stands is not our package
            *self._module,
            *("--index", str(index)),
            *("--workers", str(self._workers)),
            *("--channel", str(channel.fileno())),
            *("--counters", str(self._counters)),
            *("--listeners", ",".join(str(number) for number in self._listeners)),
        ]
        if self._run_dir is not None:
            command += ["--run-dir", str(self._run_dir)]
        child = subprocess.Popen(  # noqa: S603 - our own program
            command,
            stdin=subprocess.DEVNULL,
            pass_fds=(channel.fileno(), self._counters, *self._listeners),
            process_group=0,  # a terminal's Ctrl-C is not for workers
            env={**os.environ, "PYTHONPATH": search_path(os.environ)},
        )
        return WorkerProcess(child.pid, child, ended)

    def adopt(self, pid: int, ended: Ended) -> WorkerProcess:
        """Watch a worker that runs already. Raises OSError when it does not any more."""
        return WorkerProcess(pid, None, ended)
