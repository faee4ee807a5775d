"""The part of the OpenAPI document that is about events of units."""

from proxy.surfaces.admin.openapi_parts import INTEGER, STRING, STRINGS, Schema, an_object, json_answer, operation, ref


def paths() -> Schema:
    """The path /api/v1/events."""
    counted = {**INTEGER, "description": "Events that count in a rollout under way."}
    dropped = {**INTEGER, "description": "The others; `problems` says why."}
    take = operation(
        "countEvents",
        "What units did, for the metrics of rollouts that name the event: one event, or `{events: [...]}`",
        {
            "200": json_answer("They are counted", an_object(counted=counted, dropped=dropped, problems=STRINGS)),
            "400": json_answer("No event, or none that a rollout under way asks for", ref("Error")),
        },
    )
    several = {
        "type": "object",
        "properties": {"events": {"type": "array", "items": ref("UnitEvent")}},
        "required": ["events"],
    }
    schema = {"oneOf": [ref("UnitEvent"), several]}
    take["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return {"/api/v1/events": {"post": take}}


def schemas() -> Schema:
    """What is sent."""
    return {
        "UnitEvent": {
            "type": "object",
            "properties": {
                "name": {**STRING, "description": "As `event` of a metric."},
                "unit": {**STRING, "description": "The unit as requests bring it; it is hashed with the key in force."},
                "unit_hash": {**STRING, "description": "Its hash instead, 16 hex digits, as in x-tidegate-unit-hash."},
                "value": {"type": "number", "default": 0, "description": "Such as the amount."},
                "id": {
                    **STRING,
                    "minLength": 1,
                    "maxLength": 256,
                    "description": "The same id for the same `name` and `route` counts once, within an hour and 100,000 ids.",
                },
                "route": {**STRING, "description": "Only for this route. Absent: for all that ask for the event."},
            },
            "required": ["name"],
            "additionalProperties": False,
        }
    }
