"""Over real sockets, once: a client, a listener, a dialled upstream; plain and TLS."""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from random import Random
from typing import Any

import pytest

from proxy.core.build import build_plan
from proxy.dataplane.listener import Listener
from proxy.dataplane.runtime import Runtime
from proxy.dataplane.upstreams import Upstreams
from proxy.telemetry.counters import W_ACCEPTED, W_CONNECTIONS, Cells, create_memory
from proxy.telemetry.ledger import Ledger
from tests.unit.dataplane.certificates import Authority
from tests.unit.dataplane.stage import GET, OK, endpoint_spec, pool_spec, shop

Spec = dict[str, Any]
Play = Callable[[Listener, Runtime, tuple[str, int]], Awaitable[None]]


async def upstream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        try:
            await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            break
        writer.write(OK)
    writer.close()


def played(play: Play, *, tls: Spec | None = None, unix: str = "") -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        server = await asyncio.start_server(upstream, "127.0.0.1", 0)
        host, port = server.sockets[0].getsockname()
        descriptor = create_memory()
        cells = Cells(descriptor, 0, 1)
        runtime = Runtime(loop, cells, time.monotonic, time.time, Random(1))
        spec = pool_spec("u") | {"endpoints": [endpoint_spec(host, port)]}
        runtime.plan = build_plan(Ledger(cells).place(shop(upstreams=[spec])))
        upstreams = Upstreams(runtime)
        for _ in upstreams.bring(runtime.plan, {}):
            pass
        endpoint = socket.socket(socket.AF_UNIX if unix else socket.AF_INET)
        endpoint.bind(unix or ("127.0.0.1", 0))
        endpoint.listen()
        endpoint.setblocking(False)
        address = endpoint.getsockname()
        listener = Listener(runtime, upstreams, endpoint, {"tls": tls, "proxy_protocol": False})
        try:
            await listener.start()
            await play(listener, runtime, address)
        finally:
            listener.close()
            for client in list(listener.clients):
                client.abort()
            for pool in upstreams.pools.values():
                pool.close()
            server.close()
            await server.wait_closed()
            for _ in range(10):  # transports close in the loop's next rounds
                await asyncio.sleep(0)
            cells.view.release()
            os.close(descriptor)

    asyncio.run(run())


async def fetched(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(GET)
    return await asyncio.wait_for(reader.readuntil(b"hello"), 5.0)


async def ended(writer: asyncio.StreamWriter) -> None:
    writer.close()
    await writer.wait_closed()


def test_request_goes_through() -> None:
    async def play(listener: Listener, runtime: Runtime, address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        for _ in range(3):
            assert (await fetched(reader, writer)).startswith(b"HTTP/1.1 200 OK\r\n")
        assert runtime.view[W_ACCEPTED] == runtime.view[W_CONNECTIONS] == len(listener.clients) == 1
        assert len(listener._door.upstreams.pools["u"].states[0].idle) == 1
        await ended(writer)

    played(play)


def test_request_goes_through_a_unix_socket(tmp_path: Any) -> None:
    async def play(listener: Listener, runtime: Runtime, address: Any) -> None:
        reader, writer = await asyncio.open_unix_connection(address)
        assert (await fetched(reader, writer)).startswith(b"HTTP/1.1 200 OK\r\n")
        await ended(writer)

    played(play, unix=str(tmp_path / "door"))


def test_request_goes_through_tls_and_new_certificates_are_for_newcomers(authority: Authority, tls: Spec) -> None:
    async def play(listener: Listener, runtime: Runtime, address: tuple[str, int]) -> None:
        context = ssl.create_default_context(cafile=str(authority.path))
        reader, writer = await asyncio.open_connection(*address, ssl=context, server_hostname="shop.example.com")
        assert await fetched(reader, writer)
        certificate, key = authority.certify("new.example")
        one = {"hosts": ["new.example"], "certificate": certificate, "key": key, "stamp": "2"}
        await listener.update({"tls": {"certificates": [one], "minimum": "1.2"}, "proxy_protocol": False})
        assert await fetched(reader, writer)
        other_reader, other = await asyncio.open_connection(*address, ssl=context, server_hostname="new.example")
        assert await fetched(other_reader, other)
        with pytest.raises(OSError, match="No such file"):
            await listener.update(
                {
                    "tls": {"certificates": [one | {"key": "/missing", "stamp": "3"}], "minimum": "1.2"},
                    "proxy_protocol": False,
                }
            )
        await ended(writer)
        await ended(other)

    played(play, tls=tls)


def test_closed_listener_takes_nobody_and_keeps_who_is_there() -> None:
    async def play(listener: Listener, runtime: Runtime, address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        assert await fetched(reader, writer)
        assert not listener.waiting()
        listener.close()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(*address)
        assert await fetched(reader, writer)
        await ended(writer)

    played(play)


def test_client_that_is_cut_off_can_tell() -> None:
    async def play(listener: Listener, runtime: Runtime, address: tuple[str, int]) -> None:
        reader, writer = await asyncio.open_connection(*address)
        assert await fetched(reader, writer)
        next(iter(listener.clients)).abort()
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 5.0)
        writer.close()

    played(play)
