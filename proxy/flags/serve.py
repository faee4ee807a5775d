"""Opens the port of flags, and closes it."""

from pathlib import Path
from typing import Final

from aiohttp import web

from proxy.errors import TidegateError
from proxy.flags.ofrep import OfrepServer
from proxy.flags.service import FlagService
from proxy.settings.models.flags import Ofrep
from proxy.settings.scalars import split_address

CLOSE_LIMIT: Final = 1.0
"""Seconds that answers in progress have when the port closes."""
IDLE_LIMIT: Final = 75.0
"""Seconds for a head to come: applications keep their connections."""


class OfrepError(TidegateError):
    """The port of flags cannot be opened."""


class OfrepPort:
    """The open port."""

    def __init__(self, runner: web.AppRunner, address: str) -> None:
        self._runner: Final = runner
        self.addresses: Final = {"ofrep": address}
        """Where it listens, with the number the system chose for port 0."""

    async def close(self) -> None:
        """Close it; streams end, other answers in progress have a second."""
        await self._runner.cleanup()


async def open_ofrep(service: FlagService, settings: Ofrep) -> OfrepPort:
    """Serve flags where `settings` say. Raises OfrepError."""
    runner = web.AppRunner(
        OfrepServer(service, settings).application(),
        access_log=None,
        handle_signals=False,
        shutdown_timeout=CLOSE_LIMIT,
        keepalive_timeout=IDLE_LIMIT,
        auto_decompress=False,  # what is compressed is refused, and a body that is not what it says fails nobody
        handler_cancellation=True,  # else a stream whose client is gone is one of those that may be open, until it is written to
    )
    await runner.setup()
    address = split_address(settings.listen)
    try:
        site: web.BaseSite
        if address.kind == "unix":
            _remove_stale_socket(Path(address.path))
            site = web.UnixSite(runner, address.path)
        else:
            site = web.TCPSite(runner, address.host, address.port, reuse_address=True)
        await site.start()
    except OSError as error:
        await runner.cleanup()
        raise OfrepError(f"the port of flags cannot listen on {settings.listen}: {error.strerror or error}") from error
    bound = runner.addresses[0]
    if isinstance(bound, str):
        return OfrepPort(runner, f"unix:{bound}")
    host = f"[{bound[0]}]" if ":" in bound[0] else bound[0]
    return OfrepPort(runner, f"{host}:{bound[1]}")


def _remove_stale_socket(path: Path) -> None:
    if path.is_socket():
        path.unlink()
