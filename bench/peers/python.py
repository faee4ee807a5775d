"""What Python can and does cost: the least, and the usual. Both are programs of their own beside this file."""

import sys
from collections.abc import Mapping
from pathlib import Path

from bench.peers.base import PLAIN, Ports, Work, ask

_SPLIT_ONLY = "fifty lines: the split and no more"
_NOTHING = "parses nothing"


class Aiohttp:
    """A server and a client session of aiohttp on uvloop, as one writes a proxy with them in an afternoon."""

    name = "aiohttp"
    sticky = "x-user-id, CRC-32"
    adds = "request id; counts nothing"
    cannot: Mapping[str, str] = {
        "mirror": _SPLIT_ONLY, "routes": _SPLIT_ONLY, "rules": _SPLIT_ONLY, "guarded": _SPLIT_ONLY, "two": _SPLIT_ONLY,
        "logged": _SPLIT_ONLY,
    }  # fmt: skip
    log = ""

    def program(self) -> str | None:
        known = ask(r"(\d\S*)", sys.executable, "-c", "import aiohttp, uvloop; print(aiohttp.__version__)")
        return sys.executable if known[0].isdigit() else None

    def version(self) -> str:
        return ask(r"(\d\S*)", sys.executable, "-c", "import aiohttp; print(aiohttp.__version__)")

    def command(self, directory: Path, ports: Ports, work: Work = PLAIN) -> list[str]:
        script = Path(__file__).with_name("aiohttp_proxy.py")
        return [sys.executable, "-P", str(script), str(ports.listen), str(ports.stable), str(ports.canary)]


class Relay:
    """Copies bytes from one connection to one other."""

    name = "relay"
    sticky = "no (no split: one upstream, nothing parsed)"
    adds = "nothing"
    cannot: Mapping[str, str] = {
        "split": _NOTHING, "mirror": _NOTHING, "routes": _NOTHING, "rules": _NOTHING, "guarded": _NOTHING,
        "logged": _NOTHING, "two": "one process", "many": "opens a connection to the upstream for each of its clients",
    }  # fmt: skip
    log = ""

    def program(self) -> str | None:
        return sys.executable

    def version(self) -> str:
        return ask(r"(\d\S*)", sys.executable, "-c", "import uvloop; print(uvloop.__version__)")

    def command(self, directory: Path, ports: Ports, work: Work = PLAIN) -> list[str]:
        script = Path(__file__).with_name("relay.py")
        return [sys.executable, "-P", str(script), str(ports.listen), str(ports.stable)]
