"""Model to spec: the plain values a plan is built from (core/plan), pinned by golden files.

Everything is written out: defaults filled in, short forms opened, units in seconds and bytes, names in order.
"""

from collections.abc import Sequence
from typing import Any

from proxy.settings.certificates import CertificateReader
from proxy.settings.compile_flags import flags_spec
from proxy.settings.compile_plugins import plugins_spec
from proxy.settings.compile_route import route_spec
from proxy.settings.compile_tokens import Claims, claims_in, claims_known, tokens_spec
from proxy.settings.compile_upstream import upstream_spec
from proxy.settings.models.listen import Client, Listener
from proxy.settings.models.matchers import matcher_spec
from proxy.settings.models.top import Settings
from proxy.settings.plugin_files import PluginFiles

Spec = dict[str, Any]


def compile_spec(
    settings: Settings,
    certificates: CertificateReader,
    plugin_files: PluginFiles,
    segment_order: Sequence[str],
    flag_order: Sequence[str] = (),
) -> Spec:
    """The spec of checked settings. The orders name each segment, and each flag, after those it needs."""
    segments: list[Spec] = [{"name": name, "where": matcher_spec(settings.segments[name])} for name in segment_order]
    routes = [route_spec(one, settings) for one in settings.routes]
    flags = flags_spec(settings.flags, flag_order, {route.name: route for route in settings.routes})
    told = any(route.inject_flags for route in settings.routes)
    claims: dict[str, Claims] = {}
    for segment in segments:
        claims[segment["name"]] = claims_in(segment["where"], claims)
    plugins = plugins_spec(settings, plugin_files)
    plugin_claims = {one["name"]: frozenset[str](one["claims"]) for one in plugins}
    for route in routes:
        asked = [route, flags] if route["inject_flags"] else route
        route["claimed"] = bool(claims_in(asked, claims)) or any(plugin_claims[name] for name in route["plugins"])
    looked_at = claims_in([segments, routes, flags], claims).union(*plugin_claims.values())
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
        "flags": flags,
        "faults": {"enabled": settings.faults.enabled, "max_percent": settings.faults.max_percent},
        "exposure": {"queue": settings.exposure.queue, "raw_units": settings.exposure.raw_units},
        "zone": settings.zone or "",
        "jwt": tokens_spec(settings.jwt, looked_at | claims_known(settings.ofrep), certificates),
        "plugins": plugins,
        "timed": has_to_do_with_time([segments, routes, flags if told else []]),
    }


def has_to_do_with_time(spec: Any) -> bool:
    """Whether a matcher of the source `time`, an `until` that is set, or stickiness stands anywhere in these parts of a spec.

    Workers then tell every decision the time. One that is there needlessly costs a look at the clock and nothing else.
    """
    if isinstance(spec, dict):
        if spec.get("until") or spec.get("source") == "time" or spec.get("stickiness"):
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
