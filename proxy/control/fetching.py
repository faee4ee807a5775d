"""Fetches a small document over HTTP, within bounds: time, size, and the host that was named."""

from typing import Final

import aiohttp
from yarl import URL

from proxy.tokens import MAX_DOCUMENT

SECONDS: Final = 5.0
"""For all of it, redirects included."""
_REDIRECTS: Final = 3
_HEADERS: Final = {"user-agent": "tidegate", "accept-encoding": "identity"}


async def fetch_document(url: str) -> bytes:
    """What `url` has. Redirects are followed to the same scheme, host and port only. Raises ValueError with the reason."""
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    here = URL(url)
    try:
        async with aiohttp.ClientSession(timeout=timeout, headers=_HEADERS, auto_decompress=False) as session:
            for _ in range(_REDIRECTS + 1):
                async with session.get(here, allow_redirects=False) as response:
                    if response.status in {301, 302, 303, 307, 308}:
                        there = here.join(URL(response.headers.get("location", "")))
                        if there.origin() != here.origin():
                            raise ValueError(f"redirects to another place, {there.origin()}")
                        here = there
                        continue
                    if response.status != 200:
                        raise ValueError(f"answers with {response.status}")
                    return await _body(response)
    except TimeoutError:
        raise ValueError(f"takes longer than {SECONDS:g} s") from None
    except aiohttp.ClientError as error:
        raise ValueError(f"cannot be fetched: {error or type(error).__name__}") from None
    raise ValueError("redirects too often")


async def _body(response: aiohttp.ClientResponse) -> bytes:
    data = b""
    async for piece in response.content.iter_any():
        data += piece
        if len(data) > MAX_DOCUMENT:
            raise ValueError(f"is larger than {MAX_DOCUMENT >> 10} KiB")
    return data
