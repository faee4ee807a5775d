"""Why a unit gets a version, or a variant of a flag, asked of the plan in force: with the weights that hold now."""

import time
from typing import Any, Final

from aiohttp import web

from proxy.cap_files import look_into_files
from proxy.core.build import build_plan
from proxy.core.hashing import UnitHasher
from proxy.core.plan import Plan
from proxy.expressions import matchers_of
from proxy.surfaces.admin.guard import error_response
from proxy.surfaces.admin.state import State
from proxy.surfaces.asking import NothingThereError, Wish, WishError, answer, moment

EXPLAIN: Final = "/api/v1/explain"
WORDS: Final = (
    "route",
    "url",
    "host",
    "path",
    "method",
    "unit",
    "header",
    "client",
    "at",
    "claim",
    "flag",
    "attribute",
)
MANY: Final = frozenset(("header", "claim", "attribute"))

Spec = dict[str, Any]


class ExplainPath:
    """The path /api/v1/explain."""

    def __init__(self, state: State) -> None:
        self._state: Final = state
        self._built: tuple[Spec, Plan] | None = None

    async def one(self, request: web.Request) -> web.Response:
        """The explanation of what the query asks for."""
        query = request.query
        unknown = sorted(set(query) - set(WORDS))
        if unknown:
            return error_response(400, f"unknown: {', '.join(unknown)}; known: {', '.join(WORDS)}")
        twice = next((word for word in query if word not in MANY and len(query.getall(word)) > 1), None)
        if twice is not None:
            return error_response(400, f"{twice} is given twice")
        if not set(query) & {"route", "url", "host", "path", "flag"}:
            return error_response(400, "say what: a request by a route, a url, a host or a path, or a flag")
        spec = self._state.spec
        if not spec:
            return error_response(503, "no plan is in force yet")
        try:
            wish = Wish(
                query.get("route"),
                query.get("url"),
                query.get("host"),
                query.get("path"),
                query.get("method", "GET"),
                query.get("unit"),
                query.getall("header", []),
                query.get("client", "127.0.0.1"),
                moment(query["at"]) if "at" in query else time.time(),
                query.getall("claim", []),
                query.get("flag"),
                query.getall("attribute", []),
            )
            explained = answer(wish, self._plan(spec), spec, self._state.lists.tables())
        except NothingThereError as error:
            return error_response(404, str(error))
        except WishError as error:
            return error_response(400, f"{error.part}: {error}" if error.part else str(error))
        return web.json_response({"generation": spec["generation"], **explained})

    def _plan(self, spec: Spec) -> Plan:
        """The plan of `spec`, built when it is first asked about: a large one takes a while."""
        if self._built is None or self._built[0] is not spec:
            plan = build_plan(spec, lists=self._state.lists.tables(), expressions=matchers_of(spec))
            look_into_files(plan.routes, UnitHasher(plan.unit_hash_key))
            self._built = (spec, plan)
        return self._built[1]
