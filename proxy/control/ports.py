"""The admin ports over a control process: opened at the start, and anew when a reload changes who may come in."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Protocol

from proxy.errors import TidegateError
from proxy.settings.models.top import Settings

log = logging.getLogger("tidegate.control")


class Ports(Protocol):
    """The open admin ports."""

    @property
    def addresses(self) -> Mapping[str, str]:
        """Where they listen, by name."""

    async def close(self) -> None:
        """Close them."""


class AdminPorts:
    """The same over their changes; closed at first."""

    def __init__(self, open_ports: Callable[[Settings], Awaitable[Ports]]) -> None:
        """`open_ports` opens what the settings want. It raises TidegateError."""
        self._open_ports: Final = open_ports
        self._opened: Ports | None = None

    @property
    def addresses(self) -> Mapping[str, str]:
        """Where they listen, by name; empty while they are closed."""
        return {} if self._opened is None else self._opened.addresses

    async def open(self, settings: Settings) -> None:
        """Open them and tell where. Raises TidegateError."""
        self._opened = await self._open_ports(settings)
        for name, address in self._opened.addresses.items():
            log.info("the %s port listens on %s", name, address)

    async def follow(self, settings: Settings, *, changed: bool) -> None:
        """Bring them to `settings` if these have `changed`, or if they could not be opened before. That they cannot be opened
        is logged."""
        if self._opened is not None and not changed:
            return
        await self.close()
        try:
            self._opened = await self._open_ports(settings)
        except TidegateError as error:
            log.error("%s; the ports stay closed until a reload opens them", error)

    async def close(self) -> None:
        """Close them; a second time does nothing."""
        opened, self._opened = self._opened, None
        if opened is not None:
            await opened.close()
