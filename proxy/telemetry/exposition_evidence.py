"""What a scrape says of the evidence of rollouts: nothing where there never was any."""

from proxy.telemetry import metrics
from proxy.telemetry.facts import EvidenceFacts
from proxy.telemetry.samples import Samples, escape

_VERDICTS = ("pass", "fail", "insufficient")


def add_evidence(
    samples: Samples, facts: EvidenceFacts, dropped: dict[str, int], brakes: dict[tuple[str, str], int]
) -> None:
    """Add the samples. `dropped` are first events that workers had no room for, by route; `brakes` are theirs, by route and
    version."""
    for route, verdicts in facts.verdicts.items():
        for metric, said in verdicts.items():
            labels = f'route="{escape(route)}",metric="{escape(metric)}"'
            samples.each(metrics.VERDICT, labels, [(one, int(one == said)) for one in _VERDICTS])
    counts = dict(facts.dropped)
    for route, count in dropped.items():
        counts[route, "first_events"] = counts.get((route, "first_events"), 0) + count
    for (route, reason), count in counts.items():
        samples.each(metrics.EVIDENCE_DROPPED, f'route="{escape(route)}"', [(reason, count)])
    for route, version in dict.fromkeys((*facts.brakes, *brakes)):
        count = facts.brakes.get((route, version), 0) + brakes.get((route, version), 0)
        samples.add(metrics.BRAKES, f'route="{escape(route)}",version="{escape(version)}"', count)
    for (route, outcome), count in facts.queries.items():
        samples.each(metrics.QUERIES, f'route="{escape(route)}"', [(outcome, count)])
    samples.each(metrics.EVENTS, "", [(escape(event), count) for event, count in facts.events.items()])
