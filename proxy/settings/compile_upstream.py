"""The spec of an upstream: endpoints, and the policy they are under."""

from typing import Any

from proxy.settings.certificates import CertificateReader
from proxy.settings.models.health import Health
from proxy.settings.models.upstream import Upstream, split_url

Spec = dict[str, Any]


def upstream_spec(name: str, upstream: Upstream, certificates: CertificateReader, own_zone: str) -> Spec:
    """The spec of an upstream. `own_zone` is where the proxy stands."""
    tls = upstream.tls
    asked = None if tls is None else tls.server_name
    endpoints = []
    for endpoint in upstream.endpoints:
        secure, host, port, path = split_url(endpoint.url)
        endpoints.append(
            {
                "url": endpoint.url,
                "host": host,
                "port": port,
                "unix": path,
                "tls": secure,
                "server_name": (asked or host) if secure else "",
                "weight": endpoint.weight,
                "zone": endpoint.zone or "",
            }
        )
    return {
        "name": name,
        "endpoints": endpoints,
        "timeouts": dict(upstream.timeouts),
        "limits": dict(upstream.limits),
        "tls": None
        if tls is None
        else {
            "ca": None if tls.ca is None else certificates.path(tls.ca),
            "certificate": None if tls.certificate is None else certificates.path(tls.certificate),
            "key": None if tls.key is None else certificates.path(tls.key),
            "stamp": certificates.stamp(tls.ca, tls.certificate, tls.key),
        },
        "balance": upstream.balance,
        "own_zone": own_zone,
        "health": None if upstream.health is None else _health(upstream.health),
        "outlier": None if upstream.outlier is None else upstream.outlier.model_dump(),
        "panic_threshold": upstream.panic_threshold,
        "slow_start": None if upstream.slow_start is None else upstream.slow_start.model_dump(),
    }


def _health(health: Health) -> Spec:
    return {**health.model_dump(), "expected": [list(pair) for pair in health.expected]}
