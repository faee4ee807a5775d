"""The breakers of one worker among those of the others: numbers are added up, and an opening is heard of.

What a breaker is, is in core/breaker.py. Here its window is written into the counters, judged on the totals of all workers,
and compared with what the other workers say: at a request, but no more than once in a tick, and by the clock, so that the
numbers of a version that nobody asks for any more grow old. Every change of state is logged.
"""

from typing import Final

from proxy.core.arm import Arm
from proxy.core.breaker import ORDINARY, STATES, Breaker, BreakerPolicy, Event, State
from proxy.core.plan import Version
from proxy.dataplane.runtime import Runtime, log
from proxy.dataplane.timers import TICK
from proxy.telemetry.counters import (
    REGION_SLOTS,
    U_REQUESTS,
    V_BREAKER_ERRORS,
    V_BREAKER_OPENED,
    V_BREAKER_REQUESTS,
    V_BREAKER_SLOW,
    V_BREAKER_STATE,
)

_HEARD: Final = 1.0
"""Seconds in which every worker has heard of an opening: one that is closed after that has closed again."""

_NUMBERS: Final[dict[State, int]] = {state: 1 << (16 * place) for place, state in enumerate(STATES)}
"""So that a sum over workers tells how many of them are in each state; 0 where there is no breaker."""
_CLOSED: Final = _NUMBERS[State.CLOSED]


def admit(runtime: Runtime, version: Version, arm: Arm, taken: int, now: float) -> int:
    """Whether a request may go to `version`: breaker.REFUSED, or what to hand to `ended` or `dropped`.

    `taken` requests are at its upstream, over all workers.
    """
    breaker = arm.breaker
    if breaker is None:
        return ORDINARY
    if now >= breaker.next_look or (
        breaker.state is State.CLOSED and breaker.policy.saturated(taken, version.upstream.max_requests)
    ):  # many may come between two looks: none of them shall meet the limit itself
        look(runtime, version, arm, taken, now)
    mark = breaker.admit(now)
    if mark > 0:
        _write_down(runtime, version, breaker)
    return mark


def ended(runtime: Runtime, version: Version, arm: Arm, mark: int, failed: bool, seconds: float, now: float) -> None:
    """A request that was admitted has an answer after `seconds`, or `failed`."""
    breaker = arm.breaker
    if breaker is None:  # no longer configured
        return
    above = breaker.policy.slow_above
    slow = 0.0 < above < seconds
    if mark == ORDINARY and not (failed or slow or breaker.shut):
        window = breaker.window
        window.add(now, 1, 0, 0)
        view = runtime.view
        slot = version.slot
        view[slot + V_BREAKER_REQUESTS] = window.requests
        view[slot + V_BREAKER_ERRORS] = window.errors
        view[slot + V_BREAKER_SLOW] = window.slow
        return
    before = breaker.state
    breaker.ended(now, mark, failed, slow)
    if (failed or slow) and before is State.CLOSED:
        _judge(runtime, version, arm, breaker, -1, now)
    _written(runtime, version, arm, breaker, before)


def spoiled(runtime: Runtime, version: Version, arm: Arm, mark: int, now: float) -> None:
    """An answer that `ended` was told of as good was cut off."""
    breaker = arm.breaker
    if breaker is None:
        return
    before = breaker.state
    breaker.spoiled(now, mark)
    if before is State.CLOSED:
        _judge(runtime, version, arm, breaker, -1, now)
    _written(runtime, version, arm, breaker, before)


def look(runtime: Runtime, version: Version, arm: Arm, taken: int, now: float) -> None:
    """Let the window grow old, hear what the other workers did, judge. `taken` negative: not known."""
    breaker = arm.breaker
    if breaker is None:
        return
    breaker.next_look = now + TICK
    before = breaker.state
    breaker.look(now)
    _hear(runtime, version, breaker, now)
    if breaker.state is State.CLOSED:
        _judge(runtime, version, arm, breaker, taken, now)
    _written(runtime, version, arm, breaker, before)


def begin(runtime: Runtime, version: Version, arm: Arm, policy: BreakerPolicy, now: float) -> None:
    """Give `arm` a breaker. Where another worker's is not closed, this one is open."""
    breaker = Breaker(policy, runtime.cells.workers)
    arm.breaker = breaker
    cells = runtime.cells
    place = version.slot % REGION_SLOTS
    view = runtime.view
    breaker.heard = cells.total(version.slot + V_BREAKER_OPENED) - view[version.slot + V_BREAKER_OPENED]
    breaker.among = cells.shares
    if any(view[place + region + V_BREAKER_STATE] > _CLOSED for region in cells.others):
        breaker.meet(Event.ELSEWHERE, now)
    _write_down(runtime, version, breaker)


def forget(runtime: Runtime, slot: int) -> None:
    """The version whose block stands at the absolute `slot` has no breaker any more."""
    for one in (V_BREAKER_STATE, V_BREAKER_REQUESTS, V_BREAKER_ERRORS, V_BREAKER_SLOW):
        runtime.view[slot + one] = 0


def taken_of(runtime: Runtime, version: Version, own: int) -> int:
    """How many requests are at the upstream of `version`, `own` of them this worker's."""
    return own if runtime.cells.alone else runtime.cells.total(version.upstream.slot + U_REQUESTS)


def _hear(runtime: Runtime, version: Version, breaker: Breaker, now: float) -> None:
    """Follow another worker's breaker that has opened; where nobody asks here, one that has closed."""
    cells = runtime.cells
    breaker.workers = cells.workers
    if cells.alone:
        return
    view = runtime.view
    slot = version.slot
    opened = cells.total(slot + V_BREAKER_OPENED) - view[slot + V_BREAKER_OPENED]
    if breaker.among != cells.shares:  # workers came or went, and what they ever counted with them
        breaker.among = cells.shares
    elif opened > breaker.heard:
        breaker.meet(Event.ELSEWHERE, now)
    elif breaker.waits_for_probes(now, _HEARD):
        place = slot % REGION_SLOTS + V_BREAKER_STATE
        if any(view[place + region] == _CLOSED for region in cells.others):
            breaker.meet(Event.RECOVERED, now)
    breaker.heard = opened


def _judge(runtime: Runtime, version: Version, arm: Arm, breaker: Breaker, taken: int, now: float) -> None:
    """Open where the windows of all workers together say so, unless another worker was quicker."""
    window = breaker.window
    requests, errors, slow = window.requests, window.errors, window.slow
    cells = runtime.cells
    slot = version.slot
    if not cells.alone:
        view = runtime.view
        requests += cells.total(slot + V_BREAKER_REQUESTS) - view[slot + V_BREAKER_REQUESTS]
        errors += cells.total(slot + V_BREAKER_ERRORS) - view[slot + V_BREAKER_ERRORS]
        slow += cells.total(slot + V_BREAKER_SLOW) - view[slot + V_BREAKER_SLOW]
    policy = breaker.policy
    saturated = taken >= 0 and policy.saturated(taken, version.upstream.max_requests)
    if not saturated and not policy.tripped(requests, errors, slow):
        return
    _hear(runtime, version, breaker, now)
    if breaker.state is State.CLOSED:
        breaker.meet(Event.TRIPPED, now)
        log.warning(
            "breaker opens",
            extra={
                "route": arm.route,
                "version": version.name,
                "requests": requests,
                "errors": errors,
                "slow": slow,
                "saturated": saturated,
            },
        )


def _written(runtime: Runtime, version: Version, arm: Arm, breaker: Breaker, before: State) -> None:
    _write_down(runtime, version, breaker)
    state = breaker.state
    if state is not before:
        if state is State.CLOSED and arm.admission is not None:
            arm.admission.forget()
        log.info(
            "breaker changed",
            extra={
                "route": arm.route,
                "version": version.name,
                "from": before.value,
                "to": state.value,
            },
        )


def _write_down(runtime: Runtime, version: Version, breaker: Breaker) -> None:
    view = runtime.view
    slot = version.slot
    window = breaker.window
    view[slot + V_BREAKER_REQUESTS] = window.requests
    view[slot + V_BREAKER_ERRORS] = window.errors
    view[slot + V_BREAKER_SLOW] = window.slow
    view[slot + V_BREAKER_STATE] = _NUMBERS[breaker.state]
    if breaker.openings != breaker.noted:
        view[slot + V_BREAKER_OPENED] += breaker.openings - breaker.noted
        breaker.noted = breaker.openings
