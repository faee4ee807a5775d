"""One try over HTTP, within bounds. Imported by who sends, for aiohttp's client takes room.

Redirects are not followed: a signed request goes where the file says and nowhere else. No more than AT_ONCE requests are under way.
"""

import asyncio
from collections.abc import Mapping
from typing import Final

import aiohttp

from proxy.rollout.sending import Reply, SendError

LARGEST: Final = 16 << 10
"""Bytes of an answer that are read; the rest is left."""
AT_ONCE: Final = 32
"""Requests under way, of all hooks and notices together."""


class HttpSender:
    """Sends over HTTP. The session is made with the first request."""

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._room: Final = asyncio.Semaphore(AT_ONCE)

    async def __call__(self, url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Reply:
        """POST `body` as JSON. Raises SendError."""
        limit = aiohttp.ClientTimeout(total=seconds)
        async with self._room:
            if self._session is None:
                self._session = aiohttp.ClientSession(
                    headers={"user-agent": "tidegate", "content-type": "application/json"},
                    auto_decompress=False,
                    cookie_jar=aiohttp.DummyCookieJar(),
                )
            try:
                async with self._session.post(
                    url, data=body, headers=headers, timeout=limit, allow_redirects=False
                ) as response:
                    return Reply(response.status, await _beginning(response))
            except TimeoutError:
                raise SendError(f"no answer within {seconds:g} s") from None
            except (aiohttp.ClientError, OSError, ValueError) as error:
                raise SendError(f"cannot be reached: {error or type(error).__name__}") from None

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


async def _beginning(response: aiohttp.ClientResponse) -> bytes:
    """The first bytes of a body."""
    data = b""
    while len(data) < LARGEST:
        piece = await response.content.read(LARGEST - len(data))
        if not piece:
            break
        data += piece
    return data
