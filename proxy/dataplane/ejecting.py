"""Outlier ejection in one pool: who is ejected, who returns, and what is written down of it.

The judgement is core/outlier.py's. It asks for a look at the end of an interval or of an ejection; while nothing is reported and
nobody is ejected it sleeps. With several workers each ejects on what it has seen itself, and the cap holds for each.
"""

from typing import Final

from proxy.core.outlier import CAUSES, NONE, Detector, OutlierPolicy, Standing
from proxy.dataplane.choosing import Chooser
from proxy.dataplane.endpoint_state import EndpointState
from proxy.dataplane.runtime import Runtime, log
from proxy.dataplane.timers import Timed
from proxy.telemetry.counters import E_EJECTIONS


class Ejector(Timed):
    """Watches the endpoints of one pool. Made where outlier detection is configured."""

    def __init__(self, runtime: Runtime, chooser: Chooser, name: str, policy: OutlierPolicy) -> None:
        self._runtime: Final = runtime
        self._chooser: Final = chooser
        self._name: Final = name
        self._detector: Final = Detector(policy)

    def take(self, policy: OutlierPolicy) -> None:
        """The policy or the endpoints have changed. Who is ejected stays so, within what the cap is now."""
        self._detector.policy = policy
        self._end_ejections(self._runtime.now())

    def report(self, standing: Standing, status: int, seconds: float, now: float) -> None:
        """An answer, or what became of a request without one. See `Detector.report`."""
        cause = self._detector.report(standing, status, seconds, now)
        if cause != NONE:
            self._eject(standing, cause, now, standing.errors_in_row, self._detector.limit(cause))
        elif self.deadline > self._detector.ends:
            self._wake_up()

    def expired(self, now: float) -> None:
        self._end_ejections(now)
        if now >= self._detector.ends:
            standings = self._standings()
            for place, cause, value, limit in self._detector.judge(standings, now):
                self._eject(standings[place], cause, now, value, limit)
        self._wake_up()

    def release(self, state: EndpointState, now: float, why: str) -> None:
        """End an ejection, if it is one."""
        standing = state.standing
        if not standing.ejected:
            return
        self._detector.release(standing, now)
        self._chooser.start_slowly(state, now)
        self._chooser.look(now)
        state.show(self._runtime.view)
        log.info(
            "an ejected endpoint is back",
            extra={"upstream": self._name, "endpoint": state.endpoint.label, "why": why},
        )

    def dissolve(self, why: str) -> None:
        """Nobody is to be ejected any more."""
        now = self._runtime.now()
        for state in self._chooser.states:
            self.release(state, now, why)
            state.standing.times = 0
        self._runtime.wheel.forget(self)

    def sleep(self) -> None:
        """The pool is closed."""
        self._runtime.wheel.forget(self)

    def _standings(self) -> list[Standing]:
        return [state.standing for state in self._chooser.states]

    def _wake_up(self) -> None:
        """Be called when something is due."""
        self._runtime.wheel.arm(self, self._detector.due(self._standings()))

    def _end_ejections(self, now: float) -> None:
        states = self._chooser.states
        for place in self._detector.ended(self._standings(), now):
            self.release(states[place], now, "time" if now >= states[place].standing.ends else "too_many_ejected")

    def _eject(self, standing: Standing, cause: int, now: float, value: float, limit: float) -> None:
        state: EndpointState | None = None
        for one in self._chooser.states:
            if one.standing is standing:
                state = one
        if state is None or not self._detector.eject(standing, self._standings(), now):
            return  # it left the plan, is ejected already, or as many are as may be
        view = self._runtime.view
        view[state.endpoint.slot + E_EJECTIONS + cause] += 1
        self._chooser.look(now)
        state.show(view)
        self._wake_up()
        log.warning(
            "endpoint ejected",
            extra={
                "upstream": self._name,
                "endpoint": state.endpoint.label,
                "cause": CAUSES[cause],
                "seconds": round(standing.ends - now, 3),
                "times": standing.times,
                "value": value,  # in a row; share of successes; seconds
                "limit": limit,
            },
        )
