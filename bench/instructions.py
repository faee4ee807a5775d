"""Instructions per request, counted by callgrind: the same command twice gives the same number, also on a busy machine.

    python -m bench.instructions                   Tidegate as it is installed beside this Python
    python -m bench.instructions --interpreted     the sources of this checkout

What is counted is a worker's data plane in memory (played.py): no system call, no event loop. The compiled form is told by stage
(stages.py). In the interpreted form every stage runs in the same C function, the interpreter's loop, so callgrind can tell the
total alone.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from bench.callgrind import CallgrindError, Profile, attribute, count
from bench.counted import BOUNDS, Counted, Result, load_bounds, with_bounds
from bench.instruction_pages import MARKS, block, load_before, page
from bench.peers import ROOT
from bench.report import put_between_marks
from bench.stages import ENTRIES, REST, STAGES, TURNS

REQUESTS: Final = 512
"""As many are counted, after as many that warm up: every user has been seen once by then."""
_ROUNDS: Final = 1_000
_PLAYED: Final = Path(__file__).with_name("played.py")
_YARDSTICK: Final = Path(__file__).with_name("yardstick.py")
_PYTHON: Final = (sys.executable, "-P")
"""What lies in bench/ is not to be taken for a module of somebody else's."""
_KEPT: Final = ("PATH", "HOME", "LD_LIBRARY_PATH", "PYTHONPATH")
_TIMINGS: Final = 7


def per_request(profile: Profile, compiled: bool, requests: int = REQUESTS) -> tuple[int, dict[str, int]]:
    """Instructions of one request, and by stage where that can be told. Raises CallgrindError where no stage is found."""
    if not compiled:
        return round(profile.total / requests), {}
    found = attribute(profile, ENTRIES, TURNS, REST)
    if not found.keys() - {REST}:
        raise CallgrindError("callgrind knows none of the functions in bench/stages.py: was the extension stripped?")
    stages = {stage: round(found[stage] / requests) for stage in STAGES if round(found.get(stage, 0) / requests)}
    return round(profile.total / requests), stages


def measure(*, interpreted: bool, only: list[str] | None = None, timed: bool = False) -> Result:
    """Count the cases, all of them unless told `only` which. Raises CallgrindError."""
    environment = {name: os.environ[name] for name in _KEPT if name in os.environ} | {"PYTHONHASHSEED": "0"}
    if interpreted:
        environment["PYTHONPATH"] = str(_PLAYED.parents[1])
    with tempfile.TemporaryDirectory(prefix="tidegate-instructions-") as temporary:
        place = Path(temporary)
        said = _run([*_PYTHON, str(_PLAYED), "specs", "."], environment, place)
        if interpreted and said["compiled"]:
            raise CallgrindError("the modules of this checkout are compiled; --interpreted wants its sources alone")
        titles: dict[str, str] = {name: title for name, title in said["titles"].items() if only is None or name in only}
        played = {
            name: [*_PYTHON, str(_PLAYED), "play", name, f"{name}.json", str(REQUESTS), str(REQUESTS)]
            for name in titles
        }  # no word of them is another one the next time: Python keeps them in a table, where they may be in others' way

        def one(name: str) -> Profile:
            command = played.get(name) or [*_PYTHON, str(_YARDSTICK), str(_ROUNDS)]
            return count(command, said["mark"], environment, place, name)

        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
            profiles = dict(zip(("yardstick", *titles), pool.map(one, ("yardstick", *titles)), strict=True))
        yardstick = round(profiles.pop("yardstick").total / _ROUNDS)
        cases = {}
        for name, profile in profiles.items():
            instructions, stages = per_request(profile, said["compiled"])
            took = None
            if timed:
                runs = [_run(played[name], environment, place)["nanoseconds"] for _ in range(_TIMINGS)]
                took = round(min(runs) / REQUESTS / 1000, 2)
            cases[name] = Counted(titles[name], instructions, round(instructions / yardstick, 3), stages, took)
    return Result(said["compiled"], said["python"], yardstick, cases)


def _run(command: list[str], environment: Mapping[str, str], directory: Path) -> dict[str, Any]:
    done = subprocess.run(command, env=dict(environment), cwd=directory, capture_output=True, text=True, check=False)
    if done.returncode:
        raise CallgrindError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def write(root: Path = ROOT) -> None:
    """Count both forms and put the tables into docs/performance.md.

    Raises CallgrindError, also where Tidegate is not installed compiled.
    """
    compiled = measure(interpreted=False, timed=True)
    if not compiled.compiled:
        raise CallgrindError("the page needs Tidegate compiled beside this Python: pip install .")
    file = root / "docs/performance.md"
    made = block(load_before(), compiled, measure(interpreted=True))
    file.write_text(put_between_marks(file.read_text(), made, MARKS))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.instructions", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--interpreted", action="store_true", help="the sources of this checkout, as they are")
    parser.add_argument("--cases", help="some of them only, with commas between")
    parser.add_argument(
        "--microseconds", action="store_true", help="say also how long it takes in memory, by the clock"
    )
    parser.add_argument("--json", type=Path, help="write what was counted to this file")
    parser.add_argument("--bounds", action="store_true", help=f"make it the bound: write its ratios to {BOUNDS.name}")
    parser.add_argument("--write", action="store_true", help="put the tables of both forms into docs/performance.md")
    chosen = parser.parse_args()
    only = chosen.cases.split(",") if chosen.cases else None
    try:
        if chosen.write:
            write()
            return 0
        result = measure(interpreted=chosen.interpreted, only=only, timed=chosen.microseconds)
    except CallgrindError as error:
        print(error, file=sys.stderr)
        return 2
    print(page(result))
    if chosen.json:
        chosen.json.write_text(json.dumps(asdict(result), indent=1) + "\n")
    if chosen.bounds:
        BOUNDS.write_text(json.dumps(with_bounds(load_bounds(), result), indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
