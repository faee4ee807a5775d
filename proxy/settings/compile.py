"""Model to spec: the plain values a plan is built from (core/plan), pinned by golden files.

Everything is written out: defaults filled in, short forms opened, units in seconds and bytes, names in order.
"""

from collections.abc import Sequence
from typing import Any

from proxy.settings.certificates import CertificateReader
from proxy.settings.compile_route import route_spec
from proxy.settings.compile_upstream import upstream_spec
from proxy.settings.models.listen import Client, Listener
from proxy.settings.models.matchers import matcher_spec
from proxy.settings.models.top import Settings

Spec = dict[str, Any]


def compile_spec(settings: Settings, certificates: CertificateReader, segment_order: Sequence[str]) -> Spec:
    """The spec of checked settings. `segment_order` names each segment after those it needs."""
    segments = [{"name": name, "where": matcher_spec(settings.segments[name])} for name in segment_order]
    routes = [route_spec(one, settings) for one in settings.routes]
    return {
        "generation": 0,
        "listeners": [_listener(one, certificates) for one in settings.listen],
        "client": _client(settings.client),
        "trusted_proxies": list(settings.trusted_proxies),
        "secrets": {"cookie": list(settings.secrets.cookie), "unit_hash": settings.secrets.unit_hash},
        "access_log": settings.access_log != "off",
        "upstreams": [
            upstream_spec(name, one, certificates, settings.zone or "") for name, one in settings.upstreams.items()
        ],
        "segments": segments,
        "routes": routes,
        "faults": {"enabled": settings.faults.enabled, "max_percent": settings.faults.max_percent},
        "exposure": {"queue": settings.exposure.queue, "raw_units": settings.exposure.raw_units},
        "zone": settings.zone or "",
        "timed": has_to_do_with_time([segments, routes]),
    }


def has_to_do_with_time(spec: Any) -> bool:
    """Whether a matcher of the source `time`, or an `until` that is set, stands anywhere in these parts of a spec.

    Workers then tell every decision the time. One that is there needlessly costs a look at the clock and nothing else.
    """
    if isinstance(spec, dict):
        if spec.get("until") or spec.get("source") == "time":
            return True
        return any(has_to_do_with_time(one) for one in spec.values())
    if isinstance(spec, list):
        return any(has_to_do_with_time(one) for one in spec if isinstance(one, dict | list))
    return False


def _listener(listener: Listener, certificates: CertificateReader) -> Spec:
    tls = listener.tls
    return {
        "address": listener.address,
        "tls": None
        if tls is None
        else {
            "certificates": [
                {
                    "hosts": list(one.hosts),
                    "certificate": certificates.path(one.certificate),
                    "key": certificates.path(one.key),
                    "stamp": certificates.stamp(one.certificate, one.key),
                }
                for one in tls.certificates
            ],
            "minimum": tls.minimum,
        },
        "proxy_protocol": listener.proxy_protocol,
    }


def _client(client: Client) -> Spec:
    return {"timeouts": dict(client.timeouts), "limits": dict(client.limits)}
