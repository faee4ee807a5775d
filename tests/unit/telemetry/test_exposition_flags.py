"""What a scrape says of flags."""

from proxy.telemetry.exposition_flags import add_flags
from proxy.telemetry.facts import FlagFacts
from proxy.telemetry.samples import Samples


def scraped(facts: FlagFacts) -> list[str]:
    samples = Samples()
    add_flags(samples, facts)
    return [line for lines in samples.lines.values() for line in lines]


def test_nothing_is_said_where_nobody_asked() -> None:
    assert scraped(FlagFacts()) == []


def test_evaluations_requests_and_streams() -> None:
    facts = FlagFacts({("cart", "on", "STATIC"): 3}, {("bulk", 304): 2}, 1)
    assert scraped(facts) == [
        'tidegate_flag_evaluations_total{flag="cart",variant="on",reason="STATIC"} 3',
        'tidegate_flag_requests_total{kind="bulk",code="304"} 2',
        "tidegate_flag_streams 1",
    ]
