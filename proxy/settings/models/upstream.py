"""Upstreams: sets of endpoints with their policy."""

import ipaddress
import re
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, WithJsonSchema

from proxy.settings.models.health import Health, Outlier, SlowStart, expand_health, expand_slow_start
from proxy.settings.models.part import Part, duration_key, option
from proxy.settings.problems import shown
from proxy.settings.scalars import Delay, Duration, Percent, Short, Text, Zone, parse_plain_text, refuse

_HOST: Final = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,252})")
Balance = Literal["round_robin", "least_request", "ring_hash", "maglev", "random", "first"]
HASHED: Final = ("ring_hash", "maglev")
"""Balances that go by the unit."""
_WHAT: Final = "`http://host:port`, `https://host:port` or `unix:/path`"


def split_url(text: str) -> tuple[bool, str, int, str]:
    """An endpoint's URL as (TLS?, host without brackets, port, path of a unix socket).

    Raises what pydantic collects; the message says what is allowed.
    """
    if text.startswith("unix:"):
        path = text[5:]
        if not path.startswith("/") or len(path.encode()) > 107:
            refuse(f"must be `unix:` and an absolute path of at most 107 bytes, not {shown(text)}")
        return False, "", 0, path
    scheme, separator, rest = text.partition("://")
    if not separator or scheme not in ("http", "https"):
        hint = f"; did you mean `http://{text}`?" if re.fullmatch(r"[A-Za-z0-9.-]+:\d{1,5}", text) else ""
        refuse(f"must be {_WHAT}, not {shown(text)}{hint}")
    if "@" in rest:
        refuse("must not carry a user or a password; set the header in `rewrite` if the upstream wants one")
    if "?" in rest or "#" in rest or rest.partition("/")[2]:
        refuse(f"must be {_WHAT} without a path: requests keep theirs (not {shown(text)})")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname or "", parts.port
        if ":" in host:
            host = str(ipaddress.IPv6Address(host))
    except ValueError:
        refuse(f"must be {_WHAT}, not {shown(text)}")
    if ":" not in host and _HOST.fullmatch(host) is None:
        refuse(f"must be {_WHAT}, not {shown(text)}")
    if port == 0:
        refuse(f"must have a port from 1 to 65535, not {shown(text)}")
    return scheme == "https", host, port or (443 if scheme == "https" else 80), ""


def _parse_url(value: object) -> str:
    text = parse_plain_text(value)
    split_url(text)
    return text


class Endpoint(Part):
    """One address of an upstream."""

    url: Annotated[str, BeforeValidator(_parse_url), WithJsonSchema({"type": "string"})] = option(
        f"{_WHAT}. Each address a name resolves to is an endpoint; names are resolved again every 5 s."
    )
    weight: int = option(
        "Share of the upstream's requests, beside the other endpoints.", 1, unit="count", ge=1, le=1000
    )
    zone: Zone | None = option(
        "Where it stands. Those of the file's own `zone` are asked first, while enough of them are well.", None
    )


class UpstreamTimeouts(Part):
    """How long an upstream may take."""

    connect: Duration = duration_key("Until a connection is open, TLS included; beyond: 503 UF.", "2s")
    response: Duration = duration_key("From the request's end until the answer's head; beyond: 504 UT.", "15s")
    idle: Duration = duration_key("Silence within an exchange.", "60s")
    keepalive: Duration = duration_key(
        "A connection kept for the next request. Keep it shorter than the upstream's own.", "4s"
    )
    tunnel: Duration = duration_key("Silence within an upgraded connection (WebSocket).", "1h")
    tunnel_max_age: Delay = duration_key(
        "What an upgraded connection has left, half of it at least, once its version gets no traffic any more; 0s: no limit.",
        "0s",
    )


class UpstreamLimits(Part):
    """How much an upstream gets at once: totals over all workers. Beyond: 503 UO."""

    connections: int = option("Connections open.", 1024, unit="count", ge=1)
    pending: int = option("Requests that wait for a connection.", 1024, unit="count", ge=0)
    requests: int = option("Requests in flight.", 1024, unit="count", ge=1)
    idle: int = option(
        "Connections that a worker keeps for the next requests to an endpoint; at most its share of `connections`.",
        1024,
        unit="count",
        ge=0,
    )


class UpstreamTls(Part):
    """TLS towards `https://` endpoints. Their certificates are always verified."""

    ca: Text | None = option("PEM file with the authorities to trust. Absent: those of the system.", None)
    certificate: Text | None = option("PEM file with the certificate shown to the upstream.", None)
    key: Text | None = option("PEM file with that certificate's private key.", None)
    server_name: Text | None = option("Name to ask for (SNI) and to verify. Absent: the endpoint's host.", None)


def _expand_endpoint(value: Any) -> Any:
    return {"url": value}


class Upstream(Part):
    """A set of endpoints with its policy."""

    endpoints: list[Annotated[Endpoint, Short(dict, _expand_endpoint, "string")]] = option(
        "The addresses: a URL each, or `{url, weight, zone}`.", min_length=1
    )
    balance: Balance = option(
        "How an endpoint is picked: `round_robin`, `least_request` (the less busy of two drawn), `ring_hash` or `maglev`"
        " (the same unit, the same endpoint), `random`, `first` (the next one only when it is down).",
        "round_robin",
    )
    timeouts: UpstreamTimeouts = option("How long it may take.", makes=UpstreamTimeouts)
    limits: UpstreamLimits = option("How much it gets at once.", makes=UpstreamLimits)
    health: Annotated[Health, Short(dict, expand_health, "string")] | None = option(
        "Probes: a map, `tcp`, or the path to ask for. Absent: none.", None
    )
    outlier: Outlier | None = option("Ejects endpoints that fail requests. Absent: none.", None)
    panic_threshold: Percent = option(
        "With fewer of its endpoints well than this share, all of them are asked: the judgement may be wrong; 0: never.",
        50.0,
        unit="percent",
    )
    slow_start: Annotated[SlowStart, Short(dict, expand_slow_start, "string")] | None = option(
        "An endpoint that comes or comes back gets its share bit by bit: how long, or a map. Absent: at once.", None
    )
    tls: UpstreamTls | None = option(
        "TLS towards `https://` endpoints. Absent: verified with the system's authorities.", None
    )
