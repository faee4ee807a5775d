"""What /metrics says of caps."""

import os
import re

from proxy.telemetry.counters import Cells, create_memory
from proxy.telemetry.exposition import Exposition
from proxy.telemetry.facts import CapFacts, Facts
from proxy.telemetry.ledger import Ledger


def scraped(caps: dict[tuple[str, str], CapFacts]) -> list[str]:
    descriptor = create_memory()
    cells = Cells(descriptor, 0, 1)
    text = Exposition(cells, Ledger(cells), Facts(caps=caps)).render()[0].decode()
    cells.view.release()
    os.close(descriptor)
    return re.findall(r"^tidegate_cap_.*", text, re.MULTILINE)


def test_caps_are_shown_by_version() -> None:
    shown = scraped({("shop", "canary"): CapFacts(7, 10), ("api", "next"): CapFacts(0, 5, "the disk is full")})
    assert shown == [
        'tidegate_cap_units{route="shop",version="canary"} 7',
        'tidegate_cap_units{route="api",version="next"} 0',
        'tidegate_cap_limit{route="shop",version="canary"} 10',
        'tidegate_cap_limit{route="api",version="next"} 5',
        'tidegate_cap_current{route="shop",version="canary"} 1',
        'tidegate_cap_current{route="api",version="next"} 0',
    ]


def test_without_caps_nothing_is_said() -> None:
    assert scraped({}) == []


def test_cap_is_reached_by_number_and_by_not_knowing() -> None:
    assert [CapFacts(9, 10).reached, CapFacts(10, 10).reached, CapFacts(0, 10, "why").reached] == [False, True, True]
