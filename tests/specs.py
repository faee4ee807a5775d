"""Specs and request heads for tests: complete, with the parts a test is about given by name."""

from typing import Any

from proxy.core.field_lines import FieldLine, read_lines
from proxy.core.request import Request
from proxy.core.start_lines import RequestLine

Spec = dict[str, Any]


def upstream_spec(name: str, **parts: Any) -> Spec:
    return {
        "name": name,
        "endpoints": [],
        "timeouts": {
            "connect": 2.0,
            "response": 15.0,
            "idle": 60.0,
            "keepalive": 4.0,
            "tunnel": 3600.0,
            "tunnel_max_age": 0.0,
        },
        "limits": {"connections": 1024, "pending": 1024, "requests": 1024, "idle": 1024},
        "tls": None,
        "balance": "round_robin",
        "own_zone": "",
        "health": None,
        "outlier": None,
        "panic_threshold": 50.0,
        "slow_start": None,
    } | parts


def version_spec(
    name: str, weight: float = 0.0, *, upstream: str = "u", fallback: str | None = None, **parts: Any
) -> Spec:
    return {
        "name": name,
        "upstream": upstream,
        "weight": weight,
        "fallback": fallback,
        "warm_up": 0.0,
        "breaker": None,
        "kill": None,
        "cap": None,
    } | parts


def route_spec(name: str = "shop", *, weights: dict[str, float] | None = None, **parts: Any) -> Spec:
    versions = [version_spec(one, weight) for one, weight in (weights or {"stable": 95.0, "canary": 5.0}).items()]
    return {
        "name": name,
        "hosts": [],
        "path": None,
        "path_prefix": None,
        "path_regex": None,
        "methods": [],
        "where": None,
        "raw_paths": False,
        "unit": [{"kind": "header", "name": "x-user-id"}],
        "salt": name,
        "hash": None,
        "versions": versions,
        "default": versions[0]["name"],
        "rules": [],
        "preview": None,
        "mirror": [],
        "rewrite": None,
        "max_body": None,
        "errors": {"codes": list(range(500, 600)), "flags": ["UF", "UT"]},
        "debug": [],
        "timeout": 0.0,
        "deadline": None,
        "retry": None,
        "hedge": None,
        "rate_limits": [],
        "concurrency": None,
        "admission": None,
        "cache": None,
        "faults": [],
        "kill": [],
        "rings": [],
        "holdout": None,
        "layer": None,
        "epoch": 0,
        "choice": None,
        "stickiness": None,
        "exposure": False,
        "claimed": False,
        "inject_flags": [],
        "rollout": None,
        "plugins": [],
    } | parts


def plan_spec(*routes: Spec, **parts: Any) -> Spec:
    return {
        "generation": 1,
        "listeners": [],
        "client": {
            "timeouts": {"head": 10.0, "body": 60.0, "keepalive": 75.0},
            "limits": {"head": 65536, "fields": 100, "target": 8192, "connections": 16384},
        },
        "trusted_proxies": ["127.0.0.0/8"],
        "secrets": {"cookie": [], "unit_hash": ""},
        "access_log": False,
        "upstreams": [upstream_spec("u")],
        "segments": [],
        "routes": list(routes),
        "flags": [],
        "plugins": [],
        "faults": {"enabled": True, "max_percent": 10.0},
        "exposure": {"queue": 100_000, "raw_units": False},
        "zone": "",
        "timed": False,
        "jwt": None,
    } | parts


def request_head(
    path: bytes = b"/",
    *,
    method: bytes = b"GET",
    host: bytes = b"shop.example.com",
    fields: dict[bytes, bytes] | None = None,
    client: str = "192.0.2.1",
    query: bytes = b"",
    raw_path: bytes | None = None,
    clean: bool = True,
) -> Request:
    all_fields = {b"host": host} | (fields or {})
    raw = path if raw_path is None else raw_path
    lines = [name + b": " + value for name, value in all_fields.items()]
    read: list[FieldLine] = []
    marks = read_lines([name + b":" for name in all_fields], read)  # values here need not be what a head could bring
    request = Request(
        line=RequestLine(
            raw=b"",
            method=method,
            target=raw + (b"?" + query if query else b""),
            minor=1,
            authority=b"",
            path=path,
            raw_path=raw,
            query=query,
            has_query=bool(query),
            clean=clean,
        ),
        lines=lines,
        read=read,
        marks=marks,
        fields=all_fields,
        authority=host,
        host=host.lower(),
        content_length=-1,
        chunked=False,
        keep_alive=True,
        expect_continue=False,
        upgrade=b"",
    )
    request.client = client
    return request
