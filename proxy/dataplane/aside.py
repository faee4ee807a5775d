"""What requests beside an exchange have in common: copies for shadows, hedges, and refreshes of stored answers.

Each tells the pool once how the endpoint did, and lets go of all that it holds together, however it ends. No client
hears their interim answers, and none of them asks for another protocol.
"""

from proxy.core.request import Response
from proxy.dataplane.holding import Holder


class Aside(Holder):
    """One request that no client waits for by itself."""

    _reported: bool = False

    def on_interim(self, response: Response) -> None:
        """Nobody to pass it on to."""

    def on_switch(self, response: Response, rest: bytes) -> bool:
        return False

    def _report(self, status: int, seconds: float, now: float) -> None:
        """Tell the pool how the endpoint did, if it was not told: `seconds` to the head, negative where that says nothing."""
        pool = self._pool
        connection = self._connection
        if pool is not None and connection is not None and not self._reported:
            self._reported = True
            pool.report(connection, status, seconds, now)

    def _let_go(self) -> None:
        """Close the connection, or wait for none any more, and give the place in the pool back."""
        self._drop_upstream()
        self._leave_pool()
