"""The configurations that scenarios are played with: one route, one or two versions."""

from typing import Any
from urllib.parse import quote

from tests.e2e.harness.proxy import Config, Proxy, configuration
from tests.e2e.harness.services import Service

CANARY_PERCENT = 20
USERS = 40
"""With the keys of `configuration`, 40 users at 20 % make about 8 canary users: enough to tell shares apart."""


def pool(*services: Service, **more: Any) -> Config:
    """An upstream of these endpoints."""
    return {"endpoints": [one.url for one in services], **more}


def one_version(*services: Service, route: Config | None = None, policy: Config | None = None, **more: Any) -> Config:
    """A route with one version, `only`; debug fields are on."""
    return configuration(
        {"origin": pool(*services, **(policy or {}))},
        [
            {
                "name": "shop",
                "debug": {"from": ["127.0.0.0/8"]},
                "unit": [{"header": "x-user-id"}],
                "versions": {"only": {"upstream": "origin"}},
                **(route or {}),
            }
        ],
        **more,
    )


def two_versions(
    stable: Service,
    canary: Service,
    *,
    weight: float = CANARY_PERCENT,
    version: Config | None = None,
    route: Config | None = None,
    policy: Config | None = None,
    **more: Any,
) -> Config:
    """Stable and a canary that falls back to it. `version` are more keys of the canary, `policy` of its upstream."""
    return configuration(
        {"v1": pool(stable), "v2": pool(canary, **(policy or {}))},
        [
            {
                "name": "shop",
                "debug": {"from": ["127.0.0.0/8"]},
                "unit": [{"header": "x-user-id"}],
                "versions": {
                    "stable": {"upstream": "v1", "weight": 100 - weight},
                    "canary": {"upstream": "v2", "weight": weight, "fallback": "stable", **(version or {})},
                },
                **(route or {}),
            }
        ],
        **more,
    )


def at_endpoint(proxy: Proxy, upstream: str, service: Service, method: str) -> dict[str, Any]:
    """POST drains the endpoint through the admin API, DELETE ends that; what the API answers."""
    path = f"/api/v1/upstreams/{upstream}/endpoints/{quote(service.url, safe='')}/drain"
    said: dict[str, Any] = proxy.change(method, path, {"reason": "a scenario"} if method == "POST" else None)
    return said
