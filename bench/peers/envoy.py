"""Envoy in the comparison."""

import json
from collections.abc import Mapping
from pathlib import Path

from bench.peers.base import PLAIN, ROUTES, RULES, Ports, Work, ask, find, host, prefix

_CONDITIONS = {"is": "exact", "ends": "suffix", "begins": "prefix", "has": "contains"}
_TYPES = "type.googleapis.com/envoy.extensions."


class Envoy:
    name = "envoy"
    sticky = "x-user-id, xxHash64 (`use_hash_policy`)"
    adds = "request id; counts by cluster and code, histograms"
    cannot: Mapping[str, str] = {}
    log = "access.log"

    def program(self) -> str | None:
        return find("envoy")

    def version(self) -> str:
        return ask(r"/(\d+\.\d+\.\d+)/", self.program(), "--version")

    def command(self, directory: Path, ports: Ports, work: Work = PLAIN) -> list[str]:
        hosts = [{"name": "all", "domains": ["*"], "routes": _routes(work)}]
        if work.routed:
            hosts += [
                {"name": host(number), "domains": [host(number)], "routes": [_split(prefix(number), work)]}
                for number in range(ROUTES)
            ]
        manager = {
            **_kind("filters.network.http_connection_manager.v3.HttpConnectionManager"),
            "stat_prefix": "bench",
            "use_remote_address": True,
            "route_config": {"virtual_hosts": hosts},
            "http_filters": [
                *_guards(work),
                {"name": "router", "typed_config": _kind("filters.http.router.v3.Router")},
            ],
        }
        if work.logged:
            to_file = {**_kind("access_loggers.file.v3.FileAccessLog"), "path": str(directory / self.log)}
            manager["access_log"] = [{"name": "file", "typed_config": to_file}]
        configuration = {
            "admin": {"address": _address(ports.admin)},
            "static_resources": {
                "listeners": [
                    {
                        "name": "all",
                        "address": _address(ports.listen),
                        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
                    }
                ],
                "clusters": [
                    _cluster(name, port, work)
                    for name, port in (("stable", ports.stable), ("canary", ports.canary), ("shadow", ports.shadow))
                ],
            },
        }
        file = directory / "envoy.json"
        file.write_text(json.dumps(configuration))
        workers = ["--concurrency", str(work.workers), "--disable-hot-restart", "-l", "error"]
        return [str(self.program()), "-c", str(file), *workers]


def _kind(name: str) -> dict[str, object]:
    return {"@type": _TYPES + name}


def _address(port: int) -> dict[str, object]:
    return {"socket_address": {"address": "127.0.0.1", "port_value": port}}


def _split(path: str, work: Work, **more: object) -> dict[str, object]:
    action: dict[str, object] = {
        "weighted_clusters": {
            "clusters": [{"name": "stable", "weight": 90}, {"name": "canary", "weight": 10}],
            "use_hash_policy": True,
        },
        "hash_policy": [{"header": {"header_name": "x-user-id"}}],
        **more,
    }
    if work.guarded:
        action["timeout"] = "30s"
        action["retry_policy"] = {
            "retry_on": "connect-failure,reset,gateway-error",
            "num_retries": 1,
            "per_try_timeout": "5s",
        }
        action["hedge_policy"] = {"hedge_on_per_try_timeout": True}
    return {"match": {"prefix": path}, "route": action}


def _routes(work: Work) -> list[dict[str, object]]:
    tenth = {"default_value": {"numerator": 10, "denominator": "HUNDRED"}}
    rules = [
        {
            "match": {"prefix": "/", "headers": [{"name": field, "string_match": {_CONDITIONS[how]: value}}]},
            "route": {"cluster": "canary"},
        }
        for field, how, value in RULES
        if work.ruled
    ]
    return [
        _split("/copied", work, request_mirror_policies=[{"cluster": "shadow"}]),
        _split("/some", work, request_mirror_policies=[{"cluster": "shadow", "runtime_fraction": tenth}]),
        *rules,
        _split("/", work),
    ]


def _guards(work: Work) -> list[dict[str, object]]:
    """Its rate limit is one for all, for it has none by unit that needs no service of its own."""
    if not work.guarded:
        return []
    on = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    limit = {
        **_kind("filters.http.local_ratelimit.v3.LocalRateLimit"),
        "stat_prefix": "limit",
        "token_bucket": {"max_tokens": 1000000, "tokens_per_fill": 1000000, "fill_interval": "1s"},
        "filter_enabled": on,
        "filter_enforced": on,
    }
    admission = {**_kind("filters.http.admission_control.v3.AdmissionControl"), "success_criteria": {}}
    criteria = {"http_criteria": {"http_success_status": [{"start": 100, "end": 500}]}}
    admission["success_criteria"] = criteria
    return [
        {"name": "envoy.filters.http.local_ratelimit", "typed_config": limit},
        {"name": "envoy.filters.http.admission_control", "typed_config": admission},
    ]


def _cluster(name: str, port: int, work: Work) -> dict[str, object]:
    found: dict[str, object] = {
        "name": name,
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {
            "cluster_name": name,
            "endpoints": [{"lb_endpoints": [{"endpoint": {"address": _address(port)}}]}],
        },
    }
    if work.guarded and name != "shadow":
        found["health_checks"] = [
            {
                "timeout": "1s",
                "interval": "5s",
                "unhealthy_threshold": 3,
                "healthy_threshold": 2,
                "http_health_check": {"path": "/small"},
            }
        ]
        found["outlier_detection"] = {"consecutive_5xx": 5, "base_ejection_time": "30s"}
        limits = {"max_connections": 10000, "max_pending_requests": 10000, "max_requests": 10000, "max_retries": 100}
        found["circuit_breakers"] = {"thresholds": [limits]}
    return found
