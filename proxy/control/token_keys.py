"""The keys that tokens are verified with: read from a file, fetched from a URL, given to the workers, and renewed.

They go to the workers by themselves and not with a plan, so that an issuer that rotates its keys makes no new plan. What cannot
be used, or is gone, leaves the keys as they were, over a restart too. A token that names a key which is not there has them
fetched before their time, but not often.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from math import inf
from pathlib import Path
from typing import Any, Final

from proxy.channel import messages
from proxy.channel.frames import encode_json
from proxy.control.kept_keys import KeptKeys
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
EARLY: Final = 30.0
"""Seconds between two fetches for tokens that name a key which is not there, at least: who makes such tokens up does not make
this proxy a load on the issuer."""
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
        kept: KeptKeys | None = None,
    ) -> None:
        """`give` gives a frame to all workers; `by_polling` says how to watch a file; `kept` has what was last fetched."""
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
        self._kept: Final = kept
        self._stirred: Final = asyncio.Event()  # there is another configuration, or keys are wanted
        self._wanted = False
        self._early_at = -inf  # seconds of the event loop's clock
        self._due = -inf

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
            self._due = asyncio.get_running_loop().time() + spec["refresh"]
            self._facts.token_keys = TokenKeyFacts(source=spec["source"])
            self._mark = fingerprint(self)
            if spec["keys"]:
                self._take(spec["keys"])
            else:
                try:
                    await asyncio.wait_for(self.look(), PATIENCE)
                except TimeoutError:
                    self._refuse(f"{spec['source']} takes longer than {PATIENCE:g} s")
                    self._due = asyncio.get_running_loop().time() + self.pause(spec)
                await self._recall(spec)
        else:
            self._say()
        if before != spec:
            self._stirred.set()

    def want(self, source: str | None = None) -> None:
        """A token names a key that is not among those of this source, absent: the one in force. They may be old ones, and are
        fetched as soon as that may be."""
        spec = self._spec
        if spec is None or not spec["url"] or source not in (None, spec["source"]) or self._wanted:
            return
        self._wanted = True
        self._stirred.set()

    async def run(self) -> None:
        """Renew them, for ever."""
        while True:
            spec = self._spec
            self._stirred.clear()
            if spec is None or spec["keys"]:
                await self._stirred.wait()
            elif spec["file"]:
                async with contextlib.aclosing(looks(self, self._by_polling)) as times:
                    async for _ in times:
                        if self._spec is not spec:
                            break
                        await self._look_at_file()
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stirred.wait(), self._rest())
                    continue
                if self._wanted:
                    self._early_at = asyncio.get_running_loop().time()
                    self._facts.token_keys.early += 1
                    log.info("a token names a key that is not there: the keys are fetched")
                await self.look()

    def _rest(self) -> float:
        """Seconds until the next fetch is due, or may be made where keys are wanted."""
        due = min(self._due, self._early_at + EARLY) if self._wanted else self._due
        return max(0.0, due - asyncio.get_running_loop().time())

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
        clock = asyncio.get_running_loop().time
        self._wanted = False
        try:
            await self._look(spec)
        finally:
            self._due = clock() + self.pause(spec)

    async def _look(self, spec: Spec) -> None:
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
            changed = keys != self._keys
            self._take(keys)
            if changed and spec["url"] and self._kept is not None:
                await self._kept.put(spec["source"], keys, time.time())

    async def _recall(self, spec: Spec) -> None:
        """Where nothing could be fetched, what was fetched before an earlier end."""
        if self._keys or not spec["url"] or self._kept is None:
            return
        keys, at = await self._kept.get(spec["source"])
        if keys and self._spec is spec and not self._keys:
            since = datetime.fromtimestamp(int(at), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            log.warning("tokens are verified with %d keys that were fetched %s, until others come", len(keys), since)
            facts = self._facts.token_keys
            facts.keys, facts.taken_at = len(keys), at
            self._keys = keys
            self._say()

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
