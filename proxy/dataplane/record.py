"""What is known of one exchange, and how it is written down: counters, the access log line, the debug fields.

`Exchange` goes on from here with what happens; this is what remains of it. One object serves both, because an exchange
is made for every request and a second one would cost more than the counting.
"""

from typing import Final

from proxy.core.decide import Decision
from proxy.core.evidence import Tally
from proxy.core.plan import NONE, REASONS, SPLIT, Plan, Route, Version
from proxy.core.request import Request
from proxy.dataplane.downstream import Downstream
from proxy.dataplane.holding import Holder
from proxy.errors import DI, DN, E5, FB, ST, URX, Flag
from proxy.telemetry.access_log import format_line
from proxy.telemetry.counters import (
    V_DURATION,
    V_FLAGS,
    V_IN_FLIGHT,
    V_MARKED_DURATION,
    V_MARKED_ERRORS,
    V_MARKED_REQUESTS,
    V_REQUEST_BYTES,
    V_RESPONSE_BYTES,
    V_UPSTREAM,
    add,
    observe,
)

MARK_WARMING: Final = 1
"""The version or endpoint that answered was still warming up."""
MARK_FAULT: Final = 2
"""The exchange was disturbed on purpose."""
_MARKS: Final = ("", "warming", "fault", "warming,fault")


class Record(Holder):
    """From the decision to the last byte: who was asked, who answered, what went wrong, how long and how much."""

    _decision: Decision | None = None
    _served: int = -1  # place in the chain of who is asked or answered
    _flag: Flag | None = None
    _unit_hash: str = ""
    _request_id: bytes = b""
    _trace_id: bytes = b""
    _upstream_started: float = 0.0
    _upstream_seconds: float = -1.0  # to the head of the answer
    _status: int = 0
    _answering: bool = False
    _request_bytes: int = 0
    _response_bytes: int = 0
    _over: bool = False
    ended: float = 0.0  # when it was counted
    _failed: Flag | None = None  # what it counted as, where that was an error
    _let_down: Flag | None = None  # how the version assigned failed, where another was asked for that
    _exhausted: bool = False  # all tries were used up, and this is what the last one gave
    cache_state: str = ""  # what became of it at the cache, where its route has one
    replaced: int = 0  # the status of an answer of 500 or above in whose place the client got an old one
    _stale: bool = False
    _events: list[tuple[int, float]] | None = (
        None  # what the answer says that its unit did: which event, with which value
    )
    marked: int = 0  # MARK_*: why analysis leaves this sample out
    delayed: bool = False  # on purpose
    own_page: bool = False  # the proxy's own (choices.py): no version's work, and none of its figures
    unproven: bool = False  # it took too long, which says nothing of the version

    def __init__(self, client: Downstream, plan: Plan, route: Route, request: Request) -> None:
        self.client: Final = client
        self.runtime: Final = client.runtime
        self.plan: Final = plan
        self.route: Final = route
        self.request: Final = request
        self.method = request.method
        self._chain: list[Version] = []
        self._started: Final = client.runtime.now()

    def _count(self) -> None:
        """Put it into the counters and the access log."""
        runtime = self.runtime
        view = runtime.view
        now = runtime.now()
        self.ended = now
        version = self._chain[0]
        slot = version.slot
        status = self._status
        served = self._served
        flag = self._flag
        add(view, slot + V_IN_FLIGHT, -1)
        if self.own_page:
            if self.plan.access_log:
                self._write_line(now)
            return
        denied = flag is DN
        if served >= 0 and not denied:
            add(view, version.codes[served] + status, 1)
        else:
            add(view, version.codes_none + status, 1)
        observe(view, slot + V_DURATION, now - self._started)
        if self._answering and self._upstream_seconds >= 0.0:
            observe(view, slot + V_UPSTREAM, self._upstream_seconds)
        if self._request_bytes:
            add(view, slot + V_REQUEST_BYTES, self._request_bytes)
        add(view, slot + V_RESPONSE_BYTES, self._response_bytes)
        # A failure that an old answer hid from the client is the version's all the same.
        failed = E5 if (self.replaced or status) in self.route.error_codes else None
        if flag is not None:
            cause = DI if self.delayed and self.unproven else flag
            blamed = cause.code in self.route.error_flags or (failed is not None and not cause.blameless)
            failed = cause if blamed else None
        elif self.delayed and failed is None and DI.code in self.route.error_flags:
            failed = DI
        if (
            failed is None and served > 0 and self._let_down is not None
        ):  # another answered: the version failed all the same
            cause = self._let_down
            if cause is E5 or cause.code in self.route.error_flags:
                failed = cause
        if failed is not None:
            self._failed = failed
            add(view, slot + V_FLAGS + failed.index, 1)
        if self.marked:
            add(view, slot + V_MARKED_REQUESTS, 1)
            observe(view, slot + V_MARKED_DURATION, now - self._started)
            if failed is not None:
                add(view, slot + V_MARKED_ERRORS, 1)
        elif self.route.evidence is not None:
            self._testify(self.route.evidence, now - self._started)
        if self.plan.access_log:
            self._write_line(now)

    def _testify(self, tally: Tally, seconds: float) -> None:
        """Count it for its unit, where versions are compared and it was the undisturbed draw that dealt this one."""
        decision = self._decision
        unit = self._unit_hash
        if decision is None:
            return
        version = self._chain[0]
        failed = self._failed
        drawn_again = self.route.capped and not decision.dealt  # among what a cap has left
        if decision.reason != SPLIT or not unit or drawn_again:
            if failed is not None:
                tally.call(version.index, unit)
            return
        news = tally.count(version.index, unit, failed is not None, seconds, self._response_bytes)
        if self._events is not None:
            for event, value in self._events:
                tally.happened(version.index, unit, event, value)
        if news:
            flag = "" if failed is None else failed.code
            self.runtime.evidencing.note(tally, version, unit, news, self._request_id, self._status, flag)

    def _write_line(self, now: float) -> None:
        decision = self._decision
        request = self.request
        self.runtime.access(
            format_line(
                wall=self.runtime.wall(),
                route=self.route.name,
                assigned=self._chain[0].name,
                served=self._chain[self._served].name if self._served >= 0 else NONE,
                reason="" if decision is None else REASONS[decision.reason],
                unit_hash=self._unit_hash,
                client=request.client,
                method=request.method,
                host=request.host,
                path=request.path,
                status=self._status,
                flags=",".join(self._flags()),
                duration=now - self._started,
                upstream_duration=self._upstream_seconds,
                request_bytes=self._request_bytes,
                response_bytes=self._response_bytes,
                request_id=self._request_id,
                trace_id=self._trace_id,
                marked=_MARKS[self.marked],
                cache=self.cache_state,
            )
        )

    def _debug_lines(self) -> bytes:
        """Why this answer, for those who may know."""
        networks = self.route.debug
        decision = self._decision
        if networks is None or decision is None or not networks.contains(self.request.client):
            return b""
        served = self._chain[self._served].name if self._served >= 0 else NONE
        flags = ",".join(self._flags()) or "-"
        return (
            f"x-tidegate-route: {self.route.name}\r\nx-tidegate-version: {self._chain[0].name}\r\n"
            f"x-tidegate-served: {served}\r\nx-tidegate-reason: {REASONS[decision.reason]}\r\n"
            f"x-tidegate-flags: {flags}\r\n" + (f"x-tidegate-cache: {self.cache_state}\r\n" if self.cache_state else "")
        ).encode("latin-1")

    def _flags(self) -> list[str]:
        flags = [] if self._flag is None else [self._flag.code]
        if self._served > 0 and self._flag is None and self._let_down is not None:
            flags.append(self._let_down.code)
        if self._exhausted:
            flags.append(URX.code)
        if self._served > 0:
            flags.append(FB.code)
        if self.delayed:
            flags.append(DI.code)
        if self._stale and self._flag is not ST:
            flags.append(ST.code)
        return flags
