"""A rollout as it stands, and what moves it. Values: machine.py makes the next from the one before.

What is written to the store is `to_json()`, and a rollout that was read back goes on as if nobody had stopped.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Final, Protocol, Self
from zlib import crc32

from proxy.rollout.states import FINAL, CauseKind, State

Spec = dict[str, Any]

ITSELF: Final = "tidegate"
"""The actor where nobody asked for it."""


class Judged(Protocol):
    """What the machine wants of a verdict. `result` is pass, fail or insufficient; `numbers` are for the record."""

    @property
    def result(self) -> str:
        """pass, fail or insufficient."""

    @property
    def reason(self) -> str:
        """One sentence, with its numbers."""

    @property
    def numbers(self) -> Mapping[str, Any]:
        """Effect, interval, evidence, samples: plain JSON."""


@dataclass(frozen=True, slots=True)
class Samples:
    """What a version has had since the step's evidence began. `units` 0 where nobody counts them."""

    requests: int = 0
    units: int = 0


@dataclass(frozen=True, slots=True)
class Cause:
    """Why a rollout moves: what happened, who is behind it, why in one sentence, the numbers (plain JSON), and when (Unix s)."""

    kind: CauseKind
    actor: str
    reason: str
    numbers: Spec = field(default_factory=dict)
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Rollout:
    """One revision on its way. `plan` is frozen with the revision: the spec's `rollout` of the route at the start.

    Times are Unix seconds and for people; nothing is decided by them. What is decided by is `held`: seconds of this step, or of
    this state, that were really observed, added up from a clock that neither jumps nor goes while nobody watches.

    `step` is the index in `plan["steps"]`, -1 before the first. `since`: when the state or step began; `began`: when the evidence
    of this step does; `started`: the rollout. `bound` are the file's weights that it started from, `weights` those that it wants
    instead; `percent` is the share of `to`, of what `from`, `to` and `baseline` have together. `ring` is the ring that is open for
    `to`, `shadow` the percentage of requests copied to it.

    `cause`, `reason`, `actor` and `numbers` are of the last transition; `sequence` counts them, from 1. `from_state` is where a
    paused or frozen rollout goes on. `overruled`: somebody else says what the weights are, the file or a hand. `anew`: when it goes
    on, the step's time and evidence begin again. `taken_over`: it has not taken a step yet, and the weights in effect are those of
    an earlier rollout that was under way when it came: nobody has decided on them, so they are watched, and go when it is aborted.
    `taken_arms` are the versions of that one (from, to, baseline) where they are others than those of this plan.

    `tries` counts how often the evidence was begun anew, the first time included: each try has an error budget of its own.
    """

    route: str
    revision: str
    plan: Spec
    state: State
    step: int
    since: float
    started: float
    began: float
    sequence: int
    bound: dict[str, float]
    weights: dict[str, float]
    percent: float = 0.0
    ring: str | None = None
    shadow: float = 0.0
    held: float = 0.0
    from_state: State | None = None
    cause: CauseKind = CauseKind.CREATED
    reason: str = ""
    actor: str = ITSELF
    numbers: Spec = field(default_factory=dict)
    overruled: bool = False
    anew: bool = False
    taken_over: bool = False
    taken_arms: list[str | None] | None = None
    tries: int = 1

    @property
    def final(self) -> bool:
        """Whether nothing happens by itself any more."""
        return self.state in FINAL

    @property
    def steps(self) -> list[Spec]:
        """The steps of the plan."""
        steps: list[Spec] = self.plan["steps"]
        return steps

    @property
    def current(self) -> Spec | None:
        """The step it is at; None before the first."""
        return self.steps[self.step] if 0 <= self.step < len(self.steps) else None

    @property
    def step_mark(self) -> int:
        """A number of 32 bits of what this step gives, another with each step and each way back: for records that end with it."""
        return crc32(f"{self.revision}\0{self.step}\0{self.percent:g}\0{self.ring}".encode())

    @property
    def arms(self) -> tuple[str, str, str | None]:
        """The names of the versions: from, to, and the baseline if there is one."""
        return self.plan["from"], self.plan["to"], self.plan["baseline"]

    @property
    def watched_arms(self) -> tuple[str, str, str | None]:
        """Those whose shares are in effect: of the rollout it took over from, until it has taken a step of its own."""
        if not self.taken_over or self.taken_arms is None:
            return self.arms
        old, new, baseline = self.taken_arms
        return str(old), str(new), baseline

    def to_json(self) -> str:
        """One line, the same for equal rollouts."""
        return json.dumps({one.name: getattr(self, one.name) for one in fields(self)}, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> Self:
        """What `to_json` wrote. Raises ValueError for anything else; keys of a newer version are left out."""
        try:
            values = json.loads(text)
            known = {one.name: values[one.name] for one in fields(cls) if one.name in values}
            known["state"] = State(known["state"])
            known["cause"] = CauseKind(known.get("cause", CauseKind.CREATED))
            if known.get("from_state") is not None:
                known["from_state"] = State(known["from_state"])
            return cls(**known)
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a rollout: {error!r}") from error
