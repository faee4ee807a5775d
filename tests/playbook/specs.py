"""Policies for plays, complete; a play names what it is about."""

from typing import Any

from tests.specs import upstream_spec, version_spec
from tests.unit.dataplane.stage import endpoint_spec, pool_spec, shop

Spec = dict[str, Any]

EVERYBODY = ["0.0.0.0/0"]


def breaker(**parts: Any) -> Spec:
    return {
        "window": 10.0, "minimum_requests": 20, "error_percent": 50.0, "slow": None, "saturation_percent": 0.0,
        "open": 5.0, "max_open": 60.0, "probes": 5,
    } | parts  # fmt: skip


def retry(*on: str, **parts: Any) -> Spec:
    return {
        "on": list(on) or ["connect_failure", "refused", "reset", "gateway_error"],
        "methods": ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"],
        "attempts": 2,
        "per_try_timeout": 0.0,
        "back_off": {"base": 0.025, "max": 0.25},
        "budget": {"percent": 20.0, "minimum": 3},
        "body_limit": 65536,
        "fallback": True,
        "max_retry_after": 1.0,
    } | parts


def hedge(**parts: Any) -> Spec:
    return {
        "percentile": 95.0, "minimum_delay": 0.005, "maximum_delay": 1.0, "minimum_samples": 100, "budget_percent": 10.0,
        "methods": ["GET", "HEAD", "OPTIONS", "TRACE"],
    } | parts  # fmt: skip


def outlier(**parts: Any) -> Spec:
    return {
        "consecutive_5xx": 5, "consecutive_gateway": 5, "interval": 10.0, "base_ejection": 30.0, "max_ejection": 300.0,
        "max_ejected_percent": 10.0, "success_rate": None, "latency": None,
    } | parts  # fmt: skip


def concurrency(limit: int, **parts: Any) -> Spec:
    return {
        "limit": limit, "queue": 50, "queue_timeout": 0.5, "shed_at_percent": 80.0, "shed_first": ["canary"],
        "adaptive": None,
    } | parts  # fmt: skip


def two_services(canary_weight: float, *, canary: Spec | None = None, route: Spec | None = None) -> Spec:
    """Stable at 10.0.0.1, the canary with this share of the users at 10.0.0.2, falling back to stable."""
    versions = [
        version_spec("stable", 100.0 - canary_weight, upstream="old"),
        version_spec("canary", canary_weight, upstream="new", fallback="stable", **(canary or {})),
    ]
    made = {"versions": versions, "debug": EVERYBODY} | (route or {})
    return shop(route=made, upstreams=[pool_spec("old", "10.0.0.1"), pool_spec("new", "10.0.0.2")])


def endpoints(count: int, *, upstream: Spec | None = None, route: Spec | None = None) -> Spec:
    """One version over this many endpoints from 10.0.0.1 on."""
    hosts = [endpoint_spec(f"10.0.0.{number + 1}") for number in range(count)]
    pool = upstream_spec("u", endpoints=hosts)
    for key, value in (upstream or {}).items():
        pool[key] = pool[key] | value if isinstance(pool[key], dict) and isinstance(value, dict) else value
    return shop(route={"debug": EVERYBODY} | (route or {}), upstreams=[pool])
