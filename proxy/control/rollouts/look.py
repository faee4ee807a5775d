"""One rollout as its evidence is followed: where its stretch began, and all that was gathered since."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from proxy.rollout.braking import RouteBrake
from proxy.rollout.evidence import Answers, Series
from proxy.rollout.gates import Gates, Judgement
from proxy.rollout.units import Run
from proxy.telemetry.measures import Counts

Spec = dict[str, Any]


@dataclass(slots=True)
class Look:
    """One rollout, as it is followed. `run` counts how often it began anew; `before` are the counters when the stretch began."""

    revision: str
    started: float
    began: float
    step: int
    run: int
    stretch: int
    since: float
    memory: str
    before: dict[str, Counts]
    weights: dict[str, float]
    gates: Gates
    units: Run
    brake: RouteBrake | None
    earlier: Counts | None = None
    """What the old version has had in the step before the one that took all its units: what the new one is held against then."""
    pulled: bool = False
    """Whether the brake was pulled in this stretch."""
    series: Series = field(default_factory=Series)
    events_since: float = 0.0
    """Unix seconds since when posted events are heard of."""
    answers: Answers = field(default_factory=Answers)
    answered: float = -1e9
    judgement: Judgement | None = None
    judged: tuple[int, bool, int, float] | None = None
    """What it was made of: the stretch, whether at the gate, how many first events, when queries were answered."""
    judged_at: float = -1e9
    charged: int = 0
    """Looks of tests for one look that the next control process counts as made."""
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def run_name(self) -> str:
        """Of the run, as workers hear of it."""
        return f"{self.revision}@{self.started!r}#{self.run}"

    def to_json(self) -> Spec:
        """What the next control process goes on from."""
        return {
            "revision": self.revision,
            "started": self.started,
            "began": self.began,
            "step": self.step,
            "run": self.run,
            "stretch": self.stretch,
            "since": self.since,
            "memory": self.memory,
            "charged": self.charged,
            "weights": self.weights,
            "before": {name: counts.to_json() for name, counts in self.before.items()},
            "earlier": None if self.earlier is None else self.earlier.to_json(),
        }
