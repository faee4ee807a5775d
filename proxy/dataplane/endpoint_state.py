"""What one worker knows of one endpoint. It outlives plans: it is found again by the endpoint's key."""

from typing import Final

from proxy.core.balance import Member
from proxy.core.outlier import Standing
from proxy.core.plan import Endpoint
from proxy.dataplane.upstream import UpstreamConnection
from proxy.telemetry.counters import E_DOWN, E_DRAINED, E_EJECTED, E_IN_FLIGHT, E_UNHEALTHY

_REST_AFTER_FAILURE: Final = 0.25
"""Seconds an endpoint that refused is left alone; doubles with each failure in a row, so that a dead one costs little."""
_LONGEST_REST: Final = 5.0
_ABSENT: Final = 2
"""Failed connects in a row after which an endpoint that can be reached again starts slowly: it was gone, not busy."""
_PRESENT: Final = (E_DOWN, E_EJECTED, E_UNHEALTHY, E_DRAINED, E_IN_FLIGHT)


class EndpointState(Member):
    """Its connections, its health, and how it stands with outlier detection."""

    def __init__(self, endpoint: Endpoint, shadow: bool = False) -> None:
        """`shadow`: the same endpoint has another state, which tells what control said of it."""
        super().__init__(endpoint.key, endpoint.weight, endpoint.zone)
        self._shadow: Final = shadow
        self.endpoint: Endpoint = endpoint
        self.idle: Final[list[UpstreamConnection]] = []
        self.open: int = 0  # connections, idle ones too
        self.dialling: int = 0
        self.overtaken: int = 0  # requests that go on though a hedge has answered
        self.retired: bool = False  # no longer in the plan: what is open ends with its exchange
        self.down_until: float = 0.0
        self.failures: int = 0  # connects in a row
        self.unhealthy: bool = False  # the probes of the control process say so
        self.drained: bool = False  # somebody asked for it
        self.standing: Standing = Standing()
        # As of the chooser's last look:
        self.usable: bool = True
        self.barred: bool = False  # gets no requests, for another reason than that it could not be reached a moment ago
        self._shown: Final[list[int]] = [0] * len(_PRESENT)

    def load(self) -> int:
        return self.open + self.dialling - len(self.idle)

    def move(self, endpoint: Endpoint, view: "memoryview[int]") -> None:
        """The same endpoint in other words: a weight, a zone, a label, a place for its counters."""
        if endpoint.slot != self.endpoint.slot:
            shown = self._shown.copy()
            self._write(view, [0] * len(_PRESENT))
            self.endpoint = endpoint
            self._write(view, shown)
        self.endpoint = endpoint
        self.weight = endpoint.weight
        self.zone = endpoint.zone

    def refused(self, now: float) -> None:
        """A connection to it could not be opened: it is left alone for a while from `now`, monotonic seconds."""
        self.failures += 1
        self.down_until = now + min(_REST_AFTER_FAILURE * 2 ** min(self.failures - 1, 8), _LONGEST_REST)

    def reached(self) -> bool:
        """A connection opened again; whether it had been gone for so long that it should start slowly."""
        absent = self.failures >= _ABSENT
        self.failures = 0
        self.down_until = 0.0
        return absent

    def inherit(self, before: "EndpointState") -> None:
        """Be known for what the same endpoint has shown over connections that are not to be used any more."""
        self.down_until = before.down_until
        self.failures = before.failures
        self.unhealthy = before.unhealthy
        self.drained = before.drained
        self.standing = before.standing
        self.current = before.current
        self.usable_since = before.usable_since
        self.warm_at = before.warm_at

    def retire(self, view: "memoryview[int]") -> None:
        """It left the plan: idle connections close, busy ones with their exchange."""
        self.retired = True
        self.usable = False
        self.barred = True
        self.show(view)
        self.close_idle()

    def close_idle(self) -> None:
        for connection in self.idle.copy():
            connection.close()

    def show(self, view: "memoryview[int]") -> None:
        """Put the present into shared memory."""
        if self.retired:
            self._write(view, [0] * len(_PRESENT))
        else:
            told = not self._shadow
            down, ejected = int(self.failures > 0), int(self.standing.ejected)
            self._write(view, [down, ejected, int(told and self.unhealthy), int(told and self.drained), self.load()])

    def _write(self, view: "memoryview[int]", numbers: list[int]) -> None:
        """As differences: a shadow's pool may share the slots."""
        shown = self._shown
        slot = self.endpoint.slot
        for place, offset in enumerate(_PRESENT):
            change = numbers[place] - shown[place]
            if change:
                view[slot + offset] += change
                shown[place] = numbers[place]
