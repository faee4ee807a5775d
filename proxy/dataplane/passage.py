"""An exchange between its decision and its upstream: what the gates on that way may ask of it.

A gate is a function that gets the passage and answers whether it may go on. One that answers no has either answered the client
(`refuse`) or will call `advance` later; `wait` wakes it. Gates know this interface and nothing of connections.
"""

import asyncio
from math import inf
from typing import Final

from proxy.core.concurrency import Seat
from proxy.core.decide import Decision
from proxy.core.plan import Version
from proxy.core.request import Response
from proxy.dataplane.pacing import Paced, Pacer
from proxy.errors import Flag

_UNEXPECTED: Final = "an exchange says what to do about it"


class Waiter:
    """Whoever holds an exchange up for a while."""

    def woken(self, passage: "Passage") -> None:
        """The time that was asked for has passed."""
        raise AssertionError(_UNEXPECTED)

    def left(self, passage: "Passage") -> None:
        """The exchange ended while it waited: the client left, or the whole took too long."""


class Keeping:
    """What a cache does for an exchange that it could not answer at once."""

    def lines_for(self, served: int, kept: list[bytes]) -> list[bytes]:
        """The request's field lines for the version in this place of the chain: it may be asked on a condition."""
        raise AssertionError(_UNEXPECTED)

    def on_answer(self, served: int, response: Response) -> bool:
        """The head of the answer that the client is to get. True: it has got another one, and this one is of no use."""
        raise AssertionError(_UNEXPECTED)

    def on_body(self, data: bytes, complete: bool) -> None:
        """More of that answer's body, decoded."""
        raise AssertionError(_UNEXPECTED)

    def on_failure(self, flag: Flag) -> bool:
        """No version has answered. True: the client has got an old answer instead."""
        raise AssertionError(_UNEXPECTED)

    def ended(self) -> None:
        """The exchange is over, however it ended."""
        raise AssertionError(_UNEXPECTED)


class Held(Waiter):
    """What holds a request, or the head of its answer, until the plugins of its route have spoken."""

    holds_answer: bool = False  # its head waits
    passed: bool = False  # its head may go on

    def propose(self, decision: Decision, source: str) -> None:
        """This was decided, for a unit from `source`."""
        raise AssertionError(_UNEXPECTED)

    def keeps_body(self, data: bytes, trailers: list[bytes] | None) -> bool:
        """Whether this of the request's body waits; `trailers` are those at its end, None before it."""
        raise AssertionError(_UNEXPECTED)

    def ask_of_answer(self, response: Response, body: bytes, complete: bool, trailers: list[bytes]) -> None:
        """The head of the answer is there; it is passed on when the hooks have seen it."""
        raise AssertionError(_UNEXPECTED)

    def keep_answer(self, data: bytes, complete: bool, trailers: list[bytes]) -> None:
        """More of its body, while its head waits."""
        raise AssertionError(_UNEXPECTED)

    def ask_of_stored(self, status: int, head: bytes, body: bytes, served: int, flag: Flag | None, stale: bool) -> bool:
        """The same of an answer that was stored (`Passage.answer`): False where nobody asks about it, or they have spoken."""
        raise AssertionError(_UNEXPECTED)

    def broke(self, flag: Flag) -> None:
        """Its connection has ended, while its head waits."""
        raise AssertionError(_UNEXPECTED)


class Passage(Paced):
    """What a gate sees of an exchange, beside what `Record` knows of it."""

    keeping: Keeping | None = None  # where its route has a cache
    added: bytes = b""  # whole field lines for the answer's head, whoever answers
    ends_at: float = inf  # monotonic seconds: when the whole exchange is too late
    seat: Seat | None = None  # the place it has, or waits for, where their number is limited
    pacer: Pacer | None = None  # where the answer's body is let out slowly
    asking: Held | None = None  # where its route has plugins
    altered: bytes = b""  # what plugins have changed of its fields, for the upstream
    _waiter: Waiter | None = None
    _alarm: asyncio.TimerHandle | None = None

    @property
    def version(self) -> Version:
        """The version assigned."""
        return self._chain[0]

    @property
    def unit(self) -> bytes | None:
        """The unit the decision rests on."""
        decision = self._decision
        return None if decision is None else decision.unit

    @property
    def over(self) -> bool:
        """Whether it has ended, however."""
        return self._over

    @property
    def secure(self) -> bool:
        """Whether the client came over TLS: to this proxy or, as a trusted peer says, to one before it."""
        if self.client.secure:
            return True
        request = self.request
        proto = request.fields.get(b"x-forwarded-proto") if request.trusted else None
        return proto is not None and proto.partition(b",")[0].strip().lower() == b"https"

    @property
    def flag(self) -> Flag | None:
        """What went wrong so far."""
        return self._flag

    @property
    def failed(self) -> bool:
        """Whether it counted as an error; known once it is over."""
        return self._failed is not None

    @property
    def served_by(self) -> int:
        """The place in the chain of who answers: 0 is the version assigned, -1 nobody."""
        return self._served

    @property
    def asked_at(self) -> float:
        """When the upstream had the request, in monotonic seconds; 0 where it never got it."""
        return self._upstream_started

    @property
    def answered_at(self) -> float:
        """When the upstream's answer began, in monotonic seconds; 0 where none did."""
        return self._upstream_started + self._upstream_seconds if self._upstream_seconds >= 0.0 else 0.0

    @property
    def chain(self) -> list[Version]:
        """The version assigned and its fallbacks."""
        return self._chain

    def may_have(self, version: Version) -> bool:
        """Whether the version was not denied to this unit, and not killed: not even as a fallback is it given then."""
        decision = self._decision
        return decision is None or not decision.denied >> version.index & 1

    @property
    def unit_hash(self) -> bytes:
        """What the upstream is told in x-tidegate-unit-hash."""
        return self._unit_hash.encode()

    # What an exchange does.

    def await_decision(self) -> frozenset[bytes]:
        """It will wait before there is a decision; until then, it counts at the default version. Answers which of its fields
        cannot be passed on."""
        raise AssertionError(_UNEXPECTED)

    def begin(self, unit: bytes | None = None, source: str = "") -> None:
        """Decide for this unit, which came from `source`; None: for the one that the route's chain finds. `Held.propose` hears
        of it."""
        raise AssertionError(_UNEXPECTED)

    def set_off(self, decision: Decision, source: str, dropped: frozenset[bytes]) -> bool:
        """Begin with what was decided; False where it has been answered."""
        raise AssertionError(_UNEXPECTED)

    def leave(self, dropped: frozenset[bytes], changes: dict[bytes, list[bytes]] | None) -> None:
        """On the way to the upstream, with these changes of fields."""
        raise AssertionError(_UNEXPECTED)

    def pass_on(self, response: Response, body: bytes, complete: bool, trailers: list[bytes]) -> None:
        """The head of the answer goes to the client."""
        raise AssertionError(_UNEXPECTED)

    def body(self, data: bytes) -> None:
        """More of the request's body, decoded; the end is yet to come."""
        raise AssertionError(_UNEXPECTED)

    def last_body(self, data: bytes, trailers: list[bytes]) -> None:
        """The rest of the request's body."""
        raise AssertionError(_UNEXPECTED)

    def hold_upstream(self, held: bool) -> None:
        """Read no more from the upstream, or again."""
        raise AssertionError(_UNEXPECTED)

    def advance(self) -> None:
        """Go on with the next gate, or after the last with the upstream."""
        raise AssertionError(_UNEXPECTED)

    def refuse(self, flag: Flag, status: int = 0, detail: str = "", added: bytes = b"") -> None:
        """Answer in the upstream's place; `status` is the flag's own where it is 0, `added` are whole field lines."""
        raise AssertionError(_UNEXPECTED)

    def cut_off(self, flag: Flag) -> None:
        """End the exchange by cutting the client's connection off."""
        raise AssertionError(_UNEXPECTED)

    def answer(self, status: int, head: bytes, body: bytes, served: int, flag: Flag | None, stale: bool) -> None:
        """Answer with what is held: `head` is status line and field lines, each with CRLF, the body's framing among them.

        `served` is the place of its version in the chain; `flag` what had gone wrong, if anything.
        """
        raise AssertionError(_UNEXPECTED)

    def head_for(self, version: Version, without: frozenset[bytes], lines: list[bytes]) -> bytes:
        """The head of this request for `version`, `without` these fields and with these `lines`."""
        raise AssertionError(_UNEXPECTED)

    def too_late(self) -> None:
        """`ends_at` has passed."""
        raise AssertionError(_UNEXPECTED)

    # Waiting.

    def wait(self, seconds: float, waiter: Waiter) -> None:
        """Have `waiter` woken after `seconds`; infinite: only `left` is told, should the exchange end. One at a time."""
        self._waiter = waiter
        if not self.request_done:
            self.client.set_reading(False)
        if seconds != inf:
            self._alarm = self.runtime.loop.call_later(seconds, self._wake)

    def stop_waiting(self) -> None:
        """The wait is over before its time."""
        self._waiter = None
        alarm = self._alarm
        self._alarm = None
        if alarm is not None:
            alarm.cancel()

    def _wake(self) -> None:
        waiter = self._waiter
        self._waiter = None
        self._alarm = None
        if waiter is not None:
            waiter.woken(self)

    def _abandon_wait(self) -> None:
        """The exchange ends: whoever holds it up lets go of it."""
        waiter = self._waiter
        if waiter is not None:
            self.stop_waiting()
            waiter.left(self)

    def end_within(self, seconds: float) -> None:
        """The whole exchange must be over within `seconds` from its start; an earlier limit stays."""
        ends_at = self._started + seconds
        if ends_at < self.ends_at:
            self.ends_at = ends_at
            self.runtime.wheel.arm(self, ends_at)

    def time_left(self) -> bytes:
        """The field line that tells the next hop how long it has, where the route names one and there is an end."""
        deadline = self.route.deadline
        if deadline is None or self.ends_at == inf:
            return b""
        return deadline.line(self.ends_at - self.runtime.now())

    def expired(self, now: float) -> None:
        if not self._over:
            self.too_late()
