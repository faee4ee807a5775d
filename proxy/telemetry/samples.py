"""The lines of a scrape, gathered by family: one for each sample, as both formats have it."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Final

from proxy.telemetry import metrics
from proxy.telemetry.counters import BUCKETS, EXPORTED_EDGES, FINE_EDGES
from proxy.telemetry.metrics import Metric


def escape(value: str) -> str:
    """A label value as both formats want it between the quotes."""
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


class Samples:
    """One scrape's. `labels` are without braces and escaped: `route="shop",version="stable"`."""

    def __init__(self) -> None:
        self.lines: Final[dict[str, list[str]]] = {metric.name: [] for metric in metrics.METRICS}
        """By family."""

    def add(self, metric: Metric, labels: str, value: object) -> None:
        """One sample. `value` prints as the number it is."""
        braced = f"{{{labels}}}" if labels else ""
        self.lines[metric.name].append(f"{metric.name}{braced} {value}")

    def each(self, metric: Metric, labels: str, values: Iterable[tuple[str, object]]) -> None:
        """A sample for each pair of what the family's last label says and its value."""
        start = f'{metric.name}{{{labels}{"," if labels else ""}{metric.labels[-1]}="'
        self.lines[metric.name] += [f'{start}{kind}"}} {value}' for kind, value in values]

    def seen(self, metric: Metric, labels: str, kinds: Sequence[str], values: Sequence[int], start: int) -> None:
        """The same for those of `kinds` that were ever counted; their counts stand in `values` from `start` on."""
        counts = values[start : start + len(kinds)]
        if any(counts):
            self.each(metric, labels, [pair for pair in zip(kinds, counts, strict=True) if pair[1]])

    def histogram(self, metric: Metric, labels: str, values: Sequence[int], start: int) -> None:
        """The exported buckets as sums of the fine ones from slot `start` on: every exported edge is a fine edge, so they
        are exact."""
        below = list(accumulate(values[start + 1 : start + 1 + BUCKETS]))
        template = _TEMPLATES[metric.name].replace("\0", labels.replace("%", "%%"))
        self.lines[metric.name].append(template % (*_exported(below), values[start] / 1e9, below[-1]))


def _template(metric: Metric) -> str:
    """All lines of one histogram, with NUL where its labels go: one formatting is a quarter of the cost of eighteen."""
    edges = (*(repr(edge) for edge in EXPORTED_EDGES), "+Inf")
    buckets = [f'{metric.name}_bucket{{\0,le="{edge}"}} %d' for edge in edges]
    return "\n".join((*buckets, f"{metric.name}_sum{{\0}} %r", f"{metric.name}_count{{\0}} %d"))


_TEMPLATES: Final = {metric.name: _template(metric) for metric in metrics.METRICS if metric.kind == metrics.HISTOGRAM}
_exported: Final = itemgetter(*(FINE_EDGES.index(edge) for edge in EXPORTED_EDGES), BUCKETS - 1)
