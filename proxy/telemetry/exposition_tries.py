"""What a scrape says of a version's retries, hedges and breaker: only where there is any of it."""

from typing import Final

from proxy.telemetry import metrics
from proxy.telemetry.counters import (
    HEDGE_OUTCOMES,
    RETRY_OUTCOMES,
    V_BREAKER_OPENED,
    V_BREAKER_STATE,
    V_HEDGE_OUTCOMES,
    V_RETRY_OUTCOMES,
    V_RETRYING,
)
from proxy.telemetry.samples import Samples

_STATES: Final = ("closed", "half_open", "open")


def add_tries(samples: Samples, labels: str, values: list[int]) -> None:
    """Add the samples of one version; `values` are the slots of its block."""
    retries = values[V_RETRY_OUTCOMES : V_RETRY_OUTCOMES + len(RETRY_OUTCOMES)]
    stale, *others = zip(RETRY_OUTCOMES, retries, strict=True)
    samples.each(metrics.RETRIES, labels, [stale, *(pair for pair in others if pair[1])])
    if any(retries[1:]) or values[V_RETRYING]:
        samples.add(metrics.RETRYING, labels, values[V_RETRYING])
    samples.seen(metrics.HEDGES, labels, HEDGE_OUTCOMES, values, V_HEDGE_OUTCOMES)
    states = values[V_BREAKER_STATE]
    opened = values[V_BREAKER_OPENED]
    if states:
        workers = [(state, states >> (16 * place) & 0xFFFF) for place, state in enumerate(_STATES)]
        samples.each(metrics.BREAKER_STATE, labels, workers)
    if states or opened:
        samples.add(metrics.BREAKER_OPENED, labels, opened)
