"""Exposures in the control process: from the workers into the store, and what is asked of it.

The store is opened when a route records (`exposure: true`) and closed when none does any more. Writing has a thread of its own
(exposure/writer.py); questions have one each, for as long as they take.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from proxy.core.hashing import UnitHasher
from proxy.exposure.jsonl import Stream
from proxy.exposure.queries import Reader
from proxy.exposure.schema import ExposureError, NoExposuresError, file_beside
from proxy.exposure.writer import Keeping, Standing, Writer
from proxy.settings.models.top import Settings
from proxy.telemetry.facts import ExposureFacts

log = logging.getLogger("tidegate.control")

_LEVELS: Final = {"info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
ERASING: Final = 20.0
"""Seconds that an erasure may take before who asked is told that it could not be done."""

Answer = TypeVar("Answer")


class Exposures:
    """The store, as far as there is one."""

    def __init__(self, facts: ExposureFacts, spec: Callable[[], dict[str, Any]], forget: Callable[[str], None]) -> None:
        """`spec` gives that of the plan in force, keys filled in. `forget` tells the workers that a unit (its hash) was erased."""
        self._facts: Final = facts
        self._spec: Final = spec
        self._forget: Final = forget
        self._standing: Final = Standing()
        self._writer: Writer | None = None
        self._path: Path | None = None

    @property
    def path(self) -> Path | None:
        """Where they are kept; None without a store."""
        return self._path

    async def follow(self, settings: Settings) -> None:
        """Do from now on as the configuration says."""
        self._path = None if settings.state is None else file_beside(settings.state, Path.cwd())
        wanted = self._path is not None and any(route.exposure for route in settings.routes)
        if not wanted or self._path is None:
            await self.close()
            return
        keeping = _keeping(settings)
        if self._writer is None:
            self._writer = Writer(self._path, keeping, time.time, _report, self._standing)
        else:
            self._writer.keep(keeping)

    def take(self, payload: bytes, done: Callable[[], None]) -> None:
        """Store a worker's message; `done` is called when it is, or when nobody wants it any more."""
        writer = self._writer
        if writer is None:
            done()
            return
        loop = asyncio.get_running_loop()

        def stored() -> None:
            loop.call_soon_threadsafe(done)

        writer.take(payload, stored)

    def tick(self) -> None:
        """Note how it stands. Called about once a second."""
        writer = self._writer
        if writer is None:
            return
        standing, facts = writer.standing, self._facts
        facts.recorded = dict(standing.recorded)
        facts.repeated = dict(standing.repeated)
        facts.failures = dict(standing.failures)
        facts.failing = standing.failing
        facts.records = standing.records
        facts.size = standing.size
        facts.ratios = [(one.route, one.segment, one.source, one.log_bayes_factor) for one in standing.ratios]

    def hash_of(self, unit: str) -> int:
        """The hash under which a unit is kept."""
        key: str = self._spec()["secrets"]["unit_hash"]
        return int(UnitHasher(key.encode())(unit.encode("utf-8", "surrogateescape")), 16)

    async def ask(self, question: Callable[[Reader], Answer]) -> Answer:
        """Have the store asked on a thread. Raises ExposureError."""
        path = self._path
        if path is None:
            raise NoExposuresError("there is no `state: sqlite:PATH`, beside which exposures are kept")

        def on_thread() -> Answer:
            with Reader(path) as reader:
                return question(reader)

        return await asyncio.to_thread(on_thread)

    async def erase(self, unit: int) -> int:
        """Erase a unit (its hash); answers how many records it had. Raises ExposureError."""
        writer = self._writer
        if writer is None:
            raise ExposureError("no route records exposures now; `tidegate exposures --erase-unit` works on the file")
        try:
            gone = await asyncio.wait_for(asyncio.wrap_future(writer.erase(unit)), ERASING)
        except (sqlite3.Error, OSError) as error:  # TimeoutError is an OSError
            raise ExposureError(str(error) or "the store cannot be written now") from error
        self._forget(f"{unit:016x}")
        return gone

    async def close(self) -> None:
        """Write what waits, and let go of the file."""
        writer, self._writer = self._writer, None
        if writer is not None:
            await asyncio.to_thread(writer.close)


def _keeping(settings: Settings) -> Keeping:
    wish = settings.exposure
    stream = None
    if wish.jsonl is not None:
        stream = Stream(Path.cwd() / wish.jsonl.path, wish.jsonl.max_size, wish.jsonl.files)
    return Keeping(wish.retention, wish.max_size, stream)


def _report(level: str, text: str) -> None:
    log.log(_LEVELS[level], "%s", text)
