"""The keys that tokens are verified with: read from a file, fetched from a URL, given to the workers, and renewed.

They go to the workers by themselves and not with a plan, so that an issuer that rotates its keys makes no new plan. What cannot
be used, or is gone, leaves the keys as they were.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from proxy.channel import messages
from proxy.channel.frames import encode_json
from proxy.control.watch import Fingerprint, fingerprint, looks
from proxy.settings.check_tokens import read_keys
from proxy.telemetry.facts import Facts, TokenKeyFacts
from proxy.tokens import parse_keys

log = logging.getLogger("tidegate.tokens")

Spec = dict[str, Any]

PATIENCE: Final = 2.0
"""Seconds that a plan waits for keys that have to be fetched. Without them, its tokens are not believed until they come."""
_FIRST_RETRY: Final = 2.0
"""Seconds after a fetch that failed; doubled each time in a row, up to `refresh`."""
_JITTER: Final = 0.1

Fetch = Callable[[str], Awaitable[bytes]]
"""Gets what a URL has, bounded in time and size. Raises ValueError with the reason."""


class TokenKeys:
    """The keys of the configuration in force."""

    def __init__(
        self,
        facts: Facts,
        give: Callable[[bytes], None],
        fetch: Fetch,
        random: Callable[[], float],
        by_polling: Callable[[], bool],
    ) -> None:
        """`give` gives a frame to all workers; `by_polling` says how to watch a file."""
        self.files: list[Path] = []
        self.directories: list[Path] = []
        self._facts: Final = facts
        self._give: Final = give
        self._fetch: Final = fetch
        self._random: Final = random
        self._by_polling: Final = by_polling
        self._spec: Spec | None = None
        self._keys: list[Spec] = []
        self._mark: Fingerprint = ()
        self._failures = 0
        self._changed: Final = asyncio.Event()

    @property
    def keys(self) -> list[Spec]:
        """Those that count now: another list after each change."""
        return self._keys

    async def bring(self, spec: Spec | None) -> None:
        """Have these in force (a plan's `jwt`); called before the plan that names them is sent."""
        before, self._spec = self._spec, spec
        if spec is None:
            self.files = []
            self._keys = []
            self._facts.token_keys = TokenKeyFacts()
        elif before is None or before["source"] != spec["source"]:
            self.files = [Path(spec["file"])] if spec["file"] else []
            self._keys = []
            self._failures = 0
            self._facts.token_keys = TokenKeyFacts(source=spec["source"])
            self._mark = fingerprint(self)
            if spec["keys"]:
                self._take(spec["keys"])
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self.look(), PATIENCE)
        else:
            self._say()
        if before != spec:
            self._changed.set()

    async def run(self) -> None:
        """Renew them, for ever."""
        while True:
            spec = self._spec
            self._changed.clear()
            if spec is None or spec["keys"]:
                await self._changed.wait()
            elif spec["file"]:
                async with contextlib.aclosing(looks(self, self._by_polling)) as times:
                    async for _ in times:
                        if self._spec is not spec:
                            break
                        await self._look_at_file()
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), self.pause(spec))
                if self._spec is spec:
                    await self.look()

    def pause(self, spec: Spec) -> float:
        """Seconds until the next fetch: `refresh`, or less after one that failed."""
        refresh: float = spec["refresh"]
        seconds = min(refresh, _FIRST_RETRY * 2.0 ** min(self._failures - 1, 16)) if self._failures else refresh
        return seconds * (1.0 - _JITTER + 2.0 * _JITTER * self._random())

    async def _look_at_file(self) -> None:
        mark = await asyncio.to_thread(fingerprint, self)
        if mark != self._mark:
            self._mark = mark
            await self.look()

    async def look(self) -> None:
        """Read or fetch them now."""
        spec = self._spec
        if spec is None:
            return
        try:
            if spec["file"]:
                keys = await asyncio.to_thread(read_keys, spec["file"])
            else:
                keys = await asyncio.to_thread(parse_keys, await self._fetch(spec["url"]))
        except ValueError as error:
            if self._spec is spec:
                self._refuse(str(error) if spec["file"] else f"{spec['url']} {error}")
            return
        if self._spec is spec:
            self._take(keys)

    def _refuse(self, problem: str) -> None:
        facts = self._facts.token_keys
        self._failures += 1
        facts.refused += 1
        if problem != facts.problem:
            facts.problem = problem
            log.error("%s; tokens are verified with the keys as they were, %d of them", problem, facts.keys)

    def _take(self, keys: list[Spec]) -> None:
        facts = self._facts.token_keys
        self._failures = 0
        if facts.problem:
            log.info("the keys of tokens can be used again")
        facts.problem = ""
        facts.taken += 1
        facts.taken_at = time.time()
        facts.keys = len(keys)
        if keys != self._keys:
            log.info("tokens are verified with %d keys now, before with %d", len(keys), len(self._keys))
            self._keys = keys
            self._say()

    def _say(self) -> None:
        """Nothing is said of keys that are not there yet: workers that were taken over may have them."""
        if self._spec is not None and self._keys:
            self._give(encode_json(messages.KEYS, {"source": self._spec["source"], "keys": self._keys}))
