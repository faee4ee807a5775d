"""Files of SQLite that only this user may read: they hold keys, and who did what."""

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Literal


def open_private(path: Path | None, schema: str, synchronous: Literal["NORMAL", "FULL"]) -> sqlite3.Connection:
    """The database in this file, made where it is not there, with the tables of `schema`; None: one in memory.

    `synchronous`: whether the last commit outlives the machine's power (FULL), or only this process (NORMAL). Raises sqlite3.Error.
    """
    if path is not None:
        with contextlib.suppress(OSError):  # it is there already; or SQLite will say what is wrong
            os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))  # never open to others
    database = sqlite3.connect(path or ":memory:", timeout=5.0)
    try:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute(f"PRAGMA synchronous = {synchronous}")
        database.executescript(schema)
    except sqlite3.Error:
        database.close()
        raise
    return database
