"""What is in force where a rollout or a hand has moved what the file says: laid over the file's spec, and nothing else touched.

Whoever moves weights says which weights of the file they started from. Where the file has others now, what was laid over it
holds no longer, from the very plan that brings the new ones: the file is the truth.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

Spec = dict[str, Any]
Weights = dict[str, float]

ROLLOUT_KEY: Final = "rollout"
"""The key of a route's spec that is control's own: workers have no use for it."""


@dataclass(frozen=True, slots=True)
class Effect:
    """What is laid over a route. `bound` are the file's weights it was made for; `weights` are those of all versions.

    `version` is the one that is brought in. It gets people of the rings up to `ring` and copies of `shadow` percent of the
    requests beside, where these are set; never less than the file gives.
    """

    bound: Weights
    weights: Weights
    version: str = ""
    ring: str | None = None
    shadow: float = 0.0
    step: int = 0
    """Of the rollout's step, for records that end with it; 0 without one."""
    counted: Spec | None = None
    """What workers are to count of the route's units (control/rollouts/evidence.py)."""

    def changes(self, file: Weights) -> bool:
        """Whether anything is otherwise than the file, with these weights, says."""
        return self.weights != file or self.ring is not None or self.shadow > 0 or self.counted is not None


def file_weights(route: Spec) -> Weights:
    """Of the route's versions, by name, as its spec has them."""
    return {one["name"]: one["weight"] for one in route["versions"]}


def lay_over(spec: Spec, effects: Mapping[str, Effect], copies: Callable[[str, float], Spec]) -> Spec:
    """A copy of `spec` without what is control's own, with the effects (by route) that are bound to what it says.

    `copies` makes the spec of a mirror of so many percent to an upstream, as the configuration would.
    """
    return {**spec, "routes": [_route(route, effects.get(route["name"]), copies) for route in spec["routes"]]}


def _route(route: Spec, effect: Effect | None, copies: Callable[[str, float], Spec]) -> Spec:
    route = {key: value for key, value in route.items() if key != ROLLOUT_KEY}
    if effect is None or effect.bound != file_weights(route):
        return route
    route["versions"] = [{**one, "weight": effect.weights.get(one["name"], one["weight"])} for one in route["versions"]]
    if route["stickiness"]:
        route["stickiness"] = {**route["stickiness"], "step": effect.step}
    if effect.counted is not None:
        route["evidence"] = effect.counted
    if effect.ring is not None:
        route["rings"] = [_opened(one, effect) for one in route["rings"]]
    if effect.shadow > 0:
        upstream = next(one["upstream"] for one in route["versions"] if one["name"] == effect.version)
        route["mirror"] = _mirrors(route["mirror"], upstream, effect.shadow, copies)
    return route


def _opened(rings: Spec, effect: Effect) -> Spec:
    order: list[str] = rings["order"]
    if rings["version"] != effect.version:
        return rings
    if effect.ring == "":
        return {**rings, "open": ""}
    if effect.ring not in order:
        return rings
    now = order.index(rings["open"]) if rings["open"] in order else -1
    return {**rings, "open": effect.ring} if order.index(effect.ring) > now else rings


def _mirrors(mirrors: list[Spec], upstream: str, percent: float, copies: Callable[[str, float], Spec]) -> list[Spec]:
    if all(one["upstream"] != upstream for one in mirrors):
        return [*mirrors, copies(upstream, percent)]
    return [{**one, "percent": max(percent, one["percent"])} if one["upstream"] == upstream else one for one in mirrors]
