"""What a scrape says of tokens and their keys: nothing where no token is looked at."""

from collections.abc import Sequence

from proxy.core.bearer import TOKEN_OUTCOMES
from proxy.telemetry import metrics
from proxy.telemetry.counters import W_TOKENS
from proxy.telemetry.facts import TokenKeyFacts
from proxy.telemetry.samples import Samples


def add_tokens(samples: Samples, labels: str, values: Sequence[int]) -> None:
    """Add the counts of one worker."""
    samples.seen(metrics.TOKENS, labels, TOKEN_OUTCOMES, values, W_TOKENS)


def add_token_keys(samples: Samples, facts: TokenKeyFacts) -> None:
    """Add how the keys stand."""
    if not facts.source:
        return
    samples.add(metrics.TOKEN_KEYS, "", facts.keys)
    samples.add(metrics.TOKEN_KEYS_CURRENT, "", int(not facts.problem))
    samples.add(metrics.TOKEN_KEYS_TIME, "", float(facts.taken_at))
    samples.each(metrics.TOKEN_KEY_READS, "", (("taken", facts.taken), ("refused", facts.refused)))
    samples.add(metrics.TOKEN_KEYS_EARLY, "", facts.early)
