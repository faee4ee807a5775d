"""What every peer of the comparison is, what it is asked to do, and how its program is found."""

import os
import re
import resource
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parents[2]
ROUTES = 1000
"""How many routes a peer has where it has many: each has a host and a path prefix of its own, and a split."""

RULES: tuple[tuple[str, str, str], ...] = (
    ("x-beta", "is", "1"),
    ("x-team", "is", "staff"),
    ("x-email", "ends", "@example.com"),
    ("user-agent", "has", "Mobile"),
    ("x-geo-city", "is", "Oslo"),
    ("x-plan", "is", "gold"),
    ("x-device", "begins", "tv-"),
    ("x-app-version", "is", "2.0.0"),
    ("x-account", "ends", "-internal"),
    ("x-user-id", "is", "alice"),
)
"""Ten rules before the split: whose field is so goes to the canary. None holds for the load, so all ten are asked."""


@dataclass(frozen=True, slots=True)
class Ports:
    """On 127.0.0.1: where the peer listens, where it is administered, and the three upstreams behind it."""

    listen: int
    admin: int
    stable: int
    canary: int
    shadow: int


@dataclass(frozen=True, slots=True)
class Work:
    """What a peer is configured for, beside what all are always: passing on, splitting, copying, counting.

    `guarded`: everything on that it has against failures; `logged`: a line a request into a file.
    """

    key: str
    title: str
    routed: bool = False
    ruled: bool = False
    guarded: bool = False
    logged: bool = False
    workers: int = 1


PLAIN = Work("plain", "one route")
ROUTED = Work("routes", f"{ROUTES:,} routes", routed=True)
RULED = Work("rules", "ten rules before the split", ruled=True)
GUARDED = Work("guarded", "all resilience features on", guarded=True)
LOGGED = Work("logged", "access log on", logged=True)
TWO = Work("two", "two workers", workers=2)
WORKS: tuple[Work, ...] = (PLAIN, ROUTED, RULED, GUARDED, LOGGED, TWO)


class Peer(Protocol):
    """One proxy.

    `sticky` says in a few words what a user's version hangs on, and `adds` what else it does for each request. `cannot` says
    by need (the key of a Work, or of what a case wants) why it does not do it. `log` is the access log's file, within the
    peer's directory.
    """

    name: str
    sticky: str
    adds: str
    cannot: Mapping[str, str]
    log: str

    def program(self) -> str | None:
        """The path of the program, None when it is not installed."""

    def version(self) -> str:
        """What the program calls its version."""

    def command(self, directory: Path, ports: Ports, work: Work = PLAIN) -> list[str]:
        """Write the configuration into `directory` and return what starts the peer in the foreground."""


def find(*names: str) -> str | None:
    """The first of `names` that is beside this Python, or on the PATH (with the sbin folders, where Debian keeps
    servers).
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    return None


def ask(pattern: str, *arguments: str | None) -> str:
    """What `pattern` finds in the output of a command."""
    done = subprocess.run([str(a) for a in arguments], capture_output=True, text=True, timeout=20, check=False)
    found = re.search(pattern, done.stdout + done.stderr)
    return found.group(1) if found else "unknown"


def as_root() -> str:
    """nginx started by root gives its workers another user, who could not read the bench's own directory."""
    return "user root;\n" if os.geteuid() == 0 else ""


def descriptors() -> int:
    """How many files and connections a process that is started from here may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def host(number: int) -> str:
    """The host of one of many routes."""
    return f"host-{number}.example.com"


def prefix(number: int) -> str:
    """Its path prefix."""
    return f"/service/{number}"
