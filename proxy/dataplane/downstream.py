"""The client's side of an exchange, as the exchange and the tunnel see it: what can be asked of a client connection.

It stands apart from the connection itself so that whoever answers a client need not know how requests are read.
"""

from typing import Final

from proxy.core.request import Request
from proxy.dataplane.runtime import Runtime
from proxy.dataplane.timers import Timed
from proxy.dataplane.upstream import UpstreamUser
from proxy.dataplane.upstreams import Upstreams

_UNEXPECTED: Final = "a client connection says what to do about it"


class Carrier(UpstreamUser):
    """Who carries another protocol's bytes for a client, once HTTP is over."""

    def from_client(self, data: bytes) -> None:
        """Bytes from the client."""
        raise AssertionError(_UNEXPECTED)

    def on_client_pause(self, paused: bool) -> None:
        """The client takes no more (or again takes) what is written to it."""
        raise AssertionError(_UNEXPECTED)

    def end(self) -> None:
        """One side has ended."""
        raise AssertionError(_UNEXPECTED)


class Downstream(Timed):
    """A client connection. All calls come from the event loop; none may block."""

    paused: bool = False  # the transport wants no more writes
    trusted: bool = False  # the peer is one of `trusted_proxies`

    def __init__(self, door: "Door") -> None:
        self.door: Final = door
        self.runtime: Final[Runtime] = door.runtime
        self.secure: Final[bool] = door.secure

    def write(self, data: bytes) -> None:
        """Send `data`."""
        raise AssertionError(_UNEXPECTED)

    def write_both(self, head: bytes, body: bytes) -> None:
        """A head and what there is of its body, in one system call."""
        raise AssertionError(_UNEXPECTED)

    def set_reading(self, reading: bool) -> None:
        """Take more from the client, or no more for now. Whoever stops reading also stops the client's clock."""
        raise AssertionError(_UNEXPECTED)

    def write_deadline(self, seconds: float) -> None:
        """The client must take what was written within `seconds`; infinite: no matter when."""
        raise AssertionError(_UNEXPECTED)

    def forwarding(self, request: Request) -> bytes:
        """The forwarding lines for the upstream."""
        raise AssertionError(_UNEXPECTED)

    def exchange_done(self, keep: bool) -> None:
        """The answer is written. `keep`: the connection may carry another request."""
        raise AssertionError(_UNEXPECTED)

    def switch(self, carrier: Carrier) -> None:
        """From here on the connection belongs to another protocol."""
        raise AssertionError(_UNEXPECTED)

    def generation(self) -> int:
        """Of the plan that what is under way here stands on; beyond all others where nothing is."""
        raise AssertionError(_UNEXPECTED)

    def close_if_idle(self) -> None:
        """The worker drains: a connection between two requests ends here."""
        raise AssertionError(_UNEXPECTED)

    def cut_short(self) -> int:
        """The time to drain is over. Answers how many exchanges and tunnels that ended: 1 or 0."""
        raise AssertionError(_UNEXPECTED)

    def close(self) -> None:
        """Send what was written, then close. Exchange and carrier are not told: it is they who say so."""
        raise AssertionError(_UNEXPECTED)

    def abort(self) -> None:
        """Cut the connection off, so that the client cannot take what it got for the whole. Nobody is told."""
        raise AssertionError(_UNEXPECTED)


class Door:
    """What the connections that came in one way have in common. While a connection is open it stands in `clients`."""

    def __init__(
        self,
        runtime: Runtime,
        upstreams: Upstreams,
        *,
        secure: bool,
        proxy_protocol: bool,
        clients: set[Downstream] | None = None,
    ) -> None:
        self.runtime: Final = runtime
        self.upstreams: Final = upstreams
        self.secure: Final = secure
        self.proxy_protocol: Final = proxy_protocol
        self.clients: Final[set[Downstream]] = set() if clients is None else clients
