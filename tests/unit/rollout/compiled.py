"""Plans of rollouts as the settings compile them, and rollouts on their way, for tests."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy.rollout.machine import advance, begin
from proxy.rollout.rollout import Cause, Rollout
from proxy.rollout.states import CauseKind
from proxy.settings.loader import Loader

Spec = dict[str, Any]

FILE = """
listen: 127.0.0.1:8080
state: sqlite:x.db
zone: ZONE
upstreams: {a: {endpoints: [http://127.0.0.1:1]}, b: {endpoints: [http://127.0.0.1:2]}}
segments: {staff: {header: x-staff, exists: true}, beta: {header: x-beta, exists: true}}
secrets: {cookie: [abcdefghijklmnop]}
routes:
  - name: shop
    versions: VERSIONS
    rings: [{version: canary, order: [staff, beta], open: none}]
    rollout: {revision: v2, REST}
"""
BOUND = {"stable": 100.0, "canary": 0.0}
NOW = 1_800_000_000.0


def plan(
    tmp_path: Path, rest: str = "hold: 10s, steps: [1, 5, 25, 100]", *, zone: str = "eu", versions: str = ""
) -> Spec:
    """The plan that this rest of a `rollout` block compiles to."""
    versions = versions or "{stable: {upstream: a, weight: 100}, canary: {upstream: b, weight: 0}}"
    file = tmp_path / "rollout.yaml"
    file.write_text(FILE.replace("ZONE", zone).replace("VERSIONS", versions).replace("REST", rest))
    compiled: Spec = Loader(file, {}, lambda: NOW).load().spec["routes"][0]["rollout"]
    return compiled


def started(made: Spec, at: float = NOW, *, bound: dict[str, float] | None = None) -> Rollout:
    """A rollout of this plan at its first step."""
    return told(begin("shop", made, bound or BOUND, at), "begin", at=at)


def cause(kind: str, *, at: float = NOW, actor: str = "ann", reason: str = "why", **numbers: Any) -> Cause:
    return Cause(CauseKind(kind), actor, reason, numbers, at)


def told(rollout: Rollout, kind: str, *, at: float = NOW, **numbers: Any) -> Rollout:
    """The rollout after a cause that is one in its state."""
    moved = advance(rollout, cause(kind, at=at, **numbers))
    assert moved is not None, (rollout.state, kind)
    return moved


@dataclass(frozen=True)
class Judgement:
    """A verdict as the machine sees it."""

    result: str
    reason: str = "it is as it is"
    numbers: Spec = field(default_factory=dict)
