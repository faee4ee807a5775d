"""The last good keys of tokens that were fetched, kept where they outlive this process: an issuer that is away while the proxy
starts takes nobody's identity.

In the state store where there is one that lasts, else in the run directory, which only its owner may look into. They are public;
who could write there could change the configuration as well.
"""

import asyncio
import json
import logging
from pathlib import Path
from typing import Any, Final

from proxy.control.state import Store, StoreError
from proxy.tokens import MAX_DOCUMENT, usable_keys

log = logging.getLogger("tidegate.tokens")

Spec = dict[str, Any]

_STORED: Final = "token_keys"
_FILE: Final = "token_keys.json"


class KeptKeys:
    """One set of keys, by the source it came from. What cannot be read or written is told and changes nothing else."""

    def __init__(self, store: Store, directory: Path | None) -> None:
        self._store: Final = store
        self._file: Final = None if directory is None else directory / _FILE

    async def get(self, source: str) -> tuple[list[Spec], float]:
        """The keys that came from there, and when they did, in Unix seconds; none where none are kept."""
        try:
            kept = await self._store.get(_STORED) if self._store.lasting else await asyncio.to_thread(self._read)
            if kept is not None and kept["source"] == source:
                return usable_keys(kept["keys"]), float(kept["at"])
        except (StoreError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            log.warning("the keys of tokens that were kept cannot be used: %s", error)
        return [], 0.0

    async def put(self, source: str, keys: list[Spec], at: float) -> None:
        """Keep these in place of others."""
        value = {"source": source, "keys": keys, "at": at}
        try:
            if self._store.lasting:
                await self._store.put(_STORED, value)
            else:
                await asyncio.to_thread(self._write, json.dumps(value))
        except (StoreError, OSError) as error:
            log.warning("the keys of tokens cannot be kept for the next start: %s", error)

    def _read(self) -> Any:
        if self._file is None:
            return None
        try:
            with self._file.open("rb") as file:
                return json.loads(file.read(2 * MAX_DOCUMENT))
        except FileNotFoundError:
            return None

    def _write(self, text: str) -> None:
        if self._file is None:
            return
        draft = self._file.with_suffix(".new")
        draft.write_text(text, "utf-8")
        draft.replace(self._file)
