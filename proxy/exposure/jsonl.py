"""The stream: each record as a JSON line in a file that others follow. Bounded: full files are renamed, and the oldest deleted.

`path` is being written, `path.1` is the newest of the renamed ones. A lock beside it (`path.lock`) keeps writing and erasing
apart; who follows the file needs none.
"""

import fcntl
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final


class Stream:
    """The file and its bound: `max_size` bytes each, and `files` renamed ones. Opened for each batch, so that whoever renames or
    replaces it is followed."""

    def __init__(self, path: Path, max_size: int, files: int) -> None:
        self.path: Final = path
        self._max_size: Final = max_size
        self._files: Final = files

    def write(self, records: Iterable[dict[str, Any]]) -> None:
        """Append records. Raises OSError; what was written of them stays, in whole lines."""
        lines = [json.dumps(one, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" for one in records]
        with locked(self.path):
            start = 0
            while start < len(lines):
                start = self._fill(lines, start)

    def _fill(self, lines: list[bytes], start: int) -> int:
        """Write what still fits; answers the first line that does not."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            size = os.fstat(descriptor).st_size
            end = start
            more = 0
            while end < len(lines) and (size + more + len(lines[end]) <= self._max_size or size + more == 0):
                more += len(lines[end])
                end += 1
            text = b"".join(lines[start:end])
            written = 0
            try:
                while written < len(text):
                    written += os.write(descriptor, text[written:])
            except OSError:
                os.ftruncate(descriptor, size + text.rfind(b"\n", 0, written) + 1)
                raise
        finally:
            os.close(descriptor)
        if end < len(lines):
            self._rotate()
        return end

    def _rotate(self) -> None:
        kept = rotated(self.path)
        for file in reversed(kept):
            number = int(file.name.rpartition(".")[2])
            if number >= self._files:
                file.unlink()
            else:
                file.rename(file.with_name(f"{self.path.name}.{number + 1}"))
        if self._files:
            self.path.rename(self.path.with_name(f"{self.path.name}.1"))
        else:
            self.path.unlink()


def rotated(path: Path) -> list[Path]:
    """The files that were renamed, the newest first."""
    found = []
    prefix = f"{path.name}."
    try:
        names = os.listdir(path.parent)  # noqa: PTH208 - names are what is wanted
    except FileNotFoundError:
        return []
    for name in names:
        number = name.removeprefix(prefix)
        if name.startswith(prefix) and number.isascii() and number.isdigit():
            found.append((int(number), path.with_name(name)))
    return [file for _, file in sorted(found)]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody else writes or erases meanwhile. Raises OSError."""
    descriptor = os.open(path.with_name(f"{path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
