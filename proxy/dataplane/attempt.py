"""How an exchange comes to a connection: which version, which endpoint, and what the version's breaker says of it.

A *try* is one request to one version: a connection is found (up to three endpoints are dialled), the request is sent, and a
head comes, or something goes wrong. Two things happen here without being configured: an endpoint that refuses is followed
by another, and a version that cannot be reached by the next of its chain; so is one whose breaker is open. The version
assigned is charged for whatever happens. Each try is told to the breaker of its version once: as ended, or as dropped where
it says nothing about the version.
"""

from math import inf
from typing import Final

from proxy.core.arm import Arm
from proxy.core.balance import Member
from proxy.core.breaker import ORDINARY, REFUSED
from proxy.core.hashing import unit_number
from proxy.core.plan import Version
from proxy.dataplane import breaking
from proxy.dataplane.hedge import Hedged
from proxy.dataplane.record import MARK_WARMING
from proxy.errors import UH, UO, Flag

_ENDPOINTS: Final = 3
"""Endpoints of one version that are dialled in one try."""
_BARRED: Final = "the circuit breaker is open"

_UNEXPECTED: Final = "an exchange says what to do about it"


class Attempt(Hedged):
    """One try after the other; whether there is another is said by who goes on from here."""

    _kept: list[bytes]  # field lines for the upstream
    _attempts: int = 0  # endpoints dialled in this try
    _tries: int = 0  # of the version in turn
    _try_ends: float = (
        inf  # monotonic seconds, where a try has a time of its own; a client that sends its body does not use it up
    )
    _arm: Arm | None = None  # of the version in turn, while a try is under way
    _mark: int = ORDINARY  # what its breaker said
    _barred: bool = False  # the version last looked at has its breaker open
    _tried: list[Member] | None = None  # endpoints that failed, where there may be another try
    _unsaid: int = 0  # the status of an answer of which the pool hears when its body has come, or has not
    _took: float = 0.0  # seconds to its head

    # What the exchange does.

    def _fail(self, flag: Flag, status: int = 0, detail: str = "") -> None:
        """Answer in the upstream's place."""
        raise AssertionError(_UNEXPECTED)

    def _head_of(self, version: Version, kept: list[bytes]) -> bytes:
        """The request's head as `version` gets it."""
        raise AssertionError(_UNEXPECTED)

    def _lost(self, flag: Flag, refused: bool) -> bool:
        """The try under way has failed without an answer. True: another goes on in its place."""
        raise AssertionError(_UNEXPECTED)

    # A version, an endpoint, a connection.

    def _try_version(self, place: int) -> None:
        """Ask the version at this place of the chain, or the first after it that can be reached."""
        chain = self._chain
        flag: Flag | None = UH
        while place < len(chain):
            if place and not self.may_have(chain[place]):
                place += 1
                continue
            self._served = place
            if self._tries:
                self._tries = 0
            flag = self._try_once()
            if flag is None:
                return
            if flag is UO and not self._barred:
                break
            if place == 0 and not self._barred:
                self._let_down = flag
            place += 1
        self._give_up(flag or UH)

    def _give_up(self, flag: Flag) -> None:
        """Nobody could be asked."""
        self._served = -1
        self._fail(flag, 0, _BARRED if self._barred else "")

    def _try_once(self) -> Flag | None:
        """Begin a try of the version in turn; None when a connection is there or on its way."""
        # What is not configured is not written either: an object with more than thirty attributes of its own costs more.
        arm = self._chain[self._served].arm
        if self._barred:
            self._barred = False
        if arm is not None and not self._let_through(arm):
            return UO
        if self.route.attended:
            self._tries += 1
        self._attempts = 0
        retry = self.route.retry
        if retry is not None and retry.per_try > 0.0:
            self._try_ends = self.runtime.now() + retry.per_try
        flag = self._try_endpoint()
        if flag is None:
            if arm is not None and self.seat is not None and self._served == 0:
                self.seat.asked = True
        elif self._arm is not None:
            self._try_ended(flag, 0)
        return flag

    def _let_through(self, arm: Arm) -> bool:
        """Whether the breaker of the version in turn lets a try through."""
        now = self.runtime.now()
        breaker = arm.breaker
        if self._mark != ORDINARY:
            self._mark = ORDINARY
        if breaker is not None and (
            breaker.shut or now >= breaker.next_look or breaker.policy.saturation_percent > 0.0
        ):
            self._mark = self._ask_breaker(arm, now)
            if self._mark == REFUSED:
                self._barred = True
                return False
        if arm.warming_until > now:
            self.marked |= MARK_WARMING
        self._arm = arm
        return True

    def _ask_breaker(self, arm: Arm, now: float) -> int:
        version = self._chain[self._served]
        runtime = self.runtime
        pool = self.client.door.upstreams.pools.get(version.upstream.name)
        taken = 0 if pool is None else breaking.taken_of(runtime, version, pool.requests)
        return breaking.admit(runtime, version, arm, taken, now)

    def _try_endpoint(self, fresh: bool = False) -> Flag | None:
        """Ask for a connection to the version in turn; None when one is there or on its way."""
        version = self._chain[self._served]
        pool = self.client.door.upstreams.pools.get(version.upstream.name)
        if pool is None:
            return UH
        self._pool = pool
        self._attempts += 1
        unit = unit_number(self._unit_hash) if pool.hashed and self._unit_hash else None
        outcome = pool.acquire(self, fresh, self._served + 1 == len(self._chain), unit, self._tried)
        if isinstance(outcome, Flag):
            self._pool = None
            return outcome
        if outcome is not None:
            self._claim = outcome
            if not self.request_done:
                self.client.set_reading(False)
            if self._try_ends < self.runtime.now() + version.upstream.connect:
                self.runtime.wheel.arm(outcome, self._try_ends)
        return None

    def on_unreachable(self, flag: Flag) -> None:
        claim = self._claim
        refused = claim is not None and claim.refused
        self._leave_pool()
        self._claim = None
        late = self._try_ends <= self.runtime.now()
        if flag is not UO and not late and self._attempts < _ENDPOINTS and len(self._endpoints()) > self._attempts:
            again = self._try_endpoint()
            if again is None:
                return
            if again is UO:  # the limit protects the upstream, and the fallback too: load does not move on
                flag = UO
        if self._lost(flag, refused):
            return
        if flag is not UO and self._served + 1 < len(self._chain):
            if self._served == 0:
                self._let_down = flag
            self._try_version(self._served + 1)
        else:
            self._give_up(flag)

    def _endpoints(self) -> list[object]:
        pool = self.client.door.upstreams.pools.get(self._chain[self._served].upstream.name)
        return [] if pool is None else [*pool.states]

    def _patience(self, version: Version) -> float:
        """Seconds for `version` to answer a request that was sent whole: what connecting has left of the try's time, at most."""
        return min(version.upstream.response, max(self._try_ends - self._upstream_started, 0.0))

    # The end of a try.

    def _report(self, status: int, seconds: float, now: float) -> None:
        """Tell the pool how the endpoint did; a flag's status where there was no whole answer."""
        pool = self._pool
        connection = self._connection
        if pool is not None and connection is not None:
            pool.report(connection, status, seconds, now)

    def _report_answer(self, status: int, complete: bool, seconds: float, now: float) -> None:
        """The head of an answer came after `seconds`. Each try is reported once: what may still break off, at its end."""
        pool = self._pool
        if pool is not None and pool.watched:
            if complete or status >= 500:
                self._report(status, seconds, now)
            else:
                self._unsaid = status
                self._took = seconds

    def _say(self, flag: Flag | None) -> None:
        """Tell the pool of the answer under way: that it is good, or went wrong after its head."""
        status = self._unsaid
        self._unsaid = 0
        self._report(status if flag is None else flag.status, self._took, self.runtime.now())

    def _shun(self) -> None:
        """The endpoint that was asked failed: the next try goes to another, where there is one."""
        connection = self._connection
        if connection is not None:
            tried = [] if self._tried is None else self._tried
            tried.append(connection.endpoint)
            self._tried = tried

    def _try_ended(self, flag: Flag | None, status: int) -> None:
        """Tell the breaker how the try under way went: an answer with `status`, or a failure."""
        arm = self._arm
        self._arm = None
        if arm is None:
            return
        runtime = self.runtime
        version = self._chain[self._served]
        now = runtime.now()
        # An answer that comes while the client still sends says nothing of how long one takes.
        timed = self.request_done and self._upstream_started > 0.0
        seconds = now - self._upstream_started if timed else 0.0
        failed = (flag.status if flag is not None else status) in self.route.error_codes or self._is_error(flag)
        # Errors are quick, and say nothing of how long an answer takes.
        if arm.latency is not None and timed and flag is None and not failed:
            arm.latency.add(seconds, now)
        if arm.breaker is None:
            return
        if flag is UO:  # the proxy's own limit
            arm.breaker.dropped(self._mark)
        else:
            breaking.ended(runtime, version, arm, self._mark, failed, seconds, now)

    def _is_error(self, flag: Flag | None) -> bool:
        """Whether a failure of this kind is an error of the route's."""
        return flag is not None and flag.code in self.route.error_flags

    def _try_dropped(self) -> None:
        """The try under way is over without having said anything about the version."""
        arm = self._arm
        self._arm = None
        if arm is not None and arm.breaker is not None:
            arm.breaker.dropped(self._mark)

    def _try_spoiled(self, flag: Flag) -> None:
        """The answer that is being passed on was cut off."""
        if not self._is_error(flag):
            return
        version = self._chain[self._served]
        arm = version.arm
        if arm is not None and arm.breaker is not None:
            breaking.spoiled(self.runtime, version, arm, self._mark, self.runtime.now())
