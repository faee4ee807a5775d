"""The life of one worker's place, as a table: what each event means in each state.

A place is a worker's number; processes come and go in it. Its region of the counters stays. The table is total: an event
that cannot matter in a state is written down as one that changes nothing, and a test walks every pair.
"""

from enum import Enum
from typing import Final


class State(Enum):
    """Where a place stands."""

    WAITING = "waiting"  # no process; one is started when the back-off is over
    STARTING = "starting"  # a process runs and has not yet said READY
    SERVING = "serving"  # it serves a plan
    LEAVING = "leaving"  # it is told to drain; another process takes the place afterwards
    DRAINING = "draining"  # it is told to drain; nobody comes after it
    GONE = "gone"  # no process, and none will come


class Event(Enum):
    """What can happen to a place."""

    DUE = "due"  # the back-off is over
    READY = "ready"  # the worker serves a plan
    DIED = "died"  # the process has ended, however
    LATE = "late"  # the time allowed for this state is over
    REPLACE = "replace"  # this process must make way for another
    DRAIN = "drain"  # the proxy is leaving, or has fewer workers now
    KILL = "kill"  # at once


class Action(Enum):
    """What the supervisor does about it."""

    NOTHING = "nothing"
    START = "start a process"
    SERVE = "note that it serves"
    BACK_OFF = "clear what it left, wait, start another"
    START_NEXT = "clear what it left, start another at once"
    TELL_TO_DRAIN = "send DRAIN"
    KILL = "kill the process"
    FINISH = "clear what it left"


_W, _S, _R, _L, _D, _G = State.WAITING, State.STARTING, State.SERVING, State.LEAVING, State.DRAINING, State.GONE

TABLE: Final[dict[tuple[State, Event], tuple[State, Action]]] = {
    (_W, Event.DUE): (_S, Action.START),
    (_W, Event.READY): (_W, Action.NOTHING),
    (_W, Event.DIED): (_W, Action.NOTHING),
    (_W, Event.LATE): (_W, Action.NOTHING),
    (_W, Event.REPLACE): (_W, Action.NOTHING),  # the next process is a new one anyway
    (_W, Event.DRAIN): (_G, Action.FINISH),
    (_W, Event.KILL): (_G, Action.FINISH),
    (_S, Event.DUE): (_S, Action.NOTHING),
    (_S, Event.READY): (_R, Action.SERVE),
    (_S, Event.DIED): (_W, Action.BACK_OFF),
    (_S, Event.LATE): (_S, Action.KILL),  # its end brings DIED
    (_S, Event.REPLACE): (_L, Action.KILL),  # it serves nobody yet
    (_S, Event.DRAIN): (_D, Action.TELL_TO_DRAIN),
    (_S, Event.KILL): (_D, Action.KILL),
    (_R, Event.DUE): (_R, Action.NOTHING),
    (_R, Event.READY): (_R, Action.SERVE),  # a later plan
    (_R, Event.DIED): (_W, Action.BACK_OFF),
    (_R, Event.LATE): (_R, Action.NOTHING),
    (_R, Event.REPLACE): (_L, Action.TELL_TO_DRAIN),
    (_R, Event.DRAIN): (_D, Action.TELL_TO_DRAIN),
    (_R, Event.KILL): (_D, Action.KILL),
    (_L, Event.DUE): (_L, Action.NOTHING),
    (_L, Event.READY): (_L, Action.NOTHING),
    (_L, Event.DIED): (_S, Action.START_NEXT),
    (_L, Event.LATE): (_L, Action.KILL),
    (_L, Event.REPLACE): (_L, Action.NOTHING),
    (_L, Event.DRAIN): (_D, Action.NOTHING),  # it was told already
    (_L, Event.KILL): (_D, Action.KILL),
    (_D, Event.DUE): (_D, Action.NOTHING),
    (_D, Event.READY): (_D, Action.NOTHING),
    (_D, Event.DIED): (_G, Action.FINISH),
    (_D, Event.LATE): (_D, Action.KILL),
    (_D, Event.REPLACE): (_D, Action.NOTHING),
    (_D, Event.DRAIN): (_D, Action.NOTHING),
    (_D, Event.KILL): (_D, Action.KILL),
    (_G, Event.DUE): (_G, Action.NOTHING),
    (_G, Event.READY): (_G, Action.NOTHING),
    (_G, Event.DIED): (_G, Action.NOTHING),
    (_G, Event.LATE): (_G, Action.NOTHING),
    (_G, Event.REPLACE): (_G, Action.NOTHING),
    (_G, Event.DRAIN): (_G, Action.NOTHING),
    (_G, Event.KILL): (_G, Action.NOTHING),
}
