"""The faults that the file asks for, what they did, and the switch that ends them all."""

import time
from typing import Any, Final

from aiohttp import web

from proxy.control.state import StoreError
from proxy.surfaces.admin.guard import error_response
from proxy.surfaces.admin.state import State
from proxy.surfaces.admin.wish import BadWishError, read_wish

FAULTS: Final = "/api/v1/faults"
KILL: Final = f"{FAULTS}/kill"

Spec = dict[str, Any]


class FaultPaths:
    """The paths under /api/v1/faults."""

    def __init__(self, state: State) -> None:
        self._state: Final = state

    async def all(self, _request: web.Request) -> web.Response:
        """Every fault of the plan in force."""
        return web.json_response(self._shown())

    async def kill(self, request: web.Request) -> web.Response:
        """End all faults."""
        try:
            wish = read_wish(await request.text())
        except BadWishError as error:
            return error_response(400, str(error))
        try:
            await self._state.faults.throw(wish["reason"], wish["by"] or request.remote or "unknown")
        except StoreError as error:
            return error_response(503, f"the faults have ended, but a restart will not know of it: {error}")
        return web.json_response(self._shown())

    async def lift(self, request: web.Request) -> web.Response:
        """Let them hold again."""
        try:
            await self._state.faults.lift(request.remote or "unknown")
        except StoreError as error:
            return error_response(503, str(error))
        return web.json_response(self._shown())

    def _shown(self) -> Spec:
        state = self._state
        spec = state.spec
        bounds = spec.get("faults", {"enabled": True, "max_percent": 0.0})
        kill = state.faults.kill
        counts = state.totals.faults()
        now = time.time()
        return {
            "generation": state.facts.generation,
            "enabled": bounds["enabled"],
            "max_percent": bounds["max_percent"],
            "killed": None if kill is None else {"reason": kill.reason, "by": kill.by, "since": kill.since},
            "routes": [
                {
                    "name": route["name"],
                    "faults": [_fault(one, now) for one in route["faults"]],
                    "versions": [
                        {"name": version["name"], "counts": counts.get((route["name"], version["name"]), {})}
                        for version in route["versions"]
                    ],
                }
                for route in spec.get("routes", ())
                if route["faults"]
            ],
        }


def _fault(spec: Spec, now: float) -> Spec:
    kind = spec["kind"]
    value = {"delay": "delay", "abort": "status", "slow_body": "bytes_per_second"}.get(kind)
    header = spec["header"]
    until = spec["until"] or None
    return {
        "label": spec["label"],
        "kind": kind,
        "value": None if value is None else spec[value],
        "percent": spec["percent"],
        "versions": spec["versions"],
        "where": spec.get("where"),
        "header": None if header is None else header["name"],
        "until": until,
        "over": until is not None and until <= now,
    }
