"""What was counted, as tables: for a terminal, and for docs/performance.md, beside the counts of an earlier commit."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from bench.counted import Counted, Result
from bench.stages import STAGES

BEFORE: Final = Path(__file__).with_name("instructions-before.json")
"""Counts of the commit that docs/performance.md compares with."""
MARKS: Final = ("<!-- instructions:begin -->", "<!-- instructions:end -->")
_STAGED: Final = "small"
"""The case that the page tells by stage."""


@dataclass(frozen=True, slots=True)
class Before:
    """An earlier commit, counted with the same tool."""

    commit: str
    compiled: Result
    interpreted: Result


def load_before(file: Path = BEFORE) -> Before:
    """The counts to compare with."""
    found = json.loads(file.read_text())
    return Before(found["commit"], result_of(found["compiled"]), result_of(found["interpreted"]))


def result_of(found: Mapping[str, Any]) -> Result:
    """What `--json` wrote."""
    return Result(
        found["compiled"],
        found["python"],
        found["yardstick"],
        {name: Counted(**one) for name, one in found["cases"].items()},
    )


def page(result: Result) -> str:
    """The tables of one run."""
    names = list(result.cases)
    timed = any(counted.microseconds is not None for counted in result.cases.values())
    rows = [
        [one.title, f"{one.instructions:,}", f"{one.ratio:.3f}", *([f"{one.microseconds}"] if timed else [])]
        for one in result.cases.values()
    ]
    parts = [
        f"{result.form}; one round of the yardstick is {result.yardstick:,} instructions.",
        _table(["case", "instructions a request", "x yardstick", *(["µs in memory"] if timed else [])], rows),
    ]
    if result.compiled:
        costs = {stage: [one.stages.get(stage, 0) for one in result.cases.values()] for stage in STAGES}
        told = [[stage, *(f"{cost:,}" for cost in costs[stage])] for stage in STAGES if any(costs[stage])]
        parts.append(_table(["stage", *names], told))
    return "\n\n".join(parts)


def block(before: Before, compiled: Result, interpreted: Result) -> str:
    """What docs/performance.md says was counted: stages of the small GET, then all cases, before and now.

    Microseconds are estimated: instructions, at the pace at which the small GET of `compiled` ran in memory. Raises ValueError
    where that was not timed, or where `compiled` is not.
    """
    small, old = compiled.cases[_STAGED], before.compiled.cases[_STAGED]
    if small.microseconds is None or not compiled.compiled or interpreted.compiled:
        raise ValueError("the page takes a compiled result that was timed, and an interpreted one")
    pace = small.instructions / small.microseconds

    def both(cost: int) -> list[str]:
        return [f"{cost:,}", f"{cost / pace:.2f}"]

    stages = [
        [stage, *both(old.stages.get(stage, 0)), *both(small.stages.get(stage, 0))]
        for stage in STAGES
        if stage in old.stages or stage in small.stages
    ]
    stages.append(["**all**", *both(old.instructions), *both(small.instructions)])
    cases = []
    for name, one in compiled.cases.items():
        plain, earlier, plain_earlier = (
            result.cases[name] for result in (interpreted, before.compiled, before.interpreted)
        )
        cases.append(
            [one.title, f"{earlier.instructions:,}", f"{one.instructions:,}", f"{one.instructions / earlier.instructions:.2f}",
             f"{plain_earlier.instructions:,}", f"{plain.instructions:,}", f"{plain.instructions / plain_earlier.instructions:.2f}"]
        )  # fmt: skip
    was = f"at {before.commit}"
    return "\n\n".join(
        [
            f"Small GET, few fields, compiled, by stage; microseconds at {pace:,.0f} instructions each:",
            _table(["stage", f"{was}: instructions", "µs", "now: instructions", "µs"], stages),
            "All cases, instructions a request:",
            _table(["case", f"compiled, {was}", "now", "ratio", f"interpreted, {was}", "now", "ratio"], cases),
            f"Made by `python -m bench.instructions --write`, Python {compiled.python}; small GET: {small.microseconds:g} µs.",
        ]
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join([*lines, *("| " + " | ".join(row) + " |" for row in rows)])
