"""The gate at which the clock of a whole exchange is set: what the route allows, lowered by what a trusted peer asks.

The clock runs from the request's head to the answer's end, and everything in between is on it: waiting, retries, injected
delays. It ends where a tunnel begins.
"""

from math import inf

from proxy.core.deadline import MALFORMED, parse_duration, time_allowed
from proxy.dataplane.passage import Passage
from proxy.errors import UT
from proxy.telemetry.counters import W_DEADLINES_IGNORED


def in_time(passage: Passage) -> bool:
    """A gate: False where the time is over before anything was done."""
    route = passage.route
    policy = route.deadline
    asked = MALFORMED
    if policy is not None and passage.client.trusted:
        value = passage.request.fields.get(policy.header)
        if value is not None:
            asked = parse_duration(value)
            if asked == MALFORMED:
                runtime = passage.runtime
                runtime.view[runtime.base + W_DEADLINES_IGNORED] += 1
    allowed = time_allowed(route.timeout, asked)
    if allowed <= 0:
        passage.refuse(UT, 0, "the time that the caller gave this request is over")
        return False
    if allowed != inf:
        passage.end_within(allowed)
    return True
