"""How an upstream's endpoints are judged: probes, ejection by what requests meet, and a slow start afterwards."""

import re
from typing import Annotated, Any, Final, Literal

from pydantic import BeforeValidator, WithJsonSchema

from proxy.settings.models.part import Part, duration_key, option
from proxy.settings.problems import shown
from proxy.settings.scalars import Duration, FieldValue, Method, Number, Percent, Token, parse_plain_text, refuse
from proxy.settings.statuses import StatusRanges

_TARGET: Final = re.compile(r"/[!-~]*")
HTTP_ONLY: Final = ("path", "method", "host", "headers", "expected")
"""Keys of a probe that a TCP probe has no use for."""


def _parse_target(value: object) -> str:
    text = parse_plain_text(value)
    if not text.startswith("/"):
        refuse(f"must start with `/`, not {shown(text)}")
    if _TARGET.fullmatch(text) is None or "#" in text:
        refuse(
            f"must be a path as it is sent: percent-encode what is not plain ASCII, no blanks, no `#` ({shown(text)})"
        )
    return text


Target = Annotated[
    str, BeforeValidator(_parse_target), WithJsonSchema({"type": "string", "pattern": "^/", "examples": ["/healthz"]})
]
"""A path and perhaps a query, as it goes on the wire."""


class Health(Part):
    """Probes: the control process asks each endpoint whether it is well. One that is not gets no requests."""

    kind: Literal["http", "tcp"] = option(
        "`http` sends a request and looks at the status; `tcp` opens a connection and no more.", "http"
    )
    path: Target = option("The path asked for, with a query if need be.", "/healthz")
    method: Method = option("The method of the request.", "GET")
    host: FieldValue = option("The Host field.", "", shown="the endpoint's own")
    port: int = option("The port, where health is told on another one.", 0, ge=0, le=65535, shown="the endpoint's own")
    headers: dict[Token, FieldValue] = option("Header fields of the request.", makes=dict)
    expected: Annotated[list[tuple[int, int]], StatusRanges] = option(
        "Status codes that mean well, such as `[2xx, 301]` or `200-204`.",
        makes=lambda: [(200, 299)],
        shown="[2xx]",
        min_length=1,
    )
    interval: Duration = duration_key("From one probe of an endpoint to the next.", "5s")
    timeout: Duration = duration_key("A probe, connecting included; beyond, it has failed.", "1s")
    jitter_percent: Percent = option(
        "Each interval is longer or shorter by up to this share of it, so that probes do not come in step.",
        10.0,
        unit="percent",
    )
    healthy_after: int = option("Good probes in a row that bring an endpoint back.", 2, unit="count", ge=1, le=100)
    unhealthy_after: int = option("Bad probes in a row that take it out.", 3, unit="count", ge=1, le=100)


def expand_health(value: Any) -> Any:
    """The probe that a word stands for: `http`, `tcp`, or a path."""
    if value in ("http", "tcp"):
        return {"kind": value}
    if not isinstance(value, str) or not value.startswith("/"):
        given = f", not {shown(value)}" if isinstance(value, str) else ""
        refuse(f"must be a map such as `{{path: /healthz}}`, a path, or `tcp`{given}")
    return {"path": value}


class SuccessRate(Part):
    """Ejects the endpoints whose share of good answers is far below the others'."""

    minimum_endpoints: int = option("Endpoints with enough requests, to compare at all.", 5, unit="count", ge=2)
    minimum_requests: int = option(
        "Requests of an endpoint within an interval, to be compared.", 100, unit="count", ge=1
    )
    stdev_factor: Number = option(
        "How many standard deviations below the mean share are too far.", 1.9, unit="factor", ge=0.1, le=100
    )


class Latency(Part):
    """Ejects the endpoints that take much longer than the others."""

    minimum_endpoints: int = option("Endpoints with enough requests, to compare at all.", 3, unit="count", ge=2)
    minimum_requests: int = option(
        "Requests of an endpoint within an interval, to be compared.", 100, unit="count", ge=1
    )
    factor: Number = option(
        "How many times the median endpoint's mean is too long.", 3.0, unit="factor", ge=1.1, le=1000
    )


class Outlier(Part):
    """Ejection: an endpoint that fails requests gets none for a while, longer each time in a row."""

    consecutive_5xx: int = option("5xx answers and failures in a row that eject; 0 is off.", 5, unit="count", ge=0)
    consecutive_gateway: int = option(
        "Failures to connect, resets, timeouts, 502, 503 and 504 in a row that eject; 0 is off.", 5, unit="count", ge=0
    )
    interval: Duration = duration_key("How often success rates and latencies are compared.", "10s")
    base_ejection: Duration = duration_key("An ejection, times how many there were in a row.", "30s")
    max_ejection: Duration = duration_key("No ejection is longer.", "5m")
    max_ejected_percent: Percent = option(
        "No more of the endpoints are ejected at once; one always may be.", 10.0, unit="percent"
    )
    success_rate: SuccessRate | None = option("Compare the share of good answers. Absent: no.", None)
    latency: Latency | None = option("Compare how long answers take. Absent: no.", None)


class SlowStart(Part):
    """An endpoint that comes, or comes back, gets its share bit by bit: weight * max(minimum, (t / window) ^ (1 / aggression))."""

    window: Duration = option("How long it takes until it has its full share.", unit="duration")
    aggression: Number = option(
        "1 is a straight line; above, it gets more early on.", 1.0, unit="factor", ge=0.1, le=10
    )
    minimum_percent: Percent = option("What it has of its share at once.", 10.0, unit="percent")


def expand_slow_start(value: Any) -> Any:
    """The slow start that its window stands for."""
    return {"window": value}
