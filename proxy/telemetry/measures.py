"""What versions have had by the counters, and what of it is new: for verdicts and for the brake.

Samples that analysis leaves out (marked: warming up, disturbed on purpose) are left out of requests, errors and durations. Bytes
are not kept apart for them, and hold all.
"""

import os
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Final

from proxy.errors import FLAGS
from proxy.telemetry.counters import (
    BUCKETS,
    LIMITED_CAUSES,
    M_CODES,
    M_DURATION,
    M_FAILURES,
    M_OUTCOMES,
    M_TIMEOUTS,
    MIRROR_OUTCOMES,
    MIRROR_SLOTS,
    U_REQUESTS,
    UPSTREAM_SLOTS,
    V_DURATION,
    V_FLAGS,
    V_IN_FLIGHT,
    V_LIMITED,
    V_MARKED_DURATION,
    V_MARKED_ERRORS,
    V_MARKED_REQUESTS,
    V_QUEUED,
    V_RESPONSE_BYTES,
    VERSION_SLOTS,
    Cells,
)
from proxy.telemetry.ledger import Ledger
from proxy.telemetry.snapshot import Snapshot


@dataclass(frozen=True, slots=True)
class Counts:
    """One version, since its series began or since an earlier look. `durations` are by bucket of counters.FINE_EDGES, `seconds`
    their sum; `in_flight` and `queued` are of the moment."""

    requests: int = 0
    errors: int = 0
    marked: int = 0
    response_bytes: int = 0
    limited: int = 0
    seconds: float = 0.0
    durations: tuple[int, ...] = field(default=(0,) * BUCKETS, repr=False)
    in_flight: int = 0
    queued: int = 0

    def since(self, before: "Counts") -> "Counts | None":
        """What is new since `before`; None where a counter went back: those were other counters."""
        more = Counts(
            self.requests - before.requests,
            self.errors - before.errors,
            self.marked - before.marked,
            self.response_bytes - before.response_bytes,
            self.limited - before.limited,
            max(0.0, self.seconds - before.seconds),
            tuple(a - b for a, b in zip(self.durations, before.durations, strict=True)),
            self.in_flight,
            self.queued,
        )
        lowest = min(more.requests, more.errors, more.marked, more.response_bytes, more.limited, *more.durations)
        return None if lowest < 0 else more

    def to_json(self) -> dict[str, object]:
        """Plain values; buckets that hold nothing are left out."""
        return {
            "requests": self.requests,
            "errors": self.errors,
            "marked": self.marked,
            "response_bytes": self.response_bytes,
            "limited": self.limited,
            "seconds": self.seconds,
            "durations": [[place, count] for place, count in enumerate(self.durations) if count],
        }

    @classmethod
    def from_json(cls, values: dict[str, object]) -> "Counts":
        """What `to_json` gave. Raises ValueError for anything else."""
        durations = [0] * BUCKETS
        try:
            for place, count in values["durations"]:  # type: ignore[attr-defined]
                durations[place] = int(count)
            named = {
                name: int(values[name])  # type: ignore[call-overload]
                for name in ("requests", "errors", "marked", "response_bytes", "limited")
            }
            seconds = float(values["seconds"])  # type: ignore[arg-type]
        except (KeyError, TypeError, IndexError) as error:
            raise ValueError(f"not counts of a version: {error!r}") from error
        return cls(**named, seconds=seconds, durations=tuple(durations))


NOTHING: Final = Counts()


class Measures:
    """Reads them off the counters."""

    def __init__(self, cells: Cells, ledger: Ledger) -> None:
        self._cells: Final = cells
        self._ledger: Final = ledger

    def of(self, routes: Collection[str]) -> dict[tuple[str, str], Counts]:
        """By (route, version), for the versions of these routes that are in the plan."""
        if not routes:
            return {}
        snapshot = Snapshot(self._cells)
        return {
            (route, version): _counts(snapshot.read(offset, VERSION_SLOTS))
            for (route, version), offset in self._ledger.live("version")
            if route in routes
        }

    def copied(self, route: str, upstream: str) -> Counts:
        """What the copies of a route's requests have come to at a shadow: those without an answer count as errors."""
        offset = next((place for key, place in self._ledger.blocks("mirror") if key == (route, upstream)), None)
        return NOTHING if offset is None else _copies(Snapshot(self._cells).read(offset, MIRROR_SLOTS))

    def under_way(self, upstream: str) -> int:
        """Requests that an upstream has at the moment, of all routes."""
        offset = next((place for key, place in self._ledger.live("upstream") if key == (upstream,)), None)
        values = None if offset is None else Snapshot(self._cells).read(offset, UPSTREAM_SLOTS)
        return 0 if values is None else values[U_REQUESTS]

    def memory(self) -> str:
        """Names the memory that is counted in, among all since the machine was started: other memory, other counts."""
        found = os.fstat(self._cells.descriptor)
        return f"{found.st_dev}:{found.st_ino}"


_UNREACHABLE: Final = M_OUTCOMES + MIRROR_OUTCOMES.index("dropped_unreachable")
_SERVER_ERROR: Final = 500
_ALL_CODES: Final = 600


def _copies(values: list[int] | None) -> Counts:
    if values is None:
        return NOTHING
    answers = values[M_DURATION + 1 : M_DURATION + 1 + BUCKETS]
    lost = values[M_TIMEOUTS] + values[M_FAILURES] + values[_UNREACHABLE]
    failed = sum(values[M_CODES + _SERVER_ERROR : M_CODES + _ALL_CODES])
    answers[-1] += values[M_TIMEOUTS]  # slower than all there is
    return Counts(
        requests=sum(values[M_DURATION + 1 : M_DURATION + 1 + BUCKETS]) + lost,
        errors=failed + lost,
        seconds=values[M_DURATION] / 1e9,
        durations=tuple(answers),
    )


def _counts(values: list[int] | None) -> Counts:
    if values is None:
        return NOTHING
    start, marked = V_DURATION + 1, V_MARKED_DURATION + 1
    if values[V_MARKED_REQUESTS]:
        pairs = zip(values[start : start + BUCKETS], values[marked : marked + BUCKETS], strict=True)
        durations = tuple(max(0, every - left_out) for every, left_out in pairs)
    else:
        durations = tuple(values[start : start + BUCKETS])
    return Counts(
        requests=sum(durations),
        errors=max(0, sum(values[V_FLAGS : V_FLAGS + len(FLAGS)]) - values[V_MARKED_ERRORS]),
        marked=values[V_MARKED_REQUESTS],
        response_bytes=values[V_RESPONSE_BYTES],
        limited=sum(values[V_LIMITED : V_LIMITED + len(LIMITED_CAUSES)]),
        seconds=(values[V_DURATION] - values[V_MARKED_DURATION]) / 1e9,
        durations=durations,
        in_flight=max(0, values[V_IN_FLIGHT]),
        queued=max(0, values[V_QUEUED]),
    )
