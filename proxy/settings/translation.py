"""What pydantic found, in our words: the place of the key, what is wrong, what is allowed."""

import re
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Annotated, Any, Final, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from proxy.settings.problems import KeyPath, kind_of, shown, suggestion

MAP_TAG: Final = "[map]"
OTHER_TAG: Final = "[other]"
"""Tags of the two sides of a union, which are no keys: a map, and what is none."""
_NO_KEYS: Final = frozenset({"[key]", MAP_TAG, OTHER_TAG})
_SECRET: Final = frozenset({"secrets", "tokens", "webhooks", "notify"})
"""What stands under these keys is not repeated in messages: they go to the log and the API."""
_QUOTED: Final = re.compile(r"'([^']*)'")
_KINDS: Final = {
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "a map",
    "model_type": "a map",
    "model_attributes_type": "a map",
    "bool_type": "`true` or `false`",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
}


def errors_of(model: type[BaseModel], error: ValidationError) -> Iterator[tuple[KeyPath, str, bool]]:
    """Each of the errors as (path under the model, message, whether it is about the key and not its value)."""
    for detail in error.errors(include_url=False):
        path: KeyPath = tuple(step for step in detail["loc"] if step not in _NO_KEYS)
        yield path, _message(model, path, detail), detail["type"] == "extra_forbidden" or "[key]" in detail["loc"]


def _message(model: type[BaseModel], path: KeyPath, detail: ErrorDetails) -> str:
    kind = detail["type"]
    value = detail["input"]
    context = detail.get("ctx", {})
    if kind == "settings":
        return str(context["message"])
    if kind == "extra_forbidden":
        return "unknown key" + suggestion(str(path[-1]), known_keys(model, path[:-1]))
    if kind == "missing":
        return "is missing"
    if kind in _KINDS:
        secret = not _SECRET.isdisjoint(path)
        what = f" ({shown(value)})" if isinstance(value, str | int | float) and not secret else ""
        return f"must be {_KINDS[kind]}, not {kind_of(value)}{what}"
    if kind == "literal_error":
        expected = str(context["expected"])
        words = ["true"] if expected == "True" else _QUOTED.findall(expected)
        return _literal(value, [word.replace("\\'", "'") for word in words])
    if kind == "greater_than_equal":
        return f"must be {context['ge']:.12g} or more, not `{value:.12g}`"
    if kind == "less_than_equal":
        return f"must be {context['le']:.12g} or less, not `{value:.12g}`"
    if kind == "greater_than":
        return f"must be above {context['gt']:.12g}, not `{value:.12g}`"
    if kind in ("too_short", "string_too_short"):
        least = context.get("min_length", 1)
        return "must not be empty" if least == 1 else f"must have {least} entries, not {context['actual_length']}"
    if kind == "too_long":
        most = context["max_length"]
        return (
            f"must have 2 entries, not {context['actual_length']}" if most == 2 else f"must have at most {most} entries"
        )
    return detail["msg"][:1].lower() + detail["msg"][1:]


def _literal(value: object, allowed: list[str]) -> str:
    words = ", ".join(f"`{word}`" for word in allowed)
    what = shown(value) if isinstance(value, str | int | float | bool) else kind_of(value)
    hint = ""
    if isinstance(value, str) and not value[:1].isdigit():
        tail = suggestion(value, allowed)
        hint = tail if "did you mean" in tail else ""
    elif shown(value).strip("`") in allowed:
        hint = "; put it in quotes"
    return f"must be {'one of ' if len(allowed) > 1 else ''}{words}, not {what}{hint}"


def known_keys(model: type[BaseModel], path: KeyPath) -> list[str]:
    """The keys a map at `path` under `model` may have."""
    here: Any = model
    for step in path:
        here = _under(bare_type(here), step)
    here = bare_type(here)
    if isinstance(here, type) and issubclass(here, BaseModel):
        return [field.alias or name for name, field in here.model_fields.items()]
    return []


def _under(kind: Any, step: str | int) -> Any:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        for name, field in kind.model_fields.items():
            if step == (field.alias or name):
                return field.annotation
        return None
    arguments = get_args(kind)
    if get_origin(kind) is list:
        return arguments[0]
    return arguments[1] if get_origin(kind) is dict else None


def bare_type(kind: Any) -> Any:
    """A type without Annotated and without `| None`."""
    while True:
        origin = get_origin(kind)
        if origin is Annotated:
            kind = get_args(kind)[0]
        elif origin in (Union, UnionType):
            kind = next((one for one in get_args(kind) if one is not NoneType), None)
        else:
            return kind
