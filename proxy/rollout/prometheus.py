"""Asks Prometheus: one query, one number. Whatever goes wrong is no number, with the reason in words.

An instant query (`/api/v1/query`) whose answer is a scalar, or a vector of one series. No series, several, NaN, an answer that is
late or none at all: a guardrail that cannot be read has not been held.
"""

import asyncio
import json
from collections.abc import Mapping
from math import isfinite, nan
from typing import Any, Final
from urllib.parse import urlsplit

import aiohttp

from proxy.rollout.evidence import Answers

TIMEOUT: Final = 5.0
"""Seconds for one answer."""
LONGEST: Final = 1 << 20
"""Bytes of an answer that are read."""
AT_ONCE: Final = 8
"""Queries that are asked at the same time."""


class NoAnswerError(Exception):
    """Why there is no number; `kind` is a word to count by: unreachable, timeout, refused, empty, many, not_a_number or
    unreadable."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind: Final = kind


def read_answer(body: bytes) -> float:
    """The one number of an answer. Raises NoAnswerError."""
    try:
        said: dict[str, Any] = json.loads(body)
        if said.get("status") != "success":
            raise NoAnswerError("refused", f"Prometheus says: {said.get('error', 'no success')}")
        data = said["data"]
        kind, result = data["resultType"], data["result"]
        if kind == "vector":
            if not result:
                raise NoAnswerError("empty", "the query gives nothing: is a metric or a label misspelt?")
            if len(result) > 1:
                raise NoAnswerError("many", f"the query gives {len(result)} series and not one: aggregate them")
            value = float(result[0]["value"][1])
        elif kind == "scalar":
            value = float(result[1])
        else:
            raise NoAnswerError("many", f"the query gives a {kind} and not one number")
    except (ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise NoAnswerError("unreadable", f"the answer is none of Prometheus': {error!r}") from error
    if not isfinite(value):
        raise NoAnswerError("not_a_number", f"the query gives {value}")
    return value


class Prometheus:
    """Asks any number of servers, on one session."""

    def __init__(self, timeout: float = TIMEOUT) -> None:
        self._timeout: Final = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None
        self._room: Final = asyncio.Semaphore(AT_ONCE)

    async def ask(self, server: str, query: str) -> float:
        """The number that `query` gives now. Raises NoAnswerError."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, auto_decompress=True)
        parts = urlsplit(server)
        url = f"{server.rstrip('/')}/api/v1/query"
        try:
            async with (
                self._room,
                self._session.post(url, data={"query": query}, allow_redirects=False) as answer,
            ):
                body = await answer.content.read(LONGEST + 1)
                while len(body) <= LONGEST and (more := await answer.content.read(LONGEST + 1 - len(body))):
                    body += more
                if len(body) > LONGEST:
                    raise NoAnswerError("many", f"the answer is longer than {LONGEST} bytes: aggregate it")
                if answer.status >= 300 and not body.startswith(b"{"):
                    raise NoAnswerError("refused", f"{parts.netloc} answers {answer.status}")
        except TimeoutError as error:
            raise NoAnswerError("timeout", f"{parts.netloc} has not answered in {self._timeout.total:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NoAnswerError("unreachable", f"{parts.netloc} cannot be asked: {error}") from error
        return read_answer(body)

    async def ask_all(self, queries: Mapping[str, tuple[str, str]]) -> Answers:
        """All of them, by name: (query, server) each."""
        answers = Answers()

        async def one(name: str, query: str, server: str) -> None:
            try:
                answers.values[name] = await self.ask(server, query)
            except NoAnswerError as error:
                answers.values[name] = nan
                answers.problems[name] = str(error)
                answers.kinds[name] = error.kind

        await asyncio.gather(*(one(name, query, server) for name, (query, server) in queries.items()))
        return answers

    async def close(self) -> None:
        """Let go of the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
