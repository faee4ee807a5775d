"""What a scrape says of caps: nothing where there is none."""

from proxy.telemetry import metrics
from proxy.telemetry.facts import CapFacts
from proxy.telemetry.samples import Samples, escape


def add_caps(samples: Samples, caps: dict[tuple[str, str], CapFacts]) -> None:
    """Add how they stand."""
    for (route, version), facts in caps.items():
        labels = f'route="{escape(route)}",version="{escape(version)}"'
        samples.add(metrics.CAP_UNITS, labels, facts.units)
        samples.add(metrics.CAP_LIMIT, labels, facts.limit)
        samples.add(metrics.CAP_CURRENT, labels, int(not facts.problem))
