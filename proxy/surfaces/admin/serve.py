"""Opens the admin port and the read-only metrics port, and closes them.

control/ must not import this room. `tidegate run` passes `start_admin` to control/app.py, which calls it with its
state.
"""

import ipaddress
import ssl
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import web

from proxy.errors import TidegateError
from proxy.surfaces.admin.app import make_app
from proxy.surfaces.admin.guard import Token
from proxy.surfaces.admin.state import State

CLOSE_LIMIT: Final = 1.0
"""Seconds that answers in progress have when the ports close."""
IDLE_LIMIT: Final = 30.0
"""Seconds for a head to come, on a new connection or a used one: who only connects must not take all descriptors of control."""


class AdminError(TidegateError):
    """The admin or metrics port cannot be opened."""


@dataclass(frozen=True, slots=True)
class AdminSettings:
    """Addresses are `host:port`, `[v6]:port` or `unix:/path`; None: that port stays closed. `tls` is (certificate,
    key)."""

    address: str | None = "127.0.0.1:9901"
    metrics: str | None = None
    tokens: Sequence[Token] = ()
    tls: tuple[str, str] | None = None
    hosts: Collection[str] = ()


class AdminServers:
    """The open ports."""

    def __init__(self) -> None:
        self._runners: Final[list[web.AppRunner]] = []
        self.addresses: dict[str, str] = {}
        """By port, admin and metrics, where it listens; with the number the system chose for port 0."""

    async def open(self, name: str, address: str, application: web.Application, context: ssl.SSLContext | None) -> None:
        """Listen on `address` with `application`. Raises AdminError."""
        runner = web.AppRunner(
            application,
            access_log=None,
            handle_signals=False,
            shutdown_timeout=CLOSE_LIMIT,
            keepalive_timeout=IDLE_LIMIT,
            auto_decompress=False,  # nobody sends so much, and a body that is not what it says fails nobody
        )
        await runner.setup()
        self._runners.append(runner)
        site: web.BaseSite
        if address.startswith("unix:"):
            path = address.removeprefix("unix:")
            _remove_stale_socket(name, path)
            site = web.UnixSite(runner, path, ssl_context=context)
        else:
            host, port = split_address(address)
            site = web.TCPSite(runner, host, port, ssl_context=context, reuse_address=True)
        try:
            await site.start()
        except OSError as error:
            raise AdminError(f"the {name} port cannot listen on {address}: {error.strerror or error}") from error
        bound = runner.addresses[0]
        self.addresses[name] = f"unix:{bound}" if isinstance(bound, str) else _joined(bound[0], bound[1])

    async def close(self) -> None:
        """Close both; answers in progress have a second."""
        for runner in self._runners:
            await runner.cleanup()
        self._runners.clear()


async def start_admin(state: State, settings: AdminSettings) -> AdminServers:
    """Open the ports of `settings` over `state`. Raises AdminError, and then none is open."""
    servers = AdminServers()
    try:
        if settings.address is not None:
            _check_reach(settings)
            context = _context(settings.tls) if settings.tls else None
            application = make_app(state, tokens=settings.tokens or None, hosts=settings.hosts)
            await servers.open("admin", settings.address, application, context)
        if settings.metrics is not None:
            await servers.open("metrics", settings.metrics, make_app(state, read_only=True), None)
    except AdminError:
        await servers.close()
        raise
    return servers


def split_address(address: str) -> tuple[str, int]:
    """Host and port of `host:port` or `[v6]:port`. Raises AdminError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise AdminError(f"{address!r} is not an address: host:port, [v6]:port or unix:/path")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_local(address: str) -> bool:
    """Whether only this machine can reach a port that listens on `address`."""
    if address.startswith("unix:"):
        return True
    host, _ = split_address(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_reach(settings: AdminSettings) -> None:
    if settings.address is not None and not settings.tokens and not is_local(settings.address):
        raise AdminError(
            f"the admin port on {settings.address} can be reached from outside and has no tokens;"
            " give it tokens, or let it listen on 127.0.0.1 (`metrics:` is there for scraping)"
        )


def _context(files: tuple[str, str]) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(*files)
    except (OSError, ssl.SSLError) as error:
        raise AdminError(
            f"the admin port's certificate {files[0]} with key {files[1]} cannot be used: {error}"
        ) from error
    return context


def _remove_stale_socket(name: str, path: str) -> None:
    try:
        if Path(path).is_socket():
            Path(path).unlink()
    except OSError as error:
        raise AdminError(f"the {name} port cannot listen on unix:{path}: {error.strerror}") from error


def _joined(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
