"""The spec of a route: what it matches, its units and versions, and what happens on the way."""

from typing import Any

from proxy.cap_files import cap_file
from proxy.settings.check_route import effective_weights, unit_chain
from proxy.settings.compile_audience import audience_spec
from proxy.settings.compile_policies import policies_spec
from proxy.settings.compile_rollout import rollout_spec
from proxy.settings.models.hashing import hash_spec
from proxy.settings.models.matchers import test_spec
from proxy.settings.models.route import Match, Mirror, Route
from proxy.settings.models.top import General

Spec = dict[str, Any]


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


def route_spec(route: Route, general: General) -> Spec:
    """The spec of a route, with what the general part says of it."""
    match = route.match
    weights = effective_weights(route)
    salt = route.name if route.salt is None else route.salt
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
        "salt": salt,
        "hash": hash_spec(route.hash, salt),
        "versions": [
            {
                "name": name,
                "upstream": version.upstream,
                "weight": weights[name],
                "fallback": version.fallback,
                "warm_up": version.warm_up,
                "breaker": None if version.breaker is None else version.breaker.model_dump(),
                "cap": None
                if version.cap is None
                else {"limit": version.cap, "file": cap_file(general.state or "", route.name, name, route.epoch)},
                "kill": {"until": version.kill.until or 0.0} if version.kill.on else None,
            }
            for name, version in route.versions.items()
        ],
        "default": route.default or route.active or next(iter(route.versions)),
        "rules": [rule.spec(index) for index, rule in enumerate(route.rules)],
        "preview": None
        if route.preview is None
        else {
            "header": route.preview.header,
            "from": list(route.preview.from_),
            "until": route.preview.until or 0.0,
        },
        "mirror": [mirror_spec(one) for one in route.mirror],
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
        "exposure": route.exposure,
        "inject_flags": list(route.inject_flags),
        "rollout": rollout_spec(route, general),
        "plugins": list(route.plugins),
        **policies_spec(route),
        **audience_spec(route, general),
    }


def mirror_spec(mirror: Mirror) -> Spec:
    """Copies to one shadow."""
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
