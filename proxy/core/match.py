"""Matchers over request heads: compiled to closures when the plan is, and traced node by node for `explain`.

A field that is not there matches only `exists: false` and `not_in`. Fields are compared as the bytes that came, with
matchers' texts in UTF-8; a repeated field counts as its joined value. `regex` searches (anchor it with ^ and $ where
the whole value is meant) and works on bytes: a character outside ASCII is several of them. Python's `re` backtracks,
so a pattern such as `(a+)+$` lets a client spend the worker's time; patterns come from the operator, who is told so
in the docs.

Beside the head, a matcher may look at what stands in a request before a decision: its unit, the time, claims, attributes.
Expressions are evaluated by others (proxy/expressions.py) and handed in, as lists of units are.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from proxy.core.address import Networks, normalise
from proxy.core.request import Request
from proxy.core.semver import SemverRange
from proxy.core.times import time_matcher, trace_time

Spec = dict[str, Any]
Matcher = Callable[[Request], bool]
Reader = Callable[[Request], bytes | None]
Test = Callable[[bytes | None], bool]

_NUMBER: Final = re.compile(rb"\s*[+-]?(?:\d{1,64}(?:\.\d{0,64})?|\.\d{1,64})(?:[eE][+-]?\d{1,4})?\s*")


def compile_matcher(spec: Spec, segments: Mapping[str, Matcher]) -> Matcher:
    """The closure for a matcher's spec; `segments` are those compiled before it, lists of units by `list_key`, and expressions
    by `expression_key`.

    Raises ValueError for a value its test cannot use (pattern, range, network) or a shape that is no matcher,
    KeyError for a segment, a list or an expression that is not there.
    """
    if "all" in spec:
        return _all([compile_matcher(one, segments) for one in spec["all"]])
    if "any" in spec:
        return _any([compile_matcher(one, segments) for one in spec["any"]])
    if "not" in spec:
        return _not(compile_matcher(spec["not"], segments))
    if "segment" in spec:
        return segments[spec["segment"]]
    if "cel" in spec:
        return segments[expression_key(spec["cel"])]
    if "source" not in spec or "test" not in spec:
        raise ValueError(f"not a matcher: {sorted(spec)}")
    source: str = spec["source"]
    if source == "time":
        return time_matcher(spec)
    if spec["test"] == "listed":
        return segments[list_key(spec["value"])]
    if source == "unit" and spec["test"] == "in":
        return _unit_among(frozenset(one.encode() for one in spec["value"]))
    if source == "claim":
        return _claim(spec)
    return _leaf(_reader(spec), _test(spec))


def list_key(name: str) -> str:
    """Where the matcher of a list of units stands among segments, none of which can have such a name."""
    return f"units_file: {name}"


def expression_key(text: str) -> str:
    """Where the matcher of an expression stands among segments, none of which can have such a name."""
    return f"cel: {text}"


def trace_matcher(spec: Spec, request: Request, segments: Mapping[str, Spec]) -> Spec:
    """What the compiled matcher says, node by node, as plain values.

    Every node has `matched`; a leaf also its source, name, test and value and, as `saw`, the text it looked at (None
    when the field was not there). `segments` are specs by name; under the `list_key` of a list stands {"has_unit": its
    matcher}, under the `expression_key` of an expression {"evaluate": what says whether it holds, and why it could not be
    evaluated}, which the trace has as `trouble`. Unlike the closure, every branch is looked at.
    """
    for word in ("all", "any"):
        if word in spec:
            parts = [trace_matcher(one, request, segments) for one in spec[word]]
            outcomes = [part["matched"] for part in parts]
            return {"matched": all(outcomes) if word == "all" else any(outcomes), word: parts}
    if "not" in spec:
        part = trace_matcher(spec["not"], request, segments)
        return {"matched": not part["matched"], "not": part}
    if "segment" in spec:
        part = trace_matcher(segments[spec["segment"]], request, segments)
        return {"matched": part["matched"], "segment": spec["segment"], "where": part}
    if "cel" in spec:
        matched, trouble = segments[expression_key(spec["cel"])]["evaluate"](request)
        return {"matched": matched, "cel": spec["cel"], "trouble": trouble}
    if spec["source"] == "time":
        return trace_time(spec, request)
    claimed = spec["source"] == "claim"
    seen = b", ".join(_claimed(request, spec)) or None if claimed else _reader(spec)(request)
    if claimed:
        matched = _claim(spec)(request)
    elif spec["test"] == "listed":
        matched = segments[list_key(spec["value"])]["has_unit"](request)
    else:
        matched = _test(spec)(seen)
    trace: Spec = {"matched": matched, "source": spec["source"]}
    if "name" in spec:
        trace["name"] = spec["name"]
    if "trusted" in spec:
        trace["trusted"] = spec["trusted"]
    trace["test"] = spec["test"]
    trace["value"] = spec["value"]
    trace["saw"] = None if seen is None else seen.decode("utf-8", "backslashreplace")
    return trace


def _all(parts: list[Matcher]) -> Matcher:
    if len(parts) == 1:
        return parts[0]

    def match(request: Request) -> bool:
        for part in parts:  # noqa: SIM110 - a generator costs more than the loop
            if not part(request):
                return False
        return True

    return match


def _any(parts: list[Matcher]) -> Matcher:
    if len(parts) == 1:
        return parts[0]

    def match(request: Request) -> bool:
        for part in parts:  # noqa: SIM110 - a generator costs more than the loop
            if part(request):
                return True
        return False

    return match


def _not(part: Matcher) -> Matcher:
    return lambda request: not part(request)


def _leaf(read: Reader, test: Test) -> Matcher:
    return lambda request: test(read(request))


def _claim(spec: Spec) -> Matcher:
    """A claim that is a list matches where one of its values does, and `not_in` where none is among those."""
    name: bytes = spec["name"].encode()
    test = _test(spec)
    every: bool = spec["test"] == "not_in"

    def match(request: Request) -> bool:
        values = request.claim_values(name)
        if not values:
            return test(None)
        for value in values:
            if test(value) is not every:
                return not every
        return every

    return match


def _claimed(request: Request, spec: Spec) -> list[bytes]:
    return request.claim_values(spec["name"].encode())


def _unit_among(units: frozenset[bytes]) -> Matcher:
    return lambda request: request.unit in units


def _reader(spec: Spec) -> Reader:
    source: str = spec["source"]
    name: bytes = spec.get("name", "").encode()
    if source == "header":
        lower = name.lower()
        if spec.get("trusted"):
            return lambda request: request.fields.get(lower) if request.trusted else None
        return lambda request: request.fields.get(lower)
    if source == "cookie":
        return lambda request: request.cookies().get(name)
    if source == "query":
        return lambda request: request.arguments().get(name)
    if source == "client_ip":
        return lambda request: request.client.encode() or None
    if source == "path":
        return lambda request: request.path
    if source == "method":
        return lambda request: request.method
    if source == "host":
        return lambda request: request.host
    if source == "unit":
        return lambda request: request.unit
    if source == "attribute":
        return lambda request: request.attribute(name)
    raise ValueError(f"no such source: {source!r}")


def _test(spec: Spec) -> Test:
    test: str = spec["test"]
    value: Any = spec["value"]
    source: str = spec["source"]
    if test == "is":
        wanted = _comparable(source, value)
        return lambda seen: seen == wanted
    if test == "in":
        some = frozenset(_comparable(source, one) for one in value)
        return lambda seen: seen in some
    if test == "not_in":
        none_of = frozenset(_comparable(source, one) for one in value)
        return lambda seen: seen not in none_of
    if test == "exists":
        present: bool = value
        return lambda seen: (seen is not None) is present
    if test == "between":
        low, high = float(value[0]), float(value[1])
        return lambda seen: seen is not None and _NUMBER.fullmatch(seen) is not None and low <= float(seen) <= high
    if test == "semver":
        versions = SemverRange(value)
        return lambda seen: seen is not None and versions.contains(seen.decode("latin-1"))
    if test == "cidr":
        networks = Networks(value)
        return lambda seen: seen is not None and networks.contains(seen.decode("latin-1"))
    if test == "regex":
        return _regex(value)
    return _part_of(test, _comparable(source, value))


def _regex(pattern: str) -> Test:
    try:
        search = re.compile(pattern.encode()).search
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return lambda seen: seen is not None and search(seen) is not None


def _part_of(test: str, part: bytes) -> Test:
    if test == "prefix":
        return lambda seen: seen is not None and seen.startswith(part)
    if test == "suffix":
        return lambda seen: seen is not None and seen.endswith(part)
    if test == "contains":
        return lambda seen: seen is not None and part in seen
    raise ValueError(f"no such test: {test!r}")


def _comparable(source: str, value: str) -> bytes:
    """A matcher's text as it has to look to equal what the request has: hosts in lower case, addresses normalised."""
    if source == "host":
        return value.lower().encode()
    if source == "client_ip":
        return (normalise(value) or value).encode()
    return value.encode()
