"""The admin port, as a command asks it: found by the configuration file, or named."""

import http.client
import json
import os
import socket
import ssl
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from proxy.errors import TidegateError

PATIENCE: Final = 30.0
"""Seconds until an answer must have come. A transition may wait for the answer of somebody's webhook."""
TOKEN_VARIABLE: Final = "TIDEGATE_TOKEN"  # noqa: S105 - its name, not a token


class UnreachableError(TidegateError):
    """Nobody answers there as the admin port does. The message says where and what to do."""


class RefusedError(TidegateError):
    """The admin port says no. `status` is that of its answer; the message is its own."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status: Final = status


@dataclass(frozen=True, slots=True)
class Place:
    """Where it is: a URL (`http://127.0.0.1:9901`) or `unix:/path`; the token to show; the one certificate to trust where it
    is the configuration's own."""

    address: str
    token: str = ""
    certificate: str = ""
    secure: bool = False


def place_of(path: str, address: str | None, token: str | None) -> Place:
    """Where the proxy of this configuration file has its admin port, or the `address` that somebody gives.

    The token is the one given, else the first that the file has. Raises UnreachableError where neither leads anywhere.
    """
    if address is not None:
        if not address.startswith(("http://", "https://", "unix:")):
            address = f"http://{address}"
        return Place(address.rstrip("/"), token or "", secure=address.startswith("https://"))
    from proxy.settings.loader import load
    from proxy.settings.problems import SettingsError

    try:
        admin = load(path, os.environ).settings.admin
    except SettingsError as error:
        first = error.problems[0].line()
        raise UnreachableError(
            f"{first}\nthe file does not say where the admin port is: give --admin HOST:PORT"
        ) from None
    shown = token or next(iter(admin.tokens), "")
    scheme = "https" if admin.tls else "http"
    where = admin.address if admin.address.startswith("unix:") else f"{scheme}://{_reachable(admin.address)}"
    return Place(where, shown, admin.tls.certificate if admin.tls else "", secure=admin.tls is not None)


def _reachable(address: str) -> str:
    """Where one of this machine reaches what listens on `address`."""
    host, _, port = address.rpartition(":")
    return f"{ {'0.0.0.0': '127.0.0.1', '[::]': '[::1]', '': '127.0.0.1'}.get(host, host) }:{port}"


class AdminClient:
    """Asks one thing at a time, each on a connection of its own."""

    def __init__(self, place: Place) -> None:
        self._place: Final = place

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The JSON it answers with. Raises UnreachableError, RefusedError."""
        headers = {"Accept": "application/json"}
        text = None
        if body is not None:
            headers["Content-Type"] = "application/json"
            text = json.dumps(body)
        if self._place.token:
            headers["Authorization"] = f"Bearer {self._place.token}"
        try:
            connection = self._connection()
            try:
                connection.request(method, path, text, headers)
                answer = connection.getresponse()
                said = answer.read()
            finally:
                connection.close()
        except (OSError, http.client.HTTPException) as error:
            raise UnreachableError(
                f"no answer from the admin port at {self._place.address} ({error or type(error).__name__}): is the proxy"
                " running? -c FILE or --admin HOST:PORT say where"
            ) from error
        try:
            value = json.loads(said)
        except ValueError:
            raise UnreachableError(f"what answers at {self._place.address} is no admin port of Tidegate") from None
        if answer.status >= 400:
            message = value.get("error", {}).get("message", answer.reason) if isinstance(value, dict) else answer.reason
            if answer.status in {401, 403} and not self._place.token:
                message += f" (--token, or {TOKEN_VARIABLE})"
            raise RefusedError(answer.status, message)
        return value

    def _connection(self) -> http.client.HTTPConnection:
        place = self._place
        context = None
        if place.secure:
            context = ssl.create_default_context(cafile=place.certificate or None)
            if place.certificate:
                # The file's own is trusted for what it is, whatever the names in it and whoever signed it.
                context.check_hostname = False
                context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if place.address.startswith("unix:"):
            return _UnixConnection(place.address.removeprefix("unix:"), context)
        parts = urlsplit(place.address)
        try:
            host, port = parts.hostname or "", parts.port
        except ValueError as error:
            raise UnreachableError(f"{place.address} is no address: give HOST:PORT") from error
        if context is not None:
            return http.client.HTTPSConnection(host, port, timeout=PATIENCE, context=context)
        return http.client.HTTPConnection(host, port, timeout=PATIENCE)


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a socket in the file system."""

    def __init__(self, path: str, context: ssl.SSLContext | None) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path: Final = path
        self._context: Final = context

    def connect(self) -> None:
        """Connect to the path. Raises OSError."""
        plain = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        plain.settimeout(self.timeout)
        try:
            plain.connect(self._path)
        except OSError:
            plain.close()
            raise
        self.sock = plain if self._context is None else self._context.wrap_socket(plain, server_hostname="localhost")
