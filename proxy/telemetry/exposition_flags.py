"""What a scrape says of flags: nothing where none were ever asked for."""

from proxy.telemetry import metrics
from proxy.telemetry.facts import FlagFacts
from proxy.telemetry.samples import Samples, escape


def add_flags(samples: Samples, facts: FlagFacts) -> None:
    """Add the samples."""
    for (flag, variant, reason), count in facts.evaluations.items():
        samples.add(
            metrics.FLAG_EVALUATIONS, f'flag="{escape(flag)}",variant="{escape(variant)}",reason="{reason}"', count
        )
    for (kind, code), count in facts.requests.items():
        samples.add(metrics.FLAG_REQUESTS, f'kind="{kind}",code="{code}"', count)
    for outcome, count in facts.tokens.items():
        samples.add(metrics.FLAG_TOKENS, f'outcome="{outcome}"', count)
    if facts.requests:
        samples.add(metrics.FLAG_STREAMS, "", facts.streams)
