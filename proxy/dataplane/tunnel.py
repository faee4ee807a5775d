"""After 101: bytes both ways until one side ends. A tunnel holds its own ends and outlives plans.

The exchange that opened it is over and counted; a tunnel adds the bytes it carried to its version when it ends.
"""

from typing import Final

from proxy.core.plan import Version
from proxy.dataplane.downstream import Carrier, Downstream
from proxy.dataplane.pool import Pool
from proxy.dataplane.upstream import UpstreamConnection
from proxy.errors import Flag
from proxy.telemetry.counters import V_REQUEST_BYTES, V_RESPONSE_BYTES, W_TUNNELS


class Tunnel(Carrier):
    """Carries another protocol between a client and an endpoint, with back-pressure both ways."""

    def __init__(
        self,
        client: Downstream,
        connection: UpstreamConnection,
        pool: Pool,
        version: Version,
        generation: int,
    ) -> None:
        """`generation` is that of the plan which `version` belongs to: newer ones may be in force by now."""
        self.client: Final = client
        self.connection: Final = connection
        self.version: Final = version
        self.runtime: Final = client.runtime
        self.generation = generation
        self._pool: Final = pool
        self._silence: Final[float] = version.upstream.tunnel
        self._up: int = 0
        self._down: int = 0
        self._over: bool = False

    def start(self, rest: bytes) -> None:
        """Both ends are in place; `rest` came from the upstream behind its 101."""
        self.runtime.view[self.runtime.base + W_TUNNELS] += 1
        self.connection.set_reading(True)
        self._alive()
        if rest:
            self.on_tunnel(rest)

    def _alive(self) -> None:
        wheel = self.runtime.wheel
        deadline = self.runtime.now() + self._silence
        if deadline < self.due:
            wheel.arm(self, deadline)
        else:
            self.deadline = deadline

    def expired(self, now: float) -> None:
        self.end()

    def from_client(self, data: bytes) -> None:
        """Bytes from the client."""
        if not self._over:
            self._up += len(data)
            self._alive()
            self.connection.write(data)

    def on_tunnel(self, data: bytes) -> None:
        if not self._over:
            self._down += len(data)
            self._alive()
            self.client.write(data)

    def on_upstream_pause(self, paused: bool) -> None:
        self.client.set_reading(not paused)

    def on_client_pause(self, paused: bool) -> None:
        """The client takes no more (or again takes) what is written to it."""
        self.connection.set_reading(not paused)

    def on_broken(self, flag: Flag, untouched: bool) -> None:
        self.end()

    def end(self) -> None:
        """One side has ended: send the other what is still to be sent, and close it too."""
        if self._over:
            return
        self._over = True
        runtime = self.runtime
        view = runtime.view
        view[runtime.base + W_TUNNELS] -= 1
        view[self.version.slot + V_REQUEST_BYTES] += self._up
        view[self.version.slot + V_RESPONSE_BYTES] += self._down
        runtime.wheel.forget(self)
        self._pool.finished()
        self.connection.finish_tunnel()
        self.client.close()
