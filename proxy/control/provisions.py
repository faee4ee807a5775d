"""What a plan needs to be there before it is sent: lists of units, keys of tokens, the files of caps."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

from proxy.cap_files import caps_beside
from proxy.control.briefing import Briefing
from proxy.control.caps import Caps
from proxy.control.exposures import Exposures
from proxy.control.kept_keys import KeptKeys
from proxy.control.run_dir import RunDir
from proxy.control.state import Store
from proxy.control.token_keys import TokenKeys
from proxy.control.unit_lists import UnitLists
from proxy.settings.loader import Loaded
from proxy.settings.models.top import Settings
from proxy.settings.unit_files import UnitFiles
from proxy.telemetry.facts import Facts


async def _fetch(url: str) -> bytes:
    from proxy.control.fetching import fetch_document  # noqa: PLC0415 - aiohttp's client, for who fetches keys

    return await fetch_document(url)


class Provisions:
    """All three of them, brought together for each configuration."""

    def __init__(
        self,
        files: UnitFiles,
        facts: Facts,
        briefing: Briefing,
        store: Store,
        run_dir: RunDir | None,
        exposures: Exposures,
        settings: Callable[[], Settings],
    ) -> None:
        """`settings` gives those in force. To be made where an event loop runs."""
        self._settings: Final = settings
        self.lists: Final = UnitLists(files, facts, briefing.lend, asyncio.get_running_loop(), self._polls)
        self.token_keys: Final = TokenKeys(
            facts,
            briefing.give_keys,
            _fetch,
            random.random,
            self._polls,
            KeptKeys(store, None if run_dir is None else run_dir.path),
        )
        self.caps: Final = Caps(facts, lambda: exposures.path, self._caps_directory)

    async def bring(self, loaded: Loaded) -> None:
        """Have ready what this configuration needs."""
        self.lists.bring(loaded.lists)
        await self.token_keys.bring(loaded.spec["jwt"])
        await self.caps.bring(loaded.spec)

    def _polls(self) -> bool:
        return self._settings().watch == "poll"

    def _caps_directory(self) -> Path | None:
        state = self._settings().state
        return None if state is None else Path.cwd() / caps_beside(state)
