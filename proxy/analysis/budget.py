"""One error budget for a whole rollout: how often, at most, is a sound canary stopped?

`alpha` is for the rollout, not for a metric. It is split evenly among the metrics that can stop it, and among the steps where
a test begins anew with each. Tests that hold at all looks (e-values, confidence sequences) are charged once, however often
one looks. A test for one look is charged for each: look k may use 6 / (pi k)^2 of its share, which adds up to all of it.

`beta` is how often a harmful canary may be promoted. It is not split: such a canary must be let through by every metric that
it harms, at every step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import pi
from typing import Final, Literal

Weight = Literal["critical", "normal", "watch"]
"""critical: a fail stops the rollout at once. normal: it stops it at the step's gate. watch: it is shown, and stops nothing."""
ALPHA: Final = 0.01
BETA: Final = 0.05


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one metric may use in one step, of the whole. `looks`: over how many looks it is known to be spent; 0: any number."""

    alpha: float
    whole: float
    metrics: int
    steps: int
    looks: int = 0

    def at_look(self, look: int) -> float:
        """For a test that holds for one look alone: what look number `look`, from 1, may use.

        Raises ValueError for a look below 1, or beyond those that were planned.
        """
        if look < 1 or (self.looks and look > self.looks):
            raise ValueError(f"look {look} of {self.looks or 'any number'}")
        return self.alpha / self.looks if self.looks else self.alpha * 6.0 / (pi * look) ** 2

    @property
    def words(self) -> str:
        """How it comes about, as it stands in a verdict."""
        metrics = "1 metric" if self.metrics == 1 else f"{self.metrics} metrics"
        steps = "" if self.steps == 1 else f" and {self.steps} steps"
        return f"alpha {self.alpha:.2g} of {self.whole:g} for the rollout, shared by {metrics}{steps}"


class Budget:
    """The budget of one rollout. Metrics are named before it starts; one that was not has no allowance."""

    def __init__(self, metrics: Mapping[str, Weight], steps: int = 1, alpha: float = ALPHA, beta: float = BETA) -> None:
        """Raises ValueError for alpha or beta outside (0, 1), and fewer than one step."""
        if not 0.0 < alpha < 1.0 or not 0.0 < beta < 1.0 or steps < 1:
            raise ValueError("alpha and beta between 0 and 1, and at least one step")
        self.alpha: Final = alpha
        self.beta: Final = beta
        self.steps: Final = steps
        self.metrics: Final = dict(metrics)
        self._counted: Final = max(1, sum(1 for weight in metrics.values() if weight != "watch"))

    def of(self, metric: str, *, anew: bool = False, looks: int = 0) -> Allowance:
        """What `metric` may use. `anew`: its test begins again with each step, which costs. Watch-only metrics are shown at
        the same level.

        Raises KeyError for a metric that was not named before the start.
        """
        if metric not in self.metrics:
            raise KeyError(metric)
        steps = self.steps if anew else 1
        return Allowance(self.alpha / self._counted / steps, self.alpha, self._counted, steps, looks)
