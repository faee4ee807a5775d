"""Asking again: retries, hedges, and the deadline of it all."""

from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, WithJsonSchema

from proxy.settings.models.part import Part, duration_key, option, size_key
from proxy.settings.problems import kind_of, shown
from proxy.settings.scalars import Delay, Duration, HeaderName, Method, Percent, Short, Size, refuse

SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS", "TRACE")
"""RFC 9110 section 9.2.1."""
IDEMPOTENT_METHODS: Final = ("GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE")
"""RFC 9110 section 9.2.2."""
Condition = Literal[
    "connect_failure", "refused", "reset", "gateway_error", "5xx", "retriable_4xx", "rate_limited", "timeout"
]
_MOST_TRIES: Final = 10


def _parse_attempts(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        refuse(
            f"must be a whole number, not {kind_of(value)}" + (f" ({shown(value)})" if isinstance(value, str) else "")
        )
    if value < 2:
        refuse(f"counts all tries, the first one too: 2 or more, not {value}; leave `retry` out to try once")
    if value > _MOST_TRIES:
        refuse(f"must be {_MOST_TRIES} or less, not {value}: `budget` bounds the load, and this the wait")
    return value


def _expand_retried(value: Any) -> Any:
    if value not in ("idempotent", "safe"):
        refuse(f"must be `idempotent`, `safe` or a list of methods, not {shown(value)}")
    return list(IDEMPOTENT_METHODS if value == "idempotent" else SAFE_METHODS)


def _expand_hedged(value: Any) -> Any:
    if value != "safe":
        refuse(f"must be `safe` or a list of methods, not {shown(value)}")
    return list(SAFE_METHODS)


def _expand_budget(value: Any) -> Any:
    return {"percent": value}


def expand_deadline(value: Any) -> Any:
    """The deadline that its field's name stands for."""
    return {"header": value}


class BackOff(Part):
    """The wait before a try: uniform between nothing and (2^n - 1) * `base`, so that tries do not come in step."""

    base: Delay = duration_key("The longest wait before the first retry.", "25ms")
    max: Delay = duration_key("No wait is longer.", "250ms")


class RetryBudget(Part):
    """How many retries of a version are under way at once, so that retries never are the load that breaks it."""

    percent: Percent = option(
        "Share of the version's requests under way that are not being retried already.", 20.0, unit="percent"
    )
    minimum: int = option("So many are always allowed.", 3, unit="count", ge=0)


class Retry(Part):
    """Asks again where that is safe: nothing has gone to the client, and the request's body is still held."""

    on: list[Condition] = option(
        "What is repeated: `connect_failure` (no connection: refused, too late, nobody there), `refused` (of these, that"
        " alone), `reset` (before the answer's head was whole), `gateway_error` (502, 503, 504, an answer that is no HTTP),"
        " `5xx` (any of them, and `gateway_error`), `retriable_4xx` (409), `rate_limited` (429), `timeout` (no answer in"
        " time).",
        makes=lambda: ["connect_failure", "reset"],
        min_length=1,
        shown="[connect_failure, reset]",
    )
    methods: Annotated[list[Method], Short(list, _expand_retried, "string")] = option(
        "`idempotent` (GET, HEAD, OPTIONS, TRACE, PUT, DELETE), `safe`, or a list: what is named may be done twice.",
        makes=lambda: list(IDEMPOTENT_METHODS),
        min_length=1,
        shown="idempotent",
    )
    attempts: Annotated[
        int, BeforeValidator(_parse_attempts), WithJsonSchema({"type": "integer", "minimum": 2, "maximum": _MOST_TRIES})
    ] = option("All tries of a version, the first one too.", 2, unit="count")
    per_try_timeout: Duration | None = option(
        "What a try may take to connect and, from the request's end, until its answer's head, together."
        " Absent: the upstream's `timeouts`.",
        None,
        unit="duration",
    )
    back_off: BackOff = option("The wait before a try.", makes=BackOff)
    budget: Annotated[RetryBudget, Short(dict, _expand_budget, "number")] = option(
        "How many retries at once: a percentage, or `{percent, minimum}`.", makes=RetryBudget
    )
    body_limit: Size = size_key("Requests with a longer body are tried once.", "64KiB")
    fallback: bool = option(
        "When the tries are used up, or the version has nobody left, the next version of the chain is asked, once.",
        True,
    )
    max_retry_after: Delay = duration_key("A `Retry-After` that asks for a longer wait ends the tries.", "1s")


class Hedge(Part):
    """A second try beside a first one that takes long; the first answer counts."""

    percentile: Percent = option(
        "Sent when the first try takes longer than this share of the version's answers.",
        95.0,
        unit="percent",
        ge=50,
        le=99.9,
    )
    minimum_delay: Delay = duration_key("Never sent earlier.", "5ms")
    maximum_delay: Duration = duration_key("Never sent later.", "1s")
    minimum_samples: int = option("Answers seen before the first hedge.", 100, unit="count", ge=1)
    budget_percent: Percent = option(
        "How many hedges: share of the version's requests under way.", 10.0, unit="percent"
    )
    methods: Annotated[list[Method], Short(list, _expand_hedged, "string")] = option(
        "`safe` (GET, HEAD, OPTIONS, TRACE) or a list: what is named is done twice.",
        makes=lambda: list(SAFE_METHODS),
        min_length=1,
        shown="safe",
    )


class Deadline(Part):
    """A field in which trusted peers say how long they wait; what is left is passed upstream in the same field."""

    header: HeaderName = option(
        "Its name. Read as `2.5` (seconds), `2s` or `2500ms`; only lowers the route's `timeout`.", "x-request-timeout"
    )
