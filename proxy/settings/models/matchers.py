"""Matchers: tests on a request that combine to segments, `when` of a rule, and the fields of a route's match."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import model_validator

from proxy.settings.models.part import Part, option
from proxy.settings.scalars import (
    Cidr,
    HeaderName,
    Number,
    Reference,
    Regex,
    Semver,
    Short,
    Text,
    Token,
    one_or_many,
    refuse,
)

NAMED: Final = ("header", "cookie", "query")
UNNAMED: Final = ("client_ip", "path", "method", "host")
TESTS: Final = ("is", "in", "not_in", "prefix", "suffix", "contains", "regex", "semver", "cidr", "between", "exists")
_COMBINED: Final = ("all", "any", "not", "segment")

Networks = Annotated[list[Cidr], Short(list, one_or_many, "string")]


class Test(Part):
    """What a value is compared with: one key. A field that is not there passes `exists: false` and `not_in` only."""

    is_: Text | None = option("Equal to this text.", None, alias="is")
    in_: list[Text] | None = option("One of these texts.", None, alias="in", min_length=1)
    not_in: list[Text] | None = option("None of these texts; also when the field is not there.", None, min_length=1)
    prefix: Text | None = option("Starts with this text.", None)
    suffix: Text | None = option("Ends with this text.", None)
    contains: Text | None = option("Has this text in it.", None)
    regex: Regex | None = option(
        "This regular expression (Python's `re`) is found in it; anchor it with `^` and `$`.", None
    )
    semver: Semver | None = option('A semantic version in this range, as in ">=1.2.0 <2.0.0" or "^1.2".', None)
    cidr: Networks | None = option("An address in one of these networks.", None)
    between: list[Number] | None = option(
        "A number from the first to the second, both included.", None, min_length=2, max_length=2
    )
    exists: bool | None = option("Whether the field is there at all.", None)

    @model_validator(mode="after")
    def _one(self) -> Test:
        _one_of(self.given(), TESTS, "test")
        if self.between is not None and self.between[0] > self.between[1]:
            refuse("the first number of `between` must not be above the second")
        return self

    def given(self) -> list[tuple[str, Any]]:
        """The tests that are set, as (word, value)."""
        return [(name.rstrip("_"), value) for name in _TEST_FIELDS if (value := getattr(self, name)) is not None]


_TEST_FIELDS: Final = tuple({"is": "is_", "in": "in_"}.get(name, name) for name in TESTS)


def expand_test(value: Any) -> Any:
    """The test that a plain text stands for: equality."""
    return {"is": value}


AnyTest = Annotated[Test, Short(dict, expand_test, "string")]


class Matcher(Test):
    """A test on a request, or a combination of matchers: one source, or `all`, `any`, `not` or `segment`."""

    all_: list[Matcher] | None = option("Every one of these matches.", None, alias="all", min_length=1)
    any_: list[Matcher] | None = option("At least one of these matches.", None, alias="any", min_length=1)
    not_: Matcher | None = option("This does not match.", None, alias="not")
    segment: Reference | None = option("The segment of this name matches.", None)
    header: HeaderName | None = option(
        "The header field of this name, beside the test: `{header: x-geo-city, in: [Oslo]}`.", None
    )
    cookie: Token | None = option("The cookie of this name, beside the test.", None)
    query: Text | None = option("The query argument of this name, beside the test.", None)
    client_ip: AnyTest | None = option("The client's address: `{client_ip: {cidr: [10.0.0.0/8]}}`.", None)
    path: AnyTest | None = option("The decoded path: `{path: {prefix: /beta}}`.", None)
    method: AnyTest | None = option("The method: `{method: {in: [GET, HEAD]}}`.", None)
    host: AnyTest | None = option("The host, in lower case and without port.", None)

    @model_validator(mode="after")
    def _one(self) -> Matcher:
        sources = self.sources()
        tests = self.given()
        _one_of(sources, (*NAMED, *UNNAMED, *_COMBINED), "source")
        source = sources[0][0]
        if source in NAMED:
            _one_of(tests, TESTS, "test")
        elif tests:
            refuse(
                f"`{tests[0][0]}` does not belong beside `{source}`"
                + (f"; write `{source}: {{{tests[0][0]}: ...}}`" if source in UNNAMED else "")
            )
        if self.between is not None and self.between[0] > self.between[1]:
            refuse("the first number of `between` must not be above the second")
        return self

    def sources(self) -> list[tuple[str, Any]]:
        """The sources and combinations that are set, as (word, value)."""
        return [(name.rstrip("_"), value) for name in _SOURCE_FIELDS if (value := getattr(self, name)) is not None]


_SOURCE_FIELDS: Final = (*NAMED, *UNNAMED, "all_", "any_", "not_", "segment")
Matcher.model_rebuild()


def _one_of(given: list[tuple[str, Any]], allowed: tuple[str, ...], what: str) -> None:
    if len(given) == 1:
        return
    names = ", ".join(f"`{name}`" for name in allowed)
    if not given:
        refuse(f"needs one {what}: {names}")
    refuse(f"has {' and '.join(f'`{name}`' for name, _ in given)}, but takes one {what}")


def matcher_spec(matcher: Matcher) -> dict[str, Any]:
    """The spec of a matcher (see core/match)."""
    source, value = matcher.sources()[0]
    if source in ("all", "any"):
        return {source: [matcher_spec(one) for one in value]}
    if source == "not":
        return {"not": matcher_spec(value)}
    if source == "segment":
        return {"segment": value}
    if source in NAMED:
        return {"source": source, "name": value, **test_spec(matcher)}
    return {"source": source, **test_spec(value)}


def test_spec(test: Test) -> dict[str, Any]:
    """The spec of the test alone."""
    word, value = test.given()[0]
    return {"test": word, "value": value}
