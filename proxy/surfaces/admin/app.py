"""The admin port's paths: metrics, health, and the JSON API over what is in force."""

from collections.abc import Collection, Sequence
from typing import Any, Final

from aiohttp import web

from proxy.surfaces.admin.events import EVENTS, EventPaths
from proxy.surfaces.admin.explain import EXPLAIN, ExplainPath
from proxy.surfaces.admin.exposures import EXPOSURES, SUMMARY, ExposurePaths
from proxy.surfaces.admin.faults import FAULTS, KILL, FaultPaths
from proxy.surfaces.admin.guard import Token, guard
from proxy.surfaces.admin.openapi import document
from proxy.surfaces.admin.redaction import shown
from proxy.surfaces.admin.rollouts import ACTION, HISTORY, ROLLOUT, ROLLOUTS, RolloutPaths
from proxy.surfaces.admin.segments import SEGMENTS, SegmentPaths
from proxy.surfaces.admin.state import State
from proxy.surfaces.admin.upstreams import ENDPOINT, UPSTREAM, UPSTREAMS, UpstreamPaths, upstreams_shown
from proxy.surfaces.admin.weights import WEIGHTS, WeightPaths, hand_shown
from proxy.telemetry.facts import CapFacts
from proxy.telemetry.totals import VersionTotals

_PAGE: Final = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Tidegate</title>
<style>body{font:16px/1.5 system-ui,sans-serif;max-width:40rem;margin:3rem auto;padding:0 1rem}</style></head>
<body><h1>Tidegate</h1><ul>
<li><a href="/metrics">/metrics</a>: for Prometheus</li>
<li><a href="/healthz">/healthz</a>: alive</li>
<li><a href="/readyz">/readyz</a>: workers serve a plan</li>
<li><a href="/api/v1/config">/api/v1/config</a>: the configuration in force, and what is wrong with the file</li>
<li><a href="/api/v1/routes">/api/v1/routes</a>: routes, weights, endpoints, counts</li>
<li><a href="/api/v1/rollouts">/api/v1/rollouts</a>: rollouts, where each is and what it waits for</li>
<li><a href="/api/v1/upstreams">/api/v1/upstreams</a>: upstreams, health and drains of their endpoints</li>
<li><a href="/api/v1/segments">/api/v1/segments</a>: segments, and the lists of units they name</li>
<li><a href="/api/v1/faults">/api/v1/faults</a>: faults put in on purpose, and whether they are switched off</li>
<li><a href="/api/v1/exposures">/api/v1/exposures</a>: who got which version, when and why</li>
<li><a href="/api/v1/exposures/summary">/api/v1/exposures/summary</a>: how many units each version has had</li>
<li><a href="/api/v1/openapi.json">/api/v1/openapi.json</a>: this API described</li>
</ul></body></html>
"""


def make_app(
    state: State,
    *,
    tokens: Sequence[Token] | None = None,
    read_only: bool = False,
    hosts: Collection[str] = (),
) -> web.Application:
    """The application over `state`.

    `tokens` must then be shown (guard.py); `hosts` are names by which the port may be called besides localhost.
    `read_only` is the `metrics:` listener: /metrics, /healthz and /readyz alone, without token, under any name.
    """
    paths = _Paths(state)
    application = web.Application(
        middlewares=[guard(None if read_only else tokens, hosts, check_host=not read_only)],
        client_max_size=64 * 1024,
    )
    application.router.add_get("/metrics", paths.metrics)
    application.router.add_get("/healthz", paths.healthz)
    application.router.add_get("/readyz", paths.readyz)
    if not read_only:
        application.router.add_get("/", paths.page)
        application.router.add_get("/api/v1/config", paths.config)
        application.router.add_get("/api/v1/routes", paths.routes)
        weights = WeightPaths(state)
        application.router.add_get(WEIGHTS, weights.read)
        application.router.add_put(WEIGHTS, weights.put)
        application.router.add_delete(WEIGHTS, weights.delete)
        rollouts = RolloutPaths(state)
        application.router.add_get(ROLLOUTS, rollouts.all)
        application.router.add_get(ROLLOUT, rollouts.one)
        application.router.add_get(HISTORY, rollouts.history)
        application.router.add_post(ACTION, rollouts.act)
        application.router.add_get("/api/v1/openapi.json", paths.openapi)
        application.router.add_get(EXPLAIN, ExplainPath(state).one)
        upstreams = UpstreamPaths(state)
        application.router.add_get(UPSTREAMS, upstreams.all)
        application.router.add_get(UPSTREAM, upstreams.one)
        application.router.add_post(f"{ENDPOINT}/drain", upstreams.drain)
        application.router.add_delete(f"{ENDPOINT}/drain", upstreams.undrain)
        application.router.add_get(SEGMENTS, SegmentPaths(state).all)
        faults = FaultPaths(state)
        application.router.add_get(FAULTS, faults.all)
        application.router.add_post(KILL, faults.kill)
        application.router.add_delete(KILL, faults.lift)
        exposures = ExposurePaths(state)
        application.router.add_get(EXPOSURES, exposures.find)
        application.router.add_get(SUMMARY, exposures.summary)
        application.router.add_delete(EXPOSURES, exposures.erase)
        application.router.add_post(EVENTS, EventPaths(state).take)
    return application


class _Paths:
    def __init__(self, state: State) -> None:
        self._state: Final = state

    async def metrics(self, request: web.Request) -> web.Response:
        body, content_type = self._state.exposition.render(request.headers.get("Accept", ""))
        response = web.Response(body=body, headers={"Content-Type": content_type, "Vary": "Accept, Accept-Encoding"})
        response.enable_compression()
        return response

    async def healthz(self, _request: web.Request) -> web.Response:
        return web.json_response({"status": "alive"})

    async def readyz(self, _request: web.Request) -> web.Response:
        reasons = self._state.not_ready()
        if reasons:
            return web.json_response({"status": "not ready", "reasons": reasons}, status=503)
        return web.json_response({"status": "ready", "reasons": []})

    async def page(self, _request: web.Request) -> web.Response:
        return web.Response(text=_PAGE, content_type="text/html")

    async def openapi(self, _request: web.Request) -> web.Response:
        return web.json_response(document())

    async def config(self, _request: web.Request) -> web.Response:
        facts = self._state.facts
        return web.json_response(
            {
                "file": self._state.file,
                "generation": facts.generation,
                "in_force": facts.in_force,
                "loaded": facts.last_reload_time,
                "current": not facts.problems,
                "problems": list(facts.problems),
                "warnings": self._state.warnings,
                "spec": shown(self._state.spec),
            }
        )

    async def routes(self, _request: web.Request) -> web.Response:
        state = self._state
        spec = state.spec
        weights = {(one.route, one.version): one for one in state.facts.weights}
        versions = state.totals.versions()
        routes = []
        for route in spec.get("routes", ()):
            arms = []
            for version in route["versions"]:
                place = (route["name"], version["name"])
                weight = weights.get(place)
                totals = versions.get(place, VersionTotals())
                arms.append(
                    {
                        "name": version["name"],
                        "upstream": version["upstream"],
                        "fallback": version["fallback"],
                        "weight": {
                            "file": weight.file if weight else version["weight"],
                            "effective": weight.effective if weight else version["weight"],
                        },
                        "cap": cap_shown(state.facts.caps.get(place)),
                        "requests": totals.requests,
                        "served": totals.served,
                        "errors": totals.errors,
                        "in_flight": totals.in_flight,
                    }
                )
            hand = state.rollouts.hand(route["name"])
            routes.append(
                {
                    "name": route["name"],
                    "hosts": route["hosts"],
                    "path": route["path"],
                    "path_prefix": route["path_prefix"],
                    "path_regex": route["path_regex"],
                    "methods": route["methods"],
                    "default": route["default"],
                    "versions": arms,
                    "by_hand": None if hand is None else hand_shown(hand),
                    "mirrors": [{"upstream": one["upstream"], "percent": one["percent"]} for one in route["mirror"]],
                }
            )
        return web.json_response(
            {
                "generation": state.facts.generation,
                "routes": routes,
                "upstreams": upstreams_shown(state, spec.get("upstreams", ())),
            }
        )


def cap_shown(facts: CapFacts | None) -> dict[str, Any] | None:
    """How a cap stands; None where there is none."""
    if facts is None:
        return None
    return {"limit": facts.limit, "units": facts.units, "reached": facts.reached, "problem": facts.problem}
