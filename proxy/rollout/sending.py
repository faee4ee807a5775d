"""Sends a small JSON document to somebody's URL, again and again within bounds, and says what came of it.

Hooks and notices share it. One try is somebody else's (http_sending.py): this is about how often, how long, and when to stop.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

from proxy.core.backoff import Backoff, Rng

FIRST_WAIT: Final = 0.5
"""Seconds before the second try, doubled for each further one (Flagger tries a hook once a minute, Stripe after seconds)."""
LONGEST_WAIT: Final = 10.0
"""Seconds between two tries at most."""

_PASSING: Final = frozenset((408, 425, 429))
"""Of 4xx, those that say "later" and not "no"."""

Sleep = Callable[[float], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Reply:
    """What was answered: the status and the beginning of the body."""

    status: int
    body: bytes

    @property
    def taken(self) -> bool:
        """Whether it says yes."""
        return 200 <= self.status < 300

    @property
    def final(self) -> bool:
        """Whether another try would hear the same: yes, a redirect, or a refusal that does not say "later"."""
        return self.status < 500 and self.status not in _PASSING


class SendError(Exception):
    """No answer came; the message says why. Another try may do better."""


class Send(Protocol):
    """One try."""

    async def __call__(self, url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> Reply:
        """POST `body` and wait `seconds` for the answer. Raises SendError."""


class Sender:
    """Tries until it is answered for good, `tries` times at most, waiting longer each time."""

    def __init__(self, send: Send, sleep: Sleep, rng: Rng) -> None:
        """`sleep` waits so many seconds; `rng` draws what the waits are shortened by."""
        self._send: Final = send
        self._sleep: Final = sleep
        self._rng: Final = rng

    async def deliver(
        self,
        url: str,
        body: bytes,
        headers: Callable[[], Mapping[str, str]],
        seconds: float,
        tries: int,
    ) -> Reply:
        """The last answer. `headers` are made for each try, for they may carry the time; `seconds` are those of one try.

        Raises SendError where the last try had no answer.
        """
        backoff = Backoff(FIRST_WAIT, LONGEST_WAIT, self._rng)
        for left in range(tries - 1, -1, -1):
            try:
                reply = await self._send(url, body, headers(), seconds)
            except SendError:
                if not left:
                    raise
            else:
                if reply.final or not left:
                    return reply
            await self._sleep(backoff.next())
        raise AssertionError("at least one try")  # pragma: no cover - `tries` is checked to be 1 or more


def as_body(value: Mapping[str, Any]) -> bytes:
    """The bytes that are sent, and signed: compact JSON, in the order of the keys."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()


def origin(url: str) -> str:
    """Scheme, host and port of a URL, for logs: those of chat rooms have a secret in their path."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def shown(url: str) -> str:
    """A URL for logs and reasons: without user, password and query, which may hold a secret."""
    return origin(url) + urlsplit(url).path
