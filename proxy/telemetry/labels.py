"""Under which labels the parts of a plan are counted, and where in its spec the slots of each stand.

By kind of block: a version by (route, version), codes by (route, assigned version, served version), a mirror by (route,
upstream), an upstream and a plugin by themselves, an endpoint by (upstream, its URL and address).
"""

from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from proxy.core.plan import NONE

Key = tuple[str, ...]
Spec = dict[str, Any]

KINDS: Final = ("version", "codes", "mirror", "upstream", "endpoint", "plugin")


def endpoint_key(upstream: str, endpoint: Spec) -> Key:
    """Labels of an endpoint: its URL as configured, with the address behind it when the URL only names it."""
    url: str = endpoint["url"]
    host: str = endpoint["host"]
    if endpoint.get("unix") or urlsplit(url).hostname == host.lower():
        return upstream, url
    return upstream, f"{url} ({host})"


def fallback_chains(versions: list[Spec]) -> dict[str, list[str]]:
    """By version, itself and the versions that answer in its place, in order; a circle ends where it closes."""
    following: dict[str, str | None] = {one["name"]: one["fallback"] for one in versions}
    chains = {}
    for name, first in following.items():
        chain = [name]
        step = first
        while step is not None and step not in chain:
            chain.append(step)
            step = following[step]
        chains[name] = chain
    return chains


def labels_of(spec: Spec) -> dict[str, dict[Key, None]]:
    """By kind, the labels that `spec` names, in its order."""
    wanted: dict[str, dict[Key, None]] = {kind: {} for kind in KINDS}
    wanted["version"][NONE, NONE] = None
    wanted["codes"][NONE, NONE, NONE] = None
    for upstream in spec["upstreams"]:
        wanted["upstream"][upstream["name"],] = None
        for endpoint in upstream["endpoints"]:
            wanted["endpoint"][endpoint_key(upstream["name"], endpoint)] = None
    for plugin in spec["plugins"]:
        wanted["plugin"][plugin["name"],] = None
    for route in spec["routes"]:
        name = route["name"]
        for assigned, chain in fallback_chains(route["versions"]).items():
            wanted["version"][name, assigned] = None
            for served in (*chain, NONE):
                wanted["codes"][name, assigned, served] = None
        for mirror in route["mirror"]:
            wanted["mirror"][name, mirror["upstream"]] = None
    return wanted


def with_slots(spec: Spec, slot: Callable[[str, Key], int]) -> Spec:
    """A copy of `spec` with the slots of all its labels put in; `slot` knows them by kind and labels."""
    return {
        **spec,
        "upstreams": [_upstream(one, slot) for one in spec["upstreams"]],
        "routes": [_route(one, slot) for one in spec["routes"]],
        "plugins": [{**one, "slot": slot("plugin", (one["name"],))} for one in spec["plugins"]],
        "none_slot": slot("version", (NONE, NONE)),
        "none_codes": slot("codes", (NONE, NONE, NONE)),
    }


def _upstream(spec: Spec, slot: Callable[[str, Key], int]) -> Spec:
    name = spec["name"]
    return {
        **spec,
        "slot": slot("upstream", (name,)),
        "endpoints": [{**one, "slot": slot("endpoint", endpoint_key(name, one))} for one in spec["endpoints"]],
    }


def _route(spec: Spec, slot: Callable[[str, Key], int]) -> Spec:
    route = spec["name"]
    chains = fallback_chains(spec["versions"])
    return {
        **spec,
        "versions": [
            {
                **one,
                "slot": slot("version", (route, one["name"])),
                "codes": [slot("codes", (route, one["name"], served)) for served in chains[one["name"]]],
                "codes_none": slot("codes", (route, one["name"], NONE)),
            }
            for one in spec["versions"]
        ],
        "mirror": [{**one, "slot": slot("mirror", (route, one["upstream"]))} for one in spec["mirror"]],
    }
