"""Rollouts on the admin port: where each is and why, what it went through, and what people ask of it."""

import time
from typing import Any, Final

from aiohttp import web

from proxy.control.rollouts.desk import NotNowError, RolloutDesk, UnknownRouteError
from proxy.rollout.explaining import explanation, step_words, waits_for
from proxy.rollout.journal import JournalError, Record
from proxy.rollout.redacting import without_secrets
from proxy.rollout.rollout import Judged, Rollout
from proxy.rollout.states import HANDS, CauseKind
from proxy.rollout.telling import finite, standing_of
from proxy.surfaces.admin.guard import error_response
from proxy.surfaces.admin.state import State
from proxy.surfaces.admin.weights import hand_shown
from proxy.surfaces.admin.wish import BadWishError, read_wish

ROLLOUTS: Final = "/api/v1/rollouts"
ROLLOUT: Final = f"{ROLLOUTS}/{{route}}"
HISTORY: Final = f"{ROLLOUT}/history"
ACTION: Final = f"{ROLLOUT}/{{action}}"
HISTORY_LIMIT: Final = 500
"""Transitions of one answer at most."""

_DEFAULT_LIMIT: Final = 50

Spec = dict[str, Any]


class RolloutPaths:
    """The paths under /api/v1/rollouts."""

    def __init__(self, state: State) -> None:
        self._state: Final = state

    async def all(self, _request: web.Request) -> web.Response:
        """The rollouts of the file's routes."""
        desk = self._state.rollouts
        return web.json_response(
            {
                "at": time.time(),
                "lasting": desk.lasting,
                "rollouts": [rollout_shown(desk, one) for one in desk.all()],
            }
        )

    async def one(self, request: web.Request) -> web.Response:
        """One of them."""
        desk = self._state.rollouts
        try:
            rollout = desk.of(request.match_info["route"])
        except UnknownRouteError as error:
            return error_response(404, str(error))
        return web.json_response({**rollout_shown(desk, rollout), "plan": finite(without_secrets(rollout.plan))})

    async def history(self, request: web.Request) -> web.Response:
        """What one went through, the newest first."""
        limit = request.query.get("limit", str(_DEFAULT_LIMIT))
        if request.query.keys() - {"limit"}:
            return error_response(400, "known: limit")
        if not (limit.isascii() and limit.isdigit() and 1 <= int(limit[:9]) <= HISTORY_LIMIT):
            return error_response(400, f"`limit` is a number from 1 to {HISTORY_LIMIT}")
        try:
            records = await self._state.rollouts.history(request.match_info["route"], int(limit))
        except UnknownRouteError as error:
            return error_response(404, str(error))
        except JournalError as error:
            return error_response(503, str(error))
        return web.json_response({"transitions": [transition_shown(one) for one in records]})

    async def act(self, request: web.Request) -> web.Response:
        """What a person asks for."""
        route, action = request.match_info["route"], request.match_info["action"]
        if action not in HANDS:
            return error_response(404, f"there is no {action}; there are: {', '.join(HANDS)}")
        try:
            wish = read_wish(await request.text())
        except BadWishError as error:
            return error_response(400, str(error))
        if not wish["reason"].strip():
            return error_response(400, "a reason is needed: it is kept with the transition")
        desk = self._state.rollouts
        try:
            by = wish["by"] or request.remote or "unknown"
            rollout = await desk.act(route, CauseKind(action), by, wish["reason"].strip())
        except UnknownRouteError as error:
            return error_response(404, str(error))
        except NotNowError as error:
            return error_response(409, str(error))
        except JournalError as error:
            return error_response(503, str(error))
        return web.json_response(rollout_shown(desk, rollout))


def rollout_shown(desk: RolloutDesk, rollout: Rollout) -> Spec:
    """All there is to know of a rollout."""
    seen = desk.seen(rollout)
    hand = desk.hand(rollout.route)
    waits = waits_for(
        rollout,
        verdict=seen.verdict,
        samples=seen.samples,
        closed=seen.closed,
        asking=seen.asking,
        retreat=desk.retreat(rollout),
    )
    possible = desk.possible(rollout)
    by_hand = "" if hand is None else f"weights set by hand by {hand.by} do"
    current = rollout.current
    return {
        **standing_of(rollout),
        "steps": [
            {"words": step_words(one), **{key: one[key] for key in ("weight", "ring", "shadow", "approve", "hold")}}
            for one in rollout.steps
        ],
        "percent": rollout.percent,
        "ring": rollout.ring,
        "shadow": rollout.shadow,
        "weights": {
            "file": desk.file_weights(rollout.route),
            "rollout": rollout.weights,
            "effective": desk.effective_weights(rollout.route),
        },
        "by_hand": None if hand is None else hand_shown(hand),
        "held": round(rollout.held, 3),
        "hold": None if current is None else current["hold"],
        "since": rollout.since,
        "started": rollout.started,
        "sequence": rollout.sequence,
        "cause": str(rollout.cause),
        "actor": rollout.actor,
        "reason": rollout.reason,
        "numbers": finite(rollout.numbers),
        "verdict": _verdict(seen.verdict),
        "samples": {name: {"requests": one.requests, "units": one.units} for name, one in (seen.samples or {}).items()},
        "waits_for": waits,
        "possible": possible,
        "explanation": explanation(rollout, waits, possible, by_hand),
    }


def transition_shown(record: Record) -> Spec:
    """One transition."""
    return {
        "revision": record.revision,
        "sequence": record.sequence,
        "at": record.at,
        "before": record.before or None,
        "after": record.after,
        "step": record.step + 1,
        "tries": record.rollout.get("tries", 1),
        "cause": record.cause,
        "actor": record.actor,
        "reason": record.reason,
        "numbers": finite(record.numbers),
        "percent": record.rollout.get("percent", 0.0),
        "weights": record.rollout.get("weights", {}),
    }


def _verdict(verdict: Judged | None) -> Spec | None:
    if verdict is None:
        return None
    return {"result": str(verdict.result), "reason": verdict.reason, "numbers": finite(verdict.numbers)}
