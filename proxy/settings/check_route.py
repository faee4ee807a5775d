"""What no single value of a route shows: its versions, rules, mirrors and rewrites against each other and the rest."""

from typing import Final

from proxy.settings.models.route import Route
from proxy.settings.problems import WARNING, KeyPath, Report

DEFAULT_MINTED: Final = "tg_unit"
_NOT_SETTABLE: Final = frozenset({
    "connection", "content-length", "expect", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding",
    "upgrade", "via",
})  # fmt: skip


def effective_weights(route: Route) -> dict[str, float]:
    """Weight by version: `active` has 100 and the others none, a lone version has all, what has no weight has 0."""
    if route.active is not None:
        return {name: 100.0 if name == route.active else 0.0 for name in route.versions}
    if len(route.versions) == 1:
        return {name: 100.0 if version.weight is None else version.weight for name, version in route.versions.items()}
    return {name: version.weight or 0.0 for name, version in route.versions.items()}


def unit_chain(route: Route) -> list[tuple[str, str]]:
    """The unit's sources as (kind, name).

    A route that says nothing mints a cookie where units matter (more than one version with weight, rules with units or a
    split, a holdout, a layer, records to keep, flags to tell of, or a rollout), and has no units, and sets no cookies, where
    they do not.
    """
    if route.unit is not None:
        return [(kind, "" if name is True else str(name)) for source in route.unit for kind, name in source.given()]
    sharing = sum(weight > 0 for weight in effective_weights(route).values()) > 1
    apart = route.holdout is not None or route.layer is not None or keeps_records(route) or bool(route.inject_flags)
    apart = apart or route.rollout is not None
    if sharing or apart or any(rule.units is not None or rule.split is not None for rule in route.rules):
        return [("mint_cookie", DEFAULT_MINTED)]
    return []


def signs_records(route: Route) -> bool:
    """Whether units bring along which version they got, or chose."""
    return keeps_records(route) or route.choice is not None


def keeps_records(route: Route) -> bool:
    """Whether units bring along which version they got."""
    return route.stickiness is not None and route.stickiness.mode != "hash"


def uses_minted_cookie(route: Route) -> bool:
    """Whether the route mints units into cookies."""
    return any(kind == "mint_cookie" for kind, _ in unit_chain(route))


def check_route(route: Route, path: KeyPath, report: Report) -> None:
    """Report what is wrong within the route. The names it uses are looked up elsewhere (references)."""
    _fallback_circles(route, path, report)
    _weights(route, path, report)
    _caps(route, path, report)
    _rules(route, path, report)
    shadows: set[str] = set()
    for index, mirror in enumerate(route.mirror):
        here: KeyPath = (*path, "mirror", index)
        if mirror.upstream in shadows:
            report((*here, "upstream"), f"`{mirror.upstream}` is a mirror of this route already")
        shadows.add(mirror.upstream)
        if mirror.sample == "unit" and mirror.percent < 100 and not unit_chain(route):
            message = "copies are drawn by unit and the route has no unit: give `unit`, or `sample: request`"
            report(here, message, WARNING)
    _rewrite(route, path, report)


def _fallback_circles(route: Route, path: KeyPath, report: Report) -> None:
    told: set[str] = set()
    for start in route.versions:
        trail: list[str] = []
        name: str | None = start
        while name is not None and name in route.versions and name not in trail:
            trail.append(name)
            name = route.versions[name].fallback
        if name == start and start not in told:
            told.update(trail)
            ring = " -> ".join([*trail, start])
            report((*path, "versions", start, "fallback"), f"versions fall back to each other in a circle: {ring}")


def _weights(route: Route, path: KeyPath, report: Report) -> None:
    versions = list(route.versions)
    if route.active is not None:
        for name, version in route.versions.items():
            if version.weight is not None:
                report(
                    (*path, "versions", name, "weight"), "`active` gives the weights (100 and 0); leave `weight` out"
                )
        return
    weights = effective_weights(route)
    if not any(weights.values()) and len(versions) > 1:
        report(
            (*path, "versions"),
            f"all weights are 0: every unit gets `{route.default or versions[0]}`, the default version",
            WARNING,
        )
    if route.unit == [] and sum(weight > 0 for weight in weights.values()) > 1:
        report(
            (*path, "unit"),
            f"without a unit every request gets `{route.default or versions[0]}`, the default version,"
            " whatever the weights",
            WARNING,
        )


def _caps(route: Route, path: KeyPath, report: Report) -> None:
    default = route.default or route.active or next(iter(route.versions))
    for name, version in route.versions.items():
        here: KeyPath = (*path, "versions", name, "cap")
        if version.cap is None:
            continue
        if not route.exposure:
            report(here, "units are counted as they are exposed: give the route `exposure: true`", key=True)
        if name == default:
            report(here, f"`{name}` is the default version, which serves whoever gets nothing else", key=True)
        if not unit_chain(route):
            report(here, "the route has no unit, so there is nobody to count: give `unit`", key=True)


def _rules(route: Route, path: KeyPath, report: Report) -> None:
    for index, rule in enumerate(route.rules):
        here: KeyPath = (*path, "rules", index)
        if rule.split is not None and not any(rule.split.values()):
            report((*here, "split"), "all weights are 0, so nobody gets anything by this rule")
        if route.unit == [] and (rule.units is not None or rule.split is not None):
            report(here, "the route has no unit (`unit: []`), so this rule never holds", WARNING)


def _rewrite(route: Route, path: KeyPath, report: Report) -> None:
    if route.rewrite is None:
        return
    removed = set(route.rewrite.remove_headers)
    seen: set[str] = set()
    for name in route.rewrite.set_headers:
        here: KeyPath = (*path, "rewrite", "set_headers", name)
        low = name.lower()
        if low in _NOT_SETTABLE or low.startswith("x-tidegate-"):
            report(here, f"`{name}` is the proxy's own to set")
        elif low in seen:
            report(here, f"`{name}` is set twice")
        elif low in removed:
            report(here, f"`{name}` is set and removed")
        seen.add(low)
    for index, name in enumerate(route.rewrite.remove_headers):
        if name in _NOT_SETTABLE or name == "host" or name.startswith("x-tidegate-"):
            report((*path, "rewrite", "remove_headers", index), f"`{name}` is the proxy's own to set")
