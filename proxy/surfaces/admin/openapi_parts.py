"""The pieces of which the OpenAPI document is put together."""

from typing import Any, Final

STRING: Final = {"type": "string"}
INTEGER: Final = {"type": "integer"}
NUMBER: Final = {"type": "number"}
STRINGS: Final = {"type": "array", "items": STRING}
NULLABLE: Final = {"type": ["string", "null"]}

Schema = dict[str, Any]


def ref(name: str) -> Schema:
    """A schema of the document's own."""
    return {"$ref": f"#/components/schemas/{name}"}


def an_object(**properties: Schema) -> Schema:
    """An object with all these properties, none of which may be left out."""
    return {"type": "object", "properties": properties, "required": list(properties)}


def answer(description: str, media: str, schema: Schema) -> Schema:
    """An answer with a body."""
    return {"description": description, "content": {media: {"schema": schema}}}


def json_answer(description: str, schema: Schema) -> Schema:
    """An answer in JSON."""
    return answer(description, "application/json", schema)


def body(**properties: Schema) -> Schema:
    """A JSON body whose properties may all be left out."""
    schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {"required": False, "content": {"application/json": {"schema": schema}}}


def operation(name: str, summary: str, responses: Schema) -> Schema:
    """An operation; 401 and 403 are answers of all."""
    refused = {
        "401": json_answer("A token is needed", ref("Error")),
        "403": json_answer("This token, Host or Origin may not", ref("Error")),
    }
    return {"operationId": name, "summary": summary, "responses": {**responses, **refused}}


def get(name: str, summary: str, responses: Schema) -> Schema:
    """A path that is only read."""
    return {"get": operation(name, summary, responses)}


def with_parameters(parameters: list[Schema], path: Schema) -> Schema:
    """A path whose placeholders are `parameters`."""
    return {"parameters": parameters, **path}
