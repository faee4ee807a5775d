"""What no single value shows of kills, rings, holdouts, layers and ends: against each other, and against the clock."""

import re
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Final

from proxy.settings.check_route import keeps_records, unit_chain
from proxy.settings.models.audience import Kill, LayerPart
from proxy.settings.models.choice import choice_cookie, choice_path
from proxy.settings.models.route import Route
from proxy.settings.models.stickiness import cookie_name
from proxy.settings.models.top import General
from proxy.settings.problems import WARNING, KeyPath

Report = Callable[..., None]

SOON: Final = 3 * 24 * 3600.0
"""Seconds before an end from which on it is told."""


def check_audience(general: General | None, routes: Sequence[Route | None], report: Report, now: float) -> None:
    """Report what is wrong. `now` is the time in seconds since 1970."""
    for path, what, until in _ends(general, routes):
        check_end(path, what, until, report, now)
    for index, route in enumerate(routes):
        if route is not None:
            _route(route, ("routes", index), report, now)
            _choice(route, ("routes", index), report)
    _layers(routes, report)
    _records(routes, report)
    if general is not None and None not in routes:
        _unused(general, [route for route in routes if route is not None], report)


def _ends(general: General | None, routes: Sequence[Route | None]) -> Iterator[tuple[KeyPath, str, float]]:
    """Everything that has an end: where it is said, what ends, and when."""
    if general is not None:
        yield from _kill_end(("kill",), general.kill)
        for name, holdout in general.holdouts.items():
            if holdout.until is not None:
                yield ("holdouts", name, "until"), "holdout", holdout.until
    for index, route in enumerate(routes):
        if route is None:
            continue
        here: KeyPath = ("routes", index)
        yield from _kill_end((*here, "kill"), route.kill)
        for name, version in route.versions.items():
            yield from _kill_end((*here, "versions", name, "kill"), version.kill)
        for place, rings in enumerate(route.rings):
            if rings.until is not None:
                yield (*here, "rings", place, "until"), "list of rings", rings.until
        for place, rule in enumerate(route.rules):
            if rule.until is not None:
                yield (*here, "rules", place, "until"), "rule", rule.until
        if route.preview is not None and route.preview.until is not None:
            yield (*here, "preview", "until"), "preview", route.preview.until


def _kill_end(path: KeyPath, kill: Kill) -> Iterator[tuple[KeyPath, str, float]]:
    if kill.on and kill.until is not None:
        yield (*path, "until"), "kill", kill.until


def check_end(
    path: KeyPath, what: str, until: float, report: Report, now: float, then: str = "as if it were not there"
) -> None:
    """Report an end that has come, or is near."""
    moment = datetime.fromtimestamp(until, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    if until <= now:
        report(path, f"this {what} is over since {moment}: it is {then}, and can go", WARNING)
    elif until - now <= SOON:
        report(path, f"this {what} is over soon, at {moment}; from then on it is {then}", WARNING)


def _route(route: Route, path: KeyPath, report: Report, now: float) -> None:
    default = route.default or route.active or next(iter(route.versions))
    killed = [
        name
        for name, version in route.versions.items()
        if version.kill.on and (version.kill.until is None or version.kill.until > now)
    ]
    left = [name for name in route.versions if name not in killed]
    if not left:
        report((*path, "versions"), "every version is killed: all requests are answered with 403", WARNING)
    elif default in killed:
        report(
            (*path, "versions", default, "kill"),
            f"`{default}` is the default version: who would get it as such gets `{left[0]}`, the first that is left",
            WARNING,
        )
    if route.unit == []:
        for key, what, there in (
            ("holdout", "nobody is held out", route.holdout is not None),
            ("layer", "nobody is in a layer", route.layer is not None),
            ("stickiness", "nobody keeps a version", keeps_records(route)),
        ):
            if there:
                report((*path, key), f"the route has no unit (`unit: []`), so {what}", WARNING)
    for place, rings in enumerate(route.rings):
        if rings.version == default and not any(name != default for name in route.versions):
            report((*path, "rings", place, "version"), f"`{default}` is the only version, so rings do nothing", WARNING)


def _layers(routes: Sequence[Route | None], report: Report) -> None:
    """Parts of one layer that overlap, or whose units are other ones: a user would then be in two experiments, which a layer is
    there to prevent."""
    taken: dict[str, list[tuple[LayerPart, str]]] = {}
    chains: dict[str, tuple[list[tuple[str, str]], str]] = {}
    for index, route in enumerate(routes):
        if route is None or route.layer is None:
            continue
        part = route.layer
        others = taken.setdefault(part.name, [])
        for other, owner in others:
            if part.from_ < other.to and other.from_ < part.to:
                report(
                    ("routes", index, "layer"),
                    f"{part.from_:g} to {part.to:g} overlaps with route `{owner}`, which has"
                    f" {other.from_:g} to {other.to:g} of layer `{part.name}`",
                )
                break
        others.append((part, route.name))
        chain = unit_chain(route)
        first, owner = chains.setdefault(part.name, (chain, route.name))
        if chain and first and chain != first:
            report(
                ("routes", index, "layer"),
                f"route `{owner}` of layer `{part.name}` finds its units elsewhere: one user may be two units, and so in both"
                " parts",
                WARNING,
            )


def _records(routes: Sequence[Route | None], report: Report) -> None:
    """Cookies of one name for two purposes: one would overwrite the other with each answer."""
    taken: dict[str, str] = {}
    for route in routes:
        for kind, name in unit_chain(route) if route is not None else ():
            if kind in {"cookie", "mint_cookie"}:
                taken.setdefault(name, "a unit")
    for index, route in enumerate(routes):
        if route is None:
            continue
        names = []
        if route.stickiness is not None and route.stickiness.until is not None and route.rollout is None:
            message = "there are no steps without a `rollout` on the route: give `max_age` alone"
            report(("routes", index, "stickiness", "until"), message)
        if route.stickiness is not None and keeps_records(route):
            names.append(("stickiness", cookie_name(route.stickiness, route.name), "records"))
        if route.choice is not None:
            names.append(("choice", choice_cookie(route.choice, route.name), "choices"))
        for key, name, what in names:
            if name in taken:
                message = f"the cookie `{name}` carries {taken[name]} already: give another `cookie`"
                report(("routes", index, key), message)
            taken.setdefault(name, f"the {what} of route `{route.name}`")


def _choice(route: Route, path: KeyPath, report: Report) -> None:
    """A page that the route does not take, or that cannot be used."""
    choice, match = route.choice, route.match
    if choice is None:
        return
    where = choice_path(choice, match.path_prefix)
    prefix = match.path_prefix or "/"
    if match.path is not None:
        taken = where == match.path
    elif match.path_regex is not None:
        taken = re.fullmatch(match.path_regex, where) is not None
    else:
        taken = prefix.endswith("/") or where == prefix or where.startswith(f"{prefix}/")
        taken = taken and where.startswith(prefix)
    if not taken:
        report((*path, "choice"), f"the route does not take the path `{where}`: give a `path` that it takes")
    missing = [method for method in ("GET", "POST") if match.methods and method not in match.methods]
    if missing:
        report((*path, "choice"), f"the route does not take {' and '.join(missing)}, by which one chooses")


def _unused(general: General, routes: Sequence[Route], report: Report) -> None:
    held = {route.holdout for route in routes}
    layered = {route.layer.name for route in routes if route.layer is not None}
    for key, what, names, used in (
        ("holdouts", "holdout", general.holdouts, held),
        ("layers", "layer", general.layers, layered),
    ):
        for name in names:
            if name not in used:
                report((key, name), f"no route names this {what}", WARNING)
