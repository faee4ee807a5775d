"""Counters and a plan to count in, for the tests of this room."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from proxy.telemetry.counters import Cells, create_memory
from tests.specs import plan_spec, route_spec, upstream_spec, version_spec

Spec = dict[str, Any]


@contextmanager
def cells_of(workers: int = 1) -> Iterator[Cells]:
    """Fresh counters, given back at the end."""
    descriptor = create_memory()
    try:
        yield Cells(descriptor, 0, workers)
    finally:
        os.close(descriptor)


def endpoint_spec(url: str = "http://127.0.0.1:9001", host: str = "127.0.0.1", port: int = 9001) -> Spec:
    return {
        "url": url, "host": host, "port": port, "unix": "", "tls": False, "server_name": "", "weight": 1, "zone": "",
    }  # fmt: skip


def mirror_spec(upstream: str = "shadow") -> Spec:
    return {
        "upstream": upstream, "percent": 10.0, "sample": "unit", "methods": ["GET"], "body_limit": 1, "in_flight": 1,
        "buffer": 1, "response_limit": 1, "timeout": 1.0, "strip_credentials": False,
    }  # fmt: skip


def shop_spec(generation: int = 1, **parts: Any) -> Spec:
    """One route with a fallback and a mirror."""
    shop = route_spec(
        "shop",
        versions=[version_spec("stable", 95.0), version_spec("canary", 5.0, fallback="stable")],
        mirror=[mirror_spec()],
    )
    upstreams = [upstream_spec("u", endpoints=[endpoint_spec()]), upstream_spec("shadow")]
    return plan_spec(shop, **({"generation": generation, "upstreams": upstreams} | parts))


def versions_spec(generation: int, routes: dict[str, list[str]]) -> Spec:
    """A plan of these versions by route."""
    made = [route_spec(name, versions=[version_spec(one, 1.0) for one in arms]) for name, arms in routes.items()]
    return plan_spec(*made, generation=generation)
