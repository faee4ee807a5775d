"""Traefik in the comparison."""

import json
from collections.abc import Mapping
from pathlib import Path

from bench.peers.base import PLAIN, ROUTES, RULES, Ports, Work, ask, find, host, prefix

_CONDITIONS = {
    "is": "Header(`{field}`, `{value}`)",
    "ends": "HeaderRegexp(`{field}`, `{pattern}$`)",
    "begins": "HeaderRegexp(`{field}`, `^{pattern}`)",
    "has": "HeaderRegexp(`{field}`, `{pattern}`)",
}
_MIDDLEWARES: dict[str, object] = {
    "again": {"retry": {"attempts": 2, "initialInterval": "1ms"}},
    "breaker": {
        "circuitBreaker": {"expression": "NetworkErrorRatio() > 0.30 || ResponseCodeRatio(500, 600, 0, 600) > 0.25"}
    },
    "rate": {
        "rateLimit": {"average": 100000, "burst": 100000, "sourceCriterion": {"requestHeaderName": "x-user-id"}},
    },
    "flight": {"inFlightReq": {"amount": 10000, "sourceCriterion": {"requestHost": True}}},
}


class Traefik:
    name = "traefik"
    sticky = "no (by cookie only; weighted round robin)"
    adds = "no request id; counts by service and code, a histogram"
    cannot: Mapping[str, str] = {}
    log = "access.log"

    def program(self) -> str | None:
        return find("traefik")

    def version(self) -> str:
        return ask(r"Version:\s+(\S+)", self.program(), "version")

    def command(self, directory: Path, ports: Ports, work: Work = PLAIN) -> list[str]:
        services: dict[str, object] = {
            name: {"loadBalancer": {"servers": [{"url": f"http://127.0.0.1:{port}"}], **_health(work)}}
            for name, port in (("stable", ports.stable), ("canary", ports.canary), ("shadow", ports.shadow))
        }
        services["split"] = {
            "weighted": {"services": [{"name": "stable", "weight": 90}, {"name": "canary", "weight": 10}]}
        }
        for name, percent in (("all", 100), ("tenth", 10)):
            services[name] = {"mirroring": {"service": "split", "mirrors": [{"name": "shadow", "percent": percent}]}}
        dynamic: dict[str, object] = {"routers": _routers(work), "services": services}
        if work.guarded:
            dynamic["middlewares"] = _MIDDLEWARES
        # JSON is YAML; Traefik reads it as such.
        (directory / "dynamic.yaml").write_text(json.dumps({"http": dynamic}))
        static: dict[str, object] = {
            "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
            "log": {"level": "ERROR"},
            "entryPoints": {
                "all": {
                    "address": f"127.0.0.1:{ports.listen}",
                    "transport": {"respondingTimeouts": {"idleTimeout": "1h", "readTimeout": "0s"}},
                },
                "metrics": {"address": f"127.0.0.1:{ports.admin}"},
            },
            "metrics": {"prometheus": {"entryPoint": "metrics"}},
            "providers": {"file": {"filename": str(directory / "dynamic.yaml"), "watch": False}},
        }
        if work.logged:
            static["accessLog"] = {"filePath": str(directory / self.log), "bufferingSize": 1000}
        (directory / "traefik.yaml").write_text(json.dumps(static))
        return [str(self.program()), f"--configFile={directory}/traefik.yaml"]


def _health(work: Work) -> dict[str, object]:
    return {"healthCheck": {"path": "/small", "interval": "5s", "timeout": "1s"}} if work.guarded else {}


def _routers(work: Work) -> dict[str, object]:
    guards = {"middlewares": list(_MIDDLEWARES)} if work.guarded else {}

    def router(rule: str, priority: int, service: str) -> dict[str, object]:
        return {"rule": rule, "priority": priority, "service": service, "entryPoints": ["all"], **guards}

    found: dict[str, object] = {
        "plain": router("PathPrefix(`/`)", 1, "split"),
        "copied": router("PathPrefix(`/copied`)", 1000, "all"),
        "some": router("PathPrefix(`/some`)", 1000, "tenth"),
    }
    for number, (field, how, value) in enumerate(RULES if work.ruled else ()):
        rule = _CONDITIONS[how].format(field=field, value=value, pattern=value.replace(".", "\\."))
        found[f"rule-{number}"] = router(rule, 100 - number, "canary")
    for number in range(ROUTES if work.routed else 0):
        found[f"route-{number}"] = router(f"Host(`{host(number)}`) && PathPrefix(`{prefix(number)}`)", 500, "split")
    return found
