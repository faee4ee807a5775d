"""What a route lets through: rates, requests at once, and less of it while a version fails."""

import math
from typing import Annotated, Any, Final, Literal

from pydantic import model_validator

from proxy.settings.models.part import Part, duration_key, option
from proxy.settings.problems import shown
from proxy.settings.rates import Rate
from proxy.settings.scalars import (
    Duration,
    HeaderName,
    Number,
    Percent,
    Reference,
    Short,
    Text,
    Token,
    one_or_many,
    refuse,
)

_WORDS: Final = ("route", "version", "unit", "client_ip")
_NAMED: Final = ("header", "query", "cookie")
_WHAT: Final = "must be one of `route`, `version`, `unit`, `client_ip`, `{header: ..}`, `{query: ..}` or `{cookie: ..}`"


class CountedBy(Part):
    """By what requests are told apart: exactly one key, or one of the plain words."""

    route: Literal[True] | None = option("All of the route's together; written as the plain word `route`.", None)
    version: Literal[True] | None = option("By assigned version; the plain word `version`.", None)
    unit: Literal[True] | None = option("By unit; the plain word `unit`.", None)
    client_ip: Literal[True] | None = option("By the client's address; the plain word `client_ip`.", None)
    header: HeaderName | None = option("By the header field of this name. Requests without it are not limited.", None)
    query: Text | None = option("By the query argument of this name. Requests without it are not limited.", None)
    cookie: Token | None = option("By the cookie of this name. Requests without it are not limited.", None)

    @model_validator(mode="after")
    def _one(self) -> "CountedBy":
        if len(self._given()) != 1:
            refuse(_WHAT)
        return self

    def _given(self) -> list[tuple[str, Any]]:
        return [(kind, value) for kind in (*_WORDS, *_NAMED) if (value := getattr(self, kind)) is not None]

    def given(self) -> tuple[str, str]:
        """What it is, as (kind, name)."""
        kind, name = self._given()[0]
        return kind, "" if name is True else str(name)


def _expand_by(value: Any) -> Any:
    if value not in _WORDS:
        refuse(_WHAT + (f", not {shown(value)}" if isinstance(value, str) else ""))
    return {value: True}


class RateLimit(Part):
    """So many requests, and no more: a bucket of `burst` tokens, filled at `rate`. Beyond: 429 RL with Retry-After."""

    rate: Rate = option("Tokens that come: `100/s`, `6000/m`, `1000/h`. A total over all workers.", unit="rate")
    burst: int | None = option(
        "Tokens the bucket holds: how many requests may come at once.",
        None,
        unit="count",
        ge=1,
        le=10_000_000,
        shown="what comes in a second, at least 1",
    )
    by: Annotated[
        list[Annotated[CountedBy, Short(dict, _expand_by, "string")]], Short(list, one_or_many, ("string", "object"))
    ] = option(
        "A bucket for each: `route`, `version`, `unit`, `client_ip`, `{header: ..}`, `{query: ..}`, `{cookie: ..}`,"
        " or a list of them for each combination.",
        makes=list,
        max_length=8,
        shown="route",
    )
    versions: list[Reference] = option("Only requests assigned to these versions. Absent: all.", makes=list)

    @property
    def tokens(self) -> int:
        """What the bucket holds."""
        return max(1, math.ceil(self.rate)) if self.burst is None else self.burst


class Adaptive(Part):
    """Each version's limit follows its latency: down when answers take longer than without load, up when they do not."""

    minimum: int = option("The limit never goes below.", 10, unit="count", ge=1)
    maximum: int = option("The limit never goes above.", 1000, unit="count", ge=1)
    buffer_percent: Percent = option("How much longer than without load answers may take.", 25.0, unit="percent")
    samples: int = option("Answers that a measurement of the latency without load takes.", 50, unit="count", ge=1)
    interval: Duration = duration_key("From one such measurement to the next.", "60s")
    jitter_percent: Percent = option(
        "Each interval is longer by up to this share of it, so that versions do not measure in step.",
        15.0,
        unit="percent",
    )


class Concurrency(Part):
    """How many of the route's requests are with upstreams at once, and how many wait. Beyond: 503 UO."""

    limit: int = option(
        "Requests at once, over all workers; with `adaptive`, what each version's limit starts at.",
        100,
        unit="count",
        ge=1,
        le=1_000_000,
    )
    queue: int = option("Requests that wait for their turn, over all workers.", 50, unit="count", ge=0, le=1_000_000)
    queue_timeout: Duration = duration_key("How long a request waits.", "500ms")
    shed_at_percent: Percent = option(
        "From this share of the limit on, versions of `shed_first` get nothing: 503 LS.",
        80.0,
        unit="percent",
    )
    shed_first: list[Reference] | None = option(
        "The versions that go first when it gets tight.", None, shown="those with a `fallback`"
    )
    adaptive: Adaptive | None = option("Limits that follow the latency. Absent: `limit` stays.", None)


class Admission(Part):
    """Refuses a growing share of a version's requests while it fails: ((n - ok / success) / (n + 1)) ^ (1 / aggression)."""

    success_percent: Percent = option(
        "Share of good answers from which on nothing is refused.", 95.0, unit="percent", ge=1
    )
    aggression: Number = option("Above 1, more is refused early on.", 1.0, unit="factor", ge=0.1, le=10)
    window: Duration = duration_key("What counts: the requests of this long.", "30s")
    maximum_percent: Percent = option("No larger share is refused.", 80.0, unit="percent")
    minimum_rate: Number = option("Below so many requests a second nothing is refused.", 5.0, unit="per second", ge=0)
