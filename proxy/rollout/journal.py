"""What outlives the control process of rollouts: every transition, how far the step is, and the weights set by hand.

A transition is in the journal before it takes effect, so the last record of a route is the truth about it, whenever the
process dies. The journal stands in the file of the state store, in tables and on a connection of its own, with every commit on
the disk before it is answered (the store itself does not wait for the disk: it can lose a second to a power cut, and a
transition must not). Without a state store the same tables are in memory.

Bounded: a route keeps its last `KEPT` records, all routes together `KEPT_OF_ALL`, and whatever is removed, never the last of a
route, or a rollout that is over would begin again.
"""

import asyncio
import json
import sqlite3
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Protocol, Self, TypeVar

from proxy.databases import open_private
from proxy.errors import TidegateError
from proxy.rollout.rollout import Rollout
from proxy.rollout.states import State

KEPT: Final = 500
"""Transitions of a route that are kept."""
KEPT_OF_ALL: Final = 50_000
"""Transitions of all routes together."""
NUMBERS_LIMIT: Final = 64 * 1024
"""Characters of JSON that the numbers of one transition may take; longer ones are left out, and say so."""

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS rollout_transitions (
    number INTEGER PRIMARY KEY AUTOINCREMENT, route TEXT NOT NULL, revision TEXT NOT NULL, sequence INTEGER NOT NULL,
    at REAL NOT NULL, before TEXT NOT NULL, after TEXT NOT NULL, step INTEGER NOT NULL, cause TEXT NOT NULL,
    actor TEXT NOT NULL, reason TEXT NOT NULL, numbers TEXT NOT NULL, rollout TEXT NOT NULL,
    UNIQUE (route, revision, sequence));
CREATE INDEX IF NOT EXISTS rollout_transitions_of ON rollout_transitions (route, number);
CREATE TABLE IF NOT EXISTS rollout_progress (
    route TEXT PRIMARY KEY, revision TEXT NOT NULL, sequence INTEGER NOT NULL, progress TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS weight_overrides (route TEXT PRIMARY KEY, override TEXT NOT NULL) WITHOUT ROWID;
"""
_INSERT: Final = """
INSERT INTO rollout_transitions
    (route, revision, sequence, at, before, after, step, cause, actor, reason, numbers, rollout)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
_HISTORY: Final = """
SELECT route, revision, sequence, at, before, after, step, cause, actor, reason, numbers, rollout
FROM rollout_transitions WHERE route = ? ORDER BY number DESC LIMIT ?
"""
_LAST: Final = """
SELECT route, revision, sequence, at, before, after, step, cause, actor, reason, numbers, rollout
FROM rollout_transitions WHERE number IN (SELECT max(number) FROM rollout_transitions GROUP BY route)
"""
_TRIM_ROUTE: Final = """
DELETE FROM rollout_transitions WHERE route = ? AND number <=
    (SELECT number FROM rollout_transitions WHERE route = ? ORDER BY number DESC LIMIT 1 OFFSET ?)
"""
_TRIM_ALL: Final = """
DELETE FROM rollout_transitions WHERE number IN (SELECT number FROM rollout_transitions
    WHERE number NOT IN (SELECT max(number) FROM rollout_transitions GROUP BY route) ORDER BY number LIMIT ?)
"""

Answer = TypeVar("Answer")
Values = dict[str, Any]


class JournalError(TidegateError):
    """The journal cannot be read or written. The message names the file and what to do."""


class TakenError(JournalError):
    """There is a record of this number already: somebody else has decided. What is in the journal counts."""


@dataclass(frozen=True, slots=True)
class Record:
    """One transition of one rollout, and the whole rollout after it (`rollout`, plain JSON values).

    `at` is Unix seconds, `before` and `after` are states ("" before the first), `cause` is its kind, `numbers` what it was
    decided by.
    """

    route: str
    revision: str
    sequence: int
    at: float
    before: str
    after: str
    step: int
    cause: str
    actor: str
    reason: str
    numbers: Values
    rollout: Values

    @classmethod
    def of(cls, rollout: Rollout, before: State | None) -> Self:
        """The record of the transition that led from the state `before` to this rollout; None: it is the first."""
        numbers = rollout.numbers
        size = len(_text(numbers))
        if size > NUMBERS_LIMIT:
            numbers = {"left_out": f"{size} characters of numbers, of which {NUMBERS_LIMIT} are kept"}
        values: Values = json.loads(replace(rollout, numbers={}).to_json())
        return cls(
            rollout.route, rollout.revision, rollout.sequence, rollout.since, "" if before is None else str(before),
            str(rollout.state), rollout.step, str(rollout.cause), rollout.actor, rollout.reason, numbers, values,
        )  # fmt: skip

    def restored(self) -> Rollout:
        """The rollout after the transition. Raises ValueError for what is none."""
        return Rollout.from_json(_text({**self.rollout, "numbers": self.numbers}))


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a rollout was when somebody last looked, between two transitions: of which one, and the values."""

    revision: str
    sequence: int
    values: Values


@dataclass(frozen=True, slots=True)
class Override:
    """Weights set by hand: all the route's versions. Times are Unix seconds, `until` None where somebody will have to end it.

    `bound` are the file's weights they were set over: when the file's are others, the file wins.
    """

    weights: dict[str, float]
    bound: dict[str, float]
    by: str
    reason: str
    since: float
    until: float | None = None

    def values(self) -> Values:
        """As plain values, for JSON."""
        return {
            "weights": self.weights,
            "bound": self.bound,
            "by": self.by,
            "reason": self.reason,
            "since": self.since,
            "until": self.until,
        }


@dataclass(slots=True)
class Kept:
    """All that a process needs to go on: by route the last record, the progress since, and the weights set by hand."""

    last: dict[str, Record] = field(default_factory=dict)
    progress: dict[str, Progress] = field(default_factory=dict)
    overrides: dict[str, Override] = field(default_factory=dict)


class Journal(Protocol):
    """The journal of all routes. Every method raises JournalError when it cannot be reached, and then nothing has changed."""

    @property
    def lasting(self) -> bool:
        """Whether what is written survives this process."""

    async def append(self, *records: Record) -> None:
        """Keep these transitions, all or none: when this returns, they are kept. Raises TakenError where a number is taken."""

    async def load(self) -> Kept:
        """All there is to go on from."""

    async def history(self, route: str, limit: int) -> list[Record]:
        """The last transitions of a route, the newest first."""

    async def observe(self, progress: Mapping[str, Progress]) -> None:
        """Keep how far these routes are, in place of what was kept of them."""

    async def put_override(self, route: str, override: Override) -> None:
        """Keep weights set by hand, in place of earlier ones."""

    async def remove_override(self, route: str) -> None:
        """Forget them; no error when there are none."""

    async def close(self) -> None:
        """Let go of files and connections."""


class SqliteJournal:
    """The journal in a file, or in memory for None. All calls run on one thread of its own."""

    def __init__(self, path: Path | None) -> None:
        self._path: Final = path
        self._thread: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")
        self._database: sqlite3.Connection | None = None

    @property
    def lasting(self) -> bool:
        """Whether what is written survives this process."""
        return self._path is not None

    async def append(self, *records: Record) -> None:
        """Keep these transitions, all or none: when this returns, they are kept. Raises TakenError, JournalError."""
        rows = [_row(one) for one in records]
        await self._run(lambda database: _append(database, rows))

    async def load(self) -> Kept:
        """All there is to go on from. Raises JournalError."""
        try:
            return await self._run(_load)
        except (KeyError, TypeError, ValueError) as error:
            raise JournalError(
                f"state: {self._path}: the journal of rollouts cannot be understood: {error!r}"
            ) from error

    async def history(self, route: str, limit: int) -> list[Record]:
        """The last transitions of a route, the newest first. Raises JournalError."""
        rows = await self._run(lambda database: database.execute(_HISTORY, (route, limit)).fetchall())
        return [_record(row) for row in rows]

    async def observe(self, progress: Mapping[str, Progress]) -> None:
        """Keep how far these routes are, in place of what was kept of them. Raises JournalError."""
        rows = [(route, one.revision, one.sequence, _text(one.values)) for route, one in progress.items()]
        statement = "INSERT OR REPLACE INTO rollout_progress VALUES (?, ?, ?, ?)"
        await self._run(lambda database: database.executemany(statement, rows))

    async def put_override(self, route: str, override: Override) -> None:
        """Keep weights set by hand, in place of earlier ones. Raises JournalError."""
        row = (route, _text(override.values()))
        await self._run(lambda database: database.execute("INSERT OR REPLACE INTO weight_overrides VALUES (?, ?)", row))

    async def remove_override(self, route: str) -> None:
        """Forget them; no error when there are none. Raises JournalError."""
        await self._run(lambda database: database.execute("DELETE FROM weight_overrides WHERE route = ?", (route,)))

    async def close(self) -> None:
        """Close the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def _run(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._in_transaction, work)
        except sqlite3.Error as error:
            raise JournalError(
                f"state: {self._path or 'memory'}: the journal of rollouts: {error}; the file and its directory must be "
                "writable for this user, and the file must be a SQLite database"
            ) from error

    def _in_transaction(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        if self._database is None:
            self._database = open_private(self._path, _SCHEMA, "FULL")
        with self._database:
            return work(self._database)

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def open_journal(state: str | None, directory: Path) -> Journal:
    """The journal beside what `state` keeps: in the file of `sqlite:PATH` (relative to `directory`), in memory for None."""
    return SqliteJournal(None if state is None else directory / state.partition(":")[2])


def _row(one: Record) -> tuple[Any, ...]:
    return (
        one.route, one.revision, one.sequence, one.at, one.before, one.after, one.step, one.cause, one.actor, one.reason,
        _text(one.numbers), _text(one.rollout),
    )  # fmt: skip


def _append(database: sqlite3.Connection, rows: list[tuple[Any, ...]]) -> None:
    for row in rows:
        route: str = row[0]
        try:
            database.execute(_INSERT, row)
        except sqlite3.IntegrityError as error:
            raise TakenError(f"transition {row[2]} of route {route}, revision {row[1]}, is in the journal") from error
        database.execute("DELETE FROM rollout_progress WHERE route = ?", (route,))
        database.execute(_TRIM_ROUTE, (route, route, KEPT))
    (count,) = database.execute("SELECT count(*) FROM rollout_transitions").fetchone()
    if count > KEPT_OF_ALL:
        database.execute(_TRIM_ALL, (count - KEPT_OF_ALL,))


def _load(database: sqlite3.Connection) -> Kept:
    kept = Kept()
    for row in database.execute(_LAST):
        record = _record(row)
        kept.last[record.route] = record
    for route, revision, sequence, text in database.execute("SELECT * FROM rollout_progress"):
        kept.progress[route] = Progress(revision, sequence, json.loads(text))
    for route, text in database.execute("SELECT * FROM weight_overrides"):
        kept.overrides[route] = _override(json.loads(text))
    return kept


def _record(row: tuple[Any, ...]) -> Record:
    route, revision, sequence, at, before, after, step, cause, actor, reason, numbers, rollout = row
    return Record(
        route,
        revision,
        sequence,
        at,
        before,
        after,
        step,
        cause,
        actor,
        reason,
        json.loads(numbers),
        json.loads(rollout),
    )


def _override(values: Values) -> Override:
    """As `values` made it, perhaps of a later version of this program."""
    return Override(
        values["weights"], values["bound"], values["by"], values["reason"], values["since"], values.get("until")
    )


def _text(values: Values) -> str:
    return json.dumps(values, separators=(",", ":"))
