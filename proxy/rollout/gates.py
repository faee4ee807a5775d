"""The gates of a rollout: all its metrics, one error budget, one verdict. Pure; the evidence and the time come in.

The metrics are those that were frozen with the revision. What a test has shown at earlier looks counts on (an e-value that was once
high enough stays so), which is why a rollout has one `Gates` for its whole life; after a restart it begins with what the evidence
shows then, and an e-value that was once higher is forgotten: critical metrics have acted upon it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from math import nan
from typing import Any, Final

from proxy.analysis.budget import Budget, Weight
from proxy.analysis.verdict import Outcome, Verdict, together
from proxy.rollout import judging, judging_points
from proxy.rollout.evidence import Evidence, plain

Spec = dict[str, Any]

ANSWERS: Final = 60
"""Answers of a query that are kept: as many as `intervals` may be."""
_ANEW: Final = frozenset({"band", "mean", "proportion", "sample_ratio"})
"""Judges whose test begins again with each step."""
_BY_CHANCE: Final = frozenset({"mean", "proportion", "sample_ratio"})
"""Judges of units that were dealt by chance. Where none are, as in rings and copies, they are shown and decide nothing."""
_HELD_UP: Final = frozenset({"error_rate", "exceedance", "mean", "proportion"})
"""Judges that go by units, and say so where a unit is nobody."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the gates say: pass, fail or insufficient, why in one sentence, and all numbers as plain JSON.

    `at_once`: a critical metric failed, and the step's time is not waited for.
    """

    result: Outcome
    reason: str
    at_once: bool = False
    numbers: Mapping[str, Any] = field(default_factory=dict)
    verdicts: tuple[Verdict, ...] = ()


class Gates:
    """One rollout's. `plan` is the spec's `rollout` of the route, as it was frozen."""

    def __init__(self, plan: Spec) -> None:
        self._metrics: Final[list[Spec]] = plan["metrics"]
        self._budget: Final = Budget(
            {one["name"]: one["weight"] for one in self._metrics},
            max(1, sum(1 for step in plan["steps"] if step["judged"])),
            plan["alpha"],
            plan["beta"],
        )
        self._highest: Final[dict[str, float]] = {}
        self._answers: Final[dict[str, list[float]]] = {}
        self._answered: float = 0.0
        self.looks: int = 0
        """Looks that tests for one look have had, each of which takes its part of their budgets."""
        self._made: int = 0  # points, at the last of them
        self._ranked: Final = any(
            one["judge"] == "mann_whitney" and one["compat"] != "kayenta" for one in self._metrics
        )

    def begin_step(self) -> None:
        """A new step: what goes by its points and its split begins anew."""
        self._answers.clear()
        for metric in self._metrics:
            if metric["judge"] == "sample_ratio":
                self._highest.pop(metric["name"], None)

    def forget(self) -> None:
        """The rollout begins anew: nothing that was shown counts on."""
        self._highest.clear()
        self._answers.clear()
        self.looks = self._made = 0

    def resume(self, looks: int) -> None:
        """So many looks have been made by earlier ones of the same rollout."""
        self.looks = max(self.looks, looks)

    def judge(self, evidence: Evidence, *, gate: bool) -> Judgement:
        """What the evidence says now. `gate`: the step has lasted as long as it should; before, only a critical fail counts.

        A judge that cannot make anything of its numbers is insufficient, and the reason says why.
        """
        if self._ranked and evidence.made != self._made and judging_points.may_be_ranked(evidence):
            self.looks += 1  # the same points once more are no other look
            self._made = evidence.made
        for name, answer in evidence.answers.items():
            mine = self._answers.setdefault(name, [])
            if mine and evidence.answered == self._answered:
                mine[-1] = answer  # looked at again, or too old by now
            else:
                mine.append(answer)
            del mine[:-ANSWERS]
        self._answered = evidence.answered
        verdicts = [self._one(metric, evidence) for metric in self._metrics]
        weights: dict[str, Weight] = {
            one["name"]: one["weight"] if evidence.randomised or one["judge"] not in _BY_CHANCE else "watch"
            for one in self._metrics
        }
        found = together(weights, verdicts, gate=gate, on_no_data="wait")
        reason = found.reason
        outcome = found.outcome
        if evidence.identity and any(one["judge"] in _HELD_UP for one in self._metrics):
            reason = f"{reason} ({evidence.identity})"
        numbers = {
            "verdict": outcome,
            "budget": {
                "alpha": self._budget.alpha,
                "beta": self._budget.beta,
                "metrics": len(self._metrics),
                "steps": self._budget.steps,
            },
            "metrics": [_shown(one) for one in found.verdicts],
            "samples": {name: {"requests": one[0], "units": one[1]} for name, one in evidence.samples().items()},
            "marked": {name: one.counts.marked for name, one in evidence.versions.items()},
            "seconds": round(evidence.seconds, 3),
            "share_of_units": 2.0**-evidence.level,
            "identity": evidence.identity,
            "randomised": evidence.randomised,
            "events_since": evidence.events_since or None,
            "dropped": dict(evidence.dropped),
        }
        return Judgement(outcome, reason, found.at_once, numbers, found.verdicts)

    def _one(self, metric: Spec, evidence: Evidence) -> Verdict:
        name, judge = metric["name"], metric["judge"]
        allowance = self._budget.of(name, anew=judge in _ANEW)
        highest = self._highest.get(name, 0.0)
        beta = self._budget.beta
        try:
            if judge == "error_rate":
                verdict = judging.error_rate(metric, evidence, allowance, beta, highest, self._budget.steps)
            elif judge == "exceedance":
                verdict = judging.exceedance(metric, evidence, allowance, beta, highest, self._budget.steps)
            elif judge == "band":
                verdict = judging_points.band(metric, evidence, allowance)
            elif judge == "mean":
                verdict = judging.mean(metric, evidence, allowance, beta)
            elif judge == "proportion":
                verdict = judging.proportion(metric, evidence, allowance, beta)
            elif judge == "mann_whitney":
                verdict = judging_points.mann_whitney(metric, evidence, allowance, beta, self.looks)
            elif judge == "threshold":
                verdict = judging_points.threshold(metric, evidence, self._answers.get(name, [nan]))
            elif judge == "burn_rate":
                verdict = judging_points.burn_rate(metric, evidence)
            elif judge == "sample_ratio":
                verdict = judging.ratio_of_samples(metric, evidence, highest)
            else:
                verdict = Verdict(name, "insufficient", f"{name}: there is no judge `{judge}`")
        except (ValueError, ArithmeticError) as error:
            return Verdict(name, "insufficient", f"{name}: cannot be judged: {error}")
        if verdict.evidence is not None:
            self._highest[name] = max(highest, verdict.evidence)
        return verdict


def queries_of(plan: Spec) -> Sequence[tuple[str, str, str]]:
    """Name, query and server of the plan's metrics that ask Prometheus."""
    return [(one["name"], one["query"], one["prometheus"]) for one in plan["metrics"] if one.get("query") is not None]


def _shown(verdict: Verdict) -> Spec:
    return {name: plain(value) for name, value in asdict(verdict).items()}
