"""Starting a program on chosen cores, and what it costs: CPU and memory of a process and all that belong to it,
from /proc.
"""

import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU used so far, in seconds."""

    user: float
    system: float

    @property
    def total(self) -> float:
        return self.user + self.system

    def __sub__(self, earlier: "Cost") -> "Cost":
        return Cost(self.user - earlier.user, self.system - earlier.system)


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes, summed over the processes. `peak_rss` counts pages that processes share once for each of them; `pss`
    does not.
    """

    rss: int
    peak_rss: int
    pss: int


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat after the command's name: state is 0, the parent 1, the session 3, utime 11,
    stime 12.
    """
    text = Path(f"/proc/{pid}/stat").read_text()
    return text[text.rindex(")") + 2 :].split()


def family(leader: int) -> list[int]:
    """The processes that descend from `leader` or live in its session, itself included, as far as they still run."""
    parents: dict[int, tuple[int, int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = _stat(int(entry.name))
            except OSError:  # it ended while we looked
                continue
            if fields[0] != "Z":
                parents[int(entry.name)] = (int(fields[1]), int(fields[3]))
    found = {leader} & parents.keys() | {pid for pid, (_, session) in parents.items() if session == leader}
    while True:
        more = {pid for pid, (parent, _) in parents.items() if parent in found} - found
        if not more:
            return sorted(found)
        found |= more


def cost(pids: list[int]) -> Cost:
    """CPU of all threads of `pids` until now. A process that is gone counts nothing, so take differences of living
    ones.
    """
    user = system = 0
    for pid in pids:
        try:
            fields = _stat(pid)
        except OSError:
            continue
        user += int(fields[11])
        system += int(fields[12])
    return Cost(user / TICKS, system / TICKS)


def _kilobytes(path: str, wanted: tuple[str, ...]) -> dict[str, int]:
    found = dict.fromkeys(wanted, 0)
    try:
        lines = Path(path).read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        name, _, rest = line.partition(":")
        if name in found and rest.strip().endswith("kB"):
            found[name] = int(rest.split()[0]) * 1024
    return found


def memory(pids: list[int]) -> Memory:
    """What `pids` hold now, and the sum of what each held at most."""
    rss = peak = pss = 0
    for pid in pids:
        status = _kilobytes(f"/proc/{pid}/status", ("VmRSS", "VmHWM"))
        rss += status["VmRSS"]
        peak += status["VmHWM"]
        pss += _kilobytes(f"/proc/{pid}/smaps_rollup", ("Pss",))["Pss"]
    return Memory(rss, peak, pss)


class Program:
    """A program on its own cores, ended with everything it started when the `with` block is left.

    `log` receives what it prints; `died` tells the last of it.
    """

    def __init__(
        self, arguments: list[str], cores: set[int], log: Path, environment: dict[str, str] | None = None
    ) -> None:
        self.log = log
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=log.parent,
                start_new_session=True,
                preexec_fn=lambda: os.sched_setaffinity(0, cores),  # noqa: PLW1509 - the children inherit it
            )
        self.pid = self._popen.pid

    def died(self) -> str:
        """The last lines of the log when the program has ended, else nothing."""
        if self._popen.poll() is None:
            return ""
        tail = self.log.read_text(errors="replace").splitlines()[-8:]
        return f"exit {self._popen.returncode}: " + " | ".join(tail)

    def interrupt(self) -> None:
        """Ask it to end with what it has so far (SIGINT)."""
        self._popen.send_signal(signal.SIGINT)

    def wait(self, patience: float) -> int:
        """The exit code, once it has ended by itself.

        Raises subprocess.TimeoutExpired after `patience` seconds.
        """
        return self._popen.wait(patience)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self, patience: float = 10.0) -> None:
        """Ask the leader to end; after `patience` seconds end what is left of its family by force."""
        pids = family(self.pid)
        if self._popen.poll() is None:
            self._popen.send_signal(signal.SIGTERM)
            try:
                self._popen.wait(patience)
            except subprocess.TimeoutExpired:
                pids = family(self.pid)
        for pid in {*pids, *family(self.pid)}:
            try:
                if pid == self.pid or int(_stat(pid)[3]) == self.pid:  # never a stranger that got the number since
                    os.kill(pid, signal.SIGKILL)
            except OSError:
                continue
        self._popen.wait()
