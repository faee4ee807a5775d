"""What outlives a control process: small JSON values under a key. Behind one interface, so that a fleet can share it.

Read rarely and written more rarely; nothing on a request's way ever waits for a store.
"""

import asyncio
import json
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, Protocol

from proxy.databases import open_private
from proxy.errors import TidegateError

_SCHEMA: Final = "CREATE TABLE IF NOT EXISTS state (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"


class StoreError(TidegateError):
    """The store cannot be read or written. The message names it and what to do."""


class Store(Protocol):
    """JSON values by key. Every method raises StoreError when the store cannot be reached."""

    @property
    def lasting(self) -> bool:
        """Whether what is put survives this process."""

    async def get(self, key: str) -> Any:
        """The value, None when there is none."""

    async def put(self, key: str, value: Any) -> None:
        """Keep `value`, in place of an earlier one."""

    async def delete(self, key: str) -> None:
        """Forget the value; no error when there is none."""

    async def close(self) -> None:
        """Let go of files and connections."""


class MemoryStore:
    """Forgets everything with the process: what runs when `state` is not configured."""

    lasting: Final = False

    def __init__(self) -> None:
        self._values: Final[dict[str, str]] = {}

    async def get(self, key: str) -> Any:
        """The value, None when there is none."""
        text = self._values.get(key)
        return None if text is None else json.loads(text)

    async def put(self, key: str, value: Any) -> None:
        """Keep `value`, in place of an earlier one."""
        self._values[key] = json.dumps(value)

    async def delete(self, key: str) -> None:
        """Forget the value; no error when there is none."""
        self._values.pop(key, None)

    async def close(self) -> None:
        """Nothing to let go of."""


class SqliteStore:
    """One file. Write-ahead logging, so that a reader (a backup, sqlite3 by hand) never blocks the writer.

    All calls run on one thread of their own: a slow disk delays who asked, not the event loop.
    """

    lasting: Final = True

    def __init__(self, path: Path) -> None:
        self._path: Final = path
        self._thread: Final = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._database: sqlite3.Connection | None = None

    async def get(self, key: str) -> Any:
        """The value, None when there is none. Raises StoreError."""
        rows = await self._run("SELECT value FROM state WHERE key = ?", (key,))
        return json.loads(rows[0][0]) if rows else None

    async def put(self, key: str, value: Any) -> None:
        """Keep `value`, in place of an earlier one. Raises StoreError."""
        await self._run("INSERT OR REPLACE INTO state (key, value) VALUES (?, ?)", (key, json.dumps(value)))

    async def delete(self, key: str) -> None:
        """Forget the value; no error when there is none. Raises StoreError."""
        await self._run("DELETE FROM state WHERE key = ?", (key,))

    async def close(self) -> None:
        """Close the file."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._close)
        self._thread.shutdown()

    async def _run(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._execute, statement, values)
        except sqlite3.Error as error:
            raise StoreError(
                f"state: {self._path}: {error}; the file and its directory must be writable for this user, "
                "and the file must be a SQLite database"
            ) from error

    def _execute(self, statement: str, values: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        if self._database is None:
            self._database = open_private(self._path, _SCHEMA, "NORMAL")
        with self._database:
            return self._database.execute(statement, values).fetchall()

    def _close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


def open_store(address: str | None, directory: Path) -> Store:
    """The store that `state` names: `sqlite:PATH` (relative to `directory`), or in memory for None.

    Raises StoreError for a kind that is not built.
    """
    if not address:
        return MemoryStore()
    kind, _, rest = address.partition(":")
    if kind == "sqlite" and rest:
        return SqliteStore(directory / rest)
    raise StoreError(f"state: {address} is no store this version has; write sqlite:PATH")
