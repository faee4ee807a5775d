"""The OpenAPI 3.1 document of the admin port. Written by hand; a test walks the application's paths against it."""

from typing import Final

import proxy
from proxy.surfaces.admin import openapi_events, openapi_explain, openapi_exposures, openapi_rollouts
from proxy.surfaces.admin import openapi_parts as parts
from proxy.surfaces.admin.openapi_parts import Schema

_STRING, _STRINGS, _INTEGER, _NUMBER, _NULLABLE = (
    parts.STRING,
    parts.STRINGS,
    parts.INTEGER,
    parts.NUMBER,
    parts.NULLABLE,
)
_ref, _object, _answer, _json = parts.ref, parts.an_object, parts.answer, parts.json_answer
_operation, _get, _body, _with = parts.operation, parts.get, parts.body, parts.with_parameters

_UPSTREAM: Final = {"name": "upstream", "in": "path", "required": True, "schema": _STRING}
_ENDPOINT: Final = {
    "name": "endpoint",
    "in": "path",
    "required": True,
    "schema": _STRING,
    "description": "Its label or its URL, percent-encoded: http%3A%2F%2F127.0.0.1%3A9001",
}


def document() -> Schema:
    """The document, as plain JSON values."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate admin API",
            "version": getattr(proxy, "__version__", "1"),
            "description": "What is in force, how it fares, rollouts, weights by hand, drains, faults, and who got what.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": {
            "/": _get("page", "A page that links to the others", {"200": _answer("The page", "text/html", _STRING)}),
            "/metrics": _get(
                "metrics",
                "Metrics for Prometheus",
                {
                    "200": {
                        "description": "Prometheus text, or OpenMetrics where Accept asks for it",
                        "content": {
                            "text/plain": {"schema": _STRING},
                            "application/openmetrics-text": {"schema": _STRING},
                        },
                    }
                },
            ),
            "/healthz": _open(
                _get(
                    "healthz", "Whether the control process is alive", {"200": _json("Alive", _object(status=_STRING))}
                )
            ),
            "/readyz": _open(
                _get(
                    "readyz",
                    "Whether the workers serve a plan and traffic may come",
                    {"200": _json("Ready", _ref("Readiness")), "503": _json("Not ready, and why", _ref("Readiness"))},
                )
            ),
            "/api/v1/config": _get(
                "config", "The configuration in force", {"200": _json("The configuration", _ref("Config"))}
            ),
            "/api/v1/routes": _get(
                "routes", "Routes, weights, endpoints and counts", {"200": _json("The routes", _ref("Routes"))}
            ),
            **openapi_explain.paths(),
            **openapi_rollouts.paths(),
            "/api/v1/upstreams": _get(
                "upstreams",
                "Upstreams, and health and drains of their endpoints",
                {"200": _json("The upstreams", _ref("Upstreams"))},
            ),
            "/api/v1/upstreams/{upstream}": _with(
                [_UPSTREAM],
                _get(
                    "upstream",
                    "One of them",
                    {"200": _json("The upstream", _ref("Upstream")), "404": _json("No such one", _ref("Error"))},
                ),
            ),
            "/api/v1/upstreams/{upstream}/endpoints/{endpoint}/drain": _with([_UPSTREAM, _ENDPOINT], _drain()),
            "/api/v1/segments": _get(
                "segments",
                "Segments, and the lists of units they name",
                {"200": _json("The segments", _ref("Segments"))},
            ),
            "/api/v1/faults": _get(
                "faults",
                "Faults put in on purpose, what they did, and whether they are switched off",
                {"200": _json("The faults", _ref("Faults"))},
            ),
            "/api/v1/faults/kill": {
                "post": {
                    **_operation(
                        "killFaults",
                        "End all faults at once, whatever the file says, until this is taken back",
                        {
                            "200": _json("The faults, which have ended", _ref("Faults")),
                            "400": _json("The body cannot be read", _ref("Error")),
                            "503": _json("They have ended, but a restart will not know of it", _ref("Error")),
                        },
                    ),
                    "requestBody": _body(reason=_STRING, by=_STRING),
                },
                "delete": _operation(
                    "liftKill",
                    "Let faults hold again, as the file says",
                    {
                        "200": _json("The faults", _ref("Faults")),
                        "503": _json("Nothing has changed: the state store cannot be written", _ref("Error")),
                    },
                ),
            },
            **openapi_exposures.paths(),
            **openapi_events.paths(),
            "/api/v1/openapi.json": _get(
                "openapi", "This document", {"200": _json("The document", {"type": "object"})}
            ),
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": _object(error=_object(status=_INTEGER, message=_STRING)),
                "Readiness": _object(status={"enum": ["ready", "not ready"]}, reasons=_STRINGS),
                "Config": _object(
                    file=_STRING,
                    generation=_INTEGER,
                    in_force={
                        "type": "integer",
                        "description": "The plan that all workers have reached: `generation`, when all do; -1: none does.",
                    },
                    loaded={
                        "type": "number",
                        "description": "When this plan was taken, Unix seconds; 0 before the first.",
                    },
                    current={"type": "boolean", "description": "False while the file as it lies there was refused."},
                    problems=_STRINGS,
                    warnings=_STRINGS,
                    spec={"type": "object", "description": "The plan's spec, secrets redacted."},
                ),
                "Routes": _object(
                    generation=_INTEGER,
                    routes={"type": "array", "items": _ref("Route")},
                    upstreams={"type": "array", "items": _ref("Upstream")},
                ),
                "Route": _object(
                    name=_STRING,
                    hosts=_STRINGS,
                    path=_NULLABLE,
                    path_prefix=_NULLABLE,
                    path_regex=_NULLABLE,
                    methods=_STRINGS,
                    default=_STRING,
                    versions={"type": "array", "items": _ref("Version")},
                    by_hand=openapi_rollouts.BY_HAND,
                    mirrors={"type": "array", "items": _object(upstream=_STRING, percent=_NUMBER)},
                ),
                "Version": _object(
                    name=_STRING,
                    upstream=_STRING,
                    fallback=_NULLABLE,
                    weight=_object(file=_NUMBER, effective=_NUMBER),
                    cap={
                        "oneOf": [
                            {"type": "null"},
                            _object(limit=_INTEGER, units=_INTEGER, reached={"type": "boolean"}, problem=_STRING),
                        ],
                        "description": "How many units may ever have it, and how many have had it; null where any number may.",
                    },
                    requests={"type": "integer", "description": "Answers to requests assigned to it."},
                    served={"type": "integer", "description": "Answers that it gave, for whichever version."},
                    errors=_INTEGER,
                    in_flight=_INTEGER,
                ),
                "Explanation": openapi_explain.explanation(),
                "FlagExplanation": openapi_explain.flag_explanation(),
                "Upstreams": _object(generation=_INTEGER, upstreams={"type": "array", "items": _ref("Upstream")}),
                "Segments": _object(
                    generation=_INTEGER,
                    segments={
                        "type": "array",
                        "items": _object(
                            name=_STRING,
                            where={"type": "object", "description": "The matcher, as in the plan's spec."},
                            lists=_STRINGS,
                        ),
                    },
                    lists={"type": "array", "items": _ref("List")},
                ),
                "List": _object(
                    name={"type": "string", "description": "As `units_file` has it."},
                    file=_STRING,
                    units=_INTEGER,
                    taken={"type": "number", "description": "When it was read, Unix seconds."},
                    modified={
                        "type": "number",
                        "description": "When the file was written that was read, Unix seconds.",
                    },
                    current={"type": "boolean", "description": "False while the file as it lies there cannot be used."},
                    problem={"type": "string", "description": "Why not; empty when it can."},
                    skipped={
                        "type": "object",
                        "additionalProperties": _INTEGER,
                        "description": "Lines left out: not_text (not UTF-8), too_long, duplicate.",
                    },
                ),
                "Faults": _object(
                    generation=_INTEGER,
                    enabled={"type": "boolean", "description": "`faults.enabled` of the file."},
                    max_percent=_NUMBER,
                    killed={"oneOf": [{"type": "null"}, _object(reason=_STRING, by=_STRING, since=_NUMBER)]},
                    routes={"type": "array", "items": _ref("FaultsOfRoute")},
                ),
                "FaultsOfRoute": _object(
                    name=_STRING,
                    faults={"type": "array", "items": _ref("Fault")},
                    versions={
                        "type": "array",
                        "items": _object(
                            name=_STRING,
                            counts={
                                "type": "object",
                                "additionalProperties": _INTEGER,
                                "description": "Requests by what was put in; capped: for the share was reached, nothing.",
                            },
                        ),
                    },
                ),
                **openapi_exposures.schemas(),
                **openapi_events.schemas(),
                **openapi_rollouts.schemas(),
                "Fault": _object(
                    label=_STRING,
                    kind={"enum": ["delay", "abort", "reset", "slow_body"]},
                    value={
                        "type": ["number", "null"],
                        "description": "Seconds of a delay, status of an abort, bytes per second of a slow body.",
                    },
                    percent=_NUMBER,
                    versions=_STRINGS,
                    where={"type": ["object", "null"], "description": "The matcher, as in the plan's spec."},
                    header=_NULLABLE,
                    until={"type": ["number", "null"], "description": "Its end, Unix seconds."},
                    over={"type": "boolean", "description": "Whether that has passed."},
                ),
                "Upstream": _object(
                    name=_STRING,
                    balance=_STRING,
                    panic={
                        "type": "boolean",
                        "description": "So few endpoints are usable that a worker uses all of them.",
                    },
                    endpoints={"type": "array", "items": _ref("Endpoint")},
                ),
                "Endpoint": _object(
                    endpoint={"type": "string", "description": "Its label: the URL, with the address it resolved to."},
                    url={"type": "string", "description": "As the file has it."},
                    weight=_INTEGER,
                    zone=_STRING,
                    usable={"type": "boolean", "description": "Neither unhealthy nor ejected nor drained."},
                    up={"type": "boolean", "description": "False while any worker could not connect."},
                    health={
                        "description": "What its checks say; null where it is not checked. Unknown counts as healthy.",
                        "oneOf": [
                            {"type": "null"},
                            _object(
                                verdict={"enum": ["unknown", "healthy", "unhealthy"]},
                                reason={
                                    "type": "string",
                                    "description": "Why the last check failed; empty: it passed.",
                                },
                                since=_NUMBER,
                                checked={"type": "number", "description": "The last check, Unix seconds; 0: none yet."},
                            ),
                        ],
                    },
                    ejected={"type": "boolean", "description": "By any worker, for what its answers were like."},
                    drained={
                        "description": "Null where nobody drained it. `until`: Unix seconds, null until it is undone.",
                        "oneOf": [
                            {"type": "null"},
                            _object(reason=_STRING, by=_STRING, since=_NUMBER, until={"type": ["number", "null"]}),
                        ],
                    },
                    in_flight={"type": "integer", "description": "Requests at it now."},
                    connect_failures=_INTEGER,
                ),
                "Drained": _object(
                    upstream=_STRING,
                    endpoint=_STRING,
                    in_flight={"type": "integer", "description": "Requests still at it; poll the upstream until 0."},
                    endpoints={"type": "array", "items": _ref("Endpoint")},
                ),
                "Drain": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "reason": _STRING,
                        "by": {"type": "string", "description": "Who drains it; absent: the caller's address."},
                        "until": {
                            "type": ["string", "number"],
                            "description": "When it ends by itself: a time with its zone, or Unix seconds.",
                        },
                        "force": {"type": "boolean", "description": "Also where it is the last usable endpoint."},
                    },
                },
            },
        },
    }


def _drain() -> Schema:
    responses = {
        "400": _json("The body cannot be read", _ref("Error")),
        "200": _json("What it is now, and how much is still in flight there", _ref("Drained")),
        "404": _json("No such upstream or endpoint; the message names those there are", _ref("Error")),
        "409": _json("Nothing usable would be left, or it is drained under another name", _ref("Error")),
        "503": _json("The state store cannot be written", _ref("Error")),
    }
    return {
        "post": {
            **_operation("drain", "Give an endpoint nothing new", responses),
            "requestBody": {"content": {"application/json": {"schema": _ref("Drain")}}},
        },
        "delete": _operation("undrain", "Use it again", responses),
    }


def _open(path: Schema) -> Schema:
    """A path that never needs a token."""
    path["get"]["security"] = [{}]
    del path["get"]["responses"]["401"]
    return path
