"""A first request that its hedge overtook: it goes on without anybody waiting, so that its endpoint is known for what it does.

Cut off, an endpoint that hangs would never be seen to fail where every request to it is hedged; and being slower than another
is no failure. So it is either answered or late in the end, as if there had been no hedge. There are few of these at a time, and
none where they could take a place from others.
"""

from typing import Final

from proxy.core.request import Response
from proxy.dataplane.endpoint_state import EndpointState
from proxy.dataplane.pool import Pool
from proxy.dataplane.remainder import Remainder
from proxy.dataplane.upstream import UpstreamConnection, UpstreamUser
from proxy.errors import Flag

AT_ONCE: Final = 8
"""For one endpoint in one worker: as many failures as eject it by default, and a few."""


def may_go_on(connection: UpstreamConnection, pool: Pool) -> bool:
    """Whether a request that was overtaken on `connection` may be followed to its end."""
    state = connection.endpoint
    return pool.watched and isinstance(state, EndpointState) and state.overtaken < AT_ONCE and pool.spare()


class Overtaken(UpstreamUser):
    """Takes a connection over from an exchange that has its answer, and the exchange's place in the pool with it."""

    def __init__(
        self, connection: UpstreamConnection, pool: Pool, method: bytes, sent_at: float, patience: float
    ) -> None:
        """The request, which has no body, was sent at `sent_at`; its answer's head may take `patience` seconds from then on."""
        self.method = method
        self.request_done = True
        self._connection: Final = connection
        self._pool: Final = pool
        self._sent_at: Final = sent_at
        self._count(1)
        connection.user = self
        connection.set_reading(True)
        connection.deadline_in(sent_at, patience)

    def _count(self, change: int) -> None:
        state = self._connection.endpoint
        if isinstance(state, EndpointState):
            state.overtaken += change

    def _over(self, status: int) -> None:
        """It is known how the endpoint did: `status`, or nothing where it is 0."""
        self._count(-1)
        pool = self._pool
        if status:
            now = pool.runtime.now()
            pool.report(self._connection, status, now - self._sent_at, now)
        pool.finished()

    def on_interim(self, response: Response) -> None:
        """Nobody to pass it on to."""

    def on_switch(self, response: Response, rest: bytes) -> bool:
        return False

    def on_head(self, response: Response, body: bytes, complete: bool, trailers: list[bytes], now: float) -> None:
        self._over(response.status)
        if not complete:
            Remainder(self._connection, self.method, len(body))

    def on_broken(self, flag: Flag, untouched: bool) -> None:
        self._over(0 if untouched else flag.status)

    def on_upstream_pause(self, paused: bool) -> None:
        """All there is to send has been written."""
