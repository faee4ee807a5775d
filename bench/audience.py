"""What rules, rings, holdouts and layers add to a request: `python -m bench.audience` (seconds; it needs no other program).

Decisions alone, in memory: no socket, and no other process beside them.
"""

import sys

from bench.apart import found_by, measure_apart
from bench.place import Place, Row


def decisions(place: Place, quick: bool, interpreted: bool = False) -> list[Row]:
    """Nanoseconds of a decision that goes through everything and finds nothing that holds, beside one without rules."""
    found = found_by("deciding.py", place.under("audience"), 20 if quick else 200, interpreted=interpreted)
    form = "compiled" if found["compiled"] else "interpreted"
    rows = [Row(f"A decision without rules, {form}", f"{found['plain']:,.0f} ns", "")]
    for key, title in (
        ("ruled", "ten rules, three of which name 100,000 units each"),
        ("everything", "the same, a preview, three rings, a holdout and a layer"),
    ):
        added = (found[key] - found["plain"]) / 1000
        rows.append(
            Row(f"Added to it by {title}, {form}", f"{added:.2f} us", "<= 3 us compiled" if key == "ruled" else "")
        )
    return rows


def main() -> int:
    """Measure, and print."""
    return measure_apart("audience", __doc__, "fewer rounds", decisions)


if __name__ == "__main__":
    sys.exit(main())
