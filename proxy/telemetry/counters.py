"""Counters in shared memory: integer slots that one worker writes and the control process reads.

One memfd holds a region of slots for every worker. A worker writes its own region only, so there are no locks and no
lost updates; anyone may read any region (an aligned 64-bit load is never torn on the machines Python runs on). A slot's
place is decided once, by the ledger of the control process (telemetry/ledger.py), and travels to the workers in the plan,
so the hot path indexes and never looks up. The memory is sparse: a page that nobody counted in costs nothing.

A replacement worker takes its predecessor's region over and goes on counting where that one stopped.
"""

import errno
import mmap
import os
from bisect import bisect_left
from itertools import pairwise
from math import exp, log
from typing import Any, Final

from proxy.core.bearer import TOKEN_OUTCOMES
from proxy.core.faults import KINDS
from proxy.core.plan import REASONS
from proxy.errors import FLAGS

LEDGER_SLOTS: Final = 1 << 24
"""Slots of one worker that the ledger deals out: 128 MiB of address space, of which only touched pages exist. A thousand
routes of two versions with a fallback take 8 million, and as many versions that left may stay nearly as long."""
SHARED_SLOTS: Final = 1 << 22
"""Slots of the one table that all workers write: what is limited by key (core/gcra)."""
SHARED_AT: Final = LEDGER_SLOTS
"""Where it stands: in the first worker's region. The same place of the other regions is never touched."""
REGION_SLOTS: Final = LEDGER_SLOTS + SHARED_SLOTS
"""Slots of one worker's region."""

EXPORTED_EDGES: Final[tuple[float, ...]] = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
)  # fmt: skip
"""Upper bounds in seconds of the histogram that /metrics shows."""


def _fine_edges(lowest: float, highest: float, ratio: float) -> tuple[float, ...]:
    """Edges at most `ratio` apart that include every exported edge, so that the exported counts are exact sums."""
    stations = (lowest, *EXPORTED_EDGES, highest)
    edges = [lowest]
    for low, high in pairwise(stations):
        steps = 1
        while (high / low) ** (1 / steps) > ratio:
            steps += 1
        edges.extend(low * (high / low) ** (step / steps) for step in range(1, steps))
        edges.append(high)
    return tuple(edges)


FINE_EDGES: Final[tuple[float, ...]] = _fine_edges(0.00005, 120.0, 1.05)
"""Upper bounds in seconds of the histogram that is counted and that judges read: each at most 5 % above the one before."""
_EDGES: Final[list[float]] = list(FINE_EDGES)
_LOWEST: Final = FINE_EDGES[0]
_HIGHEST: Final = FINE_EDGES[-1]
BUCKETS: Final = len(FINE_EDGES) + 1

HISTOGRAM_SLOTS: Final = 314
"""A histogram is BUCKETS counts after a sum in nanoseconds. A number, so that the places behind one are numbers too in
compiled code."""
assert HISTOGRAM_SLOTS == 1 + BUCKETS  # noqa: S101

_CELLS_PER_E: Final = 40.0
"""Cells that ratio e is cut into: narrower than any bucket, so that a cell meets two of them at most."""
_LOG_LOWEST: Final = log(_LOWEST)
_CELLS: Final[list[int]] = [
    bisect_left(FINE_EDGES, _LOWEST * exp(cell / _CELLS_PER_E) * (1 - 1e-9))
    for cell in range(int(log(_HIGHEST / _LOWEST) * _CELLS_PER_E) + 2)
]
"""The bucket at the lower end of each cell."""

RETRY_OUTCOMES: Final[tuple[str, ...]] = (
    "stale_connection",  # not by `retry`: once, on a fresh connection, because the pooled one had just been closed
    "success",
    "failure",
    "abandoned",  # the client left meanwhile
    "budget_exhausted",  # from here on: a retry that was not made, and why
    "not_repeatable",
    "deadline",
    "retry_after",
)
(
    RETRY_STALE,
    RETRY_SUCCESS,
    RETRY_FAILURE,
    RETRY_ABANDONED,
    RETRY_BUDGET,
    RETRY_NOT_REPEATABLE,
    RETRY_DEADLINE,
    RETRY_AFTER,
) = range(len(RETRY_OUTCOMES))
HEDGE_OUTCOMES: Final[tuple[str, ...]] = (
    "fired",  # each of these has one of the next three, too
    "won",
    "lost",  # the first request was quicker, or the client left
    "failed",
    "budget",  # from here on: a hedge that was not sent, and why
    "unavailable",
)
HEDGE_FIRED, HEDGE_WON, HEDGE_LOST, HEDGE_FAILED, HEDGE_BUDGET, HEDGE_UNAVAILABLE = range(len(HEDGE_OUTCOMES))

# The block of one (route, version).
V_IN_FLIGHT: Final = 0
V_REQUEST_BYTES: Final = 1
V_RESPONSE_BYTES: Final = 2
V_REASONS: Final = 4
V_FLAGS: Final = V_REASONS + 16  # errors by flag: index in errors.FLAGS
V_DURATION: Final = V_FLAGS + 32
V_UPSTREAM: Final = V_DURATION + HISTOGRAM_SLOTS
V_MARKED_DURATION: Final = V_UPSTREAM + HISTOGRAM_SLOTS  # of the marked samples, which V_DURATION holds too
V_MARKED_REQUESTS: Final = V_MARKED_DURATION + HISTOGRAM_SLOTS  # samples that analysis leaves out: warming, disturbed
V_MARKED_ERRORS: Final = V_MARKED_REQUESTS + 1
V_RETRYING: Final = V_MARKED_ERRORS + 1  # exchanges that are being tried again
V_HEDGING: Final = V_RETRYING + 1  # hedges under way
V_QUEUED: Final = V_HEDGING + 1  # exchanges that wait for a place
V_ADMITTED: Final = V_QUEUED + 1  # exchanges that have one
# How many may have one, where that follows the latency: one number, which all workers write in the first worker's region.
V_LIMIT: Final = V_ADMITTED + 1
V_BREAKER_STATE: Final = V_LIMIT + 1  # 1 closed, 1 << 16 half-open, 1 << 32 open; 0: no breaker
V_BREAKER_REQUESTS: Final = V_BREAKER_STATE + 1  # this and the next two: the window as this worker has seen it
V_BREAKER_ERRORS: Final = V_BREAKER_REQUESTS + 1
V_BREAKER_SLOW: Final = V_BREAKER_ERRORS + 1
V_BREAKER_OPENED: Final = V_BREAKER_SLOW + 1  # how often
V_RETRY_OUTCOMES: Final = V_BREAKER_OPENED + 1
V_HEDGE_OUTCOMES: Final = V_RETRY_OUTCOMES + 8
V_LIMITED: Final = V_HEDGE_OUTCOMES + 8  # refused, by cause
V_CACHE_OUTCOMES: Final = V_LIMITED + 8
V_FAULTS: Final = V_CACHE_OUTCOMES + 8  # disturbed on purpose, by FAULT_OUTCOMES
V_EXPOSURES_DROPPED: Final = V_FAULTS + 8  # records of exposures that found no room in the worker
V_CHOICES: Final = V_EXPOSURES_DROPPED + 1  # what became of units' own choices, by CHOICE_OUTCOMES
V_CAP: Final = V_CHOICES + 6  # units that a capped version was new to, by CAP_OUTCOMES
V_EVIDENCE_DROPPED: Final = V_CAP + 2  # first events of units that found no room in the worker
V_BRAKES: Final = V_EVIDENCE_DROPPED + 1  # times a worker has taken the version out by itself
VERSION_SLOTS: Final = V_BRAKES + 1

LIMITED_CAUSES: Final[tuple[str, ...]] = ("rate", "queue_full", "queue_timeout", "shed", "admission")
LIMITED_RATE, LIMITED_QUEUE_FULL, LIMITED_QUEUE_TIMEOUT, LIMITED_SHED, LIMITED_ADMISSION = range(len(LIMITED_CAUSES))
CHOICE_OUTCOMES: Final[tuple[str, ...]] = ("shown", "chosen", "left", "unchanged", "refused", "limited")
CHOICE_SHOWN, CHOICE_CHOSEN, CHOICE_LEFT, CHOICE_UNCHANGED, CHOICE_REFUSED, CHOICE_LIMITED = range(len(CHOICE_OUTCOMES))
CAP_OUTCOMES: Final[tuple[str, ...]] = ("admitted", "contended")
"""What became of a unit that was new to a capped version: counted, or sent elsewhere because the record was busy."""
CAP_ADMITTED, CAP_CONTENDED = range(len(CAP_OUTCOMES))
EXPRESSION_TROUBLES: Final[tuple[str, ...]] = ("absent", "failed")
"""Why an expression could not be evaluated: it asked for an entry of a map that is not there; anything else."""
EXPRESSION_ABSENT, EXPRESSION_FAILED = range(len(EXPRESSION_TROUBLES))
FAULT_OUTCOMES: Final[tuple[str, ...]] = (*KINDS, "capped")
"""What was put in, and "capped" where a fault would have been but for the share of requests that may be disturbed."""
FAULT_CAPPED: Final = len(KINDS)

# The block of one (route, assigned version, served version): a count for each status code 0..999, clamped.
CODES_SLOTS: Final = 1000

# The block of one (route, mirror upstream).
MIRROR_OUTCOMES: Final[tuple[str, ...]] = (
    "sent",
    "sampled_out",
    "dropped_method",
    "dropped_loop",
    "dropped_upgrade",
    "dropped_in_flight",
    "dropped_buffer",
    "dropped_body_limit",
    "dropped_unreachable",
    "dropped_connections",
    "dropped_aborted",
)
M_IN_FLIGHT: Final = 0
M_BUFFERED: Final = 1  # bytes held for copies that the shadow has not taken yet
M_TIMEOUTS: Final = 2
M_FAILURES: Final = 3
M_OUTCOMES: Final = 4
M_DURATION: Final = M_OUTCOMES + 16
M_CODES: Final = M_DURATION + HISTOGRAM_SLOTS
MIRROR_SLOTS: Final = M_CODES + CODES_SLOTS

# The block of one upstream.
U_CONNECTING: Final = 0
U_ACTIVE: Final = 1
U_IDLE: Final = 2
U_PENDING: Final = 3
U_REQUESTS: Final = 4
U_PANIC: Final = 5  # 1 while so few endpoints are usable that all are used
UPSTREAM_SLOTS: Final = 8

# The block of one (upstream, endpoint).
E_DOWN: Final = 0  # 1 while this worker could not connect
E_FAILURES: Final = 1  # connects that failed
E_EJECTED: Final = 2  # 1 while this worker has ejected it
E_UNHEALTHY: Final = 3  # 1 while its probes fail
E_DRAINED: Final = 4  # 1 while it is drained by hand
E_IN_FLIGHT: Final = 5
E_EJECTIONS: Final = 6  # by cause
ENDPOINT_SLOTS: Final = E_EJECTIONS + 6

# The block of one plugin.
PLUGIN_HOOKS: Final[tuple[str, ...]] = ("unit", "decide", "on_request", "on_response", "start")
"""The hooks that requests bring about, and `start`, which a plan does."""
HOOK_UNIT, HOOK_DECIDE, HOOK_REQUEST, HOOK_RESPONSE, HOOK_START = range(len(PLUGIN_HOOKS))
PLUGIN_CAUSES: Final[tuple[str, ...]] = (
    "error",  # it raised something
    "invalid",  # what it said cannot be used
    "timeout",  # an async hook was cut off
    "overrun",  # a sync hook took too long; what it said counts
    "disabled",  # not asked, because of its overruns
    "busy",  # not asked, because too many of its calls are under way
)
CAUSE_ERROR, CAUSE_INVALID, CAUSE_TIMEOUT, CAUSE_OVERRUN, CAUSE_DISABLED, CAUSE_BUSY = range(len(PLUGIN_CAUSES))
P_RUNNING: Final = 0  # calls of async hooks under way
P_DISABLED: Final = 1  # hooks that are not asked now
P_ANSWERED: Final = 2  # requests that it answered
P_OVERRIDDEN: Final = 3  # decisions that it changed
P_ERRORS: Final = 4  # by hook, eight places each, by cause
P_SECONDS: Final = P_ERRORS + 8 * len(PLUGIN_HOOKS)  # by hook, without `start`, a histogram each
PLUGIN_SLOTS: Final = P_SECONDS + HISTOGRAM_SLOTS * HOOK_START

# The block of the worker itself; it stands at offset 0 of every region.
W_CONNECTIONS: Final = 0  # client connections open
W_ACCEPTED: Final = 1
W_LOOP_LAG: Final = 2  # nanoseconds, the last measure
W_LOG_DROPPED: Final = 3  # access log lines that found no room
W_REQUESTS: Final = 4
W_TUNNELS: Final = 5
W_FAILURES: Final = 6  # exceptions that nothing expected
W_REFUSED: Final = 7  # connections refused because `client.limits.connections` was reached
W_TUNNELS_RETIRED: Final = 8  # tunnels ended because their version was out of service, or the worker drained
W_RATE_KEYS_FORGOTTEN: Final = 9  # keys of rate limits that had to make room while they were in use
W_DEADLINES_IGNORED: Final = 10  # deadlines asked for by trusted peers that could not be read
W_TOKENS: Final = 11  # by outcome
W_EXPRESSIONS: Final = W_TOKENS + 16  # expressions that could not be evaluated, by EXPRESSION_TROUBLES
W_HEARTBEAT: Final = W_EXPRESSIONS + 2  # the monotonic clock in nanoseconds, twenty times a second
W_STALLS: Final = W_HEARTBEAT + 1  # times it was replaced because that stood still; written by control, when it is gone
WORKER_SLOTS: Final = W_STALLS + 1

IN_FLIGHT_SLOTS: Final = {
    "version": (
        V_IN_FLIGHT,
        V_RETRYING,
        V_HEDGING,
        V_QUEUED,
        V_ADMITTED,
        V_LIMIT,
        V_BREAKER_STATE,
        V_BREAKER_REQUESTS,
        V_BREAKER_ERRORS,
        V_BREAKER_SLOW,
    ),
    "mirror": (M_IN_FLIGHT, M_BUFFERED),
    "upstream": (U_CONNECTING, U_ACTIVE, U_IDLE, U_PENDING, U_REQUESTS, U_PANIC),
    "endpoint": (E_DOWN, E_EJECTED, E_UNHEALTHY, E_DRAINED, E_IN_FLIGHT),
    "plugin": (P_RUNNING, P_DISABLED),
    "worker": (W_CONNECTIONS, W_LOOP_LAG, W_TUNNELS, W_HEARTBEAT),
}
"""By kind of block, the slots that describe the present. They are set to 0 when the worker that wrote them is gone."""

BLOCK_SLOTS: Final = {
    "version": VERSION_SLOTS,
    "codes": CODES_SLOTS,
    "mirror": MIRROR_SLOTS,
    "upstream": UPSTREAM_SLOTS,
    "endpoint": ENDPOINT_SLOTS,
    "plugin": PLUGIN_SLOTS,
    "worker": WORKER_SLOTS,
}

assert len(REASONS) <= V_FLAGS - V_REASONS  # noqa: S101 - a layout that does not fit must not start
assert len(FLAGS) <= V_DURATION - V_FLAGS  # noqa: S101
assert len(TOKEN_OUTCOMES) <= W_EXPRESSIONS - W_TOKENS  # noqa: S101
assert len(LIMITED_CAUSES) <= V_CACHE_OUTCOMES - V_LIMITED  # noqa: S101
assert len(RETRY_OUTCOMES) <= 8  # noqa: S101
assert len(HEDGE_OUTCOMES) <= 8  # noqa: S101
assert len(MIRROR_OUTCOMES) <= M_DURATION - M_OUTCOMES  # noqa: S101
assert len(PLUGIN_CAUSES) <= 8  # noqa: S101
assert len(FAULT_OUTCOMES) <= V_EXPOSURES_DROPPED - V_FAULTS  # noqa: S101


ROOM: Final = 32
"""Regions that are mapped from the start at least, so that workers can become more while all of them run. They cost
address space alone: 4 GiB."""

_REGION_BYTES: Final = REGION_SLOTS * 8


class Cells:
    """The mapped memory. `view` is indexed with absolute slots: a block's offset plus `base` of the worker.

    `workers` is among how many the limits are divided, `alone` whether this one is the only one that runs, `others` the
    bases of those that run beside it, `shares` how often all this has changed; `regions` in how many of the regions anybody
    has ever counted, `room` how many there are.
    """

    def __init__(self, descriptor: int, worker: int, workers: int) -> None:
        """Map `descriptor`, grown to hold twice `workers` regions, and `ROOM` at least, if it is smaller.

        Raises OSError when the memory cannot be mapped.
        """
        size = os.fstat(descriptor).st_size
        room = max(ROOM, 2 * workers, worker + 1, size // _REGION_BYTES)
        if size < room * _REGION_BYTES:
            os.ftruncate(descriptor, room * _REGION_BYTES)
        self.descriptor: Final = descriptor
        self.room: Final = room
        self.base: Final = worker * REGION_SLOTS
        self.workers: int = workers
        self.regions: int = 0
        self.alone: bool = True
        self.others: list[int] = []
        self.shares: int = 0
        self._living: list[int] = []
        self._memory: Final = mmap.mmap(descriptor, room * _REGION_BYTES)
        self.view: Final[memoryview] = memoryview(self._memory).cast("q")
        self.share(workers, sorted({worker, *range(workers)}))

    def share(self, workers: int, living: list[int]) -> None:
        """From now on the limits are divided among `workers`, and those of the numbers `living` run: also those that
        are leaving and still have something under way."""
        self.workers = workers
        self.alone = len(living) == 1
        self.regions = max(self.regions, max(living, default=0) + 1)
        self._living = [worker * REGION_SLOTS for worker in living]
        self.others = [region for region in self._living if region != self.base]
        self.shares += 1

    def total(self, slot: int) -> int:
        """The sum over all workers that run of the slot at `slot`, an absolute place in any of the regions."""
        view = self.view
        place = slot % REGION_SLOTS
        if self.alone:
            return view[place + self._living[0]]
        return sum([view[place + region] for region in self._living])


def regions_in_use(descriptor: int) -> int:
    """How many regions of a counters' memory hold anything; all up to the last that does. Raises OSError."""
    for region in reversed(range(os.fstat(descriptor).st_size // _REGION_BYTES)):
        try:
            os.lseek(descriptor, region * _REGION_BYTES, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # no data from here on
                continue
            raise
        return region + 1
    return 0


def create_memory() -> int:
    """A new anonymous memory; its descriptor is passed on and lives as long as anyone holds it."""
    return os.memfd_create("tidegate-counters", os.MFD_CLOEXEC)


def add(view: memoryview, slot: int, number: int) -> None:
    """Add to the absolute slot `slot`. In compiled code `view[slot] += number` costs a fifth more: it makes an object of
    the place twice, and has Python look how two things are added.
    """
    place: Any = slot
    before: int = view[place]
    view[place] = before + number


def observe(view: memoryview, histogram: int, seconds: float) -> None:
    """Count one duration in the histogram that starts at the absolute slot `histogram`."""
    add(view, histogram, int(seconds * 1e9))
    add(view, histogram + 1 + bucket_of(seconds), 1)


def bucket_of(seconds: float) -> int:
    """The place of the first of FINE_EDGES that is not below `seconds`; their number where all are.

    The logarithm leads to one bucket or the one before it, where a search would compare eight times.
    """
    if not _LOWEST < seconds < _HIGHEST:
        return 0 if seconds <= _LOWEST else bisect_left(_EDGES, seconds)
    place = _CELLS[int((log(seconds) - _LOG_LOWEST) * _CELLS_PER_E)]
    while _EDGES[place] < seconds:
        place += 1
    return place
