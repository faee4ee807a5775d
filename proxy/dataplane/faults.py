"""The gate at which an exchange is disturbed on purpose: held up, refused, reset, or answered slowly.

Everything that is disturbed is marked, so that nobody takes an experiment for a failure. Faults stop at once when they are
switched off, by the file or by the switch of the admin API: also those that are under way.
"""

from typing import Final

from proxy.core.faults import ABORT, DELAY, RESET, SLOW_BODY, Fault
from proxy.dataplane.pacing import Pacer
from proxy.dataplane.passage import Passage, Waiter
from proxy.dataplane.record import MARK_FAULT
from proxy.dataplane.runtime import Runtime
from proxy.errors import FI
from proxy.telemetry.counters import FAULT_CAPPED, V_FAULTS

_LOOK: Final = 0.25
"""Seconds between two looks of a delayed exchange at whether faults were switched off."""


def undisturbed(passage: Passage) -> bool:
    """A gate: False where a fault holds that answers the request, ends it, or delays it."""
    policy = passage.route.faults
    if policy is None:
        return True
    runtime = passage.runtime
    version = passage.version
    arm = version.arm
    window = None if arm is None else arm.disturbed
    if window is not None:
        window.came(runtime.now())
    if switched_off(runtime):
        return True
    decision = passage.decision
    unit = None if decision is None else decision.unit
    chosen = policy.choose(
        passage.request, version.name, runtime.rng.randbytes(8) if unit is None else unit, runtime.wall()
    )
    if chosen is None:
        return True
    if not chosen.asked and (window is None or not window.take(passage.plan.max_disturbed)):
        runtime.view[version.slot + V_FAULTS + FAULT_CAPPED] += 1
        return True
    passage.marked |= MARK_FAULT
    if chosen.delay is None:
        return chosen.other is None or _put_in(passage, chosen.other)
    _count(passage, DELAY)
    passage.delayed = True
    delay = _Delay(runtime.now() + chosen.delay.delay, chosen.other)
    delay.hold_up(passage)
    return False


def switched_off(runtime: Runtime) -> bool:
    """Whether no fault may be put in now, whatever the plan says that a request stands on."""
    plan = runtime.plan
    return runtime.faults_killed or plan is None or not plan.faults


class _Delay(Waiter):
    """Holds an exchange up until a time (monotonic seconds), and then puts in what else there is."""

    def __init__(self, until: float, other: Fault | None) -> None:
        self._until: Final = until
        self._other: Final = other

    def hold_up(self, passage: Passage) -> None:
        passage.wait(max(min(self._until - passage.runtime.now(), _LOOK), 0.0), self)

    def woken(self, passage: Passage) -> None:
        runtime = passage.runtime
        if switched_off(runtime):
            passage.advance()
        elif runtime.now() < self._until:
            self.hold_up(passage)
        elif self._other is None or _put_in(passage, self._other):
            passage.advance()


def _put_in(passage: Passage, fault: Fault) -> bool:
    """Do what `fault` says, which is no delay; whether the exchange may go on."""
    kind = fault.kind
    _count(passage, kind)
    if kind == SLOW_BODY:
        passage.delayed = True
        passage.pacer = Pacer(passage, fault.rate)
        return True
    if kind == ABORT:
        passage.refuse(FI, fault.status)
    elif kind == RESET:
        passage.cut_off(FI)
    return False


def _count(passage: Passage, kind: int) -> None:
    passage.runtime.view[passage.version.slot + V_FAULTS + kind] += 1
