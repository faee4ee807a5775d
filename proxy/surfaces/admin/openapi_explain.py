"""What the OpenAPI document says of `/api/v1/explain`."""

from typing import Final

from proxy.core.explanation import ABSENT, DECIDES, FAILS, LATER, NEXT, OVER, PASSED, STANDS_BY, TAKES_OUT
from proxy.core.flag_explanation import MET
from proxy.core.flags import FLAG_REASONS
from proxy.core.plan import REASONS
from proxy.surfaces.admin.openapi_parts import (
    INTEGER,
    NULLABLE,
    NUMBER,
    STRING,
    STRINGS,
    Schema,
    an_object,
    get,
    json_answer,
    ref,
    with_parameters,
)

_ASKED: Final = {
    "route": "The route. Without it, the one that takes the request.",
    "url": "Host, path and query at once.",
    "host": "The request's host.",
    "path": "Its path, with its query if it has one.",
    "method": "Its method; absent: GET.",
    "unit": "The unit. Without it, the route's unit chain looks at the request.",
    "header": "A header field as NAME: VALUE; as often as needed.",
    "client": "The address it comes from; absent: 127.0.0.1.",
    "at": "When, with the zone: 2026-12-01T00:00:00Z; absent: now.",
    "claim": "A claim of its token as NAME=VALUE; as often as needed, more of one name for a list.",
    "flag": "A flag, instead of a version: as applications ask for it, or, with a route or a request, as upstreams are told.",
    "attribute": "What an application says with a flag, as NAME=VALUE; as often as needed.",
}


def _asked(word: str, meaning: str) -> Schema:
    schema: Schema = {"type": "array", "items": STRING} if word in {"header", "claim", "attribute"} else STRING
    return {"name": word, "in": "query", "required": False, "schema": schema, "description": meaning}


def explanation() -> Schema:
    """What explains one decision; matchers' traces are left open."""
    reasons: Schema = {"enum": list(REASONS)}
    outcomes = [DECIDES, NEXT, LATER, TAKES_OUT, PASSED, FAILS, OVER, ABSENT, STANDS_BY]
    following = an_object(version=NULLABLE, reason=reasons, rule=STRING)
    traces: Schema = {"type": "array", "items": {"type": "object"}}
    return an_object(
        generation=INTEGER,
        route=STRING,
        unit=NULLABLE,
        unit_kind={"type": "string", "description": "Where the unit was found; asked: in the query; empty: nowhere."},
        drawn={"type": "boolean", "description": "A unit would be minted: its version is the luck of the draw."},
        version={"type": ["string", "null"], "description": "Null where all are denied or killed, or `drawn`."},
        reason=reasons,
        rule={"type": "string", "description": "What decided: `rules[0]`, `rings[0].staff`, `holdouts.q4`, ..."},
        default=STRING,
        bucket={"type": "integer", "description": "From 0 to 9999, for people; -1 without a unit."},
        epoch=INTEGER,
        denied={"type": "array", "items": STRING, "description": "Versions that were taken out."},
        killed=STRINGS,
        capped={"type": "array", "items": STRING, "description": "Versions that are closed to this unit by their cap."},
        next={"description": "What would have been next.", "oneOf": [{"type": "null"}, following]},
        fallbacks={"type": "array", "items": STRING, "description": "Versions that answer where it cannot, in order."},
        flags={
            "type": "array",
            "description": "What the upstream is told of flags; a variant of null: nothing, or `drawn`.",
            "items": an_object(
                flag=STRING, variant=NULLABLE, reason={"enum": list(FLAG_REASONS)}, detail=STRING, rule=STRING
            ),
        },
        path={
            "type": "array",
            "description": "Every kind of decision, in order.",
            "items": an_object(
                kind={"enum": [*REASONS, "cap"]}, rule=STRING, outcome={"enum": outcomes}, version=NULLABLE, why=STRING
            ),
        },
        preview={"oneOf": [{"type": "null"}, an_object(asked=STRING, client=STRING, outcome=STRING)]},
        rules=traces,
        rings=traces,
        hash={
            "description": "Another system's: its family, the unit's bucket, the lowest and the highest.",
            "oneOf": [
                {"type": "null"},
                an_object(
                    family=STRING,
                    bucket={"type": ["number", "null"]},
                    first=NUMBER,
                    last=NUMBER,
                    whole={"type": "boolean", "description": "Whether buckets are whole numbers."},
                ),
            ],
        },
        scores=traces,
        split={"type": "object", "additionalProperties": NUMBER, "description": "Shares by version, in [0, 1]."},
        notes=STRINGS,
    )


def flag_explanation() -> Schema:
    """What explains one evaluation of a flag; matchers' traces are left open."""
    reasons: Schema = {"enum": list(FLAG_REASONS)}
    outcomes = [DECIDES, NEXT, LATER, PASSED, FAILS, OVER, ABSENT, MET]
    following = an_object(variant=STRING, reason=reasons, detail=STRING, rule=STRING)
    traces: Schema = {"type": "array", "items": {"type": "object"}}
    return an_object(
        generation=INTEGER,
        flag=STRING,
        type=STRING,
        unit=NULLABLE,
        unit_kind={"type": "string", "description": "Where the unit was found; asked: in the query; empty: nowhere."},
        bucket={"type": "integer", "description": "From 0 to 9999, for people; -1 without a unit, or without a draw."},
        variant={"type": "string", "description": "Empty: the application uses its own default."},
        value={"description": "The variant's value; null without a variant."},
        reason=reasons,
        detail={"type": "string", "description": "The finer word: off, over, prerequisite, rule, split, ..."},
        rule={"type": "string", "description": "What decided: `rules[0]`, `prerequisites.other`, ..."},
        unit_missing={"type": "boolean", "description": "A draw is due, and there is no unit."},
        default=STRING,
        off=STRING,
        path={
            "type": "array",
            "description": "Every kind of decision, in order.",
            "items": an_object(kind=STRING, rule=STRING, outcome={"enum": outcomes}, variant=NULLABLE, why=STRING),
        },
        next={"description": "What would have been next.", "oneOf": [{"type": "null"}, following]},
        rules=traces,
        scores=traces,
        route={"description": "The explanation of the route that it follows.", "type": ["object", "null"]},
        notes=STRINGS,
    )


def paths() -> Schema:
    """The path."""
    return {
        "/api/v1/explain": with_parameters(
            [_asked(word, meaning) for word, meaning in _ASKED.items()],
            get(
                "explain",
                "Why a request's unit gets a version, or a variant of a flag, of the plan in force, and what would have been next",
                {
                    "200": json_answer("The explanation", {"oneOf": [ref("Explanation"), ref("FlagExplanation")]}),
                    "400": json_answer(
                        "The query cannot be read, or the proxy would refuse such a request", ref("Error")
                    ),
                    "404": json_answer("No such route or flag, or no route that takes the request", ref("Error")),
                    "503": json_answer("No plan is in force yet", ref("Error")),
                },
            ),
        )
    }
