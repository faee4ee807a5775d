"""What a scrape says of exposures: nothing where none were ever recorded."""

from math import isinf

from proxy.telemetry import metrics
from proxy.telemetry.facts import ExposureFacts
from proxy.telemetry.samples import Samples, escape


def add_exposures(samples: Samples, facts: ExposureFacts, dropped: dict[str, int]) -> None:
    """Add the samples; `dropped` are the workers' counts by route."""
    for route in dict.fromkeys((*facts.recorded, *facts.repeated, *dropped)):
        outcomes = (("recorded", facts.recorded), ("repeated", facts.repeated), ("dropped", dropped))
        samples.each(
            metrics.EXPOSURES, f'route="{escape(route)}"', [(name, counts.get(route, 0)) for name, counts in outcomes]
        )
    if facts.failures:
        samples.each(metrics.EXPOSURE_FAILURES, "", facts.failures.items())
        samples.add(metrics.EXPOSURE_RECORDS, "", facts.records)
        samples.add(metrics.EXPOSURE_BYTES, "", facts.size)
    for route, segment, source, factor in facts.ratios:
        labels = f'route="{escape(route)}",segment="{escape(segment)}",source="{escape(source)}"'
        samples.add(metrics.SAMPLE_RATIO, labels, "+Inf" if isinf(factor) else repr(factor))
