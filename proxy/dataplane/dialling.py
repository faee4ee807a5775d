"""Opening connections: a request's claim on one, and the dial that may fulfil it."""

import asyncio
import errno
import ssl
from collections.abc import Callable
from typing import Final

from proxy.core.balance import Member
from proxy.dataplane.endpoint_state import EndpointState
from proxy.dataplane.runtime import Runtime
from proxy.dataplane.timers import Timed
from proxy.dataplane.upstream import ConnectionKeeper, UpstreamConnection, UpstreamUser
from proxy.errors import UO

_OUR_OWN: Final = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM))
"""What keeps this process from opening a connection to anybody."""

_UNEXPECTED: Final = "this cannot happen to a pool, which says what to do about it"


class ClaimKeeper(ConnectionKeeper):
    """Whose claims and dials are: a pool."""

    def forget(self, claim: "Claim") -> None:
        """A claim that waited is given up."""
        raise AssertionError(_UNEXPECTED)

    def dialled(self, state: EndpointState, claim: "Claim", connection: UpstreamConnection, failure: str) -> None:
        """A dial is over: `connection` is open, or `failure` says why not."""
        raise AssertionError(_UNEXPECTED)


class Claim(Timed):
    """A wish for a connection: waiting for its turn, or for a connection to open. Give it up with `cancel`."""

    def __init__(
        self, keeper: ClaimKeeper, runtime: Runtime, user: UpstreamUser, unit: int | None, avoid: list[Member] | None
    ) -> None:
        self._keeper: Final = keeper
        self._runtime: Final = runtime
        self.user: UpstreamUser | None = user
        self.unit: Final = unit
        self.avoid: Final = avoid
        self.endpoint: Member | None = None  # to which a connection is being opened
        self.since: float = 0.0  # monotonic seconds
        self.task: asyncio.Task[None] | None = None
        self.dialling: bool = False
        self.refused: bool = False  # the endpoint said no at once
        self.starved: bool = False  # this process could not open it, which says nothing of the endpoint

    def cancel(self) -> None:
        """The user wants it no more. A connection that opens all the same is kept for others."""
        self.user = None
        if self.task is None:
            self._runtime.wheel.forget(self)
            self._keeper.forget(self)

    def expired(self, now: float) -> None:
        if self.dialling:
            if self.task is not None:
                self.task.cancel()  # the dial reports it
            return
        if self.task is not None:  # not begun, so it could not report
            self._runtime.wheel.arm(self, now)
            return
        user = self.user
        self._keeper.forget(self)
        self.user = None
        if user is not None:
            user.on_unreachable(UO)


class Dialler:
    """Opens the connections of one pool."""

    def __init__(self, runtime: Runtime, keeper: ClaimKeeper) -> None:
        self.connecting: int = 0
        self._runtime: Final = runtime
        self._keeper: Final = keeper

    def start(self, state: EndpointState, claim: Claim, tls: ssl.SSLContext | None, deadline: float) -> None:
        """Open a connection to `state` for `claim`, until `deadline`. What comes of it, `dialled` hears."""
        self.connecting += 1
        state.dialling += 1
        claim.endpoint = state
        claim.since = self._runtime.now()
        claim.task = self._runtime.spawn("dial", self._open(state, claim, tls))
        self._runtime.wheel.arm(claim, deadline)

    async def _open(self, state: EndpointState, claim: Claim, tls: ssl.SSLContext | None) -> None:
        claim.dialling = True
        endpoint = state.endpoint
        loop = self._runtime.loop
        connection = UpstreamConnection(self._runtime, self._keeper, state)
        factory: Callable[[], UpstreamConnection] = lambda: connection  # noqa: E731
        context = tls if endpoint.tls else None
        name = endpoint.server_name if endpoint.tls else None
        failure = ""
        try:
            if endpoint.unix:
                await loop.create_unix_connection(factory, endpoint.unix, ssl=context, server_hostname=name)  # type: ignore[type-var]
            else:
                await loop.create_connection(factory, endpoint.host, endpoint.port, ssl=context, server_hostname=name)  # type: ignore[type-var]
        except OSError as error:  # ssl.SSLError is one
            failure = f"{type(error).__name__}: {error.strerror or error}"
            claim.refused = isinstance(error, ConnectionRefusedError)
            claim.starved = error.errno in _OUR_OWN
        except asyncio.CancelledError:
            failure = "timed out"
        except (RuntimeError, ValueError) as error:  # whatever it is, whoever waits must be told
            failure = str(error)
        finally:
            claim.dialling = False
            self.connecting -= 1
            state.dialling -= 1
            self._runtime.wheel.forget(claim)
        self._keeper.dialled(state, claim, connection, failure)
