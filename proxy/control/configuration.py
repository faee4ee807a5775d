"""The configuration in force: how a valid one takes the place of the one before, and what is said of one that does not."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final

from proxy.control.keys import warn_of_keys
from proxy.settings.changes import compare
from proxy.settings.loader import Loaded
from proxy.settings.models.top import Settings
from proxy.settings.problems import SettingsError, excerpt
from proxy.telemetry.facts import Facts
from proxy.telemetry.ledger import LedgerFullError

log = logging.getLogger("tidegate.control")

Publish = Callable[[dict[str, Any]], Awaitable[None]]
"""Sends a spec to the workers. Raises LedgerFullError, and then nothing has changed."""


def show_problems(error: SettingsError) -> None:
    """All that is wrong with a configuration, one line a problem."""
    for problem in error.problems:
        lines = "\n".join(excerpt(problem, error.sources.get(problem.place.file)))
        log.error(problem.line(), extra={"fields": {"exception": lines} if lines else {}})


class Configuration:
    """From the first to the last; what there is to know of it is in `facts`."""

    def __init__(self, first: Loaded, facts: Facts) -> None:
        self.loaded: Loaded = first
        """As the files have it."""
        self.settings: Settings = first.settings
        """The values in force: keys that take a restart keep those of the start."""
        self.warnings: list[str] = []
        """What is doubtful in it, one line each."""
        self._facts: Final = facts
        self._lasting = False

    async def begin(self, publish: Publish, *, lasting: bool) -> None:
        """Bring the first into force. `lasting`: keys that were made are stored. Raises LedgerFullError."""
        self._lasting = lasting
        await publish(self.loaded.spec)
        self._taken(self.loaded)
        for line in self._warnings_of_keys():
            log.warning(line)

    async def take(self, loaded: Loaded, publish: Publish) -> bool:
        """Bring one that was read anew into force. Whether it is."""
        old = self.loaded
        changes = compare(old.spec, loaded.spec, old.settings, loaded.settings)
        stamped = old.spec != loaded.spec
        if changes or stamped:
            try:
                await publish(loaded.spec)
            except LedgerFullError as error:
                self._fail([str(error)])
                return False
        else:
            log.debug("the configuration was read again; nothing has changed")
        mended = not self._facts.last_reload_success
        self._facts.reloads += 1
        self._taken(loaded)
        if mended:
            log.info("the configuration is valid again; plan %d is in force", self._facts.generation)
        for line in changes.lines:
            log.info(line)
        if changes.restart:
            log.warning("takes effect with the next start only: %s", ", ".join(changes.restart))
        return True

    def refuse(self, error: SettingsError) -> None:
        """Tell what is wrong with one that was read anew; the one before stays in force."""
        show_problems(error)
        self._fail([problem.line() for problem in error.problems])

    def _taken(self, loaded: Loaded) -> None:
        self.loaded = loaded
        self._facts.last_reload_success = True
        self._facts.last_reload_time = time.time()
        self._facts.problems = []
        self.settings, waiting = self._running(loaded.settings)
        self.warnings = [warning.line() for warning in loaded.warnings]
        self.warnings += self._warnings_of_keys()
        self.warnings += [f"{key} was changed and takes effect with the next start" for key in waiting]

    def _warnings_of_keys(self) -> list[str]:
        return warn_of_keys(self.loaded.spec["secrets"], lasting=self._lasting)

    def _running(self, new: Settings) -> tuple[Settings, list[str]]:
        """`new` with the values of restart-only keys that are in force, and the keys where they differ."""
        spec = self.loaded.spec
        restart = compare(spec, spec, self.settings, new).restart
        kept = {key.split(".")[0] for key in restart} - {"listen"}
        held = {name: getattr(self.settings, name) for name in kept if name != "admin"}
        if "admin" in kept:
            held["admin"] = self.settings.admin.model_copy(update={"tokens": new.admin.tokens})
        held["listen"] = self.settings.listen if "listen" in restart else new.listen
        return new.model_copy(update=held), restart

    def _fail(self, problems: list[str]) -> None:
        self._facts.reloads += 1
        self._facts.reload_failures += 1
        self._facts.last_reload_success = False
        self._facts.problems = problems
        generation = self._facts.generation
        errors = "1 error" if len(problems) == 1 else f"{len(problems)} errors"
        log.error("the configuration is not used (%s); plan %d goes on", errors, generation)
