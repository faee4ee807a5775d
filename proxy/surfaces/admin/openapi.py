"""The OpenAPI 3.1 document of the admin port. Written by hand; a test walks the application's paths against it."""

from typing import Any, Final

import proxy

_STRING: Final = {"type": "string"}
_INTEGER: Final = {"type": "integer"}
_NUMBER: Final = {"type": "number"}
_STRINGS: Final = {"type": "array", "items": _STRING}
_NULLABLE: Final = {"type": ["string", "null"]}

Schema = dict[str, Any]


def document() -> Schema:
    """The document, as plain JSON values."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Tidegate admin API",
            "version": getattr(proxy, "__version__", "1"),
            "description": "What is in force, and how it fares. All of it only reads.",
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
                    mirrors={"type": "array", "items": _object(upstream=_STRING, percent=_NUMBER)},
                ),
                "Version": _object(
                    name=_STRING,
                    upstream=_STRING,
                    fallback=_NULLABLE,
                    weight=_object(file=_NUMBER, effective=_NUMBER),
                    requests={"type": "integer", "description": "Answers to requests assigned to it."},
                    served={"type": "integer", "description": "Answers that it gave, for whichever version."},
                    errors=_INTEGER,
                    in_flight=_INTEGER,
                ),
                "Upstream": _object(
                    name=_STRING,
                    endpoints={
                        "type": "array",
                        "items": _object(endpoint=_STRING, up={"type": "boolean"}, connect_failures=_INTEGER),
                    },
                ),
            },
        },
    }


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(**properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _answer(description: str, media: str, schema: Schema) -> Schema:
    return {"description": description, "content": {media: {"schema": schema}}}


def _json(description: str, schema: Schema) -> Schema:
    return _answer(description, "application/json", schema)


def _get(name: str, summary: str, responses: Schema) -> Schema:
    refused = {
        "401": _json("A token is needed", _ref("Error")),
        "403": _json("This token, or this Host, may not", _ref("Error")),
    }
    return {"get": {"operationId": name, "summary": summary, "responses": {**responses, **refused}}}


def _open(path: Schema) -> Schema:
    """A path that never needs a token."""
    path["get"]["security"] = [{}]
    del path["get"]["responses"]["401"]
    return path
