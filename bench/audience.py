"""What rules, rings, holdouts and layers add to a request: `python -m bench.audience` (seconds; it needs no other program).

Decisions alone, in memory: no socket, and no other process beside them.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from bench.cases import free_ports
from bench.load import LoadError
from bench.own import Place, Row
from bench.peers import ROOT, Ports, Tidegate

_LIMIT = 120


def _measured(command: list[str], directory: Path, repeats: int) -> dict[str, float]:
    """What bench/deciding.py prints. It runs elsewhere, so that the sources here are not taken for what is installed."""
    program = subprocess.run(
        [*command, "-P", str(ROOT / "bench" / "deciding.py"), str(repeats)],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=_LIMIT,
        check=False,
    )
    if program.returncode:
        raise LoadError(program.stderr.strip()[-500:])
    found: dict[str, float] = json.loads(program.stdout)
    return found


def _installed() -> list[str]:
    """The Python that Tidegate is installed for; [] where it is not."""
    program = Tidegate().program()
    if program is None:
        return []
    first = Path(program).read_bytes().partition(b"\n")[0].decode("utf-8", "replace")
    return first[2:].split() if first.startswith("#!") else []


def decisions(place: Place, quick: bool, interpreted: bool = False) -> list[Row]:
    """Nanoseconds of a decision that goes through everything and finds nothing that holds, beside one without rules."""
    command = [] if interpreted else _installed()
    command = command or ["/usr/bin/env", f"PYTHONPATH={ROOT}", sys.executable]
    found = _measured(command, place.under("audience"), 20 if quick else 200)
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
    parser = argparse.ArgumentParser(prog="python -m bench.audience", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer rounds")
    parser.add_argument("--interpreted", action="store_true", help="the sources of this checkout, as they are")
    chosen = parser.parse_args()
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix="tidegate-audience-") as temporary:
        place = Place(Path(temporary), Ports(*free_ports(5)), cores, cores)
        for row in decisions(place, chosen.quick, chosen.interpreted):
            print(f"{row.title}: {row.measured}" + (f" (wanted: {row.wanted})" if row.wanted else ""))
    return 0


if __name__ == "__main__":
    sys.exit(main())
