"""Model to spec: the plain values a plan is built from (core/plan), pinned by golden files.

Everything is written out: defaults filled in, short forms opened, units in seconds and bytes, names in order.
"""

from collections.abc import Sequence
from typing import Any

from proxy.settings.certificates import CertificateReader
from proxy.settings.check_route import effective_weights, unit_chain
from proxy.settings.models.listen import Client, Listener
from proxy.settings.models.matchers import matcher_spec, test_spec
from proxy.settings.models.route import Match, Mirror, Route, Rule
from proxy.settings.models.top import Settings
from proxy.settings.models.upstream import Upstream, split_url

Spec = dict[str, Any]


def compile_spec(settings: Settings, certificates: CertificateReader, segment_order: Sequence[str]) -> Spec:
    """The spec of checked settings. `segment_order` names each segment after those it needs."""
    return {
        "generation": 0,
        "listeners": [_listener(one, certificates) for one in settings.listen],
        "client": _client(settings.client),
        "trusted_proxies": list(settings.trusted_proxies),
        "secrets": {"cookie": list(settings.secrets.cookie), "unit_hash": settings.secrets.unit_hash},
        "access_log": settings.access_log != "off",
        "upstreams": [_upstream(name, one, certificates) for name, one in settings.upstreams.items()],
        "segments": [{"name": name, "where": matcher_spec(settings.segments[name])} for name in segment_order],
        "routes": [_route(one) for one in settings.routes],
    }


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


def _upstream(name: str, upstream: Upstream, certificates: CertificateReader) -> Spec:
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
                "zone": "",
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
    }


def _where(match: Match) -> Spec | None:
    """The tests of a match beyond host, path and method, as one matcher."""
    tests: list[Spec] = []
    for source, named in (("header", match.headers), ("query", match.query), ("cookie", match.cookies)):
        tests.extend({"source": source, "name": name, **test_spec(test)} for name, test in named.items())
    if match.client_ip:
        tests.append({"source": "client_ip", "test": "cidr", "value": list(match.client_ip)})
    if not tests:
        return None
    return tests[0] if len(tests) == 1 else {"all": tests}


def _route(route: Route) -> Spec:
    match = route.match
    weights = effective_weights(route)
    rewrite = route.rewrite
    return {
        "name": route.name,
        "hosts": list(match.host),
        "path": match.path,
        "path_prefix": match.path_prefix,
        "path_regex": match.path_regex,
        "methods": list(match.methods),
        "where": _where(match),
        "raw_paths": route.paths == "raw",
        "unit": [{"kind": kind, "name": name} for kind, name in unit_chain(route)],
        "salt": route.name if route.salt is None else route.salt,
        "versions": [
            {"name": name, "upstream": version.upstream, "weight": weights[name], "fallback": version.fallback}
            for name, version in route.versions.items()
        ],
        "default": route.default or route.active or next(iter(route.versions)),
        "rules": [_rule(index, rule) for index, rule in enumerate(route.rules)],
        "preview": None
        if route.preview is None
        else {"header": route.preview.header, "from": list(route.preview.from_)},
        "mirror": [_mirror(one) for one in route.mirror],
        "rewrite": None
        if rewrite is None
        else {
            "strip_prefix": rewrite.strip_prefix or "",
            "set_headers": dict(rewrite.set_headers),
            "remove_headers": list(rewrite.remove_headers),
        },
        "max_body": route.max_body,
        "errors": {"codes": list(route.errors.codes), "flags": list(route.errors.flags)},
        "debug": [] if route.debug is None else list(route.debug.from_),
    }


def _rule(index: int, rule: Rule) -> Spec:
    spec: Spec = {"label": f"rules[{index}]"}
    if rule.units is not None:
        spec["units"] = list(rule.units)
    elif rule.segment is not None:
        spec["where"] = {"segment": rule.segment}
    elif rule.when is not None:
        spec["where"] = matcher_spec(rule.when)
    if rule.deny is not None:
        spec["deny"] = rule.deny
    elif rule.version is not None:
        spec["version"] = rule.version
    else:
        spec["split"] = dict(rule.split or {})
    return spec


def _mirror(mirror: Mirror) -> Spec:
    return {
        "upstream": mirror.upstream,
        "percent": mirror.percent,
        "sample": mirror.sample,
        "methods": list(mirror.methods),
        "body_limit": mirror.body_limit,
        "in_flight": mirror.in_flight,
        "buffer": mirror.buffer,
        "response_limit": mirror.response_limit,
        "timeout": mirror.timeout,
        "strip_credentials": mirror.strip_credentials,
    }
