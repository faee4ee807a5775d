"""A few hundred users who use the demo's service, and what they notice: failures, and being moved from one version
to another.
"""

import asyncio
import random
from typing import Final

import aiohttp

from proxy.surfaces.demo.upstreams import VERSION_FIELD

USERS: Final = 400
RATE: Final = 120.0
"""Requests a second of all users together."""
_AT_ONCE: Final = 8


class Traffic:
    """The users. `served` is who answered each of them last; `entered` and `left` count moves into and out of the
    canary.
    """

    def __init__(self, port: int, rng: random.Random) -> None:
        self._url: Final = f"http://127.0.0.1:{port}/"
        self._rng: Final = rng
        self.served: Final[dict[str, str]] = {}
        self.unanswered = 0
        self.entered = 0
        self.left = 0

    def begin_chapter(self) -> None:
        """Count moves anew: the weights have just been changed."""
        self.entered = self.left = 0

    def notice(self, user: str, version: str) -> None:
        """Remember who answered `user`, and count it when that is somebody else than before."""
        before = self.served.get(user)
        self.served[user] = version
        if before is None or before == version:
            return
        if version == "canary":
            self.entered += 1
        else:
            self.left += 1

    async def flow(self) -> None:
        """Send requests until cancelled."""
        timeout = aiohttp.ClientTimeout(total=10)
        async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as group:
            for _ in range(_AT_ONCE):
                group.create_task(self._some_users(session))

    async def _some_users(self, session: aiohttp.ClientSession) -> None:
        while True:
            user = f"user-{self._rng.randrange(USERS)}"
            try:
                async with session.get(self._url, headers={"x-user-id": user}) as answer:
                    await answer.read()
                    version = answer.headers.get(VERSION_FIELD)
                    if version is None:
                        self.unanswered += 1  # the proxy answered for an upstream that did not
                    else:
                        self.notice(user, version)
            except (aiohttp.ClientError, TimeoutError):
                self.unanswered += 1
            await asyncio.sleep(self._rng.expovariate(RATE / _AT_ONCE))
