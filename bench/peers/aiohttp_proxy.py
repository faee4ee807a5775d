"""A proxy of aiohttp alone: `python aiohttp_proxy.py LISTEN STABLE CANARY`. Splits by x-user-id, streams both ways."""

import asyncio
import sys
import uuid
import zlib

import aiohttp
import uvloop
from aiohttp import web
from yarl import URL

HOP = ("connection", "keep-alive", "te", "trailer", "transfer-encoding", "upgrade")


async def serve(listen: int, stable: int, canary: int) -> None:
    """Pass on, for ever."""
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=3600)
    async with aiohttp.ClientSession(
        connector=connector, auto_decompress=False, timeout=aiohttp.ClientTimeout()
    ) as session:

        async def handle(request: web.BaseRequest) -> web.StreamResponse:
            bucket = zlib.crc32(request.headers.get("x-user-id", "").encode()) % 100
            target = URL(f"http://127.0.0.1:{canary if bucket < 10 else stable}{request.raw_path}", encoded=True)
            headers = request.headers.copy()
            for name in HOP:
                headers.popall(name, None)
            headers["X-Forwarded-For"] = request.remote or ""
            headers["X-Request-Id"] = str(uuid.uuid4())
            body = request.content if request.body_exists else None
            async with session.request(
                request.method, target, headers=headers, data=body, allow_redirects=False,
                skip_auto_headers=("accept", "accept-encoding", "user-agent", "content-type"),
            ) as answer:  # fmt: skip
                found = answer.headers.copy()
                for name in HOP:
                    found.popall(name, None)
                if (answer.content_length or 0) <= 65536:
                    return web.Response(status=answer.status, headers=found, body=await answer.read())
                streamed = web.StreamResponse(status=answer.status, headers=found)
                await streamed.prepare(request)
                async for piece in answer.content.iter_any():
                    await streamed.write(piece)
                await streamed.write_eof()
                return streamed

        runner = web.ServerRunner(web.Server(handle, access_log=None, keepalive_timeout=3600.0))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", listen, backlog=4096).start()
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(*map(int, sys.argv[1:4])))
