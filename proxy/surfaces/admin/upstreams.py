"""Upstreams and their endpoints as the API shows them, and draining one endpoint.

An endpoint is named by its label, percent-encoded in the path: the URL in the file, which stands for all addresses it
resolves to, or one of those, `URL (address)`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any, Final

from aiohttp import web

from proxy.control.drained_endpoints import TooManyDrainedError
from proxy.control.endpoints import DrainedOtherwiseError, LastEndpointError, UnknownEndpointError
from proxy.control.state import StoreError
from proxy.surfaces.admin.guard import error_response
from proxy.surfaces.admin.redaction import without_userinfo
from proxy.surfaces.admin.state import State
from proxy.surfaces.admin.wish import BadWishError, read_end, read_wish
from proxy.telemetry.labels import endpoint_key
from proxy.telemetry.totals import EndpointTotals

UPSTREAMS: Final = "/api/v1/upstreams"
UPSTREAM: Final = f"{UPSTREAMS}/{{upstream}}"
ENDPOINT: Final = f"{UPSTREAM}/endpoints/{{endpoint}}"

_PATIENCE: Final = 1.0  # seconds for all workers to hear of a drain; one that hangs holds nobody up for longer
_PAUSE: Final = 0.005  # seconds between two looks

Spec = dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the body of a drain says."""

    reason: str
    by: str
    until: float | None
    force: bool


class UpstreamPaths:
    """The paths under /api/v1/upstreams."""

    def __init__(self, state: State) -> None:
        self._state: Final = state

    async def all(self, _request: web.Request) -> web.Response:
        """Every upstream of the plan in force."""
        state = self._state
        return web.json_response(
            {
                "generation": state.facts.generation,
                "upstreams": upstreams_shown(state, state.spec.get("upstreams", ())),
            }
        )

    async def one(self, request: web.Request) -> web.Response:
        """One of them."""
        name = request.match_info["upstream"]
        for spec in self._state.spec.get("upstreams", ()):
            if spec["name"] == name:
                return web.json_response(upstreams_shown(self._state, [spec])[0])
        known = ", ".join(one["name"] for one in self._state.spec.get("upstreams", ()))
        return error_response(404, f"there is no upstream {name}; there are: {known}")

    async def drain(self, request: web.Request) -> web.Response:
        """Give an endpoint nothing new."""
        try:
            wish = _wish(await request.text(), request.remote or "unknown", time.time())
        except BadWishError as error:
            return error_response(400, str(error))
        place = request.match_info["upstream"], request.match_info["endpoint"]

        async def act() -> list[Spec]:
            drained = await self._state.endpoints.drain(*place, wish.reason, wish.by, wish.until, force=wish.force)
            await self._until_told(place[0], drained)
            return drained

        return await self._answer(*place, act)

    async def undrain(self, request: web.Request) -> web.Response:
        """Use it again."""
        place = request.match_info["upstream"], request.match_info["endpoint"]

        async def act() -> list[Spec]:
            return await self._state.endpoints.undrain(*place, request.remote or "unknown")

        return await self._answer(*place, act)

    async def _until_told(self, upstream: str, drained: list[Spec]) -> None:
        """Wait until all workers hold these endpoints drained: only then does nothing in flight mean that nothing comes."""
        state = self._state
        labels = [endpoint_key(upstream, one) for one in drained]
        limit = time.monotonic() + _PATIENCE
        while time.monotonic() < limit:
            workers = sum(one.up for one in state.facts.workers.values())
            totals = state.totals.endpoints()
            if all(totals[label].drained >= workers for label in labels if label in totals):
                return
            await asyncio.sleep(_PAUSE)

    async def _answer(self, upstream: str, name: str, act: Callable[[], Awaitable[list[Spec]]]) -> web.Response:
        try:
            concerned = await act()
        except UnknownEndpointError as error:
            return error_response(404, str(error))
        except (LastEndpointError, DrainedOtherwiseError, TooManyDrainedError) as error:
            return error_response(409, str(error))
        except StoreError as error:
            return error_response(503, str(error))
        state = self._state
        totals = state.totals.endpoints()
        endpoints = [_endpoint(state, upstream, one, totals) for one in concerned]
        return web.json_response(
            {
                "upstream": upstream,
                "endpoint": without_userinfo(name),
                "in_flight": sum(one["in_flight"] for one in endpoints),
                "endpoints": endpoints,
            }
        )


def upstreams_shown(state: State, upstreams: Iterable[Spec]) -> list[Spec]:
    """Each with its endpoints, and what control and the workers know of them."""
    totals = state.totals.endpoints()
    panicking = state.totals.panicking()
    return [
        {
            "name": one["name"],
            "balance": one.get("balance", "round_robin"),
            "panic": one["name"] in panicking,
            "endpoints": [_endpoint(state, one["name"], endpoint, totals) for endpoint in one["endpoints"]],
        }
        for one in upstreams
    ]


def _endpoint(state: State, upstream: str, spec: Spec, totals: dict[tuple[str, str], EndpointTotals]) -> Spec:
    label = endpoint_key(upstream, spec)[1]
    counted = totals.get((upstream, label)) or EndpointTotals(up=True, failures=0)
    standing = state.endpoints.of(upstream, spec)
    health, drain = standing.health, standing.drain
    return {
        "endpoint": without_userinfo(label),
        "url": without_userinfo(spec["url"]),
        "weight": spec.get("weight", 1),
        "zone": spec.get("zone", ""),
        "usable": standing.usable and not counted.ejected,
        "up": counted.up,
        "health": None
        if health is None
        else {
            "verdict": health.verdict.value,
            "reason": health.reason,
            "since": health.since,
            "checked": health.checked,
        },
        "ejected": bool(counted.ejected),
        "drained": None
        if drain is None
        else {"reason": drain.reason, "by": drain.by, "since": drain.since, "until": drain.until},
        "in_flight": counted.in_flight,
        "connect_failures": counted.failures,
    }


def _wish(text: str, remote: str, now: float) -> _Wish:
    """The body of a drain. Raises BadWishError."""
    value = read_wish(text, "until", "force")
    force = value.get("force", False)
    if not isinstance(force, bool):
        raise BadWishError("force must be true or false")
    return _Wish(value["reason"], value["by"] or remote, read_end(value.get("until"), now), force)
