"""Whether an exchange tries again, and who else is asked meanwhile.

A pooled connection that turns out to have been closed is replaced once, without being configured. Where the route says
`retry`, a try that failed is followed by another: of the same version after a pause, elsewhere if there is an elsewhere, and
when those are used up by one of the next version in the chain. An answer that is worth another try is held back for it, so
nothing of it may have gone to the client. Where the route says `hedge`, a second request goes out while the first is
awaited. All of it ends with the first byte of an answer that goes to the client.
"""

import asyncio
from typing import Final

from proxy.core.hashing import unit_number
from proxy.core.plan import REASONS
from proxy.core.request import Response
from proxy.core.retry import IDEMPOTENT, Allowance, RetryPolicy, retry_after
from proxy.dataplane.attempt import Attempt
from proxy.dataplane.hedge import Hedge
from proxy.dataplane.overtaken import Overtaken, may_go_on
from proxy.dataplane.passage import Passage, Waiter
from proxy.dataplane.record import MARK_WARMING
from proxy.dataplane.remainder import Remainder
from proxy.errors import DC, E5, UO, Flag
from proxy.telemetry.counters import (
    HEDGE_BUDGET,
    HEDGE_UNAVAILABLE,
    RETRY_ABANDONED,
    RETRY_AFTER,
    RETRY_BUDGET,
    RETRY_DEADLINE,
    RETRY_FAILURE,
    RETRY_NOT_REPEATABLE,
    RETRY_STALE,
    RETRY_SUCCESS,
    V_HEDGE_OUTCOMES,
    V_HEDGING,
    V_IN_FLIGHT,
    V_REASONS,
    V_RETRY_OUTCOMES,
    V_RETRYING,
)

HELD: Final = 64 << 10
"""Bytes of a request kept in case it must be sent again, where the route does not say."""
_NO: Final = -1.0


class Tries(Attempt):
    """What an exchange does until it has an answer to pass on."""

    _moved: bool = False  # to a version of the chain because the one before failed
    _next: int = 0  # place in the chain of the next try
    _sent: list[bytes] | None = None  # body bytes sent or waiting, while they may have to be sent (again)
    _sent_size: int = 0
    _resent: bool = False
    _retrying: bool = False
    _unjudged: bool = False  # a retry is under way whose outcome is not counted yet
    _hedge: Hedge | None = None
    _hedge_alarm: asyncio.TimerHandle | None = None
    _hedged: bool = False
    _failed_with: Flag | None = None  # of the try that only a hedge keeps alive

    def _take_head(self, response: Response, body: bytes, complete: bool, trailers: list[bytes]) -> None:
        """The head of an answer is there, from whichever connection; it may have to be held back."""
        raise AssertionError("an exchange says what to do about it")

    # A try has failed.

    def _lost(self, flag: Flag, refused: bool) -> bool:
        """The try under way has failed without an answer. True: another goes on in its place."""
        if self._arm is not None:
            self._try_ended(flag, 0)
        if not self.route.attended:
            return False
        if self._hedge is not None:
            self._failed_with = flag
            return True
        self._forget_alarm()
        retry = self.route.retry
        if retry is None or not retry.takes(flag, refused):
            return False
        pause = self._may_go_again(retry, 0.0)
        if pause < 0.0:
            return False
        if self._served == 0:
            self._let_down = flag
        self._pause(pause)
        return True

    def _may_send_again(self) -> bool:
        """Whether the request can be sent again without being asked for: harmless, and all of it still held."""
        request = self.request
        whole = self._sent is not None or (not request.chunked and request.content_length <= 0)
        return whole and self.method in IDEMPOTENT

    def _send_again(self) -> Flag | None:
        """The pooled connection had been closed: the same try, once, on a fresh one."""
        self._resent = True
        self._note(RETRY_STALE)
        return self._try_endpoint(fresh=True)

    def _may_go_again(self, retry: RetryPolicy, asked: float) -> float:
        """Seconds until the next try, negative for none, after a failure that is worth one.

        `asked` are the seconds that the version wants to be left alone.
        """
        if self._unjudged:
            self._judge_retry(RETRY_FAILURE)
        request = self.request
        bodied = request.chunked or request.content_length > 0
        if self.method not in retry.methods or (bodied and (self._sent is None or self._sent_size > retry.body_limit)):
            self._note(RETRY_NOT_REPEATABLE)
            return _NO
        runtime = self.runtime
        left = self._tries < retry.attempts and not self._moved
        if left and asked <= retry.max_retry_after:
            pause = max(retry.back_off(self._tries, runtime.rng.random()), asked)
            place = self._served
        elif retry.fallback and self._served + 1 < len(self._chain):
            pause = 0.0
            place = self._served + 1
        else:
            if left:
                self._note(RETRY_AFTER)
            else:
                self._exhausted = self._retrying
            return _NO
        if runtime.now() + pause >= self.ends_at:
            self._note(RETRY_DEADLINE)
            return _NO
        if not self._within_budget(retry, place):
            self._note(RETRY_BUDGET)
            return _NO
        self._unjudged = True
        self._next = place
        return pause

    def _within_budget(self, retry: RetryPolicy, place: int) -> bool:
        """Whether one more retry of the version assigned may be made; if so, it is taken note of.

        Going on to the next version takes no token: there is one such try for a request, and elsewhere.
        """
        runtime = self.runtime
        version = self._chain[0]
        life = self.route.life
        slot = version.slot
        view = runtime.view
        cells = runtime.cells
        retrying = cells.total(slot + V_RETRYING)
        limit = retry.limit(cells.total(slot + V_IN_FLIGHT), retrying)
        if life is None or (not self._retrying and retrying >= limit):
            return False
        allowance = life.allowances.get(version.name)
        if allowance is None:
            allowance = life.allowances[version.name] = Allowance()
        requests = sum(view[slot + V_REASONS : slot + V_REASONS + len(REASONS)])
        if place == self._served and not allowance.take(retry, limit, requests, runtime.now(), cells.workers):
            return False
        if not self._retrying:
            view[slot + V_RETRYING] += 1
            self._retrying = True
        return True

    def _pause(self, seconds: float) -> None:
        if seconds > 0.0:
            self.wait(seconds, _AGAIN)
        else:
            self.go_again()

    def go_again(self) -> None:
        """Begin the next try."""
        place = self._next
        if place != self._served:
            self._moved = True
            self._try_version(place)
            return
        flag = self._try_once()
        if flag is None:
            return
        if (flag is not UO or self._barred) and place + 1 < len(self._chain):
            if place == 0 and not self._barred:
                self._let_down = flag
            self._try_version(place + 1)
        else:
            self._give_up(flag)

    def _note(self, outcome: int) -> None:
        self.runtime.view[self._chain[0].slot + V_RETRY_OUTCOMES + outcome] += 1

    def _judge_retry(self, outcome: int) -> None:
        self._unjudged = False
        self._note(outcome)

    # An answer has come.

    def _holds_back(self, response: Response, body: bytes, complete: bool) -> bool:
        """The head of an answer is there. True: it is not the client's, there will be another."""
        status = response.status
        if self._arm is not None:
            self._try_ended(None, status)
        if not self.route.attended:
            return False
        self._forget_alarm()
        if self._hedge is not None:
            self._end_hedge()
        retry = self.route.retry
        if retry is None:
            return False
        if status not in retry.statuses:
            if self._unjudged:
                self._judge_retry(RETRY_SUCCESS)
            return False
        asked = response.fields.get(b"retry-after")
        pause = self._may_go_again(retry, 0.0 if asked is None else retry_after(asked, self.runtime.wall()))
        if pause < 0.0:
            return False
        if self._served == 0:
            self._let_down = E5 if status in self.route.error_codes else None
        if self._unsaid:
            self._say(None)  # nobody waits for the rest of it
        self._shun()
        self._leave_pool()
        connection = self._connection
        self._connection = None
        if connection is not None and not complete:
            if self.request_done:
                Remainder(connection, self.method, len(body))
            else:
                connection.close()  # it waits for the rest of a request that goes elsewhere
        self._pause(pause)
        return True

    # Hedging.

    def _expect_hedge(self) -> None:
        """The request was sent: if its answer takes longer than most, another will be."""
        policy = self.route.hedge
        if policy is None:
            return
        request = self.request
        arm = self._chain[self._served].arm
        if (
            self._hedged
            or arm is None
            or arm.latency is None
            or self.method not in policy.methods
            or request.chunked
            or request.content_length > 0
            or request.upgrade
        ):
            return
        delay = policy.delay(arm.latency.value(self.runtime.now()))
        if delay >= 0.0:
            self._hedged = True
            self._hedge_alarm = self.runtime.loop.call_later(delay, self._send_hedge)

    def _send_hedge(self) -> None:
        self._hedge_alarm = None
        policy = self.route.hedge
        pool = self._pool
        connection = self._connection
        if self._over or self._answering or policy is None or pool is None or connection is None:
            return
        version = self._chain[self._served]
        slot = self._chain[0].slot
        runtime = self.runtime
        cells = runtime.cells
        arm = version.arm
        if arm is not None and arm.breaker is not None and arm.breaker.shut:
            runtime.view[slot + V_HEDGE_OUTCOMES + HEDGE_UNAVAILABLE] += 1
            return
        if not policy.within_budget(cells.total(slot + V_IN_FLIGHT), cells.total(slot + V_HEDGING)):
            runtime.view[slot + V_HEDGE_OUTCOMES + HEDGE_BUDGET] += 1
            return
        hedge = Hedge(self, pool, slot, self._head_of(version, self._kept), self._patience(version))
        unit = unit_number(self._unit_hash) if pool.hashed and self._unit_hash else None
        outcome = pool.acquire(hedge, False, False, unit, [connection.endpoint])
        if isinstance(outcome, Flag):
            runtime.view[slot + V_HEDGE_OUTCOMES + HEDGE_UNAVAILABLE] += 1
            return
        self._hedge = hedge
        hedge.fired(outcome)

    def on_hedge_head(self, response: Response, body: bytes, complete: bool, trailers: list[bytes]) -> None:
        hedge = self._hedge
        if hedge is None:
            return
        if self._connection is not None and response.status in self.route.error_codes:
            self._end_hedge()  # the first may still do better
            return
        self._hedge = None
        self._failed_with = None
        first = self._connection
        pool = self._pool
        if first is not None and pool is not None and may_go_on(first, pool):
            self._connection = None
            self._pool = None
            Overtaken(first, pool, self.method, self._upstream_started, self._patience(self._chain[self._served]))
        else:
            self._drop_upstream()
            self._leave_pool()
        self._upstream_seconds = self.runtime.now() - self._upstream_started
        if hedge.warming:
            self.marked |= MARK_WARMING
        if hedge.unsaid:
            self._unsaid = hedge.unsaid
            self._took = hedge.took
        connection, self._pool = hedge.hand_over()
        self._connection = connection
        if connection is not None:
            connection.user = self
            if self.client.paused:
                connection.set_reading(False)
        self._take_head(response, body, complete, trailers)

    def on_hedge_gone(self, flag: Flag) -> None:
        self._hedge = None
        failed_with = self._failed_with
        self._failed_with = None
        if failed_with is None or self._over:
            return
        if not self._lost(failed_with, False):
            self._fail(failed_with)

    def _end_hedge(self) -> None:
        hedge = self._hedge
        self._hedge = None
        if hedge is not None:
            hedge.end()

    def _forget_alarm(self) -> None:
        alarm = self._hedge_alarm
        self._hedge_alarm = None
        if alarm is not None:
            alarm.cancel()

    # The end.

    def _tries_over(self) -> None:
        """The exchange is over: nothing of it may stay behind."""
        if self._arm is not None:
            self._try_dropped()
        self._forget_alarm()
        if self._hedge is not None:
            self._end_hedge()
        if self._unjudged:
            self._judge_retry(RETRY_ABANDONED if self._flag is DC else RETRY_FAILURE)
        if self._retrying:
            self._retrying = False
            self.runtime.view[self._chain[0].slot + V_RETRYING] -= 1


class _Again(Waiter):
    """Wakes an exchange for its next try."""

    def woken(self, passage: Passage) -> None:
        assert isinstance(passage, Tries)  # noqa: S101 - nobody else waits with it
        passage.go_again()


_AGAIN: Final = _Again()
