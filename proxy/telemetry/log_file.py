"""The access log's writer in the control process: whole lines to stdout or a file, from a thread of its own.

The event loop only ever appends to a bounded queue. When the queue is full, lines are dropped and counted; when the
disk is, likewise, and it is said once when that begins and once when it is over. A line is never cut in two: what a
failed write left of one is taken back by truncating, or ended by a line feed where the target cannot be truncated.
"""

import os
import threading
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

QUEUE_BYTES: Final = 8 << 20
"""Bytes that may wait for the disk: some 20,000 lines."""

STDOUT: Final = "stdout"

Report = Callable[[str, str], None]
"""Called with a level ("warning", "info") and a message, from the writer's thread."""


class LogFile:
    """Appends to `target`: "stdout" or a path. `lost` counts lines by reason: full (the queue), failed (the write)."""

    def __init__(self, target: str, report: Report, *, queue_bytes: int = QUEUE_BYTES) -> None:
        """Open the target and start the thread. Raises OSError when the file cannot be opened."""
        self.target: Final = target
        self.lost: Final = {"full": 0, "failed": 0}
        self._report: Final = report
        self._limit: Final = queue_bytes
        self._queue: Final[deque[bytes]] = deque()
        self._waiting = 0
        self._changed: Final = threading.Condition()
        self._closing = False
        self._reopen = False
        self._failing = False
        self._torn = False
        self._descriptor = self._open()
        self._thread: Final = threading.Thread(target=self._run, name="access-log", daemon=True)
        self._thread.start()

    def write(self, lines: bytes) -> None:
        """Queue whole lines, each ended by LF. Never waits, never raises; without room they are dropped and counted."""
        with self._changed:
            if self._closing or self._waiting + len(lines) > self._limit:
                self.lost["full"] += lines.count(b"\n")
                return
            self._queue.append(lines)
            self._waiting += len(lines)
            self._changed.notify()

    def reopen(self) -> None:
        """Open the path anew before the next line: the file was rotated (SIGHUP). A renamed file is noticed without
        it."""
        with self._changed:
            self._reopen = True
            self._changed.notify()

    def close(self, limit: float = 5.0) -> None:
        """Write what is queued and stop, within `limit` seconds; a target that hangs longer keeps its thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(limit)

    def _open(self) -> int:
        if self.target == STDOUT:
            return os.dup(1)
        return os.open(self.target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o640)

    def _run(self) -> None:
        while True:
            with self._changed:
                while not (self._queue or self._closing or self._reopen):
                    self._changed.wait()
                # Many small pieces are one write; what is being written still counts as waiting.
                pieces = list(self._queue)
                self._queue.clear()
                reopen, self._reopen = self._reopen, False
                closing = self._closing
            if reopen or (pieces and self._rotated()):
                self._exchange()
            if pieces:
                data = b"".join(pieces)
                self._append(data)
                with self._changed:
                    self._waiting -= len(data)
            elif closing:
                os.close(self._descriptor)
                return

    def _rotated(self) -> bool:
        """Whether the path no longer leads to the open file."""
        if self.target == STDOUT:
            return False
        try:
            there = Path(self.target).stat()
        except OSError:  # removed or renamed, and nothing new there yet
            return True
        ours = os.fstat(self._descriptor)
        return (there.st_dev, there.st_ino) != (ours.st_dev, ours.st_ino)

    def _exchange(self) -> None:
        try:
            fresh = self._open()
        except OSError as error:
            # The old file is still open and still better than none.
            self._fail(f"the access log {self.target} cannot be opened anew: {error.strerror}; the old file goes on")
            return
        os.close(self._descriptor)
        self._descriptor = fresh
        self._torn = False

    def _append(self, data: bytes) -> None:
        if self._torn:
            data = b"\n" + data
        done = 0
        try:
            while done < len(data):
                done += os.write(self._descriptor, data[done:])
        except OSError as error:
            whole = data.rfind(b"\n", 0, done) + 1
            with self._changed:
                self.lost["failed"] += data.count(b"\n", max(whole, 1 if self._torn else 0))
            if done:
                self._torn = done > whole and not self._cut(done - whole)
            self._fail(
                f"the access log {self.target} cannot be written: {error.strerror}; lines are dropped and counted"
            )
            return
        self._torn = False
        if self._failing:
            self._failing = False
            self._report("info", f"the access log {self.target} is written again")

    def _cut(self, surplus: int) -> bool:
        """Take the last `surplus` bytes back; False where that cannot be done, as on a pipe."""
        try:
            os.ftruncate(self._descriptor, os.fstat(self._descriptor).st_size - surplus)
        except OSError:
            return False
        return True

    def _fail(self, message: str) -> None:
        if not self._failing:
            self._failing = True
            self._report("warning", message)
