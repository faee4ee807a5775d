"""What an answer costs for the evidence of a rollout, in this process: `python bench/testifying.py [rounds]` prints JSON.

Nanoseconds of counting one answer for its unit, which is all that a request of a route under way has more than another; where no
rollout is, one attribute is looked at. Imports nothing of the bench, so that it can be run against an installed, compiled Tidegate.
"""

import json
import sys
import time
from collections.abc import Callable

import proxy.core.evidence
from proxy.core.evidence import EvidenceWish, Firsts, Tally
from proxy.core.hashing import UnitHasher

UNITS = 5_000
_WISH = {
    "run": "v2", "stretch": 1, "weights": {"stable": 50.0, "canary": 50.0}, "slow": [0.25, 1.0],
    "from": "stable", "to": "canary",
}  # fmt: skip


class Route:
    """As much of a route as is looked at where no rollout is under way."""

    def __init__(self) -> None:
        self.evidence: Tally | None = None


def tally_of() -> Tally:
    """An empty one."""
    return Tally("shop", EvidenceWish(_WISH, ["stable", "canary"]), Firsts("v2"))


def best(rounds: int, units: list[str], work: Callable[[], Callable[[str], object]]) -> float:
    """Nanoseconds for a unit, without the loop. `work` makes anew what a round calls. The best round: others only add."""

    def nothing(_unit: str) -> None:
        return None

    taken: list[tuple[int, int]] = []
    for _ in range(rounds):
        one = work()
        spent = []
        for call in (one, nothing):
            begun = time.perf_counter_ns()
            for unit in units:
                call(unit)
            spent.append(time.perf_counter_ns() - begun)
        taken.append((spent[0], spent[1]))
    return (min(one for one, _ in taken) - min(loop for _, loop in taken)) / len(units)


def main() -> None:
    """Measure, and print."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 50
    hasher = UnitHasher(b"bench")
    units = [hasher(b"user-%d" % number) for number in range(UNITS)]
    route = Route()

    def without() -> Callable[[str], object]:
        return lambda _unit: route.evidence is not None

    def known() -> Callable[[str], object]:
        tally = tally_of()
        for unit in units:
            tally.count(0, unit, failed=False, seconds=0.01, size=500)
        return lambda unit: tally.count(0, unit, False, 0.01, 500)

    def new() -> Callable[[str], object]:
        tally = tally_of()
        return lambda unit: tally.count(0, unit, False, 0.01, 500)

    found = {name: best(rounds, units, work) for name, work in (("without", without), ("known", known), ("new", new))}
    compiled = not str(proxy.core.evidence.__file__).endswith(".py")
    print(json.dumps({"compiled": compiled, **found}))


if __name__ == "__main__":
    main()
