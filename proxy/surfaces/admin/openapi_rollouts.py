"""The part of the OpenAPI document that is about rollouts, and weights set by hand."""

from typing import Final

from proxy.rollout.states import HANDS, CauseKind
from proxy.rollout.states import State as RolloutState
from proxy.surfaces.admin.openapi_parts import (
    INTEGER,
    NULLABLE,
    NUMBER,
    STRING,
    STRINGS,
    Schema,
    an_object,
    body,
    get,
    json_answer,
    operation,
    ref,
    with_parameters,
)
from proxy.surfaces.admin.rollouts import HISTORY_LIMIT

_TIME: Final = {"type": "number", "description": "Unix seconds."}
_BOOLEAN: Final = {"type": "boolean"}
_WEIGHTS: Final = {"type": "object", "additionalProperties": NUMBER, "description": "By version, on the file's scale."}
_NUMBERS: Final = {"type": "object", "description": "What it was decided by."}
_STATE: Final = {"enum": [str(one) for one in RolloutState]}
_CAUSE: Final = {"enum": [str(one) for one in CauseKind]}
_BY_HAND: Final = {"oneOf": [{"type": "null"}, ref("WeightsByHand")], "description": "Null where nobody set any."}


def _place(name: str, description: str, schema: Schema = STRING) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


_ROUTE: Final = _place("route", "Its name in the file.")


def paths() -> Schema:
    """The paths under /api/v1/rollouts, and that of a route's weights."""
    unknown = {
        "404": json_answer("No such route, or none with a rollout; the message names those there are", ref("Error"))
    }
    unkept = {"503": json_answer("Nothing has changed: the journal cannot be written", ref("Error"))}
    bad = {"400": json_answer("The question or the body cannot be read", ref("Error"))}
    history = operation(
        "rolloutHistory",
        "What it went through, the newest first",
        {"200": json_answer("The transitions", ref("Transitions")), **bad, **unknown, **unkept},
    )
    limit = {"type": "integer", "minimum": 1, "maximum": HISTORY_LIMIT, "default": 50}
    history["parameters"] = [{"name": "limit", "in": "query", "required": False, "schema": limit}]
    act = operation(
        "actOnRollout",
        "Ask something of it; webhooks that may veto an approval are asked before the answer",
        {
            "200": json_answer("The rollout after it", ref("Rollout")),
            **bad,
            **unknown,
            "409": json_answer("Not in this state; the message says what is possible", ref("Error")),
            **unkept,
        },
    )
    act["requestBody"] = {**body(reason=STRING, by=STRING), "required": True}
    weights = json_answer("The weights", ref("Weights"))
    put = operation(
        "setWeights",
        "Set weights by hand, over the file's, until they are taken back, their time is up, or the file's are changed",
        {"200": weights, **bad, **unknown, **unkept},
    )
    put["requestBody"] = {"required": True, "content": {"application/json": {"schema": ref("WeightWish")}}}
    return {
        "/api/v1/routes/{route}/weights": with_parameters(
            [_ROUTE],
            {
                "get": operation("weights", "The file's weights, and those in force", {"200": weights, **unknown}),
                "put": put,
                "delete": operation(
                    "unsetWeights", "Take back weights set by hand", {"200": weights, **unknown, **unkept}
                ),
            },
        ),
        "/api/v1/rollouts": get(
            "rollouts", "The rollouts of the file's routes", {"200": json_answer("The rollouts", ref("Rollouts"))}
        ),
        "/api/v1/rollouts/{route}": with_parameters(
            [_ROUTE],
            get(
                "rollout",
                "One of them, with its plan",
                {"200": json_answer("The rollout", ref("PlannedRollout")), **unknown},
            ),
        ),
        "/api/v1/rollouts/{route}/history": with_parameters([_ROUTE], {"get": history}),
        "/api/v1/rollouts/{route}/{action}": with_parameters(
            [_ROUTE, _place("action", "What is asked.", {"enum": [str(one) for one in HANDS]})], {"post": act}
        ),
    }


def schemas() -> Schema:
    """What they answer with, and take."""
    return {
        "Rollouts": an_object(
            at=_TIME,
            lasting={"type": "boolean", "description": "Whether they survive a restart: `state` is configured."},
            rollouts={"type": "array", "items": ref("Rollout")},
        ),
        "Rollout": an_object(
            **{"from": STRING},
            route=STRING,
            revision=STRING,
            kind=STRING,
            to=STRING,
            baseline=NULLABLE,
            state=_STATE,
            step={"type": "integer", "description": "The step it is at, from 1; 0 before the first."},
            tries={
                "type": "integer",
                "description": "How often its evidence was begun, by `retry` or `resume` after the first time: each try has an"
                " error budget (`alpha`) of its own.",
            },
            steps={
                "type": "array",
                "items": an_object(
                    words=STRING,
                    weight={"type": "number", "description": "Percent of what from, to and baseline have together."},
                    ring=NULLABLE,
                    shadow={"type": "number", "description": "Percent of the requests that are copied to it."},
                    approve=_BOOLEAN,
                    hold={"type": "number", "description": "Seconds."},
                ),
            },
            percent={"type": "number", "description": "Of `to`, of what from, to and baseline have together."},
            ring=NULLABLE,
            shadow=NUMBER,
            weights=an_object(file=_WEIGHTS, rollout=_WEIGHTS, effective=_WEIGHTS),
            by_hand=_BY_HAND,
            held={"type": "number", "description": "Seconds of this step or state that were watched."},
            hold={"type": ["number", "null"], "description": "Seconds that the step lasts at least."},
            since={**_TIME, "description": "When the step or state began, Unix seconds."},
            started=_TIME,
            sequence=INTEGER,
            cause=_CAUSE,
            actor=STRING,
            reason=STRING,
            numbers=_NUMBERS,
            verdict={
                "oneOf": [
                    {"type": "null"},
                    an_object(result={"enum": ["pass", "fail", "insufficient"]}, reason=STRING, numbers=_NUMBERS),
                ],
                "description": "Of the gates of this step; null before there is one.",
            },
            samples={
                "type": "object",
                "additionalProperties": an_object(requests=INTEGER, units=INTEGER),
                "description": "By version, what it has had in this step.",
            },
            waits_for={"type": "string", "description": "What must happen before it goes on; empty: nothing will."},
            possible={**STRINGS, "description": "What may be asked of it now."},
            explanation={**STRINGS, "description": "All of it in sentences."},
        ),
        "PlannedRollout": {
            "allOf": [
                ref("Rollout"),
                an_object(
                    plan={"type": "object", "description": "As it was frozen with the revision; secrets redacted."}
                ),
            ]
        },
        "Transitions": an_object(
            transitions={
                "type": "array",
                "items": an_object(
                    revision=STRING,
                    sequence=INTEGER,
                    at=_TIME,
                    before=NULLABLE,
                    after=_STATE,
                    step=INTEGER,
                    tries=INTEGER,
                    cause=_CAUSE,
                    actor=STRING,
                    reason=STRING,
                    numbers=_NUMBERS,
                    percent=NUMBER,
                    weights=_WEIGHTS,
                ),
            }
        ),
        "Weights": an_object(
            route=STRING,
            file=_WEIGHTS,
            effective=_WEIGHTS,
            by_hand=_BY_HAND,
            rollout={"type": ["string", "null"], "description": "The state of its rollout; null where it has none."},
            lasting={"type": "boolean", "description": "Whether weights by hand survive a restart."},
        ),
        "WeightsByHand": an_object(
            weights=_WEIGHTS,
            by=STRING,
            reason=STRING,
            since=_TIME,
            until={"type": ["number", "null"], "description": "Unix seconds; null until they are taken back."},
        ),
        "WeightWish": {
            "type": "object",
            "additionalProperties": False,
            "required": ["weights"],
            "properties": {
                "weights": {
                    **_WEIGHTS,
                    "description": "By version, on the file's scale; versions left out share what is left as in the file.",
                },
                "reason": STRING,
                "by": {"type": "string", "description": "Who sets them; absent: the caller's address."},
                "until": {
                    "type": ["string", "number"],
                    "description": "When they end by themselves: a time with its zone, or Unix seconds.",
                },
            },
        },
    }


BY_HAND: Final = _BY_HAND
