"""What a worker has to say of exposures: collected on a request's way, sent off by the clock, kept until control has it.

A record costs a few microseconds, and only a unit that is new or gets something new has one; a unit that keeps its version costs a
look into a dict (core/exposed.py). Records wait here, at most so many; beyond, they are dropped and counted, and the unit is not
marked as seen, so that its next request tries again. A message is kept until control says that the store has it: a control
process that dies in between takes nothing with it, for the next one is told again.
"""

from collections import deque
from collections.abc import Callable
from typing import Final

from proxy.channel import messages
from proxy.channel.exposures import RANDOMISED, ROBOT, ExposureBatch
from proxy.core.decide import Decision
from proxy.core.exposed import Exposed, Seen, is_robot
from proxy.core.hashing import bucket
from proxy.core.plan import SPLIT, Plan, Route, Version
from proxy.core.request import Request
from proxy.telemetry.counters import V_EXPOSURES_DROPPED

BATCH: Final = 2048
"""Records in a message at most."""
WINDOW: Final = 16
"""Messages that control may have without saying that they are stored: what it has to hold, at most, of each worker."""

Send = Callable[[int, bytes], bool]


class Message:
    """Records ready to be sent."""

    def __init__(self, sequence: int, count: int, payload: bytes) -> None:
        self.sequence: Final = sequence
        self.count: Final = count
        self.payload: Final = payload


class Exposing:
    """One worker's exposures. `held` counts the records that control does not have yet."""

    def __init__(self, wall: Callable[[], float], view: memoryview) -> None:
        self._view: Final[memoryview] = view
        self._wall: Final = wall
        self._exposed: Final = Exposed()
        self._batch: ExposureBatch = ExposureBatch()
        self._messages: Final[deque[Message]] = deque()
        self._sent: int = 0  # how many of them, from the oldest on, control was sent on this channel
        self._sequence: int = 0
        self._limit: int = 0
        self._raw: bool = False
        self.held: int = 0

    # What plans and control say.

    def bring(self, plan: Plan, *, alone: bool) -> None:
        """Give the plan's routes the memory of those of the same name before; just before the plan is in force.

        Where this worker is not the only one (`alone`), a route that has changed begins with none: under the plan before, a unit
        may have got something else from another worker, and what it gets now would pass for what it had here all along.
        """
        self._limit = plan.exposure_queue
        self._raw = plan.exposure_raw
        names: set[str] = set()
        for route in plan.routes:
            if route.exposure is not None:
                names.add(route.name)
                if route.seen is None:
                    route.seen = self._exposed.of(route.name, anew=not alone)
        self._exposed.leave(names)

    def acknowledged(self, sequence: int, send: Send) -> None:
        """Control has stored all up to this message."""
        waiting = self._messages
        while waiting and waiting[0].sequence <= sequence:
            self.held -= waiting.popleft().count
            if self._sent > 0:
                self._sent -= 1
        self._send(send, WINDOW)

    def connected(self) -> None:
        """A new channel: what the old one carried may have been lost with who read it."""
        self._sent = 0

    def forget(self, unit: str) -> None:
        """Nobody has seen this unit (its hash): it was erased."""
        self._exposed.forget_unit(unit)

    # On a request's way.

    def record(
        self,
        seen: Seen,
        route: Route,
        version: Version,
        decision: Decision,
        unit: bytes,
        unit_hash: str,
        source: str,
        request: Request,
        request_id: bytes,
        generation: int,
    ) -> None:
        """Write down that this unit got this version. `source` is where the unit came from."""
        words = route.exposure
        if words is None:
            return
        if self.held >= self._limit:
            self._view[version.slot + V_EXPOSURES_DROPPED] += 1
            return
        reason = decision.reason
        rule = decision.rule
        weights = words.weights
        segment = ""
        flags = 0
        if not decision.denied:  # where a version was taken out, whoever is left was not dealt by these weights
            if reason == SPLIT:
                flags = RANDOMISED
            else:
                drawn = words.drawn.get(rule)
                if drawn is not None:
                    flags = RANDOMISED
                    weights, segment = drawn
        agent = request.fields.get(b"user-agent")
        if agent is not None and is_robot(agent):
            flags |= ROBOT
        self._batch.add(
            self._wall(),
            int(unit_hash, 16),
            generation,
            words.epoch,
            bucket(route.salt_bytes, unit),
            route.name,
            version.name,
            rule,
            weights,
            route.salt,
            source,
            segment,
            reason,
            flags,
            request_id,
            unit if self._raw else b"",
        )
        self._exposed.mark(seen, unit_hash, version.name, reason, rule)
        self.held += 1
        if self._batch.count >= BATCH:
            self._seal()

    # By the clock.

    def flush(self, send: Send) -> None:
        """Send what there is, as far as control can take it."""
        if self._batch.count and self._sent == len(self._messages) < WINDOW:
            self._seal()
        if self._messages:
            self._send(send, WINDOW)

    def finish(self, send: Send) -> None:
        """Send all of it: the worker ends."""
        if self._batch.count:
            self._seal()
        self._send(send, len(self._messages))

    def _seal(self) -> None:
        self._sequence += 1
        batch = self._batch
        self._messages.append(Message(self._sequence, batch.count, batch.payload(self._sequence)))
        self._batch = ExposureBatch()

    def _send(self, send: Send, window: int) -> None:
        while self._sent < len(self._messages) and self._sent < window:
            if not send(messages.EXPOSURES, self._messages[self._sent].payload):
                return
            self._sent += 1
