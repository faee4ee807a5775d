"""What a scrape says of expressions that could not be evaluated: nothing where there were none."""

from collections.abc import Sequence

from proxy.telemetry import metrics
from proxy.telemetry.counters import EXPRESSION_TROUBLES, W_EXPRESSIONS
from proxy.telemetry.samples import Samples


def add_expressions(samples: Samples, labels: str, values: Sequence[int]) -> None:
    """Add the counts of one worker."""
    samples.seen(metrics.CEL_ERRORS, labels, EXPRESSION_TROUBLES, values, W_EXPRESSIONS)
