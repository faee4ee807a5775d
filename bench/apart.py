"""One part of the bench by itself: its command line, a place to work in, and its rows, a line each."""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

from bench.cases import free_ports
from bench.load import LoadError
from bench.peers import ROOT, Ports, Tidegate
from bench.place import Place, Row
from bench.report import machine

_LIMIT = 300
"""Seconds for a process of its own."""


def measure_apart(name: str, about: str | None, quick: str, part: Callable[[Place, bool, bool], list[Row]]) -> int:
    """Measure `part`, which is told its place, whether to be quick, and whether to take the sources of this checkout."""
    parser = argparse.ArgumentParser(prog=f"python -m bench.{name}", description=about)
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--interpreted", action="store_true", help="the sources of this checkout, as they are")
    parser.add_argument("--out", type=Path, help="write a page with the table to this file, too")
    chosen = parser.parse_args()
    interpreted = chosen.interpreted or Tidegate().program() is None
    cores = os.sched_getaffinity(0)
    with tempfile.TemporaryDirectory(prefix=f"tidegate-{name}-") as temporary:
        place = Place(Path(temporary), Ports(*free_ports(5)), cores, cores)
        rows = part(place, chosen.quick, interpreted)
    for row in rows:
        print(f"{row.title}: {row.measured}" + (f" (wanted: {row.wanted})" if row.wanted else ""))
    if chosen.out:
        given = (("--quick", chosen.quick), ("--interpreted", chosen.interpreted))
        options = "".join(f" {option}" for option, is_given in given if is_given)
        command = f"python -m bench.{name}{options} --out {chosen.out}"
        chosen.out.write_text(page(name, command, rows, machine(), datetime.now(UTC).date().isoformat()))
    return 0


def page(name: str, command: str, rows: Sequence[Row], facts: dict[str, str], day: str) -> str:
    """The rows as Markdown, and what they were measured on."""
    about = "".join(f"| {what} | {is_so} |\n" for what, is_so in facts.items())
    measured = "".join(f"| {row.title} | {row.measured} | {row.wanted} |\n" for row in rows)
    return (
        f"# Results of bench.{name}\n\n"
        f"Made by `{command}` on {day}; do not edit. How it is measured stands in [README.md](README.md).\n\n"
        f"| machine | |\n|---|---|\n{about}\n"
        f"| what | measured | wanted |\n|---|---:|---:|\n{measured}"
    )


def found_by(script: str, directory: Path, count: int, *, interpreted: bool) -> dict[str, float]:
    """What a script of bench/ prints as JSON, in a process that has nothing else to do. Raises LoadError.

    It runs in `directory`, so that the sources here are not taken for what is installed, where that is what is meant.
    """
    command = [] if interpreted else _installed()
    command = command or ["/usr/bin/env", f"PYTHONPATH={ROOT}", sys.executable]
    program = subprocess.run(
        [*command, "-P", str(ROOT / "bench" / script), str(count)],
        cwd=directory, capture_output=True, text=True, timeout=_LIMIT, check=False,
    )  # fmt: skip
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
