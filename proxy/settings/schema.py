"""The JSON Schema of a configuration, generated from the models: what an editor completes, explains and underlines."""

import json
from typing import Any, Final

from proxy.settings.models.top import Settings

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12)."""
    schema = Settings.model_json_schema(by_alias=True)
    schema = _tidied(schema)
    # A file may leave these to the files it includes, and an included file has only some of them.
    schema.pop("required", None)
    return {"$schema": DIALECT, "title": "Tidegate", **{key: value for key, value in schema.items() if key != "title"}}


def schema_text() -> str:
    """The schema as it stands in config/tidegate.schema.json."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _tidied(node: Any) -> Any:
    """Without the titles that pydantic makes of names, and with defaults as people write them."""
    if isinstance(node, list):
        return [_tidied(one) for one in node]
    if not isinstance(node, dict):
        return node
    tidy: dict[str, Any] = {}
    for key, value in node.items():
        if key == "title" and isinstance(value, str):
            continue
        # The keys of `properties` and `$defs` are names, not words of the schema.
        tidy[key] = (
            {name: _tidied(one) for name, one in value.items()} if key in ("properties", "$defs") else _tidied(value)
        )
    shown = tidy.pop("x-default", None)
    change = tidy.pop("x-change", None)
    if change is not None:
        tidy.pop("x-unit", None)
        default = tidy.pop("default", None)
        shown = default if shown is None else shown
        said = [tidy.get("description", "")]
        if shown is not None:
            said.append(f"Default: {shown if isinstance(shown, str) else json.dumps(shown)}.")
        said.append(f"({change})")
        tidy["description"] = " ".join(filter(None, said))
    return tidy
