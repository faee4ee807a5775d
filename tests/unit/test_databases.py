"""Files of SQLite: nobody else may read them, and a failure leaves nothing open."""

import sqlite3
from pathlib import Path

import pytest

from proxy.databases import open_private

SCHEMA = "CREATE TABLE IF NOT EXISTS kept (word TEXT)"


def test_what_was_committed_is_found_again_in_a_file_of_this_user_alone(tmp_path: Path) -> None:
    path = tmp_path / "kept.db"
    for level in ("NORMAL", "FULL"):
        database = open_private(path, SCHEMA, level)  # type: ignore[arg-type]
        with database:
            database.execute("INSERT INTO kept VALUES (?)", (level,))
        assert database.execute("PRAGMA synchronous").fetchone() == ({"NORMAL": 1, "FULL": 2}[level],)
        database.close()
    assert path.stat().st_mode & 0o077 == 0
    database = open_private(path, SCHEMA, "FULL")
    assert database.execute("SELECT word FROM kept").fetchall() == [("NORMAL",), ("FULL",)]
    database.close()


def test_in_memory_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    database = open_private(None, SCHEMA, "FULL")
    database.execute("INSERT INTO kept VALUES ('x')")
    database.close()
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_none_of_sqlite_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "kept.db"
    path.write_bytes(b"this is a letter and no database" * 100)
    with pytest.raises(sqlite3.DatabaseError):
        open_private(path, SCHEMA, "FULL")
