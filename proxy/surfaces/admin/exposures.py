"""Who got which version, and why; what each version has had; forgetting one unit."""

import time
from typing import Any, Final

from aiohttp import web

from proxy.control.exposures import Exposures
from proxy.exposure.moments import BadMomentError, parse_since
from proxy.exposure.queries import LIMIT, BadCursorError, Wanted
from proxy.exposure.schema import ExposureError, NoExposuresError
from proxy.exposure.shown import ratio_values, version_values
from proxy.surfaces.admin.guard import error_response
from proxy.surfaces.admin.state import State

EXPOSURES: Final = "/api/v1/exposures"
SUMMARY: Final = f"{EXPOSURES}/summary"

_PARAMETERS: Final = ("unit", "unit_hash", "version", "route", "since", "limit", "cursor")
_DEFAULT_LIMIT: Final = 100


class _BadQuestionError(Exception):
    """What the caller asks cannot be read; the message is for them."""


class ExposurePaths:
    """The paths under /api/v1/exposures."""

    def __init__(self, state: State) -> None:
        self._state: Final = state

    async def find(self, request: web.Request) -> web.Response:
        """A page of records, the newest first."""
        exposures = self._state.exposures
        try:
            wanted, limit, cursor = _question(request, exposures, time.time())
            page = await exposures.ask(lambda reader: reader.find(wanted, limit, cursor))
        except (_BadQuestionError, BadCursorError) as error:
            return error_response(400, str(error))
        except NoExposuresError:
            return web.json_response({"exposures": [], "cursor": None})
        except ExposureError as error:
            return error_response(503, str(error))
        return web.json_response({"exposures": page.records, "cursor": page.cursor or None})

    async def summary(self, request: web.Request) -> web.Response:
        """By version how many units, first and last; and whether the splits are what was asked for."""
        route = request.query.get("route")
        facts = self._state.facts.exposures
        try:
            versions, ratios = await self._state.exposures.ask(lambda reader: (reader.summary(route), reader.ratios()))
        except NoExposuresError:
            versions, ratios = [], []
        except ExposureError as error:
            return error_response(503, str(error))
        return web.json_response(
            {
                "failing": facts.failing or None,
                "versions": [version_values(one) for one in versions],
                "sample_ratios": [ratio_values(one) for one in ratios if route in (None, one.route)],
            }
        )

    async def erase(self, request: web.Request) -> web.Response:
        """Forget one unit."""
        exposures = self._state.exposures
        try:
            unit = _unit(request, exposures)
            if unit is None or request.query.keys() - {"unit", "unit_hash"}:
                return error_response(400, "whom to forget is said with `unit`, or `unit_hash`, and nothing else")
            erased = await exposures.erase(unit)
        except _BadQuestionError as error:
            return error_response(400, str(error))
        except ExposureError as error:
            return error_response(503, str(error))
        return web.json_response({"unit": f"{unit:016x}", "erased": erased})


def _unit(request: web.Request, exposures: Exposures) -> int | None:
    unit, hashed = request.query.get("unit"), request.query.get("unit_hash")
    if any(len(request.query.getall(name, [])) > 1 for name in ("unit", "unit_hash")):
        raise _BadQuestionError("one unit at a time")
    if unit is not None and hashed is not None:
        raise _BadQuestionError("`unit` and `unit_hash` are two ways to say who: give one")
    if hashed is not None:
        if len(hashed) != 16 or not set(hashed) <= set("0123456789abcdef"):
            raise _BadQuestionError("`unit_hash` is 16 hex digits, as in x-tidegate-unit-hash")
        return int(hashed, 16)
    if unit is None:
        return None
    if not unit:
        raise _BadQuestionError("`unit` is empty")
    return exposures.hash_of(unit)


def _question(request: web.Request, exposures: Exposures, now: float) -> tuple[Wanted, int, str]:
    query = request.query
    unknown = sorted(query.keys() - set(_PARAMETERS))
    if unknown:
        raise _BadQuestionError(f"unknown: {', '.join(unknown)}; known: {', '.join(_PARAMETERS)}")
    limit: Any = query.get("limit", str(_DEFAULT_LIMIT))
    if not (limit.isascii() and limit.isdigit() and len(limit) < 10 and 1 <= int(limit) <= LIMIT):
        raise _BadQuestionError(f"`limit` is a number from 1 to {LIMIT}")
    try:
        since = parse_since(query["since"], now) if "since" in query else 0.0
    except BadMomentError as error:
        raise _BadQuestionError(f"`since` {error}") from None
    wanted = Wanted(_unit(request, exposures), query.get("version"), query.get("route"), since)
    return wanted, int(limit), query.get("cursor", "")
