"""An answer's body let out slowly, on purpose, with no more of it held here than one read of the upstream's connection.

The exchange writes the head itself and hands what follows to its `Pacer`, which lets it go in bites, a few a second. When
enough is held the upstream is not read any further: it is the upstream that waits, as it would for a slow client.
"""

from typing import Final

from proxy.dataplane.record import Record
from proxy.dataplane.timers import TICK, Timed

_HELD: Final = 64 << 10
"""Bytes held beyond which the upstream is not read."""

_UNEXPECTED: Final = "an exchange says what to do about it"


class Paced(Record):
    """An exchange as its pacer sees it."""

    def let_go(self, data: bytes, last: bool) -> None:
        """Write this to the client; the `last` of the answer ends the exchange."""
        raise AssertionError(_UNEXPECTED)

    def hold_upstream(self, held: bool) -> None:
        """Read no more from the upstream, or again."""
        raise AssertionError(_UNEXPECTED)

    def in_haste(self) -> bool:
        """Whether what is held must go at once."""
        raise AssertionError(_UNEXPECTED)


class Pacer(Timed):
    """Holds one answer's body back."""

    def __init__(self, exchange: Paced, rate: int) -> None:
        """`rate` is in bytes per second, at least 1."""
        self._exchange: Final = exchange
        self._rate: Final = rate
        self._room: Final = max(_HELD, rate // 4)
        self._held: bytes = b""
        self._at: int = 0  # what stands before has been let go
        self._last: bool = False
        self._since: float = 0.0  # up to here, what was due has been let go
        self.full: bool = False  # and the upstream is not read

    def hold(self, data: bytes, last: bool) -> None:
        """Take more of the body; `last`: nothing comes after it."""
        self._last = last
        if not self._held and (not data or self._exchange.in_haste()):
            self._exchange.let_go(data, last)
            return
        if self._held:
            self._held = self._held[self._at :] + data
        else:
            self._since = self._exchange.runtime.now()
            self._held = data
        self._at = 0
        if not last and not self.full and len(self._held) > self._room:
            self.full = True
            self._exchange.hold_upstream(True)
        self._again()

    def _again(self) -> None:
        wheel = self._exchange.runtime.wheel
        if self._held:
            wheel.arm(self, self._exchange.runtime.now() + TICK)

    def expired(self, now: float) -> None:
        exchange = self._exchange
        if exchange.client.paused:  # it is slower than it has to be, and cannot catch up afterwards
            self._since = now
            self._again()
            return
        held = self._held
        at = self._at
        left = len(held) - at
        due = left if exchange.in_haste() else min(int((now - self._since) * self._rate), left)
        left -= due
        self._since += due / self._rate
        if left:
            self._at = at + due
        else:
            self._held = b""
            self._at = 0
        last = self._last and not left
        if due:
            exchange.let_go(held[at : at + due], last)
        if self.full and not last and left <= self._room // 2:
            self.full = False
            exchange.hold_upstream(False)
        self._again()

    def stop(self) -> None:
        """The exchange is over."""
        self._held = b""
        self._exchange.runtime.wheel.forget(self)
