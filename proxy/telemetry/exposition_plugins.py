"""What a scrape says of plugins: nothing of one that was never asked."""

from collections.abc import Sequence

from proxy.telemetry import metrics
from proxy.telemetry.counters import (
    HISTOGRAM_SLOTS,
    HOOK_START,
    P_ANSWERED,
    P_DISABLED,
    P_ERRORS,
    P_OVERRIDDEN,
    P_RUNNING,
    P_SECONDS,
    PLUGIN_CAUSES,
    PLUGIN_HOOKS,
)
from proxy.telemetry.samples import Samples, escape


def add_plugin(samples: Samples, name: str, values: Sequence[int]) -> None:
    """Add one plugin's block, summed over the workers."""
    labels = f'plugin="{escape(name)}"'
    samples.add(metrics.PLUGIN_IN_FLIGHT, labels, values[P_RUNNING])
    samples.add(metrics.PLUGIN_DISABLED, labels, values[P_DISABLED])
    samples.add(metrics.PLUGIN_ANSWERS, labels, values[P_ANSWERED])
    samples.add(metrics.PLUGIN_OVERRIDES, labels, values[P_OVERRIDDEN])
    for kind, hook in enumerate(PLUGIN_HOOKS):
        of_hook = f'{labels},hook="{hook}"'
        samples.seen(metrics.PLUGIN_ERRORS, of_hook, PLUGIN_CAUSES, values, P_ERRORS + 8 * kind)
        start = P_SECONDS + kind * HISTOGRAM_SLOTS
        if kind < HOOK_START and any(values[start : start + HISTOGRAM_SLOTS]):
            samples.histogram(metrics.PLUGIN_SECONDS, of_hook, values, start)
