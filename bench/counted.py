"""What instructions were counted, and what they may be."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

BOUNDS: Final = Path(__file__).with_name("instructions.json")
SLACK: Final = 0.05
"""By how much a count may be above its bound; docs/performance.md says what it was measured against."""


@dataclass(frozen=True, slots=True)
class Counted:
    """What one request of a case costs."""

    title: str
    instructions: int
    ratio: float
    """Instructions, as a multiple of one round of the yardstick."""
    stages: dict[str, int] = field(default_factory=dict)
    microseconds: float | None = None
    """Of the same in memory, by the clock; the shortest of some runs. No bound rests on it."""


@dataclass(frozen=True, slots=True)
class Result:
    """All cases, in one form."""

    compiled: bool
    python: str
    yardstick: int
    """Instructions of one round."""
    cases: dict[str, Counted]

    @property
    def form(self) -> str:
        """The key of this result's bounds: the form, and Python's version but for its last part."""
        return f"{'compiled' if self.compiled else 'interpreted'}, Python {self.python.rpartition('.')[0]}"


def load_bounds(file: Path = BOUNDS) -> dict[str, dict[str, float]]:
    """The committed bounds: ratios by form and Python, by case."""
    found: dict[str, dict[str, float]] = json.loads(file.read_text()) if file.exists() else {}
    return found


def with_bounds(bounds: Mapping[str, Mapping[str, float]], result: Result) -> dict[str, dict[str, float]]:
    """The bounds with those that this result was."""
    known = {form: dict(cases) for form, cases in bounds.items()}
    known.setdefault(result.form, {}).update({name: counted.ratio for name, counted in result.cases.items()})
    return dict(sorted(known.items()))


def excesses(result: Result, bounds: Mapping[str, Mapping[str, float]]) -> list[str]:
    """What costs more than its bound and the slack, a line each. Raises KeyError where there are no bounds for this form."""
    known = bounds[result.form]
    found = []
    for name, counted in result.cases.items():
        bound = known.get(name)
        if bound is None:
            found.append(f"{name}: there is no bound for it in {BOUNDS.name}")
        elif counted.ratio > bound * (1 + SLACK):
            found.append(
                f"{name} ({counted.title}): {counted.instructions:,} instructions a request, {counted.ratio:.3f} x the yardstick;"
                f" its bound is {bound:.3f} x, and this is {counted.ratio / bound - 1:.1%} more, where {SLACK:.0%} are let pass"
            )
    return found


def advice(result: Result) -> str:
    """What to do about an excess."""
    command = "python -m bench.instructions" + ("" if result.compiled else " --interpreted")
    return (
        f"Where it goes, by stage: `{command}`, here and on the commit before. If the change is worth what it costs:"
        f" `{command} --bounds`, commit bench/{BOUNDS.name}, and say in the message what is bought with it."
        " If nothing of Tidegate changed, Python, mypy or the compiler did."
    )
