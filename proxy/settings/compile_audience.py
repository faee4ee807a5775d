"""The spec of what keeps units in, out or apart: kills, rings, the holdout, the layer, the epoch."""

from typing import Any

from proxy.settings.models.audience import NOBODY, Kill, Rings
from proxy.settings.models.route import Route
from proxy.settings.models.top import General

Spec = dict[str, Any]


def audience_spec(route: Route, general: General) -> Spec:
    """This part of the route's spec. What does not hold is None or empty; ends are Unix seconds, 0 for none."""
    return {
        "kill": [*_kill("kill", general.kill), *_kill("route.kill", route.kill)],
        "rings": [_rings(index, one) for index, one in enumerate(route.rings)],
        "holdout": _holdout(route, general),
        "layer": _layer(route, general),
        "epoch": route.epoch,
    }


def _kill(label: str, kill: Kill) -> list[Spec]:
    return [{"label": label, "until": kill.until or 0.0}] if kill.on else []


def _rings(index: int, rings: Rings) -> Spec:
    return {
        "label": f"rings[{index}]",
        "version": rings.version,
        "order": list(rings.order),
        "open": "" if rings.open == NOBODY else rings.open,
        "until": rings.until or 0.0,
    }


def _holdout(route: Route, general: General) -> Spec | None:
    if route.holdout is None:
        return None
    holdout = general.holdouts[route.holdout]
    return {
        "name": route.holdout,
        "percent": holdout.percent,
        "salt": route.holdout if holdout.salt is None else holdout.salt,
        "until": holdout.until or 0.0,
    }


def _layer(route: Route, general: General) -> Spec | None:
    part = route.layer
    if part is None:
        return None
    layer = general.layers[part.name]
    return {
        "name": part.name,
        "salt": part.name if layer.salt is None else layer.salt,
        "from": part.from_,
        "to": part.to,
    }
