"""A rollout at its second step, for tests of what is said of it."""

from proxy.rollout.rollout import Rollout
from proxy.rollout.states import CauseKind, State


def a_step(weight, **given):
    return {
        "weight": float(weight), "hold": 60.0, "minimum": {"requests": 100, "units": 0}, "maximum": 3600.0, "ring": None,
        "shadow": 0.0, "approve": False, "judged": True,
    } | given  # fmt: skip


def a_plan(**given):
    return {
        "revision": "v2", "kind": "canary", "from": "stable", "to": "canary", "baseline": None,
        "steps": [a_step(1), a_step(5), a_step(100)], "on_failure": "rollback", "on_no_data": "pause",
        "rollback": {"mode": "instant", "percent": 20.0, "every": 30.0}, "fast_rollback": 1800.0, "after": 0.0, "zone": None,
        "rings": [], "webhooks": [], "notify": [],
    } | given  # fmt: skip


def a_rollout(**given):
    values = {
        "route": "shop", "revision": "v2", "plan": a_plan(), "state": State.PROGRESSING, "step": 1, "since": 900.0,
        "started": 100.0, "began": 900.0, "sequence": 3, "bound": {"stable": 100.0, "canary": 0.0},
        "weights": {"stable": 95.0, "canary": 5.0}, "percent": 5.0, "cause": CauseKind.STEP_PASSED,
    } | given  # fmt: skip
    return Rollout(**values)
