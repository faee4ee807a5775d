"""One check of one endpoint: a connection of its own, and for HTTP one request on it.

The way is the one that requests take (strict heads, the upstream's TLS and its names), so that what passes here works there.
Bytes are moved by a bare protocol: a thousand endpoints checked every 5 s cost 9 % of a core (30 % through TLS), and a whole
HTTP client would come on top of that. The verdict stands once the head is there; the body is read out within reason all the
same, because a reset in the middle of an answer is a line in somebody's log.
"""

import asyncio
import errno
import os
import ssl
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlsplit

from proxy.core.framing import ChunkedDecoder
from proxy.core.health import HealthPolicy
from proxy.core.http1 import find_head_end, parse_response
from proxy.core.plan import Endpoint
from proxy.errors import ProtocolError
from proxy.telemetry.labels import endpoint_key
from proxy.trust import client_context

PASSED: Final = "passed"
STATUS: Final = "status"  # an answer, and not one that was expected
TIMEOUT: Final = "timeout"
UNREACHABLE: Final = "unreachable"  # no connection
BROKEN: Final = (
    "broken"  # a connection, and then nothing that is HTTP: closed, malformed, a certificate we do not believe
)
LATE: Final = "late"  # this process got no CPU, or had no descriptor left: it says nothing
OUTCOMES: Final = (PASSED, STATUS, TIMEOUT, UNREACHABLE, BROKEN, LATE)

HEAD_LIMIT: Final = 64 << 10
"""Bytes of an answer's head, as for requests."""
BODY_LIMIT: Final = 64 << 10
"""Bytes of an answer's body that are read before the connection is cut."""

MAX_INTERIM: Final = 32
"""1xx answers before the final one, as for requests."""
_OUR_OWN: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))

Spec = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a check. `reason` says why it failed, in words; empty when it passed."""

    outcome: str
    reason: str = ""

    @property
    def passed(self) -> bool:
        """Whether the endpoint does what it should."""
        return self.outcome == PASSED


class Target:
    """All that a check needs to know of an endpoint. `words` tell a target from one that is checked otherwise."""

    def __init__(self, upstream: Spec, endpoint: Spec) -> None:
        """From an upstream's spec with `health`, and one of its endpoints, whose name is resolved."""
        address = Endpoint(endpoint, 0)
        self.policy: Final = HealthPolicy(upstream["health"])
        self.upstream: Final[str] = upstream["name"]
        self.label: Final = endpoint_key(upstream["name"], endpoint)[1]
        self.key: Final = address.key
        self.host: Final = address.host
        self.port: Final = self.policy.port or address.port
        self.unix: Final = address.unix
        self.secure: Final = address.tls
        self.server_name: Final = address.server_name
        self.tls: Final[Spec | None] = upstream.get("tls")
        self.request: Final = b"" if self.policy.kind == "tcp" else _request(self.policy, address)
        self.words: Final = repr((upstream["health"], self.key, self.request, self.tls, self.label))


class Contexts:
    """TLS contexts by what they are made of, each made once, on a thread."""

    def __init__(self) -> None:
        self._made: Final[dict[str, asyncio.Future[ssl.SSLContext]]] = {}

    async def of(self, tls: Spec | None) -> ssl.SSLContext:
        """The context for an upstream's `tls`. Raises OSError or ssl.SSLError; the next call tries again."""
        stamp = repr(tls)
        making = self._made.get(stamp)
        if making is None:
            making = asyncio.ensure_future(asyncio.to_thread(client_context, tls))
            self._made[stamp] = making
        try:
            return await asyncio.shield(making)
        except (OSError, ssl.SSLError):
            self._made.pop(stamp, None)
            raise

    def keep(self, wanted: list[Spec | None]) -> None:
        """Forget all but those for `wanted`: a renewed certificate has another stamp."""
        stamps = {repr(tls) for tls in wanted}
        for stamp in self._made.keys() - stamps:
            del self._made[stamp]


async def check(target: Target, contexts: Contexts) -> Result:
    """Check `target` once. Whatever goes wrong there is a result; takes the policy's timeout at most."""
    loop = asyncio.get_running_loop()
    asker = _Asker(target, loop)
    try:
        async with asyncio.timeout(target.policy.timeout):
            try:
                context = await contexts.of(target.tls) if target.secure and target.request else None
            except OSError as error:
                outcome = LATE if error.errno in _OUR_OWN else BROKEN
                return Result(outcome, f"the upstream's TLS files: {_in_words(error)}")
            await _connect(loop, asker, target, context)
            if not target.request:
                return Result(PASSED)
            await asker.ended
    except TimeoutError:
        return asker.result or Result(TIMEOUT, f"timeout after {target.policy.timeout:g} s")
    except ssl.SSLCertVerificationError as error:
        return Result(BROKEN, f"certificate: {error.verify_message}")
    except ssl.SSLError as error:
        return Result(BROKEN, f"TLS: {error.reason or error}")
    except ValueError as error:  # a name that cannot be asked for
        return Result(BROKEN, str(error))
    except OSError as error:
        return Result(LATE if error.errno in _OUR_OWN else UNREACHABLE, _in_words(error))
    finally:
        asker.close()
    return asker.result or Result(BROKEN, "closed without an answer")


class _Asker(asyncio.Protocol):
    """Sends the request and reads the answer's head; then drops what is left of it."""

    def __init__(self, target: Target, loop: asyncio.AbstractEventLoop) -> None:
        self.result: Result | None = None  # stands once the head is there
        self.ended: Final[asyncio.Future[None]] = loop.create_future()
        self._target: Final = target
        self._transport: asyncio.Transport | None = None
        self._head = b""
        self._left = BODY_LIMIT
        self._interim = 0
        self._chunks: ChunkedDecoder | None = None

    def close(self) -> None:
        """Close the connection, if there is one."""
        if self._transport is not None and self.ended.done():
            self._transport.close()
        elif self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance
        if self._target.request:
            self._transport.write(self._target.request)

    def data_received(self, data: bytes) -> None:
        if self.result is not None:
            self._drop(data)
            return
        self._head += data
        while self.result is None:
            end = find_head_end(self._head, 0)
            if end < 0:
                if len(self._head) > HEAD_LIMIT:
                    self._answer(Result(BROKEN, "an endless head"))
                return
            self._take(self._head[:end], self._head[end + 4 :])

    def eof_received(self) -> None:
        self._lost("closed without an answer")

    def connection_lost(self, error: Exception | None) -> None:
        self._lost("closed without an answer" if not isinstance(error, OSError) else _in_words(error))

    def _lost(self, reason: str) -> None:
        if self.result is None:
            self._answer(Result(BROKEN, reason))
        self._end()

    def _take(self, head: bytes, rest: bytes) -> None:
        policy = self._target.policy
        try:
            response = parse_response(head, policy.method.encode())
        except ProtocolError as error:
            self._answer(Result(BROKEN, f"no HTTP answer: {error.detail}"))
            return
        if 100 <= response.status < 200 and response.status != 101:  # an interim answer; the real one follows
            self._head = rest
            self._interim += 1
            if self._interim > MAX_INTERIM:
                self._answer(Result(BROKEN, "too many interim answers"))
            return
        passed = policy.expects(response.status)
        if response.bodiless:
            self._left = 0
        elif response.chunked:
            self._chunks = ChunkedDecoder()
        elif response.content_length >= 0:
            self._left = min(self._left, response.content_length)
        self._answer(
            Result(PASSED) if passed else Result(STATUS, f"status {response.status}, expected {policy.expectation}")
        )
        self._drop(rest)

    def _drop(self, data: bytes) -> None:
        self._left -= len(data)
        if self._chunks is not None:
            try:
                self._chunks.feed(data)
            except ProtocolError:
                self._left = 0  # the head has said what there is to know
        if self._left <= 0 or (self._chunks is not None and self._chunks.done):
            self._end()

    def _answer(self, result: Result) -> None:
        self._head = b""
        self.result = result
        if result.outcome == BROKEN:
            self._end()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)


async def _connect(
    loop: asyncio.AbstractEventLoop, asker: _Asker, target: Target, context: ssl.SSLContext | None
) -> None:
    if target.unix:
        await loop.create_unix_connection(lambda: asker, target.unix)
    elif context is None:
        await loop.create_connection(lambda: asker, target.host, target.port)
    else:
        await loop.create_connection(
            lambda: asker, target.host, target.port, ssl=context, server_hostname=target.server_name
        )


def _request(policy: HealthPolicy, endpoint: Endpoint) -> bytes:
    """The request's head: it has no body. Fields that the policy sets replace ours."""
    named = urlsplit(endpoint.label).netloc if not endpoint.unix else "localhost"
    fields = {"host": policy.host or named, "user-agent": "tidegate-health", "connection": "close"}
    ours = {**fields, **{name.lower(): value for name, value in policy.headers.items()}}
    lines = [f"{policy.method} {policy.path} HTTP/1.1", *(f"{name}: {value}" for name, value in ours.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def _in_words(error: OSError) -> str:
    """`connection refused`, where uvloop and asyncio say more than one wants to read."""
    if error.errno and error.errno > 0:
        return os.strerror(error.errno).lower()
    return str(error) or type(error).__name__
