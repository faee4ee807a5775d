"""Forgetting one unit: its records in the file, and its lines in the stream. What is counted of many stays.

Works in the process that records and beside it, from the command line: records go in one transaction, and lines are rewritten
under a lock that the stream's writer takes, too (jsonl.py).
"""

import json
import os
import sqlite3
from pathlib import Path

from proxy.exposure.jsonl import locked, rotated
from proxy.exposure.schema import hash_text, transaction


def erase_records(database: sqlite3.Connection, unit: int) -> int:
    """Delete all records of a unit (its hash as kept); answers how many. What they said is overwritten in the file, too.

    The sums of how many units a version has had go down with them; sample ratios, which name nobody, do not. Raises sqlite3.Error.
    """
    database.execute("PRAGMA secure_delete = ON")
    try:
        with transaction(database):
            segments = [segment for (segment,) in database.execute("SELECT id FROM segments").fetchall()]
            gone = sum(_erase_within(database, segment, unit) for segment in segments)
    finally:
        database.execute("PRAGMA secure_delete = OFF")
    if gone:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")  # else the log would still have what was deleted
    return gone


def _erase_within(database: sqlite3.Connection, segment: int, unit: int) -> int:
    rows = database.execute(
        f"SELECT arm, reason, flags >> 3 & 1, flags >> 2 & 1, flags & 1 FROM e{segment} WHERE unit = ?", (unit,)
    ).fetchall()
    if rows:
        database.execute(f"DELETE FROM e{segment} WHERE unit = ?", (unit,))
        database.executemany(
            "UPDATE tallies SET records = records - 1, units = units - ?, firsts = firsts - ?, robots = robots - ?"
            " WHERE segment = ? AND arm = ? AND reason = ?",
            [(units, firsts, robots, segment, arm, reason) for arm, reason, units, firsts, robots in rows],
        )
    return len(rows)


def erase_lines(path: Path, unit: int) -> int:
    """Remove a unit's lines from the stream and the files that were renamed; answers how many. Raises OSError."""
    name = hash_text(unit)
    gone = 0
    with locked(path):
        for file in (path, *rotated(path)):
            if file.exists():
                gone += _erase_from(file, name)
    return gone


def _erase_from(file: Path, name: str) -> int:
    gone = 0
    fresh = file.with_name(f"{file.name}.erasing")
    with file.open("rb") as lines, fresh.open("wb") as out:
        fresh.chmod(0o600)
        for line in lines:
            if _is_of(line, name):
                gone += 1
            else:
                out.write(line)
        out.flush()
        if gone:
            os.fsync(out.fileno())
    if gone:
        fresh.replace(file)
    else:
        fresh.unlink()
    return gone


def _is_of(line: bytes, name: str) -> bool:
    if name.encode() not in line:
        return False
    try:
        value = json.loads(line)
    except ValueError:
        return True  # half a line that names it
    return isinstance(value, dict) and value.get("unit") == name
