"""The port of flags in the control process: opened where the configuration has one, and what it reads brought up to date."""

import asyncio
import importlib
from collections.abc import Callable, Mapping
from typing import Any, Final

from proxy.control.ports import AdminPorts, Ports
from proxy.control.token_keys import TokenKeys
from proxy.core.unit_table import UnitList
from proxy.settings.models.top import Settings
from proxy.telemetry.facts import Facts


class Closed:
    """Ports where there are none."""

    addresses: Final[Mapping[str, str]] = {}

    async def close(self) -> None:
        """Nothing is open."""


class FlagPort:
    """The port of flags over reloads. What serves it is imported when a configuration first has one."""

    def __init__(
        self,
        spec: Callable[[], dict[str, Any]],
        lists: Callable[[], Mapping[str, UnitList]],
        clock: Callable[[], float],
        facts: Facts,
        keys: TokenKeys | None = None,
    ) -> None:
        """`spec` gives that of the plan in force, `clock` the time in Unix seconds. `keys` are those of tokens."""
        self._asked: Final = (spec, lists, clock, facts, keys)
        self._service: Any = None
        self._port: Final = AdminPorts(self._open)

    @property
    def addresses(self) -> Mapping[str, str]:
        """Where it listens, by the name `ofrep`; empty where there is none."""
        return self._port.addresses

    async def open(self, settings: Settings) -> None:
        """Open it and tell where. Raises TidegateError."""
        await self._port.open(settings)

    async def follow(self, old: Settings, new: Settings) -> None:
        """Do from now on as the new configuration says."""
        await self._port.follow(new, changed=old.ofrep != new.ofrep)

    def tick(self) -> None:
        """Tell the streams when something has changed. Called about once a second."""
        if self._service is not None and self.addresses:
            self._service.look()

    async def close(self) -> None:
        """Close it."""
        await self._port.close()

    async def _open(self, settings: Settings) -> Ports:
        if settings.ofrep is None:
            return Closed()
        serve = await asyncio.to_thread(importlib.import_module, "proxy.flags.serve")
        if self._service is None:
            self._service = serve.FlagService(*self._asked)
        opened: Ports = await serve.open_ofrep(self._service, settings.ofrep)
        return opened
