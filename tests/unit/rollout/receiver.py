"""A receiver of hooks and notices over real sockets, in the loop of the test, that answers as the test says."""

import asyncio
import json

from aiohttp import web
from aiohttp.test_utils import TestServer


class Receiver:
    """Answers each request by the next of `answers`, then the last again: a status, a Response, or HANG."""

    def __init__(self, *answers):
        self.answers = list(answers) or [200]
        self.requests = []
        self.arrived = asyncio.Condition()
        self._held = asyncio.Event()

    async def __aenter__(self):
        application = web.Application()
        application.router.add_post("/{tail:.*}", self._answer)
        self._server = TestServer(application)
        await self._server.start_server()
        self._base = str(self._server.make_url("/"))
        return self

    async def __aexit__(self, *_):
        self._held.set()
        await self._server.close()

    def url(self, path="/hook"):
        return self._base + path.removeprefix("/")

    async def wait_for(self, count):
        async with self.arrived:
            await asyncio.wait_for(self.arrived.wait_for(lambda: len(self.requests) >= count), 5)

    @property
    def bodies(self):
        return [json.loads(body) for _, body in self.requests]

    async def _answer(self, request):
        self.requests.append((request, await request.read()))
        async with self.arrived:
            self.arrived.notify_all()
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if answer is HANG:
            await self._held.wait()
            return web.Response()
        if isinstance(answer, int):
            return web.Response(status=answer)
        if isinstance(answer, dict):
            return web.json_response(answer)
        return answer


HANG = object()


class Waits:
    """Sleeps in no time and remembers how long it would have been."""

    def __init__(self):
        self.seconds = []

    async def __call__(self, seconds):
        self.seconds.append(seconds)
