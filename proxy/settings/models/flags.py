"""Flags: values for applications, dealt to the same units by the same rules as versions; and the port that serves them."""

import json
import re
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema, model_validator

from proxy.settings.models.audience import until_key
from proxy.settings.models.part import Part, option, size_key
from proxy.settings.models.targeted import Targeted
from proxy.settings.problems import kind_of, shown, suggestion
from proxy.settings.rates import Moment
from proxy.settings.scalars import (
    HeaderName,
    Listen,
    Reference,
    Secret,
    Short,
    Size,
    Text,
    Weight,
    matched,
    one_or_many,
    parse_plain_text,
    refuse,
)

TYPES: Final = ("boolean", "string", "integer", "float", "object")
MAX_VALUE: Final = 65536
"""Bytes of a variant's value as JSON."""
TARGETING_KEY: Final = "targetingKey"
"""What OpenFeature calls the unit in a context."""

_VARIANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}")
_ORIGIN: Final = re.compile(r"\*|[a-z][a-z0-9+.-]*://[^/\s?#@]+")


def _parse_variant(value: object) -> str:
    return matched(value, _VARIANT, "a name of letters, digits, `.`, `_` and `-`, at most 63 long")[0]


def _parse_origin(value: object) -> str:
    text = parse_plain_text(value)
    if _ORIGIN.fullmatch(text) is None:
        refuse(f"must be an origin such as `https://shop.example.com`, or `*`, not {shown(text)}")
    return text


def _expand_known(value: Any) -> Any:
    return {"header": value}


def _check_value(value: Any) -> Any:
    if value is None or isinstance(value, list):
        refuse(f"must be true or false, text, a number or a map, not {kind_of(value)}")
    if len(json.dumps(value)) > MAX_VALUE:
        refuse(f"must be at most {MAX_VALUE} bytes of JSON")
    return value


VariantName = Annotated[
    str,
    BeforeValidator(_parse_variant),
    WithJsonSchema({"type": "string", "pattern": r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"}),
]
Value = Annotated[
    Any,
    AfterValidator(_check_value),
    WithJsonSchema({"type": ["boolean", "string", "number", "object"]}),
]
Origin = Annotated[str, BeforeValidator(_parse_origin), WithJsonSchema({"type": "string"})]


class FlagRule(Targeted):
    """Before the split: for these units or requests, this variant, or this split."""

    OUTCOMES = ("variant", "split")

    variant: Text | None = option("Always this variant.", None)
    split: dict[VariantName, Weight] | None = option("Weights by variant instead of the flag's.", None, min_length=1)


class Flag(Part):
    """A value for applications, by unit. Served over `ofrep`, and told to upstreams by `inject_flags` of a route."""

    type: Literal["boolean", "string", "integer", "float", "object"] | None = option(
        "What its values are: boolean, string, integer, float or object.", None, shown="as the variants are"
    )
    variants: dict[VariantName, Value] | None = option(
        "The values by name: true or false, texts, numbers, or maps, all of one type.",
        None,
        shown="`{on: true, off: false}`; with `route`, the names of its versions",
        min_length=1,
        max_length=64,
    )
    default: Text | None = option(
        "The variant where nothing else decides. Required, but for a flag with `route`.", None
    )
    off: Text | None = option(
        "The variant of a flag that is off, over, or lacks a prerequisite.",
        None,
        shown="`off` where there is a variant of that name, else `default`",
    )
    on: bool = option("Whether it is on. Off, everybody gets the variant `off`.", True)
    until: Moment | None = until_key("From then on the flag is off.")
    route: Reference | None = option(
        "The route whose decision it tells: the variant has the name of the version that the unit gets."
        " Instead of rules, a split and a default.",
        None,
    )
    prerequisites: dict[Reference, Annotated[list[Text], Short(list, one_or_many, "string")]] = option(
        "Other flags and the variant, or variants, that they must come to; else the flag is as if off.", makes=dict
    )
    rules: list[FlagRule] = option("Before the split; the first that holds decides.", makes=list)
    split: dict[VariantName, Weight] | None = option(
        "Weights by variant. Absent: everybody gets `default`.", None, min_length=1
    )
    salt: Text | None = option(
        "Deals the cards: change it and units are dealt anew.", None, shown="the flag's name", min_length=1
    )

    @model_validator(mode="after")
    def _whole(self) -> "Flag":
        self.kind()
        if self.route is not None:
            for name in ("rules", "split", "default", "salt"):
                if name in self.model_fields_set:
                    refuse(f"`{name}` does not belong beside `route`, which decides")
        elif self.default is None:
            refuse("needs `default`, the variant where nothing else decides")
        else:
            for name in self._named():
                if name not in self.values():
                    refuse(f"there is no variant {shown(name)}" + suggestion(name, self.values(), "variants"))
        return self

    def _named(self) -> list[str]:
        named = [self.default or "", *([] if self.off is None else [self.off]), *(self.split or {})]
        for rule in self.rules:
            named += [rule.variant] if rule.variant is not None else list(rule.split or {})
        return named

    def values(self) -> dict[str, Any]:
        """The values by variant; empty where they are the names of a route's versions."""
        if self.variants is None:
            return {} if self.route is not None else {"on": True, "off": False}
        return self.variants

    def kind(self) -> str:
        """The type, as given or as the values are. Refuses values of another."""
        if self.variants is None:
            kind = "string" if self.route is not None else "boolean"
            if self.type is not None and self.type != kind:
                if self.route is not None:
                    refuse(f"the names of versions are texts; `variants` gives them values of type {self.type}")
                refuse(f"a flag of type {self.type} needs `variants`")
            return kind
        found: dict[str, str] = {name: _type_of(value) for name, value in self.variants.items()}
        kinds = set(found.values())
        wanted: str = self.type or ("float" if kinds == {"integer", "float"} else next(iter(found.values())))
        for name, kind in found.items():
            if kind != wanted and not (wanted == "float" and kind == "integer"):
                why = "" if self.type else " as the first is; all are of one type"
                refuse(f"the value of variant {shown(name)} is of type {kind}, not {wanted}{why}")
        return wanted


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    for kind, name in ((str, "string"), (int, "integer"), (float, "float")):
        if isinstance(value, kind):
            return name
    return "object"


class Known(Part):
    """Who says an attribute in the body's place: exactly one key, or the bare name of a field."""

    header: HeaderName | None = option("The header field of this name, of a peer in `trusted_proxies`.", None)
    claim: Text | None = option("The claim of this name in the asking request's verified token (`jwt`).", None)

    @model_validator(mode="after")
    def _one(self) -> "Known":
        if (self.header is None) == (self.claim is None):
            refuse("must be the name of a field, `{header: ..}` or `{claim: ..}`")
        return self


class Ofrep(Part):
    """The port on which applications ask for flags (OpenFeature Remote Evaluation Protocol)."""

    listen: Listen = option("Where it listens: `127.0.0.1:9902`, `unix:/path`.")
    tokens: list[Secret] = option(
        "Any of them opens the port, as `Authorization: Bearer TOKEN` or `X-API-Key: TOKEN`; at least 16 characters each."
        " Empty: no token is asked for.",
        makes=list,
    )
    origins: list[Origin] = option(
        "Origins whose pages may ask from a browser (CORS), such as `https://shop.example.com`; `*`: any.", makes=list
    )
    known: dict[Text, Annotated[Known, Short(dict, _expand_known, "string")]] = option(
        "Attributes (and `targetingKey`) that this field of the request says, where its peer is in `trusted_proxies`, or that"
        " `{claim: ..}` of its verified token says. What the context in the body says of them never counts.",
        makes=dict,
    )
    max_body: Size = size_key("A request's body; beyond: 413.", "64KiB")
    streams: int = option("Streams of events open at once; beyond: 429.", 1000, unit="count", ge=0, le=100_000)
