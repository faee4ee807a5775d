"""Sets of status codes: numbers, ranges such as `200-299`, and words such as `2xx` for a hundred of them."""

import re
from typing import Any, Final

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import core_schema

from proxy.settings.problems import shown
from proxy.settings.scalars import refuse

_WHAT: Final = "must be status codes from 100 to 599, ranges such as `200-299` or words such as `5xx`"
_HUNDRED: Final = re.compile(r"[1-5]xx")
_RANGE: Final = re.compile(r"([1-5]\d\d) ?- ?([1-5]\d\d)")
_ONE: Final = {
    "anyOf": [
        {"type": "integer", "minimum": 100, "maximum": 599},
        {"type": "string", "pattern": r"^([1-5]xx|[1-5][0-9]{2} ?- ?[1-5][0-9]{2})$"},
    ]
}


def parse_ranges(value: object) -> list[tuple[int, int]]:
    """The set as ranges of codes, both ends included, in the order written. One code or word may stand by itself."""
    return [_range(one) for one in (value if isinstance(value, list) else [value])]


def parse_codes(value: object) -> list[int]:
    """The set as codes, in the order written."""
    return [code for first, last in parse_ranges(value) for code in range(first, last + 1)]


def _range(value: object) -> tuple[int, int]:
    if isinstance(value, int) and not isinstance(value, bool) and 100 <= value <= 599:
        return value, value
    if isinstance(value, str) and _HUNDRED.fullmatch(value):
        first = int(value[0]) * 100
        return first, first + 99
    found = _RANGE.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        refuse(f"{_WHAT}, not {shown(value)}")
    first, last = int(found[1]), int(found[2])
    if first > last:
        refuse(f"{shown(value)} ends before it begins")
    return first, last


class _Set:
    """Marks a set of status codes: parsing and schema."""

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return {"anyOf": [_ONE, {"type": "array", "items": _ONE, "minItems": 1}]}


class StatusCodes(_Set):
    """Marks a list of codes (`list[int]`)."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(parse_codes, handler(source))


class StatusRanges(_Set):
    """Marks a list of ranges (`list[tuple[int, int]]`)."""

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_before_validator_function(parse_ranges, handler(source))
