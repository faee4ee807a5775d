"""The port of flags over reloads."""

import asyncio
from pathlib import Path

import pytest

from proxy.control.flags import FlagPort
from proxy.errors import TidegateError
from proxy.settings.loader import Loaded, load
from proxy.telemetry.facts import Facts

FILE = """
listen: 127.0.0.1:8080
upstreams: {a: {endpoints: ["http://127.0.0.1:9001"]}}
routes: [{name: r, versions: {v: {upstream: a}}}]
flags: {f: {default: on}}
"""


def loaded(directory: Path, more: str = "") -> Loaded:
    file = directory / "tidegate.yaml"
    file.write_text(FILE + more)
    return load(file, {})


def test_port_opens_moves_and_closes_with_the_configuration(tmp_path: Path) -> None:
    none = loaded(tmp_path)
    tcp = loaded(tmp_path, "ofrep: {listen: 127.0.0.1:0}\n")
    unix = loaded(tmp_path, f"ofrep: {{listen: 'unix:{tmp_path}/flags.sock'}}\n")

    async def play() -> None:
        port = FlagPort(lambda: tcp.spec, dict, lambda: 0.0, Facts())
        port.tick()
        await port.open(none.settings)
        assert port.addresses == {}
        await port.follow(none.settings, tcp.settings)
        first = port.addresses["ofrep"]
        await port.follow(tcp.settings, tcp.settings)
        assert port.addresses["ofrep"] == first
        port.tick()
        for _ in range(2):  # the second time the socket's file is there
            await port.follow(tcp.settings, unix.settings)
            assert port.addresses == {"ofrep": f"unix:{tmp_path}/flags.sock"}
        await port.follow(unix.settings, none.settings)
        assert port.addresses == {}
        await port.close()

    asyncio.run(play())


def test_address_that_is_taken_is_told(tmp_path: Path) -> None:
    async def play() -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        number = server.sockets[0].getsockname()[1]
        taken = loaded(tmp_path, f"ofrep: {{listen: '127.0.0.1:{number}'}}\n")
        port = FlagPort(lambda: taken.spec, dict, lambda: 0.0, Facts())
        with pytest.raises(TidegateError, match=r"the port of flags cannot listen on"):
            await port.open(taken.settings)
        server.close()
        await server.wait_closed()

    asyncio.run(play())
