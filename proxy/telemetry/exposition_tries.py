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

_STATES: Final = ("closed", "half_open", "open")


def add_tries(lines: dict[str, list[str]], labels: str, values: list[int]) -> None:
    """Add the samples of one version; `values` are the slots of its block."""
    out = lines[metrics.RETRIES.name]
    for index, outcome in enumerate(RETRY_OUTCOMES):
        value = values[V_RETRY_OUTCOMES + index]
        if value or index == 0:
            out.append(f'tidegate_retries_total{{{labels},outcome="{outcome}"}} {value}')
    if any(values[V_RETRY_OUTCOMES + 1 : V_RETRY_OUTCOMES + len(RETRY_OUTCOMES)]) or values[V_RETRYING]:
        lines[metrics.RETRYING.name].append(f"{metrics.RETRYING.name}{{{labels}}} {values[V_RETRYING]}")
    out = lines[metrics.HEDGES.name]
    for index, outcome in enumerate(HEDGE_OUTCOMES):
        value = values[V_HEDGE_OUTCOMES + index]
        if value:
            out.append(f'tidegate_hedges_total{{{labels},outcome="{outcome}"}} {value}')
    states = values[V_BREAKER_STATE]
    opened = values[V_BREAKER_OPENED]
    if states:
        name = metrics.BREAKER_STATE.name
        lines[name] += [
            f'{name}{{{labels},state="{state}"}} {states >> (16 * place) & 0xFFFF}'
            for place, state in enumerate(_STATES)
        ]
    if states or opened:
        name = metrics.BREAKER_OPENED.name
        lines[name].append(f"{name}{{{labels}}} {opened}")
