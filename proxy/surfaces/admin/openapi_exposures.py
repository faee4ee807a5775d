"""The part of the OpenAPI document that is about exposures."""

from typing import Final

from proxy.exposure.queries import LIMIT
from proxy.surfaces.admin.openapi_parts import (
    INTEGER,
    NUMBER,
    STRING,
    Schema,
    an_object,
    json_answer,
    operation,
    ref,
    with_parameters,
)

_TIME: Final = {"type": "number", "description": "Unix seconds."}
_BOOLEAN: Final = {"type": "boolean"}
_COUNTS: Final = {"type": "object", "additionalProperties": INTEGER}
_WEIGHTS: Final = {"type": "object", "additionalProperties": NUMBER}


def _query(name: str, description: str, schema: Schema = STRING) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": schema, "description": description}


_UNIT: Final = _query("unit", "The unit as requests bring it; it is hashed with the key in force.")
_UNIT_HASH: Final = _query("unit_hash", "Its hash instead, 16 hex digits, as in x-tidegate-unit-hash.")
_ROUTE: Final = _query("route", "Only this route.")


def paths() -> Schema:
    """The paths under /api/v1/exposures."""
    unreadable = {"503": json_answer("The store cannot be read or written now", ref("Error"))}
    bad = {"400": json_answer("The question cannot be read", ref("Error"))}
    limit = {"type": "integer", "minimum": 1, "maximum": LIMIT, "default": 100}
    find = operation(
        "exposures",
        "Who got which version, when and why, the newest first",
        {"200": json_answer("A page of records", ref("Exposures")), **bad, **unreadable},
    )
    find["parameters"] = [
        _UNIT,
        _UNIT_HASH,
        _query("version", "Only this version."),
        _ROUTE,
        _query("since", "Not before: `1h` or `7d` ago, a time with its zone, or Unix seconds."),
        _query("limit", "Records on a page.", limit),
        _query("cursor", "The page after the one that gave this."),
    ]
    erase = operation(
        "eraseUnit",
        "Forget one unit: its records, and its lines in the stream",
        {"200": json_answer("It is forgotten", an_object(unit=STRING, erased=INTEGER)), **bad, **unreadable},
    )
    erase["parameters"] = [_UNIT, _UNIT_HASH]
    summary = operation(
        "exposureSummary",
        "How many units each version has had, and whether the splits are what was asked for",
        {"200": json_answer("The summary", ref("ExposureSummary")), **unreadable},
    )
    return {
        "/api/v1/exposures": {"get": find, "delete": erase},
        "/api/v1/exposures/summary": with_parameters([_ROUTE], {"get": summary}),
    }


def schemas() -> Schema:
    """What they answer with."""
    return {
        "Exposures": an_object(
            exposures={"type": "array", "items": ref("Exposure")},
            cursor={"type": ["string", "null"], "description": "Asks for the next page; null after the last."},
        ),
        "Exposure": an_object(
            at=_TIME,
            route=STRING,
            unit={"type": "string", "description": "Its keyed hash, 16 hex digits."},
            raw={"type": ["string", "null"], "description": "The unit itself, where `exposure.raw_units` is set."},
            source={
                "type": "string",
                "description": "Where the unit came from: header, cookie, minted (just now), ...",
            },
            version=STRING,
            before={"type": ["string", "null"], "description": "The version it had on this route until then."},
            first={"type": "boolean", "description": "The unit's first record on this route."},
            reason=STRING,
            rule={"type": "string", "description": "The rule that decided; empty: none did."},
            randomised={"type": "boolean", "description": "The version was drawn by hash, by these weights."},
            bot={"type": "boolean", "description": "By its user agent no person."},
            bucket=INTEGER,
            weights=_WEIGHTS,
            plan={"type": "integer", "description": "Generation of the plan in force then."},
            epoch={"type": "integer", "description": "Salt epoch."},
            request_id=STRING,
        ),
        "ExposureSummary": an_object(
            failing={"type": ["string", "null"], "description": "Why nothing can be recorded now."},
            versions={
                "type": "array",
                "items": an_object(
                    route=STRING,
                    version=STRING,
                    units={"type": "integer", "description": "Different units that ever got it, as far as is kept."},
                    first_assignments={"type": "integer", "description": "Those that had no other before."},
                    records=INTEGER,
                    robots=INTEGER,
                    first=_TIME,
                    last=_TIME,
                    reasons={**_COUNTS, "description": "Records by reason."},
                ),
            },
            sample_ratios={"type": "array", "items": ref("SampleRatio")},
        ),
        "SampleRatio": an_object(
            route=STRING,
            segment={"type": "string", "description": "Of a rule with a split of its own; empty: the route's split."},
            source={"type": "string", "description": "Of units that came this way; empty: all."},
            weights=_WEIGHTS,
            epoch=INTEGER,
            since=_TIME,
            counts={**_COUNTS, "description": "New units by version."},
            log_bayes_factor={"type": ["number", "null"], "description": "Null: infinite."},
            alarm_at={"type": "integer", "description": "The Bayes factor from which on it is a mismatch."},
            mismatch=_BOOLEAN,
        ),
    }
