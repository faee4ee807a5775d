"""The steps of a rollout written out: what stands at each of them, and not only what it changes."""

from typing import Any, Final

from proxy.settings.models.judging import Metric, default_metrics
from proxy.settings.models.rollout import MOST_STEPS, Minimum, Rollout, Step

Spec = dict[str, Any]

HOLD: Final = 300.0
MAXIMUM: Final = 86_400.0
"""Seconds. With little traffic a first step of 1 % takes hours to decide, and is watched all the while; a day has the whole
round of a service's traffic in it."""
FAST_ROLLBACK: Final = 1800.0
"""Of blue/green."""
REQUESTS: Final = 500
WHOLE: Final = 100.0

BY_CHANCE: Final = frozenset({"mean", "proportion", "sample_ratio"})
"""Judges that decide nothing while no units are dealt by chance: in rings, and of copies."""

_CANARY: Final = (1.0, 5.0, 25.0, 50.0, 100.0)
_SHADOW: Final = 10.0


def default_steps(kind: str) -> list[Step]:
    """The steps of a rollout that names none."""
    if kind == "blue_green":
        return [Step(preview=True), Step(weight=WHOLE)]
    if kind == "ab":
        return [Step(weight=50.0), Step(weight=WHOLE)]
    shadow = [Step(shadow=_SHADOW)] if kind == "mirror_first" else []
    return [*shadow, *(Step(weight=weight) for weight in _CANARY)]


def steps_of(rollout: Rollout) -> list[Step]:
    """The steps as written, or those that its kind has."""
    return default_steps(rollout.kind) if rollout.steps is None else list(rollout.steps)


def metrics_of(rollout: Rollout) -> list[Metric]:
    """The metrics as written, or those that there are without."""
    return default_metrics() if rollout.metrics is None else list(rollout.metrics)


def hold_of(rollout: Rollout) -> float:
    """How long a step lasts that does not say, in seconds."""
    return HOLD if rollout.hold is None else rollout.hold


def fast_rollback_of(rollout: Rollout) -> float:
    """How long the old version is kept at hand, in seconds."""
    if rollout.fast_rollback is not None:
        return rollout.fast_rollback
    return FAST_ROLLBACK if rollout.kind == "blue_green" else hold_of(rollout)


def written_out(rollout: Rollout) -> list[tuple[int, Spec]]:
    """Every step with the place of what it was written as: weights in percent, durations in seconds.

    Each says all that holds while it lasts: the weight and the ring of those before it stay. Copies do not. Never more than
    MOST_STEPS and one.
    """
    deciding = [metric.judge for metric in metrics_of(rollout) if metric.weight != "watch"]
    gates = {False: any(judge not in BY_CHANCE for judge in deciding), True: bool(deciding)}
    weight, ring = 0.0, None
    found: list[tuple[int, Spec]] = []
    for index, step in enumerate(steps_of(rollout)):
        weights = _weights(step, weight)
        ring = step.ring if step.ring is not None else ring
        for each in [weight] if weights is None else weights:
            weight = each
            found.append((index, _spec(rollout, step, weight, ring, gates=gates[weight > 0])))
            if len(found) > MOST_STEPS:
                return found
    return found


def _weights(step: Step, before: float) -> list[float] | None:
    """The weights that a step stands for; None where it leaves the weight as it is."""
    if step.weight is not None:
        return [step.weight]
    if step.linear is None and step.exponential is None:
        return None
    last = WHOLE if step.to is None else step.to
    weights: list[float] = []
    if step.linear is not None:
        following = before + step.linear
        while following < last - 1e-9 and len(weights) <= MOST_STEPS:
            weights.append(round(following, 9))
            following += step.linear
        return [*weights, last]
    factor = step.exponential or 1.0
    following = step.start or (before * factor if before > 0 else 1.0)
    while following < last - 1e-9 and len(weights) <= MOST_STEPS:
        weights.append(round(following, 9))
        following *= factor
    return [*weights, last]


def _spec(rollout: Rollout, step: Step, weight: float, ring: str | None, *, gates: bool) -> Spec:
    waits = step.approve is not None
    hold = step.every if step.hold is None else step.hold
    hold = 0.0 if waits else hold_of(rollout) if hold is None else hold
    shadow = step.shadow or 0.0
    users = weight > 0 or ring is not None
    some = users or shadow > 0
    return {
        "weight": weight,
        "ring": ring,
        "shadow": shadow,
        "approve": waits,
        "preview": step.preview is not None,
        "hold": hold,
        "minimum": _minimum(rollout.minimum, step.minimum) if some and not waits else {"requests": 0, "units": 0},
        "maximum": 0.0 if waits else _maximum(rollout, step, hold),
        "judged": gates and some and not waits,
    }


def _minimum(general: Minimum, own: Minimum | None) -> Spec:
    own = own or Minimum()
    requests = next((one for one in (own.requests, general.requests) if one is not None), REQUESTS)
    units = next((one for one in (own.units, general.units) if one is not None), 0)
    return {"requests": requests, "units": units}


def _maximum(rollout: Rollout, step: Step, hold: float) -> float:
    given = rollout.maximum if step.maximum is None else step.maximum
    if given is not None:
        return given
    return hold if rollout.kind == "ab" else max(MAXIMUM, 2 * hold)
