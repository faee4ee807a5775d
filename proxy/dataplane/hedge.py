"""A second request for the same answer, sent where the first takes longer than most: whoever answers first serves.

It is the tail at scale (Dean and Barroso, 2013): a slow answer is mostly one endpoint's bad moment. A hedge has its own
connection, to another endpoint where there is one; the exchange stays the one that answers the client, and takes the
hedge's connection over if its head is the first to come. Whoever loses is cut off (but see overtaken.py), and that is
nobody's error.
"""

from typing import Final

from proxy.core.request import Response
from proxy.dataplane.aside import Aside
from proxy.dataplane.dialling import Claim
from proxy.dataplane.passage import Passage
from proxy.dataplane.pool import Pool
from proxy.dataplane.upstream import UpstreamConnection
from proxy.errors import Flag
from proxy.telemetry.counters import HEDGE_FAILED, HEDGE_FIRED, HEDGE_LOST, HEDGE_WON, V_HEDGE_OUTCOMES, V_HEDGING

_UNEXPECTED: Final = "an exchange says what to do about it"


class Hedged(Passage):
    """Who sends a hedge, and hears of it."""

    def on_hedge_head(self, response: Response, body: bytes, complete: bool, trailers: list[bytes]) -> None:
        """The hedge's head has come. It is won with `Hedge.hand_over`, or lost with `Hedge.end`, before this returns."""
        raise AssertionError(_UNEXPECTED)

    def on_hedge_gone(self, flag: Flag) -> None:
        """The hedge has failed and is over."""
        raise AssertionError(_UNEXPECTED)


class Hedge(Aside):
    """The second request. `slot` is that of the version assigned; `patience` the seconds until the answer's head."""

    def __init__(self, owner: Hedged, pool: Pool, slot: int, head: bytes, patience: float) -> None:
        self.owner: Hedged | None = owner
        self.runtime: Final = owner.runtime
        self.method = owner.method
        self.request_done = True
        self.generation = owner.plan.generation
        self.warming: bool = False  # its endpoint
        self.unsaid: int = 0  # the status of an answer of which the pool hears at its end
        self.took: float = 0.0  # seconds to its head
        self._started: float = 0.0
        self._slot: Final = slot
        self._head: Final = head
        self._patience: Final = patience
        self._pool = pool

    def fired(self, claim: Claim | None) -> None:
        """The pool has taken it on: a connection is there (None) or on its way."""
        view = self.runtime.view
        view[self._slot + V_HEDGING] += 1
        view[self._slot + V_HEDGE_OUTCOMES + HEDGE_FIRED] += 1
        self._claim = claim

    def hand_over(self) -> tuple[UpstreamConnection | None, Pool | None]:
        """It has won: its connection, unless the answer was whole already, and the pool that must be left.

        Where `unsaid` was not 0, the pool is still to be told of the answer.
        """
        connection, pool = self._connection, self._pool
        self.unsaid = 0
        self._connection = None
        self._pool = None
        self._over(HEDGE_WON)
        return connection, pool

    def end(self, outcome: int = HEDGE_LOST) -> None:
        """It is not wanted any more."""
        if self.unsaid:
            self._judge(self.unsaid)
        self._let_go()
        self._over(outcome)

    def _over(self, outcome: int) -> None:
        self.owner = None
        view = self.runtime.view
        view[self._slot + V_HEDGING] -= 1
        view[self._slot + V_HEDGE_OUTCOMES + outcome] += 1

    def _failed(self, flag: Flag) -> None:
        owner = self.owner
        self.end(HEDGE_FAILED)
        if owner is not None:
            owner.on_hedge_gone(flag)

    # What its connection says.

    def on_connected(self, connection: UpstreamConnection) -> None:
        self._claim = None
        self._connection = connection
        self._started = self.runtime.now()
        self.warming = connection.endpoint.warming(self._started)
        connection.write(self._head)
        connection.deadline_in(self._started, self._patience)

    def on_unreachable(self, flag: Flag) -> None:
        self._claim = None
        self._failed(flag)

    def on_head(self, response: Response, body: bytes, complete: bool, trailers: list[bytes], now: float) -> None:
        self.took = now - self._started
        if complete or response.status >= 500:
            self._judge(response.status)
        else:
            self.unsaid = response.status
        owner = self.owner
        if complete:
            self._connection = None
        if owner is not None:
            owner.on_hedge_head(response, body, complete, trailers)

    def on_broken(self, flag: Flag, untouched: bool) -> None:
        if not untouched:
            self.took = self.runtime.now() - self._started
            self._judge(flag.status)
        self._connection = None
        self._failed(flag)

    def _judge(self, status: int) -> None:
        self._report(status, self.took, self.runtime.now())

    def on_upstream_pause(self, paused: bool) -> None:
        """It has no body that could be held back."""
