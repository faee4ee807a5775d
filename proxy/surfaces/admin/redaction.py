"""What of a spec may be shown: everything but keys, credentials, and the counters' slots, which say nothing."""

import re
from typing import Any, Final

from proxy.rollout.redacting import REDACTED, without_secrets

_SECRET_FIELD: Final = re.compile(r"auth|cookie|token|secret|key|password|credential", re.IGNORECASE)
_USERINFO: Final = re.compile(r"(?<=://)[^/@]*@")

Spec = dict[str, Any]


def shown(spec: Spec) -> Spec:
    """A copy of `spec` to be shown. An empty secret stays empty, so that one sees that there is none."""
    if not spec:
        return {}
    return {
        **_without(spec, "none_slot", "none_codes"),
        "secrets": {
            "cookie": [REDACTED for _ in spec["secrets"]["cookie"]],
            "unit_hash": REDACTED if spec["secrets"]["unit_hash"] else "",
        },
        "upstreams": [
            {
                **_without(one, "slot"),
                "endpoints": [
                    {**_without(endpoint, "slot"), "url": without_userinfo(endpoint["url"])}
                    for endpoint in one["endpoints"]
                ],
                "health": one["health"] and {**one["health"], "headers": _fields(one["health"]["headers"])},
            }
            for one in spec["upstreams"]
        ],
        "routes": [_route(one) for one in spec["routes"]],
        "plugins": [
            {
                **_without(one, "slot"),
                "source": f"({len(one['source'].encode())} bytes)" if one["source"] else "",
                "config": _config(one["config"]),
            }
            for one in spec["plugins"]
        ],
    }


def without_userinfo(url: str) -> str:
    """`url` without the name and password it may carry."""
    return _USERINFO.sub(f"{REDACTED}@", url)


def _route(route: Spec) -> Spec:
    rewrite = route.get("rewrite")
    return {
        **route,
        "versions": [_without(one, "slot", "codes", "codes_none") for one in route["versions"]],
        "mirror": [_without(one, "slot") for one in route["mirror"]],
        "rewrite": rewrite
        and {
            **rewrite,
            "set_headers": _fields(rewrite["set_headers"]),
        },
        "rollout": route.get("rollout") and without_secrets(route["rollout"]),
    }


def _fields(fields: dict[str, str]) -> dict[str, str]:
    return {name: REDACTED if _SECRET_FIELD.search(name) else value for name, value in fields.items()}


def _config(value: Any) -> Any:
    """What a plugin is handed, without what is called like a secret."""
    if isinstance(value, dict):
        return {
            name: REDACTED if _SECRET_FIELD.search(str(name)) and not isinstance(one, dict | list) else _config(one)
            for name, one in value.items()
        }
    if isinstance(value, list):
        return [_config(one) for one in value]
    return without_userinfo(value) if isinstance(value, str) else value


def _without(spec: Spec, *names: str) -> Spec:
    return {name: value for name, value in spec.items() if name not in names}
