"""Faults put in on purpose: which of a route's faults hold for a request, and how many requests they may disturb.

A fault's percentage is of units, by hash: the same units every time, and the more percent the more of them, nobody let go.
A request without a unit brings random bytes in its place, so that the percentage is of requests. What bounds an experiment
that was set too large is not the fault but the version: in any window no more than a share of its requests is disturbed.
"""

from collections.abc import Mapping
from typing import Any, Final

from proxy.core.address import Networks
from proxy.core.hashing import sampled
from proxy.core.http1 import list_members
from proxy.core.match import Matcher, compile_matcher
from proxy.core.request import Request

Spec = dict[str, Any]

KINDS: Final[tuple[str, ...]] = ("delay", "abort", "reset", "slow_body")
DELAY, ABORT, RESET, SLOW_BODY = range(4)

WINDOW: Final = 10
"""Seconds over which disturbed requests are counted."""
FEWEST: Final = 20
"""Requests that a window is taken to have where it had fewer, so that a quiet version can be experimented on at all."""


class Fault:
    """One fault of a route and the conditions under which it holds, all of which must.

    `kind` is an index of KINDS; `delay` is in seconds, `rate` in bytes per second, `until` in Unix seconds (0: no end).
    """

    def __init__(self, spec: Spec, segments: Mapping[str, Matcher]) -> None:
        """Faults with one salt are about the same units, the smaller's among the larger's.

        Raises ValueError for a kind that there is not, a value its matcher cannot use, or a network that is none.
        """
        kind: str = spec["kind"]
        header = spec["header"]
        self.label: Final[str] = spec["label"]  # "faults[0]"
        self.kind: Final = KINDS.index(kind)
        self.delay: Final[float] = spec["delay"]
        self.status: Final[int] = spec["status"]
        self.rate: Final[int] = spec["bytes_per_second"]
        self.until: Final[float] = spec["until"]
        self._threshold: Final[int] = round(spec["percent"] / 100 * 2**32)
        self._prefix: Final = f"{spec['salt']}\0fault\0".encode()
        self._where: Final[Matcher | None] = compile_matcher(spec["where"], segments) if "where" in spec else None
        self._versions: Final[frozenset[str]] = frozenset(spec["versions"])
        self._header: Final[bytes] = header["name"].lower().encode() if header else b""
        self._networks: Final[Networks | None] = Networks(header["from"]) if header else None
        self._names: Final = frozenset((self.label.lower().encode(), kind.encode()))

    @property
    def asked(self) -> bool:
        """Whether only requests that ask for it by name get it."""
        return self._networks is not None

    def holds(self, request: Request, version: str, key: bytes, wall: float) -> bool:
        """Whether this fault is for this request. `key` is the unit, or random bytes; `wall` the time in Unix seconds."""
        if self.until and wall >= self.until:
            return False
        if self._versions and version not in self._versions:
            return False
        networks = self._networks
        if networks is not None:
            value = request.fields.get(self._header)
            if value is None or not networks.contains(request.client):
                return False
            if self._names.isdisjoint(list_members(value)):
                return False
        if not sampled(self._prefix, key, self._threshold):
            return False
        return self._where is None or self._where(request)


class Disturbance:
    """What is done to one request: a delay, something else, or the one and then the other.

    `asked` says that the request named all of it itself: then it is not counted against the share that may be disturbed.
    """

    def __init__(self, delay: Fault | None, other: Fault | None) -> None:
        self.delay: Final = delay
        self.other: Final = other
        self.asked: Final = (delay is None or delay.asked) and (other is None or other.asked)


class FaultPolicy:
    """The faults of one route, in the order of the file."""

    def __init__(self, specs: list[Spec], segments: Mapping[str, Matcher]) -> None:
        """Raises what Fault raises."""
        self.faults: Final = [Fault(spec, segments) for spec in specs]

    def choose(self, request: Request, version: str, key: bytes, wall: float) -> Disturbance | None:
        """The first delay that holds, and the first of the other kinds that does; None where neither is.

        `version` is the one assigned, `key` the unit or random bytes, `wall` the time in Unix seconds.
        """
        delay: Fault | None = None
        other: Fault | None = None
        for fault in self.faults:
            if fault.kind == DELAY:
                if delay is None and fault.holds(request, version, key, wall):
                    delay = fault
            elif other is None and fault.holds(request, version, key, wall):
                other = fault
        return None if delay is None and other is None else Disturbance(delay, other)


class Disturbed:
    """How many of a version's requests came, and how many were disturbed, in the last WINDOW seconds."""

    def __init__(self) -> None:
        self.seen: int = 0
        self.disturbed: int = 0
        self._seen: Final[list[int]] = [0] * WINDOW
        self._disturbed: Final[list[int]] = [0] * WINDOW
        self._second: int = 0

    def came(self, now: float) -> None:
        """Count a request. `now` is in monotonic seconds."""
        second = int(now)
        if second != self._second:
            self._turn(second)
        self._seen[second % WINDOW] += 1
        self.seen += 1

    def take(self, percent: float) -> bool:
        """Count the request that came last as disturbed, if the share stays within `percent`; False: it must not be."""
        if (self.disturbed + 1) * 100 > percent * max(self.seen, FEWEST):
            return False
        self._disturbed[self._second % WINDOW] += 1
        self.disturbed += 1
        return True

    def _turn(self, second: int) -> None:
        """Forget what has left the window."""
        for gone in range(self._second + 1, min(second, self._second + WINDOW) + 1):
            place = gone % WINDOW
            self.seen -= self._seen[place]
            self.disturbed -= self._disturbed[place]
            self._seen[place] = 0
            self._disturbed[place] = 0
        self._second = second
