"""What of a rollout's plan may be shown: everything but the keys of its hooks, and the paths of URLs, which are keys too."""

from typing import Any, Final
from urllib.parse import urlsplit

from proxy.rollout.sending import origin

REDACTED: Final = "(redacted)"

Spec = dict[str, Any]


def without_secrets(plan: Spec) -> Spec:
    """A copy of a plan to be shown. A secret that is not there stays None, so that one sees that there is none."""
    return {
        **plan,
        "webhooks": [
            {**one, "url": _host_of(one["url"]), "secret": REDACTED if one["secret"] else None}
            for one in plan["webhooks"]
        ],
        "notify": [{**one, "url": _host_of(one["url"])} for one in plan["notify"]],
    }


def _host_of(url: str) -> str:
    parts = urlsplit(url)
    bare = origin(url)
    return bare if parts.path in {"", "/"} and not parts.query else f"{bare}/{REDACTED}"
