"""The OpenAPI 3.1 document of the admin port. Written by hand; a test walks the application's paths against it."""

from typing import Final

import proxy
from proxy.surfaces.admin.openapi_exposures import paths, schemas
from proxy.surfaces.admin.openapi_parts import (
    INTEGER,
    NULLABLE,
    NUMBER,
    STRING,
    STRINGS,
    Schema,
    an_object,
    answer,
    body,
    get,
    json_answer,
    operation,
    ref,
    with_parameters,
)

_UPSTREAM: Final = {"name": "upstream", "in": "path", "required": True, "schema": STRING}
_ENDPOINT: Final = {
    "name": "endpoint",
    "in": "path",
    "required": True,
    "schema": STRING,
    "description": "Its label or its URL, percent-encoded: http%3A%2F%2F127.0.0.1%3A9001",
}


def document() -> Schema:
    """The document, as plain JSON values."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate admin API",
            "version": getattr(proxy, "__version__", "1"),
            "description": "What is in force, how it fares, draining endpoints, ending faults, and who got what.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{}, {"token": []}],
        "paths": {
            "/": get("page", "A page that links to the others", {"200": answer("The page", "text/html", STRING)}),
            "/metrics": get(
                "metrics",
                "Metrics for Prometheus",
                {
                    "200": {
                        "description": "Prometheus text, or OpenMetrics where Accept asks for it",
                        "content": {
                            "text/plain": {"schema": STRING},
                            "application/openmetrics-text": {"schema": STRING},
                        },
                    }
                },
            ),
            "/healthz": _open(
                get(
                    "healthz",
                    "Whether the control process is alive",
                    {"200": json_answer("Alive", an_object(status=STRING))},
                )
            ),
            "/readyz": _open(
                get(
                    "readyz",
                    "Whether the workers serve a plan and traffic may come",
                    {
                        "200": json_answer("Ready", ref("Readiness")),
                        "503": json_answer("Not ready, and why", ref("Readiness")),
                    },
                )
            ),
            "/api/v1/config": get(
                "config", "The configuration in force", {"200": json_answer("The configuration", ref("Config"))}
            ),
            "/api/v1/routes": get(
                "routes", "Routes, weights, endpoints and counts", {"200": json_answer("The routes", ref("Routes"))}
            ),
            "/api/v1/upstreams": get(
                "upstreams",
                "Upstreams, and health and drains of their endpoints",
                {"200": json_answer("The upstreams", ref("Upstreams"))},
            ),
            "/api/v1/upstreams/{upstream}": with_parameters(
                [_UPSTREAM],
                get(
                    "upstream",
                    "One of them",
                    {
                        "200": json_answer("The upstream", ref("Upstream")),
                        "404": json_answer("No such one", ref("Error")),
                    },
                ),
            ),
            "/api/v1/upstreams/{upstream}/endpoints/{endpoint}/drain": with_parameters(
                [_UPSTREAM, _ENDPOINT], _drain()
            ),
            "/api/v1/faults": get(
                "faults",
                "Faults put in on purpose, what they did, and whether they are switched off",
                {"200": json_answer("The faults", ref("Faults"))},
            ),
            "/api/v1/faults/kill": {
                "post": {
                    **operation(
                        "killFaults",
                        "End all faults at once, whatever the file says, until this is taken back",
                        {
                            "200": json_answer("The faults, which have ended", ref("Faults")),
                            "400": json_answer("The body cannot be read", ref("Error")),
                            "503": json_answer("They have ended, but a restart will not know of it", ref("Error")),
                        },
                    ),
                    "requestBody": body(reason=STRING, by=STRING),
                },
                "delete": operation(
                    "liftKill",
                    "Let faults hold again, as the file says",
                    {
                        "200": json_answer("The faults", ref("Faults")),
                        "503": json_answer("Nothing has changed: the state store cannot be written", ref("Error")),
                    },
                ),
            },
            **paths(),
            "/api/v1/openapi.json": get(
                "openapi", "This document", {"200": json_answer("The document", {"type": "object"})}
            ),
        },
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {
                "Error": an_object(error=an_object(status=INTEGER, message=STRING)),
                "Readiness": an_object(status={"enum": ["ready", "not ready"]}, reasons=STRINGS),
                "Config": an_object(
                    file=STRING,
                    generation=INTEGER,
                    loaded={
                        "type": "number",
                        "description": "When this plan was taken, Unix seconds; 0 before the first.",
                    },
                    current={"type": "boolean", "description": "False while the file as it lies there was refused."},
                    problems=STRINGS,
                    warnings=STRINGS,
                    spec={"type": "object", "description": "The plan's spec, secrets redacted."},
                ),
                "Routes": an_object(
                    generation=INTEGER,
                    routes={"type": "array", "items": ref("Route")},
                    upstreams={"type": "array", "items": ref("Upstream")},
                ),
                "Route": an_object(
                    name=STRING,
                    hosts=STRINGS,
                    path=NULLABLE,
                    path_prefix=NULLABLE,
                    path_regex=NULLABLE,
                    methods=STRINGS,
                    default=STRING,
                    versions={"type": "array", "items": ref("Version")},
                    mirrors={"type": "array", "items": an_object(upstream=STRING, percent=NUMBER)},
                ),
                "Version": an_object(
                    name=STRING,
                    upstream=STRING,
                    fallback=NULLABLE,
                    weight=an_object(file=NUMBER, effective=NUMBER),
                    requests={"type": "integer", "description": "Answers to requests assigned to it."},
                    served={"type": "integer", "description": "Answers that it gave, for whichever version."},
                    errors=INTEGER,
                    in_flight=INTEGER,
                ),
                "Upstreams": an_object(generation=INTEGER, upstreams={"type": "array", "items": ref("Upstream")}),
                "Faults": an_object(
                    generation=INTEGER,
                    enabled={"type": "boolean", "description": "`faults.enabled` of the file."},
                    max_percent=NUMBER,
                    killed={"oneOf": [{"type": "null"}, an_object(reason=STRING, by=STRING, since=NUMBER)]},
                    routes={"type": "array", "items": ref("FaultsOfRoute")},
                ),
                "FaultsOfRoute": an_object(
                    name=STRING,
                    faults={"type": "array", "items": ref("Fault")},
                    versions={
                        "type": "array",
                        "items": an_object(
                            name=STRING,
                            counts={
                                "type": "object",
                                "additionalProperties": INTEGER,
                                "description": "Requests by what was put in; capped: for the share was reached, nothing.",
                            },
                        ),
                    },
                ),
                **schemas(),
                "Fault": an_object(
                    label=STRING,
                    kind={"enum": ["delay", "abort", "reset", "slow_body"]},
                    value={
                        "type": ["number", "null"],
                        "description": "Seconds of a delay, status of an abort, bytes per second of a slow body.",
                    },
                    percent=NUMBER,
                    versions=STRINGS,
                    where={"type": ["object", "null"], "description": "The matcher, as in the plan's spec."},
                    header=NULLABLE,
                    until={"type": ["number", "null"], "description": "Its end, Unix seconds."},
                    over={"type": "boolean", "description": "Whether that has passed."},
                ),
                "Upstream": an_object(
                    name=STRING,
                    balance=STRING,
                    panic={
                        "type": "boolean",
                        "description": "So few endpoints are usable that a worker uses all of them.",
                    },
                    endpoints={"type": "array", "items": ref("Endpoint")},
                ),
                "Endpoint": an_object(
                    endpoint={"type": "string", "description": "Its label: the URL, with the address it resolved to."},
                    url={"type": "string", "description": "As the file has it."},
                    weight=INTEGER,
                    zone=STRING,
                    usable={"type": "boolean", "description": "Neither unhealthy nor ejected nor drained."},
                    up={"type": "boolean", "description": "False while any worker could not connect."},
                    health={
                        "description": "What its checks say; null where it is not checked. Unknown counts as healthy.",
                        "oneOf": [
                            {"type": "null"},
                            an_object(
                                verdict={"enum": ["unknown", "healthy", "unhealthy"]},
                                reason={
                                    "type": "string",
                                    "description": "Why the last check failed; empty: it passed.",
                                },
                                since=NUMBER,
                                checked={"type": "number", "description": "The last check, Unix seconds; 0: none yet."},
                            ),
                        ],
                    },
                    ejected={"type": "boolean", "description": "By any worker, for what its answers were like."},
                    drained={
                        "description": "Null where nobody drained it. `until`: Unix seconds, null until it is undone.",
                        "oneOf": [
                            {"type": "null"},
                            an_object(reason=STRING, by=STRING, since=NUMBER, until={"type": ["number", "null"]}),
                        ],
                    },
                    in_flight={"type": "integer", "description": "Requests at it now."},
                    connect_failures=INTEGER,
                ),
                "Drained": an_object(
                    upstream=STRING,
                    endpoint=STRING,
                    in_flight={"type": "integer", "description": "Requests still at it; poll the upstream until 0."},
                    endpoints={"type": "array", "items": ref("Endpoint")},
                ),
                "Drain": {
                    "type": "object",
                    "additionalProperties": False,
                    "properties": {
                        "reason": STRING,
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
        "400": json_answer("The body cannot be read", ref("Error")),
        "200": json_answer("What it is now, and how much is still in flight there", ref("Drained")),
        "404": json_answer("No such upstream or endpoint; the message names those there are", ref("Error")),
        "409": json_answer("Nothing usable would be left, or it is drained under another name", ref("Error")),
        "503": json_answer("The state store cannot be written", ref("Error")),
    }
    return {
        "post": {
            **operation("drain", "Give an endpoint nothing new", responses),
            "requestBody": {"content": {"application/json": {"schema": ref("Drain")}}},
        },
        "delete": operation("undrain", "Use it again", responses),
    }


def _open(path: Schema) -> Schema:
    """A path that never needs a token."""
    path["get"]["security"] = [{}]
    del path["get"]["responses"]["401"]
    return path
