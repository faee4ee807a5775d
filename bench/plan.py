"""What is measured in which order, for how long, and what is left out when the time is over.

The figures that are wanted come first, in several rounds of all peers, so that a ratio is of two peers that ran within a minute
of each other. After that everybody has everything once: what the end of the time cuts off is what matters least.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from bench.cases import BY_KEY, Case
from bench.measure import BARE
from bench.peers import PLAIN, Peer, Work
from bench.wanted import decisive, needed

STARTING: Final = 2.0
"""Seconds that a peer takes to start, to be checked, to be warmed and to end; a thousand routes take it longer."""
_MORE_ROUTES: Final = 3.0
_WRK: Final = 0.4
_IDLE: Final = 4.0
_COPIES: Final = 1.6
_LINES: Final = 3.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How much of it: `rounds` of the decisive cases with so many seconds each, and the seconds of a case of the survey (0: only
    what is asked for by name). No step begins that would end after `limit` seconds."""

    rounds: int
    decisive: int
    survey: int
    limit: float


FULL: Final = Pace(rounds=5, decisive=2, survey=1, limit=19 * 60.0)
QUICK: Final = Pace(rounds=1, decisive=1, survey=0, limit=115.0)


@dataclass(frozen=True, slots=True)
class Step:
    """One start of one peer: the cases it then runs, each with its seconds. The survey is a round of its own, the last."""

    peer: str
    work: Work
    round: int
    cases: tuple[tuple[Case, int], ...]
    survey: bool = False

    @property
    def expected(self) -> float:
        """Seconds, as they are on a small machine."""
        return STARTING + _MORE_ROUTES * self.work.routed + sum(_lasts(case, seconds) for case, seconds in self.cases)


def _lasts(case: Case, seconds: int) -> float:
    paced = case.paced or case.same
    return (
        seconds + _WRK + (BARE + _WRK) * bool(paced) + _IDLE * bool(case.idle) + _COPIES * bool(case.copied)
        + _LINES * case.work.logged
    )  # fmt: skip


def steps(peers: Sequence[Peer], cases: Sequence[Case], pace: Pace, named: bool) -> list[Step]:
    """All steps in their order. `named`: somebody has chosen the cases, so all of them are measured, however short the time."""
    found: list[Step] = []
    for turn in range(pace.rounds):
        # The first peer sets the rate that is the same for all, anew in each round: the machine is not as fast a minute later.
        for peer in [*peers[:1], *_turned(peers[1:], turn)]:
            if turn == 0 or needed(peer.name):
                wanted = [case for case in cases if case.key in decisive(peer.name)]
                found += _started(peer, wanted, turn, pace.decisive)
    if pace.survey or named:
        for peer in peers:
            rest = [case for case in cases if pace.survey or case.key not in decisive(peer.name)]
            found += _started(peer, rest, pace.rounds, pace.survey or pace.decisive, survey=True)
    return found


def _turned(peers: Sequence[Peer], turn: int) -> Sequence[Peer]:
    """So that nobody always follows the same one."""
    first = turn % max(1, len(peers))
    return [*peers[first:], *peers[:first]]


def _started(peer: Peer, cases: Sequence[Case], turn: int, seconds: int, *, survey: bool = False) -> Iterator[Step]:
    """One start for each work that the cases want. What asks at a share of the capacity has the small GET before it."""
    possible = [case for case in cases if not case.refused(peer)]
    for work in dict.fromkeys(case.work for case in possible):
        chosen = [case for case in possible if case.work is work]
        if any(case.paced for case in chosen) and BY_KEY["small"] not in chosen:
            chosen.insert(0, BY_KEY["small"])
        yield Step(peer.name, work, turn, tuple((case, seconds) for case in chosen), survey)


class Watch:
    """Says whether there is time for something, and keeps what there was none for. `clock` gives seconds."""

    def __init__(self, limit: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limit = limit
        self._begun = clock()
        self.dropped: list[str] = []

    @property
    def elapsed(self) -> float:
        return self._clock() - self._begun

    def allows(self, what: str, expected: float) -> bool:
        """Whether `expected` more seconds end in time; if not, `what` is kept as dropped."""
        if self.elapsed + expected <= self._limit:
            return True
        self.dropped.append(what)
        return False


def title(step: Step) -> str:
    """A step in words."""
    work = "" if step.work is PLAIN else f", {step.work.title}"
    return f"{step.peer}{work}: {', '.join(case.title for case, _ in step.cases)}"
