"""The weights of a route: the file's, those in force, and those that somebody set by hand."""

import math
import time
from typing import Any, Final

from aiohttp import web

from proxy.control.rollouts.desk import RolloutDesk, UnknownRouteError
from proxy.rollout.by_hand import BadWeightsError
from proxy.rollout.journal import JournalError, Override
from proxy.surfaces.admin.guard import error_response
from proxy.surfaces.admin.state import State
from proxy.surfaces.admin.wish import BadWishError, read_end, read_wish

WEIGHTS: Final = "/api/v1/routes/{route}/weights"

_MOST: Final = 1_000_000  # as in the file

Spec = dict[str, Any]


class WeightPaths:
    """The path of a route's weights."""

    def __init__(self, state: State) -> None:
        self._state: Final = state

    async def read(self, request: web.Request) -> web.Response:
        """What the file says, what holds, and why."""
        try:
            return web.json_response(weights_shown(self._state.rollouts, request.match_info["route"]))
        except UnknownRouteError as error:
            return error_response(404, str(error))

    async def put(self, request: web.Request) -> web.Response:
        """Set weights by hand."""
        desk, route = self._state.rollouts, request.match_info["route"]
        try:
            wish = read_wish(await request.text(), "weights", "until")
            weights = _weights(wish.get("weights"))
            until = read_end(wish.get("until"), time.time())
            await desk.set_weights(route, weights, wish["by"] or request.remote or "unknown", wish["reason"], until)
        except (BadWishError, BadWeightsError) as error:
            return error_response(400, str(error))
        except UnknownRouteError as error:
            return error_response(404, str(error))
        except JournalError as error:
            return error_response(503, str(error))
        return web.json_response(weights_shown(desk, route))

    async def delete(self, request: web.Request) -> web.Response:
        """Take them back."""
        desk, route = self._state.rollouts, request.match_info["route"]
        try:
            await desk.unset_weights(route, request.remote or "unknown")
        except UnknownRouteError as error:
            return error_response(404, str(error))
        except JournalError as error:
            return error_response(503, str(error))
        return web.json_response(weights_shown(desk, route))


def weights_shown(desk: RolloutDesk, route: str) -> Spec:
    """The weights of a route. Raises UnknownRouteError."""
    hand = desk.hand(route)
    return {
        "route": route,
        "file": desk.file_weights(route),
        "effective": desk.effective_weights(route),
        "by_hand": None if hand is None else hand_shown(hand),
        "rollout": next((str(one.state) for one in desk.all() if one.route == route), None),
        "lasting": desk.lasting,
    }


def hand_shown(hand: Override) -> Spec:
    """Weights set by hand, with whose they are."""
    return {"weights": hand.weights, "by": hand.by, "reason": hand.reason, "since": hand.since, "until": hand.until}


def _weights(value: Any) -> dict[str, float]:
    """Raises BadWishError."""
    if not isinstance(value, dict) or not value:
        raise BadWishError('weights must be an object of versions and numbers: {"canary": 20}')
    for name, weight in value.items():
        number = isinstance(weight, int | float) and not isinstance(weight, bool) and math.isfinite(weight)
        if not number or not 0 <= weight <= _MOST:
            raise BadWishError(f"the weight of {name} must be a number from 0 to {_MOST}")
    return {name: float(weight) for name, weight in value.items()}
