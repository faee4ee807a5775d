"""Cuts a plan's spec into parts, so that a worker takes a large plan in short bites and keeps what did not change.

A part's digest covers its own spec and the digests of what it is built upon: a route holds its upstreams and segments by
reference, so a route over an upstream that changed is another part although its own words are the same.
"""

import json
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

from proxy.channel import messages
from proxy.channel.frames import encode, encode_json
from proxy.expressions import expressions_in

Spec = dict[str, Any]

_KINDS: Final = ("upstreams", "segments", "routes")


@dataclass(frozen=True, slots=True)
class Publication:
    """One generation, ready to be sent. `parts` are whole frames by digest, in an order in which each comes after what it
    names; `plan` is the frame that makes them the plan."""

    generation: int
    parts: dict[str, bytes]
    plan: bytes


def compose(spec: Spec) -> Publication:
    """The frames of `spec`, which has its generation, its counters' slots, and addresses for names.

    Raises KeyError where the spec names what it does not define: specs come from settings/, which has checked.
    """
    parts: dict[str, bytes] = {}
    upstreams: dict[str, str] = {}
    segments: dict[str, str] = {}
    routes: list[str] = []
    for one in spec["upstreams"]:
        upstreams[one["name"]] = _part(parts, "upstream", one, [])
    for one in spec["segments"]:
        segments[one["name"]] = _part(parts, "segment", one, [segments[name] for name in _segments_of(one["where"])])
    for one in spec["routes"]:
        below = [upstreams[version["upstream"]] for version in one["versions"]]
        below += [upstreams[mirror["upstream"]] for mirror in one["mirror"]]
        below += [segments[name] for name in _segments_of(one["where"])]
        below += [segments[name] for rule in one["rules"] for name in _segments_of(rule.get("where"))]
        below += [segments[name] for fault in one["faults"] for name in _segments_of(fault.get("where"))]
        routes.append(_part(parts, "route", one, below))
    rest = {key: value for key, value in spec.items() if key not in _KINDS}
    generation: int = spec["generation"]
    plan = encode_json(
        messages.PLAN,
        {
            "generation": generation,
            "spec": rest,
            "upstreams": list(upstreams.values()),
            "segments": list(segments.values()),
            "routes": routes,
            "lists": sorted(_lists_of([spec["segments"], spec["routes"], spec.get("flags", [])])),
            "expressions": list(
                {
                    one["cel"]: one for one in expressions_in([spec["segments"], spec["routes"], spec.get("flags", [])])
                }.values()
            ),
        },
    )
    return Publication(generation, parts, plan)


def _part(parts: dict[str, bytes], kind: str, spec: Spec, below: list[str]) -> str:
    text = json.dumps(spec, separators=(",", ":")).encode()
    seed = "\0".join((kind, *below)).encode()
    digest = blake2b(seed + b"\0" + text, digest_size=16).hexdigest()
    parts[digest] = encode(
        messages.PART, b'{"kind":"%b","digest":"%b","spec":%b}' % (kind.encode(), digest.encode(), text)
    )
    return digest


def _segments_of(where: Any) -> list[str]:
    """The segments that a matcher names, in its order."""
    if not isinstance(where, dict):
        return []
    if "segment" in where:
        return [where["segment"]]
    if "not" in where:
        return _segments_of(where["not"])
    return [name for one in (*where.get("all", ()), *where.get("any", ())) for name in _segments_of(one)]


def _lists_of(spec: Any) -> set[str]:
    """The lists of units that matchers anywhere in this part of a spec name."""
    if isinstance(spec, dict):
        if spec.get("source") == "unit" and spec.get("test") == "listed":
            return {spec["value"]}
        return set().union(*(_lists_of(one) for one in spec.values() if isinstance(one, dict | list)))
    return set().union(*(_lists_of(one) for one in spec if isinstance(one, dict | list)))
