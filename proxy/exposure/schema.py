"""The store's file: its tables, and how it is opened.

Records lie in segments, a table of some 260,000 each, oldest first. A segment is ordered by time, has an index of its units and
one of its arms (route and version), and once it is full it is never written again but to delete. Why so, and not one table: the
hashes of units come in no order, and each would touch a page of an index of ten million; pages of a small index are touched by
many records of one transaction, so a record costs a few bytes of writing and not a page. A whole segment is deleted at the cost
of none of its records. Questions ask segment after segment, at some microseconds each.

`tallies` counts, so that nobody ever has to: by segment, arm and reason. What is added to them is added in SQL, so that another
process may erase a unit while the proxy records others.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from proxy.errors import TidegateError

VERSION: Final = 1
"""Of the tables, as PRAGMA user_version. A file of another one is not touched."""

FIRST: Final = 4
"""Flag of a record, beside those of channel/exposures.py: the unit's first on its route."""
NEW_HERE: Final = 8
"""Flag of a record: the unit's first with this version on this route."""

COLUMNS: Final = "ts, seq, unit, arm, before, reason, flags, rule, plan, epoch, bucket, weights, source, request, raw"
"""Of a record. `ts` in microseconds since 1970, `unit` the hash as a signed number, `before` the arm it had, `rule`, `weights` and
`source` numbers in `words`."""

_TABLES: Final = """
CREATE TABLE words (id INTEGER PRIMARY KEY, text TEXT NOT NULL UNIQUE, segment INTEGER NOT NULL);
CREATE TABLE arms (id INTEGER PRIMARY KEY, route TEXT NOT NULL, version TEXT NOT NULL, UNIQUE (route, version));
CREATE TABLE segments (id INTEGER PRIMARY KEY, sealed INTEGER NOT NULL, sieve BLOB);
CREATE TABLE tallies (
    segment INTEGER, arm INTEGER, reason INTEGER, records INTEGER, units INTEGER, firsts INTEGER, robots INTEGER,
    first INTEGER, last INTEGER, PRIMARY KEY (segment, arm, reason)
) WITHOUT ROWID;
CREATE TABLE ratios (
    route TEXT, segment TEXT, deal TEXT, epoch INTEGER, source TEXT, version TEXT, units INTEGER, since INTEGER,
    last INTEGER,
    PRIMARY KEY (route, segment, deal, epoch, source, version)
) WITHOUT ROWID;
CREATE TABLE alarms (
    route TEXT, segment TEXT, deal TEXT, epoch INTEGER, source TEXT, at INTEGER,
    PRIMARY KEY (route, segment, deal, epoch, source)
) WITHOUT ROWID;
"""
_SEGMENT: Final = """
CREATE TABLE e{0} (
    ts INTEGER, seq INTEGER, unit INTEGER, arm INTEGER, before INTEGER, reason INTEGER, flags INTEGER, rule INTEGER, plan INTEGER,
    epoch INTEGER, bucket INTEGER, weights INTEGER, source INTEGER, request BLOB, raw BLOB, PRIMARY KEY (ts, seq)
) WITHOUT ROWID;
CREATE INDEX u{0} ON e{0} (unit);
CREATE INDEX a{0} ON e{0} (arm);
"""


class ExposureError(TidegateError):
    """The store cannot be read or written. The message names it and what to do."""


class NoExposuresError(ExposureError):
    """There is no store: nothing was ever recorded."""


class OtherSchemaError(ExposureError):
    """The file is another program's, or of another version of this one."""


def file_beside(state: str, directory: Path) -> Path:
    """Where exposures are kept beside `state` (`sqlite:PATH`): in a file of their own, for they are many and it is small.

    `sqlite:tidegate.db` gives `tidegate-exposures.db`; relative paths are relative to `directory`.
    """
    path = directory / state.partition(":")[2]
    return path.with_name(f"{path.stem}-exposures{path.suffix or '.db'}")


def open_for_writing(path: Path) -> sqlite3.Connection:
    """The file, made where it is not there. Transactions are begun by hand.

    Raises OtherSchemaError, sqlite3.Error, and OSError.
    """
    fresh = not path.exists()
    database = sqlite3.connect(path, timeout=5.0, isolation_level=None)
    try:
        if fresh:
            path.chmod(0o600)  # who was where is nobody else's business
        version: int = database.execute("PRAGMA user_version").fetchone()[0]
        tables: int = database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version != VERSION and (version or tables):
            raise _other(path, version)  # noqa: TRY301 - the file must be closed
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute("PRAGMA cache_size = -32768")
        # Pages of the small indexes are written again and again: the later they go into the file, the fewer they are.
        database.execute("PRAGMA wal_autocheckpoint = 16384")
        database.execute("PRAGMA journal_size_limit = 134217728")
        if version != VERSION:
            database.executescript(f"BEGIN IMMEDIATE; {_TABLES} PRAGMA user_version = {VERSION}; COMMIT;")
    except BaseException:
        database.close()
        raise
    return database


def open_for_reading(path: Path) -> sqlite3.Connection:
    """The file, to be asked only. Raises NoExposuresError, OtherSchemaError and ExposureError."""
    if not path.exists():
        raise NoExposuresError(f"{path}: there is no such file; it is made with the first exposure")
    try:
        database = sqlite3.connect(f"file:{_quoted(path)}?mode=ro", uri=True, timeout=5.0, check_same_thread=False)
    except sqlite3.Error as error:
        raise ExposureError(f"{path}: {error}") from error
    try:
        version: int = database.execute("PRAGMA user_version").fetchone()[0]
        if version == 0:
            raise NoExposuresError(f"{path}: nothing was recorded yet")
        if version != VERSION:
            raise _other(path, version)
    except sqlite3.Error as error:
        database.close()
        raise ExposureError(f"{path}: {error}") from error
    except ExposureError:
        database.close()
        raise
    return database


@contextmanager
def transaction(database: sqlite3.Connection) -> Iterator[None]:
    """All that is written within, or nothing. Raises sqlite3.Error."""
    database.execute("BEGIN IMMEDIATE")
    try:
        yield
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            database.execute("ROLLBACK")
        raise


def make_segment(database: sqlite3.Connection, segment: int) -> None:
    """A new segment, in the transaction that is open."""
    for statement in _SEGMENT.format(segment).split(";"):
        if statement.strip():
            database.execute(statement)
    database.execute("INSERT INTO segments (id, sealed) VALUES (?, 0)", (segment,))


def drop_segment(database: sqlite3.Connection, segment: int) -> None:
    """Delete a segment with all that counts in it, in the transaction that is open."""
    database.execute(f"DROP TABLE IF EXISTS e{segment:d}")
    database.execute("DELETE FROM segments WHERE id = ?", (segment,))
    database.execute("DELETE FROM tallies WHERE segment = ?", (segment,))


def signed(unit: int) -> int:
    """A hash of 64 bits as SQLite keeps it."""
    return unit - (1 << 64) if unit >= 1 << 63 else unit


def hash_text(unit: int) -> str:
    """The 16 hex digits of a hash that SQLite kept."""
    return f"{unit & (1 << 64) - 1:016x}"


def _other(path: Path, version: int) -> OtherSchemaError:
    return OtherSchemaError(
        f"{path}: its tables are of version {version}, this program's of {VERSION}; move the file away to begin anew"
    )


def _quoted(path: Path) -> str:
    return str(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
