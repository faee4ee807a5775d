"""What a worker has to say of the units of routes whose versions are compared: gathered on a request's way, told by the clock.

Every few seconds what was gathered is told, in messages of so many units that no request notices. Where control is away it
waits, bounded as it is (core/evidence.py); and a control process that is new is told all of it from the start of the stretch.
"""

from collections.abc import Callable
from typing import Final

from proxy.channel import messages
from proxy.channel.evidence import Head, evidence_payload
from proxy.core.evidence import FIRST, SAMPLES, Firsts, Tally, same_wish
from proxy.core.plan import Plan, Version
from proxy.telemetry.counters import V_EVIDENCE_DROPPED

ROUND: Final = 5.0
"""Seconds from one telling to the next."""
BATCH: Final = 500
"""Units in a message, and in one go."""
FIRSTS_BATCH: Final = 2048
"""First events in a message at most."""
LINGERING: Final = 120.0
"""Seconds that exchanges of an earlier stretch are waited for; what they bring later is not counted."""
_OLD_LIMIT: Final = 64
"""Tallies of earlier stretches at most, over all routes."""

Send = Callable[[int, bytes], bool]


class Evidencing:
    """One worker's evidence. `now` is its monotonic clock, `wall` the time of day."""

    def __init__(self, now: Callable[[], float], wall: Callable[[], float], view: memoryview) -> None:
        self._now: Final = now
        self._wall: Final = wall
        self._view: Final[memoryview] = view
        self._tallies: Final[dict[str, Tally]] = {}  # by route
        self._firsts: Final[dict[str, Firsts]] = {}  # by route
        self._old: list[tuple[float, Tally]] = []  # of earlier stretches: until when, and whose
        self._unsent: bytes = b""  # a message that control was too far behind for
        self._next: float = 0.0
        self._first: int = 0  # whose turn it is

    # What plans and control say.

    def bring(self, plan: Plan) -> None:
        """Give the plan's routes their tallies, those of the same stretch going on; just before the plan is in force."""
        until = self._now() + LINGERING
        names: set[str] = set()
        for route in plan.routes:
            wish = route.evidence_wish
            if wish is None:
                continue
            names.add(route.name)
            tally = self._tallies.get(route.name)
            if tally is None or not same_wish(tally.wish, wish):
                firsts = self._firsts.get(route.name)
                if firsts is None or firsts.run != wish.run:
                    firsts = Firsts(wish.run)
                    self._firsts[route.name] = firsts
                if tally is not None:
                    self._old.append((until, tally))
                tally = Tally(route.name, wish, firsts)
                self._tallies[route.name] = tally
            route.evidence = tally
        for name in [name for name in self._tallies if name not in names]:
            self._old.append((until, self._tallies.pop(name)))
            del self._firsts[name]
        del self._old[:-_OLD_LIMIT]

    def connected(self) -> None:
        """A new channel: whoever reads there knows nothing yet."""
        self._unsent = b""
        for tally in self._all():
            tally.tell_again()
            tally.firsts.told = 0
        self._next = 0.0

    # On a request's way.

    def note(
        self, tally: Tally, version: Version, unit: str, news: int, request_id: bytes, status: int, flag: str
    ) -> None:
        """A unit has had something for the first time: remember it, or count that there is no room."""
        at = self._wall()
        if not tally.firsts.note(unit, version.name, news, tally.wish.stretch, at):
            self._view[version.slot + V_EVIDENCE_DROPPED] += 1
            return
        if len(tally.samples) < SAMPLES:
            tally.samples.append([at, version.name, unit, request_id.decode("latin-1"), status, flag])
            tally.changed = True

    # By the clock.

    def flush(self, send: Send) -> None:
        """Tell the next of what is to be told. Called a few times a second."""
        if not self._tallies and not self._old:
            return
        if self._unsent:
            if not send(messages.EVIDENCE, self._unsent):
                return
            self._unsent = b""
        now = self._now()
        if now >= self._next:
            self._next = now + ROUND
            self._old = [one for one in self._old if one[0] > now]
            for tally in self._all():
                tally.turn()
        left = BATCH
        tallies = self._all()
        self._first = (self._first + 1) % len(tallies)  # a busy route must not keep the others waiting
        for tally in tallies[self._first :] + tallies[: self._first]:
            if left <= 0:
                return
            left -= self._tell(tally, left, send)
            if self._unsent:
                return

    def finish(self, send: Send) -> None:
        """Tell all of it: the worker ends."""
        if self._unsent and not send(messages.EVIDENCE, self._unsent):
            return
        self._unsent = b""
        for tally in self._all():
            for _ in range(2):  # what is leaving, and then what is fresh
                tally.turn()
                while self._waits(tally) and not self._unsent:
                    self._tell(tally, BATCH, send)

    def _all(self) -> list[Tally]:
        """The earlier ones first: of one route, in the order of time."""
        return [*(tally for _, tally in self._old), *self._tallies.values()]

    def _waits(self, tally: Tally) -> bool:
        return tally.waiting() or tally.firsts.told < len(tally.firsts.records)

    def _tell(self, tally: Tally, limit: int, send: Send) -> int:
        """One message of this tally, where there is something to tell. Answers how many units and first events were in it."""
        if not self._waits(tally):
            return 0
        firsts = tally.firsts
        head: Head = tally.head()
        units = tally.take(limit)
        records = bytes(firsts.records[firsts.told : firsts.told + FIRSTS_BATCH * FIRST.size])
        firsts.told += len(records)
        head["first_versions"] = firsts.versions
        head["samples"] = tally.samples if tally.changed else []
        tally.changed = False
        payload = evidence_payload(head, units, records)
        if not send(messages.EVIDENCE, payload):
            self._unsent = payload  # where the channel is gone, the next one begins from the start
        return len(units) + len(records) // FIRST.size
