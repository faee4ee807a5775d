"""Opens the listening sockets. They belong to control and stay open there, so that no backlog is lost with a worker.

An IPv6 address takes IPv6 alone (as in nginx): `0.0.0.0:8080` and `[::]:8080` can stand side by side.
"""

import errno
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from proxy.errors import TidegateError

_BACKLOG: Final = 4096
"""Connections waiting to be accepted, where the kernel does not say what it allows."""


class ListenError(TidegateError):
    """An address cannot be listened on. The message names the key and what to do about it."""


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening socket and the address it was configured with."""

    address: str
    socket: socket.socket


def open_listeners(addresses: list[str], adopted: list[Listener] | None = None) -> list[Listener]:
    """One listener an address, in their order; those in `adopted` are used where the address is the same.

    An address is `host:port`, `[v6]:port`, `unix:/path` or `fd:N` (a socket inherited from whoever started us).
    Raises ListenError; what was opened until then is closed.
    """
    held = {listener.address: listener for listener in adopted or []}
    opened: list[Listener] = []
    fresh: list[Listener] = []
    for index, address in enumerate(addresses):
        if address in held:
            opened.append(held[address])
            continue
        key = "listen" if len(addresses) == 1 else f"listen[{index}]"
        try:
            listener = Listener(address, _open(address, key))
        except ListenError:
            close_listeners(fresh)
            raise
        opened.append(listener)
        fresh.append(listener)
    return opened


def close_listeners(listeners: list[Listener], *, unlink: bool = False) -> None:
    """Close the sockets. With `unlink`, remove the files of unix sockets: nobody listens there any more."""
    for listener in listeners:
        if unlink and listener.address.startswith("unix:"):
            Path(listener.address.removeprefix("unix:")).unlink(missing_ok=True)
        listener.socket.close()


def bound_address(listener: Listener) -> str:
    """Where a listener really is, as people write it: port 0 was replaced by the kernel's choice."""
    if listener.socket.family == socket.AF_UNIX:
        return f"unix:{listener.socket.getsockname()}"
    host, port, *_ = listener.socket.getsockname()
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _open(address: str, key: str) -> socket.socket:
    try:
        if address.startswith("fd:"):
            return _inherited(address, key)
        if address.startswith("unix:"):
            return _unix(address.removeprefix("unix:"), key)
        return _internet(address, key)
    except OSError as error:
        raise ListenError(f"{key}: cannot listen on {address}: {_remedy(error, address)}") from error


def _internet(address: str, key: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        number = int(port)
        if not 0 <= number <= 65535:  # getaddrinfo takes such a number for another one
            raise ListenError(f"{key}: {address} is no address to listen on; ports end at 65535")
        found = socket.getaddrinfo(host or None, number, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (socket.gaierror, ValueError) as error:
        raise ListenError(f"{key}: {address} is no address to listen on ({error}); write host:port") from error
    family, kind, protocol, _, place = min(found, key=lambda one: one[0] != socket.AF_INET)
    opened = socket.socket(family, kind, protocol)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        opened.bind(place)
        _listen(opened)
    except OSError:
        opened.close()
        raise
    return opened


def _unix(path: str, key: str) -> socket.socket:
    _remove_stale(path, key)
    opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        opened.bind(path)
        _listen(opened)
    except OSError:
        opened.close()
        raise
    return opened


def _remove_stale(path: str, key: str) -> None:
    """Remove the file that a dead process left; never one that somebody answers at, nor one that is no socket."""
    try:
        mode = os.stat(path, follow_symlinks=False).st_mode  # noqa: PTH116 - one call, and the link itself is meant
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"{key}: {path} exists and is no socket; remove it or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            Path(path).unlink(missing_ok=True)
            return
    raise ListenError(f"{key}: {path} is in use: another process answers there; stop it or choose another path")


def _inherited(address: str, key: str) -> socket.socket:
    number = int(address.removeprefix("fd:"))
    try:
        opened = socket.socket(fileno=os.dup(number))
    except OSError as error:
        raise ListenError(
            f"{key}: descriptor {number} is no socket ({error.strerror}); whoever starts tidegate has to pass it on "
            "(systemd: a .socket unit; its first socket is fd:3)"
        ) from error
    if opened.type != socket.SOCK_STREAM:
        opened.close()
        raise ListenError(f"{key}: descriptor {number} is no stream socket")
    if not opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        _listen(opened)
    opened.setblocking(False)
    return opened


def _listen(opened: socket.socket) -> None:
    try:
        backlog = int(Path("/proc/sys/net/core/somaxconn").read_text("ascii"))
    except (OSError, ValueError):
        backlog = _BACKLOG
    opened.setblocking(False)
    opened.listen(backlog)


def _remedy(error: OSError, address: str) -> str:
    port = address.rpartition(":")[2]
    match error.errno:
        case errno.EADDRINUSE:
            return (
                f"the address is in use; `ss -ltnp 'sport = :{port}'` shows by whom; stop that or choose another port"
            )
        case errno.EACCES if address.startswith("unix:"):
            return "permission denied; the directory must be writable for this user"
        case errno.EACCES:
            return (
                f"permission denied; ports below 1024 want CAP_NET_BIND_SERVICE "
                f"(or sysctl net.ipv4.ip_unprivileged_port_start={port}); or choose a higher port"
            )
        case errno.EADDRNOTAVAIL:
            return "no interface of this machine has the address; 0.0.0.0 stands for all of them"
        case errno.ENOENT | errno.ENOTDIR:
            return "the directory does not exist"
        case errno.EAFNOSUPPORT:
            return "this machine has no IPv6; listen on an IPv4 address"
    return error.strerror or str(error)
