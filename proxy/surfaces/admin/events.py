"""What units did, from whoever knows: purchases, sign-ups, tickets. They count in the rollouts that ask for them."""

import json
from math import isfinite
from typing import Any, Final

from aiohttp import web

from proxy.control.rollouts.evidence import BadEventError
from proxy.surfaces.admin.guard import error_response
from proxy.surfaces.admin.state import State

EVENTS: Final = "/api/v1/events"
AT_ONCE: Final = 500
"""Events in one request."""
LARGEST: Final = 1e12
"""Of a value, either way."""
LONGEST_ID: Final = 256
"""Characters of an event's id."""
_KEYS: Final = ("name", "unit", "unit_hash", "value", "route", "id")
_HEX: Final = frozenset("0123456789abcdef")


class _BadBodyError(Exception):
    """What came is no event; the message is for whoever sent it."""


class EventPaths:
    """The path /api/v1/events."""

    def __init__(self, state: State) -> None:
        self._state: Final = state

    async def take(self, request: web.Request) -> web.Response:
        """Count events: one, or a list of them. All are understood before any is counted."""
        evidence = self._state.evidence
        try:
            events = [self._read(one, place) for place, one in enumerate(_listed(await request.text()))]
        except _BadBodyError as error:
            return error_response(400, str(error))
        counted = again = gave_way = 0
        problems: list[str] = []
        for name, unit, value, route, mark in events:
            try:
                happened = evidence.happen(name, unit, value, 1, route, mark=mark)
            except BadEventError as error:
                problems.append(str(error))
                continue
            counted += happened.counted > 0
            again += happened.again
            gave_way += happened.gave_way
        if problems and not counted and not again:
            return error_response(400, problems[0])
        if again:
            problems.append(f"{again} with an `id` that was counted before")
        if gave_way:
            problems.append(
                f"{gave_way} earlier ones of units that no request has come from gave way: there was no room"
            )
        said = {"counted": counted, "dropped": len(events) - counted, "problems": list(dict.fromkeys(problems))[:10]}
        return web.json_response(said)

    def _read(self, said: Any, place: int) -> tuple[str, int, float, str | None, str]:
        where = f"events[{place}]"
        if not isinstance(said, dict):
            raise _BadBodyError(f"{where} must be an object")
        unknown = sorted(said.keys() - set(_KEYS))
        if unknown:
            raise _BadBodyError(f"{where}: unknown: {', '.join(unknown)}; known: {', '.join(_KEYS)}")
        name, route, value = said.get("name"), said.get("route"), said.get("value", 0)
        if not isinstance(name, str) or not name:
            raise _BadBodyError(f"{where} needs `name`: what happened")
        if route is not None and not isinstance(route, str):
            raise _BadBodyError(f"{where}: `route` must be the name of a route")
        if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value) or abs(value) > LARGEST:
            raise _BadBodyError(f"{where}: `value` must be a number, at most {LARGEST:g}")
        mark = said.get("id")
        if mark is not None and (not isinstance(mark, str) or not 0 < len(mark) <= LONGEST_ID):
            raise _BadBodyError(f"{where}: `id` must be a text of 1 to {LONGEST_ID} characters")
        unit, hashed = said.get("unit"), said.get("unit_hash")
        if (unit is None) == (hashed is None):
            raise _BadBodyError(f"{where} says whose it is with one of `unit` and `unit_hash`")
        if hashed is not None:
            if not isinstance(hashed, str) or len(hashed) != 16 or not set(hashed) <= _HEX:
                raise _BadBodyError(f"{where}: `unit_hash` is 16 hex digits, as in x-tidegate-unit-hash")
            return name, int(hashed, 16), float(value), route, mark or ""
        if not isinstance(unit, str) or not unit:
            raise _BadBodyError(f"{where}: `unit` must be a text")
        return name, self._state.evidence.hash_of(unit), float(value), route, mark or ""


def _listed(text: str) -> list[Any]:
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        raise _BadBodyError("the body must be JSON") from None
    if isinstance(said, dict) and "events" in said:
        said = said["events"] if len(said) == 1 else None
    elif isinstance(said, dict):
        said = [said]
    if not isinstance(said, list) or not said or len(said) > AT_ONCE:
        raise _BadBodyError(f"the body must be an event, or an object with `events`: a list of 1 to {AT_ONCE}")
    return said
