"""The spec of flags (core/flags.py): those that others need stand before them."""

from collections.abc import Mapping, Sequence
from typing import Any

from proxy.settings.models.flags import Flag
from proxy.settings.models.route import Route

Spec = dict[str, Any]


def flags_spec(flags: Mapping[str, Flag], order: Sequence[str], routes: Mapping[str, Route]) -> list[Spec]:
    """The spec of checked flags; `order` names each after those it needs, `routes` are by name."""
    return [_flag(name, flags[name], routes) for name in order]


def _flag(name: str, flag: Flag, routes: Mapping[str, Route]) -> Spec:
    kind = flag.kind()
    values = flag.values()
    default = flag.default or ""
    if flag.route is not None:
        route = routes[flag.route]
        values = values or {version: version for version in route.versions}
        default = route.default or route.active or next(iter(route.versions))
    return {
        "name": name,
        "type": kind,
        "variants": {key: float(value) if kind == "float" else value for key, value in values.items()},
        "default": default,
        "off": flag.off or ("off" if "off" in values else default),
        "on": flag.on,
        "until": flag.until or 0.0,
        "salt": name if flag.salt is None else flag.salt,
        "route": flag.route or "",
        "prerequisites": {other: list(variants) for other, variants in flag.prerequisites.items()},
        "rules": [rule.spec(index) for index, rule in enumerate(flag.rules)],
        "split": None if flag.split is None else dict(flag.split),
    }
