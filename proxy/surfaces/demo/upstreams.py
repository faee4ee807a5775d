"""Three tiny services to put behind the proxy: stable, canary and shadow.

A process of its own, so that its work is not the demo's. It is started with the descriptors of three listening sockets
and ends when its standard input does, so that it never outlives the demo.
"""

import asyncio
import random
import socket
import sys
from typing import Final

from aiohttp import web

VERSION_FIELD: Final = "x-demo-version"

SERVICES: Final = (
    # Name, typical milliseconds, share of requests that fail.
    ("stable", 8.0, 0.001),
    ("canary", 6.0, 0.004),
    ("shadow", 12.0, 0.0),
)


def service(name: str, milliseconds: float, failing: float, rng: random.Random) -> web.Application:
    """A service that takes about `milliseconds` for an answer and fails a share `failing` of them."""

    async def answer(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(rng.gammavariate(4, milliseconds / 4000))
        failed = rng.random() < failing
        return web.json_response(
            {"version": name, "path": request.path},
            status=500 if failed else 200,
            headers={VERSION_FIELD: name},
        )

    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    return application


async def serve(descriptors: list[int]) -> None:
    """Serve each service on the listening socket handed over for it, until standard input ends."""
    rng = random.Random(1)  # noqa: S311 - a delay is no secret
    runners = []
    for descriptor, (name, milliseconds, failing) in zip(descriptors, SERVICES, strict=True):
        runner = web.AppRunner(service(name, milliseconds, failing, rng), access_log=None)
        await runner.setup()
        await web.SockSite(runner, socket.socket(fileno=descriptor)).start()
        runners.append(runner)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended.set)
    await ended.wait()
    asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
    for runner in runners:
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve([int(argument) for argument in sys.argv[1:]]))
