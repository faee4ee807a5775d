"""The life of one worker's place, as a table: what each event means in each state.

A place is a worker's number; processes come and go in it. Its region of the counters stays. A worker that makes way for
another leaves its place, and the other has a number of its own, so that it serves before the first one leaves.

The table is total: an event that cannot matter in a state is written down as one that changes nothing, and a test walks
every pair.
"""

from enum import Enum
from typing import Final


class State(Enum):
    """Where a place stands."""

    WAITING = "waiting"  # no process; one is started when the back-off is over
    STARTING = "starting"  # a process runs and has not yet said READY
    SERVING = "serving"  # it serves a plan
    DRAINING = "draining"  # it is told to drain; nobody comes after it here: who replaces it has another number
    GONE = "gone"  # no process, and none will come


class Event(Enum):
    """What can happen to a place."""

    DUE = "due"  # the back-off is over
    READY = "ready"  # the worker serves a plan
    DIED = "died"  # the process has ended, however
    LATE = "late"  # the time allowed for this state is over
    STALLED = "stalled"  # it serves, and its event loop stands still
    DRAIN = "drain"  # the proxy is leaving, has fewer workers now, or others have come for this one
    KILL = "kill"  # at once


class Action(Enum):
    """What the supervisor does about it."""

    NOTHING = "nothing"
    START = "start a process"
    SERVE = "note that it serves"
    BACK_OFF = "clear what it left, wait, start another"
    TELL_TO_DRAIN = "send DRAIN"
    KILL = "kill the process"
    FINISH = "clear what it left"


_W, _S, _R, _D, _G = State.WAITING, State.STARTING, State.SERVING, State.DRAINING, State.GONE

TABLE: Final[dict[tuple[State, Event], tuple[State, Action]]] = {
    (_W, Event.DUE): (_S, Action.START),
    (_W, Event.READY): (_W, Action.NOTHING),
    (_W, Event.DIED): (_W, Action.NOTHING),
    (_W, Event.LATE): (_W, Action.NOTHING),
    (_W, Event.STALLED): (_W, Action.NOTHING),
    (_W, Event.DRAIN): (_G, Action.FINISH),
    (_W, Event.KILL): (_G, Action.FINISH),
    (_S, Event.DUE): (_S, Action.NOTHING),
    (_S, Event.READY): (_R, Action.SERVE),
    (_S, Event.DIED): (_W, Action.BACK_OFF),
    (_S, Event.LATE): (_S, Action.KILL),  # its end brings DIED
    (_S, Event.STALLED): (_S, Action.NOTHING),  # it has a limit for that
    (_S, Event.DRAIN): (_D, Action.TELL_TO_DRAIN),
    (_S, Event.KILL): (_D, Action.KILL),
    (_R, Event.DUE): (_R, Action.NOTHING),
    (_R, Event.READY): (_R, Action.SERVE),  # a later plan
    (_R, Event.DIED): (_W, Action.BACK_OFF),
    (_R, Event.LATE): (_R, Action.NOTHING),
    (_R, Event.STALLED): (_R, Action.KILL),  # its end brings DIED
    (_R, Event.DRAIN): (_D, Action.TELL_TO_DRAIN),
    (_R, Event.KILL): (_D, Action.KILL),
    (_D, Event.DUE): (_D, Action.NOTHING),
    (_D, Event.READY): (_D, Action.NOTHING),
    (_D, Event.DIED): (_G, Action.FINISH),
    (_D, Event.LATE): (_D, Action.KILL),
    (_D, Event.STALLED): (_D, Action.NOTHING),  # it has a limit for that
    (_D, Event.DRAIN): (_D, Action.NOTHING),
    (_D, Event.KILL): (_D, Action.KILL),
    (_G, Event.DUE): (_G, Action.NOTHING),
    (_G, Event.READY): (_G, Action.NOTHING),
    (_G, Event.DIED): (_G, Action.NOTHING),
    (_G, Event.LATE): (_G, Action.NOTHING),
    (_G, Event.STALLED): (_G, Action.NOTHING),
    (_G, Event.DRAIN): (_G, Action.NOTHING),
    (_G, Event.KILL): (_G, Action.NOTHING),
}
