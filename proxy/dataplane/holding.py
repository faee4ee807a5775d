"""What everyone who asks an upstream holds, and lets go of in one way: a place in a pool, and a connection or the way to one."""

from proxy.dataplane.dialling import Claim
from proxy.dataplane.pool import Pool
from proxy.dataplane.upstream import UpstreamConnection, UpstreamUser


class Holder(UpstreamUser):
    """An exchange, or a request beside one."""

    _pool: Pool | None = None
    _claim: Claim | None = None  # on a connection that is on its way
    _connection: UpstreamConnection | None = None

    def _drop_upstream(self) -> None:
        """Close the connection, or wait for none any more."""
        connection = self._connection
        self._connection = None
        if connection is not None:
            connection.close()
        claim = self._claim
        self._claim = None
        if claim is not None:
            claim.cancel()

    def _leave_pool(self) -> None:
        """Give the place in the pool back."""
        pool = self._pool
        self._pool = None
        if pool is not None:
            pool.finished()
