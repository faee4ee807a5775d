"""The store at work: a thread of its own takes messages, writes them in transactions, and lets go of what is old.

The event loop only ever puts something into a queue. How much may wait there is bounded by who sends: a worker has so many messages
under way at most, and each is answered when its records are in the file (`done`).

A file that cannot be written is no reason to stop anything: it is counted, said once, and tried again every second, while the
workers' queues fill up and drop what finds no room. One that is corrupt is set aside, and a new one is begun.
"""

import fcntl
import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from proxy.exposure.erasure import erase_lines, erase_records
from proxy.exposure.jsonl import Stream
from proxy.exposure.queries import as_values
from proxy.exposure.ratios import Ratio
from proxy.exposure.records import Records, Written
from proxy.exposure.schema import OtherSchemaError, signed

GATHERED: Final = 16
"""Messages of one transaction at most."""
PAUSE: Final = 1.0
"""Seconds between two tries while the file cannot be written."""
TEND: Final = 60.0
"""Seconds between two looks at what is too old or too much."""
HANDOVER: Final = 10.0
"""Seconds in which another process may finish writing before that is worth a word."""
CLOSING: Final = 5.0
"""Seconds that a store which is being closed has to write what waits."""

_LOOK: Final = 0.05

_CORRUPT: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})

Report = Callable[[str, str], None]
"""Called with a level ("info", "warning", "error") and a message, from the writer's thread."""


@dataclass(frozen=True, slots=True)
class Keeping:
    """How long (seconds) and how much (bytes) is kept, and the stream for others."""

    retention: float
    max_size: int
    stream: Stream | None = None


@dataclass(slots=True)
class Standing:
    """What became of it all, for metrics and people. Written by the writer's thread; sums since it began."""

    recorded: dict[str, int] = field(default_factory=dict)
    repeated: dict[str, int] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=lambda: {"store": 0, "corrupt": 0, "stream": 0, "message": 0})
    """Tries that failed: to write the file, to read it at all, to write the stream; and messages that could not be taken in."""
    failing: str = ""
    """Why nothing is written now; empty while it is."""
    records: int = 0
    size: int = 0
    ratios: list[Ratio] = field(default_factory=list)


@dataclass(slots=True)
class _Erasure:
    unit: int
    answer: "Future[int]"


Job = tuple[bytes, Callable[[], None]] | _Erasure | Keeping | None


class Writer:
    """The thread. `clock` gives Unix seconds."""

    def __init__(
        self, path: Path, keeping: Keeping, clock: Callable[[], float], report: Report, standing: Standing | None = None
    ) -> None:
        """Begin. `standing` goes on with the sums of a writer before."""
        self.path: Final = path
        self.standing: Final = standing or Standing()
        self._keeping = keeping
        self._clock: Final = clock
        self._report: Final = report
        self._jobs: Final[queue.SimpleQueue[Job]] = queue.SimpleQueue()
        self._records: Records | None = None
        self._ended: Final = threading.Event()
        self._closing = False
        self._descriptor = -1  # of the lock
        self._tended = 0.0
        self._thread: Final = threading.Thread(target=self._run, name="exposures", daemon=True)
        self._thread.start()

    # From other threads.

    def take(self, payload: bytes, done: Callable[[], None]) -> None:
        """Write a message of exposures; `done` is called from the writer's thread once it is in the file. Never waits."""
        self._jobs.put((payload, done))

    def keep(self, keeping: Keeping) -> None:
        """From now on, keep so much."""
        self._jobs.put(keeping)

    def erase(self, unit: int) -> "Future[int]":
        """Erase a unit (its hash) from file and stream; answers how many records. Raises sqlite3.Error and OSError."""
        answer: Future[int] = Future()
        self._jobs.put(_Erasure(unit, answer))
        return answer

    def close(self) -> None:
        """Write what waits, and end: within some seconds, or without. Waits for it."""
        self._closing = True
        self._jobs.put(None)
        self._ended.wait(CLOSING)

    # On the thread.

    def _run(self) -> None:
        try:
            self._ready()  # also where nothing comes: what is too old has to go
            while True:
                job = self._next()
                if job is None and self._closing:
                    return
                try:
                    self._do(job)
                except Exception as error:  # noqa: BLE001 - others wait for this thread; counted and logged
                    self._failed(error)
        finally:
            if self._records is not None:
                self._records.close()
            if self._descriptor >= 0:
                os.close(self._descriptor)
            self._ended.set()

    def _do(self, job: Job) -> None:
        if job is None:
            self._tend()
        elif isinstance(job, Keeping):
            self._keeping = job
            self._tended = 0.0
        elif isinstance(job, _Erasure):
            self._erase(job)
        else:
            self._write(job)

    def _next(self) -> Job:
        with suppress(queue.Empty):
            return self._jobs.get(timeout=TEND)
        return None

    def _ready(self) -> Records | None:
        """The open file, opened or made where it has to be; None where that fails, which is then said and counted."""
        if self._records is None:
            try:
                self._lock()
                self._records = Records(self.path)
            except (sqlite3.Error, OSError, OtherSchemaError) as error:
                self._failed(error)
                return None
            self._measure()
        return self._records

    def _lock(self) -> None:
        """One process writes at a time: in an upgrade the next one waits for the end of the one before. Raises OSError."""
        if self._descriptor >= 0:
            return
        name = self.path.with_name(f"{self.path.name}.lock")
        descriptor = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        tries = 1 if self.standing.failing else max(1, int(HANDOVER / _LOOK))
        for _ in range(tries):
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._ended.wait(_LOOK)
            else:
                self._descriptor = descriptor
                return
            if self._closing:
                break
        os.close(descriptor)
        raise OSError("another process records there")

    def _write(self, first: tuple[bytes, Callable[[], None]]) -> None:
        batch = [first]
        later: Job = None
        while len(batch) < GATHERED:
            try:
                job = self._jobs.get_nowait()
            except queue.Empty:
                break
            if isinstance(job, tuple):
                batch.append(job)
            else:
                later = job
                if job is None:
                    self._jobs.put(None)
                break
        written = self._stored([payload for payload, _ in batch])
        if written is not None:
            self._count(written)
            self._stream(written)
            for _, done in batch:
                done()
        if later is not None:
            self._do(later)
        if self._clock() - self._tended >= TEND:
            self._tend()

    def _stored(self, payloads: list[bytes]) -> Written | None:
        """Write until it succeeds; None when the store is closed before that."""
        while True:
            records = self._ready()
            if records is not None:
                try:
                    written = records.write(payloads, int(self._clock() * 1e6))
                except (sqlite3.Error, OSError) as error:
                    self._failed(error)
                except Exception as error:  # noqa: BLE001 - what they say would fail again; counted and logged
                    self._failed(error)
                    return Written(broken=len(payloads))
                else:
                    self._succeeded()
                    return written
            if self._closing:
                return None
            self._ended.wait(PAUSE)

    def _count(self, written: Written) -> None:
        standing = self.standing
        for sums, more in ((standing.recorded, written.recorded), (standing.repeated, written.repeated)):
            for route, count in more.items():
                sums[route] = sums.get(route, 0) + count
        standing.records += len(written.rows)
        if written.broken:
            standing.failures["message"] += written.broken
            self._report(
                "error", f"{written.broken} messages of exposures could not be taken in; what they said is lost"
            )
        if written.rows and self._records is not None:
            standing.ratios = self._records.ratios.shown()
        for ratio in written.mismatches:
            self._report("warning", mismatch_text(ratio))

    def _stream(self, written: Written) -> None:
        stream = self._keeping.stream
        records = self._records
        if stream is None or records is None or not written.rows:
            return
        try:
            stream.write(_lines(records, written))
        except (OSError, sqlite3.Error) as error:
            if not self.standing.failures["stream"]:
                self._report("error", f"{stream.path}: exposures cannot be written there ({error}); the store has them")
            self.standing.failures["stream"] += 1

    def _erase(self, job: _Erasure) -> None:
        if not job.answer.set_running_or_notify_cancel():
            return  # who asked was told that it cannot be done now
        records = self._ready()
        if records is None:
            job.answer.set_exception(OSError(self.standing.failing))
            return
        try:
            gone = erase_records(records.database, signed(job.unit))
            stream = self._keeping.stream
            if stream is not None:
                erase_lines(stream.path, signed(job.unit))
        except (sqlite3.Error, OSError) as error:
            job.answer.set_exception(error)
            return
        self.standing.records -= gone
        job.answer.set_result(gone)

    def _tend(self) -> None:
        self._tended = self._clock()
        records = self._ready()
        if records is None:
            return
        oldest = int((self._clock() - self._keeping.retention) * 1e6)
        try:
            gone = records.tend(oldest, self._keeping.max_size)
            self._measure()
        except (sqlite3.Error, OSError) as error:
            self._failed(error)
            return
        if gone:
            self._report("info", f"{gone} exposures deleted: too old, or too many")

    def _measure(self) -> None:
        records = self._records
        if records is None:
            return
        try:
            self.standing.records = records.records()
            self.standing.size = records.size()
            self.standing.ratios = records.ratios.shown()
        except sqlite3.Error as error:
            self._failed(error)

    # What goes wrong.

    def _failed(self, error: Exception) -> None:
        """Say it, once for each reason, and begin anew with what is in the file: what is in memory may be wrong now."""
        if self._records is not None:
            with suppress(sqlite3.Error):
                self._records.close()
            self._records = None
        if isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", 0) & 0xFF in _CORRUPT:
            self._set_aside(error)
            return
        self.standing.failures["store"] += 1
        text = str(error)
        if text != self.standing.failing:
            self.standing.failing = text
            self._report(
                "error", f"{self.path}: exposures cannot be written ({text}); traffic is served on, and tries go on"
            )

    def _set_aside(self, error: Exception) -> None:
        self.standing.failures["corrupt"] += 1
        aside = self.path.with_name(f"{self.path.name}.corrupt-{int(self._clock())}")
        try:
            for suffix in ("-wal", "-shm"):
                self.path.with_name(self.path.name + suffix).unlink(missing_ok=True)
            self.path.rename(aside)
        except OSError as refusal:
            self.standing.failing = f"{error}; it cannot be set aside: {refusal}"
        else:
            self.standing.failing = str(error)
        self._report(
            "error", f"{self.path}: the store of exposures is corrupt ({error}); set aside as {aside.name}, begun anew"
        )

    def _succeeded(self) -> None:
        if self.standing.failing:
            self.standing.failing = ""
            self._report("info", f"{self.path}: exposures are written again")


def _lines(records: Records, written: Written) -> list[dict[str, Any]]:
    """The rows of a transaction as they are told to others."""
    arms, words = records.arms(), records.words()
    return [as_values(row, arms, words[row[7]], words[row[11]], words[row[12]]) for row in written.rows]


def mismatch_text(ratio: Ratio) -> str:
    """A mismatch in words: what was asked for, what came."""
    total = sum(ratio.weights.values())
    asked = ", ".join(f"{version} {weight / total:.2%}" for version, weight in ratio.weights.items())
    came = ", ".join(f"{version} {count}" for version, count in ratio.counts.items())
    where = "".join(
        f", {word} {value}" for word, value in (("segment", ratio.segment), ("units from", ratio.source)) if value
    )
    return (
        f"route {ratio.route}{where}: the split is not what was asked for ({asked}; new units: {came};"
        f" ln of the Bayes factor {ratio.log_bayes_factor:.1f}): do not trust comparisons of its versions"
    )
