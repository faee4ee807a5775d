"""The directory through which a new control process finds what an earlier one left running.

It holds a lock, which says whether a control process lives; `workers.json`, which says which workers were started; and
one socket for each worker that has lost its control. Only its owner may look in: who reaches those sockets has the
listeners.
"""

import fcntl
import hashlib
import json
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from proxy.errors import TidegateError

_LOCK: Final = "control.lock"
_WORKERS: Final = "workers.json"


class RunDirError(TidegateError):
    """The directory cannot be used; without it there is no taking over."""


class AlreadyRunningError(TidegateError):
    """Another control process with the same directory lives."""


def default_run_dir(config: Path, environ: Mapping[str, str]) -> Path:
    """$RUNTIME_DIRECTORY (systemd), else one under $XDG_RUNTIME_DIR or /tmp that is this configuration file's own."""
    if given := environ.get("RUNTIME_DIRECTORY"):
        return Path(given.split(":")[0])
    name = hashlib.sha256(os.fsencode(config.absolute())).hexdigest()[:16]
    if base := environ.get("XDG_RUNTIME_DIR"):
        return Path(base) / "tidegate" / name
    return _shared_base() / name


def _shared_base() -> Path:
    return Path(f"/tmp/tidegate-{os.getuid()}")  # noqa: S108 - owner and mode are checked


class RunDir:
    """A run directory that this process holds the lock of."""

    def __init__(self, path: Path) -> None:
        """Make the directory if it is not there, and take the lock.

        Raises RunDirError when it cannot be made or is not ours alone, AlreadyRunningError when the lock is held.
        """
        self.path: Final = path
        self._lock: int = _take_lock(path)

    def socket_path(self, index: int) -> Path:
        """Where worker `index` listens once it has lost its control."""
        return self.path / f"worker-{index}.sock"

    def sockets(self) -> list[Path]:
        """The sockets there are, by worker number."""
        found = [path for path in self.path.glob("worker-*.sock") if path.stem.removeprefix("worker-").isdigit()]
        return sorted(found, key=lambda path: int(path.stem.removeprefix("worker-")))

    def record(self, workers: dict[int, tuple[int, int]]) -> None:
        """Write down the workers that run: index -> (pid, birth). Raises OSError."""
        draft = self.path / f"{_WORKERS}.new"
        draft.write_text(json.dumps({str(index): list(process) for index, process in workers.items()}), "ascii")
        draft.replace(self.path / _WORKERS)

    def recorded(self) -> dict[int, tuple[int, int]]:
        """The workers that an earlier control process wrote down; empty when there is no such record."""
        try:
            value = json.loads((self.path / _WORKERS).read_text("ascii"))
            return {int(index): (int(pid), int(birth)) for index, (pid, birth) in value.items()}
        except (OSError, ValueError, TypeError, AttributeError):
            return {}

    def close(self) -> None:
        """Let go of the lock; a second time does nothing."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def _take_lock(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.parent == _shared_base():
            _check_owner(path.parent)  # /tmp is everybody's: who has the parent can exchange what is in it
        path.mkdir(mode=0o700, exist_ok=True)
        _check_owner(path)
        lock = os.open(path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError as error:
        raise RunDirError(f"run_dir: {path}: {error.strerror or error}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip()
        os.close(lock)
        raise AlreadyRunningError(
            f"another tidegate runs this configuration (control process {holder or 'unknown'}, run directory {path}); "
            "stop that one, or give this one a run_dir of its own"
        ) from error
    except OSError as error:
        os.close(lock)
        raise RunDirError(f"run_dir: {path}: cannot be locked: {error.strerror or error}") from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock


def _check_owner(path: Path) -> None:
    state = path.lstat()
    if not stat.S_ISDIR(state.st_mode):
        raise RunDirError(f"run_dir: {path} is no directory")
    if state.st_uid != os.geteuid():
        raise RunDirError(f"run_dir: {path} belongs to user {state.st_uid}, not to the one that runs tidegate")
    if state.st_mode & 0o077:
        path.chmod(0o700)
