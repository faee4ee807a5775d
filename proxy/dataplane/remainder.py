"""The rest of an answer that nobody wants: read up to a limit, so that its connection can carry another request."""

from typing import Final

from proxy.dataplane.upstream import UpstreamConnection, UpstreamUser
from proxy.errors import Flag

_WORTH: Final = 64 << 10
"""Bytes that are read rather than the connection closed: less than a new connection costs, with TLS."""
_PATIENCE: Final = 1.0
"""Seconds in which they must have come."""


class Remainder(UpstreamUser):
    """Takes a connection over from an exchange whose answer is not passed on."""

    def __init__(self, connection: UpstreamConnection, method: bytes, seen: int) -> None:
        """`seen` bytes of the body came with the head. The request must have been sent whole."""
        self.method = method
        self.request_done = True
        self._connection: Final = connection
        self._left: int = _WORTH - seen
        self._until: Final = connection.runtime.now() + _PATIENCE
        connection.user = self
        connection.set_reading(True)
        connection.deadline_in(connection.runtime.now(), _PATIENCE)

    def on_body(self, data: bytes, complete: bool, trailers: list[bytes]) -> None:
        if complete:
            return
        connection = self._connection
        self._left -= len(data)
        now = connection.runtime.now()
        if self._left < 0 or now >= self._until:
            connection.close()
        else:
            connection.deadline_in(now, self._until - now)

    def on_broken(self, flag: Flag, untouched: bool) -> None:
        """Then it is gone; the answer was of no use anyway."""

    def on_upstream_pause(self, paused: bool) -> None:
        """Nothing more is written."""
