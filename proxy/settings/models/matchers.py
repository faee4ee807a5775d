"""Matchers: tests on a request that combine to segments, `when` of a rule, and the fields of a route's match."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag, WithJsonSchema, model_validator

from proxy.core.times import DAYS
from proxy.expressions import check
from proxy.settings.models.part import Part, option
from proxy.settings.rates import Moment, TimeOfDay
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
from proxy.settings.translation import MAP_TAG, OTHER_TAG
from proxy.settings.zones import offsets_of, parse_zone

NAMED: Final = ("header", "cookie", "query", "claim", "attribute")
UNNAMED: Final = ("client_ip", "path", "method", "host")
TESTS: Final = ("is", "in", "not_in", "prefix", "suffix", "contains", "regex", "semver", "cidr", "between", "exists")
_COMBINED: Final = ("all", "any", "not", "segment")
_WHOLE: Final = ("units", "units_file", "time", "cel")
_ALL_SOURCES: Final = (*NAMED, *UNNAMED, *_WHOLE, *_COMBINED)

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


class TimeWindow(Part):
    """Hours and days by the clocks of a time zone. An hour that clocks leave out never comes; one that they repeat comes twice."""

    zone: Annotated[str, BeforeValidator(parse_zone), WithJsonSchema({"type": "string"})] = option(
        "A time zone's name, such as `Europe/Oslo`.", "UTC"
    )
    from_: TimeOfDay | None = option("Where it begins, such as `22:00`.", None, alias="from", shown="00:00")
    to: TimeOfDay | None = option(
        "Where it ends, which is outside. Earlier than `from`: it goes over midnight.", None, shown="24:00"
    )
    days: Annotated[
        list[Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]], Short(list, one_or_many, "string")
    ] = option(
        "Days on which it begins: mon, tue, wed, thu, fri, sat, sun.",
        makes=lambda: list(DAYS),
        shown="all",
        min_length=1,
    )

    @model_validator(mode="after")
    def _sense(self) -> TimeWindow:
        start, end = self.hours()
        if start == end:
            refuse("`from` and `to` are the same; leave them out for whole days")
        if start == 86400:
            refuse("`from: 24:00` is the next day's `00:00`")
        if not self.model_fields_set & {"from_", "to", "days"}:
            refuse("needs `from` and `to`, or `days`, or all of them")
        return self

    def hours(self) -> tuple[int, int]:
        """Where it begins and ends, in seconds since midnight."""
        return self.from_ or 0, 86400 if self.to is None else self.to


class Period(Part):
    """From one moment to another."""

    from_: Moment | None = option(
        "Its beginning, with the zone: `2026-12-01T08:00:00Z`. Absent: always.", None, alias="from", unit="time"
    )
    to: Moment | None = option("Its end, which is outside. Absent: none.", None, unit="time")

    @model_validator(mode="after")
    def _sense(self) -> Period:
        if self.from_ is None and self.to is None:
            refuse("needs `from`, `to` or both")
        if self.from_ is not None and self.to is not None and self.from_ >= self.to:
            refuse("`from` must be before `to`")
        return self


def _numbers_or_period(value: Any) -> str:
    return MAP_TAG if isinstance(value, dict | Period) else OTHER_TAG


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
    claim: Text | None = option("The claim of this name in the request's verified token, beside the test.", None)
    attribute: Text | None = option("The attribute of this name in the context of a flag, beside the test.", None)
    trusted: bool = option(
        "Beside `header`: the field counts only where the peer is in `trusted_proxies`; from others it is as if not there.",
        False,
    )
    units: list[Text] | None = option("The unit is one of these.", None, min_length=1)
    units_file: Text | None = option(
        "The unit is in this file, relative to the configuration's: one a line, `#` begins a comment line. Read again"
        " when it changes; a million lines are fine.",
        None,
        min_length=1,
    )
    time: TimeWindow | None = option("Hours and days: `{zone: Europe/Oslo, from: 22:00, to: 06:00}`.", None)
    cel: Text | None = option(
        'An expression in CEL that comes to true or false: `{cel: request.path.startsWith("/beta") && unit != ""}`. Its names are'
        " request.method, .path, .host, .headers, .query and .cookies, client_ip, trusted, unit, claims and attributes. Needs"
        " the extra `cel`.",
        None,
        min_length=1,
    )
    between: (
        Annotated[
            Annotated[Period, Tag(MAP_TAG)]
            | Annotated[list[Number], Field(min_length=2, max_length=2), Tag(OTHER_TAG)],
            Discriminator(_numbers_or_period),
        ]
        | None
    ) = option(  # type: ignore[assignment]
        "Beside a source, a number from the first to the second, both included. Alone, a period:"
        " `{from: 2026-12-01T08:00:00Z, to: 2026-12-08T08:00:00Z}`.",
        None,
    )

    @model_validator(mode="after")
    def _one(self) -> Matcher:
        sources = self.sources()
        tests = self.given()
        _one_of(sources, _ALL_SOURCES, "source")
        source = sources[0][0]
        if self.trusted and source != "header":
            refuse("`trusted` belongs beside `header`")
        if source in NAMED:
            _one_of(tests, TESTS, "test")
        elif tests:
            refuse(
                f"`{tests[0][0]}` does not belong beside `{source}`"
                + (f"; write `{source}: {{{tests[0][0]}: ...}}`" if source in UNNAMED else "")
            )
        if isinstance(self.between, list) and self.between[0] > self.between[1]:
            refuse("the first number of `between` must not be above the second")
        return self

    def sources(self) -> list[tuple[str, Any]]:
        """The sources and combinations that are set, as (word, value)."""
        found = [(name.rstrip("_"), value) for name in _SOURCE_FIELDS if (value := getattr(self, name)) is not None]
        return [*found, ("between", self.between)] if isinstance(self.between, Period) else found

    def given(self) -> list[tuple[str, Any]]:
        """The tests that are set, as (word, value)."""
        return [(word, value) for word, value in super().given() if not isinstance(value, Period)]


_SOURCE_FIELDS: Final = (*NAMED, *UNNAMED, *_WHOLE, "all_", "any_", "not_", "segment")
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
    if source == "units":
        return {"source": "unit", "test": "in", "value": list(value)}
    if source == "units_file":
        return {"source": "unit", "test": "listed", "value": value}
    if source == "cel":
        return {"cel": value, "reads": check(value)}
    if source == "time":
        return {"source": "time", "test": "window", "value": _window(value)}
    if source == "between":
        return {"source": "time", "test": "period", "value": {"from": value.from_ or 0.0, "to": value.to or 0.0}}
    if source in NAMED:
        trusted = {"trusted": True} if matcher.trusted else {}
        return {"source": source, "name": value, **trusted, **test_spec(matcher)}
    return {"source": source, **test_spec(value)}


def _window(window: TimeWindow) -> dict[str, Any]:
    start, end = window.hours()
    return {
        "zone": window.zone,
        "from": start,
        "to": end,
        "days": [day for day in DAYS if day in window.days],
        "offsets": offsets_of(window.zone),
    }


def test_spec(test: Test) -> dict[str, Any]:
    """The spec of the test alone."""
    word, value = test.given()[0]
    return {"test": word, "value": value}
