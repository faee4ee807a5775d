"""What no single value shows of flags: flags that need each other, routes they follow, and the port that serves them."""

from collections.abc import Collection
from typing import Final

from proxy.settings.check_audience import check_end
from proxy.settings.check_segments import known
from proxy.settings.draft import Draft
from proxy.settings.models.flags import Flag, Ofrep
from proxy.settings.models.route import Route
from proxy.settings.problems import WARNING, KeyPath, suggestion
from proxy.settings.references import flag_references
from proxy.settings.scalars import split_address

MAX_DEPTH: Final = 16
"""Prerequisites of prerequisites."""


def check_flags(draft: Draft) -> None:
    """Report what is wrong; fills `draft.flag_order`."""
    names = draft.names("flags")
    route_names = {route.name: route for route in draft.routes if route is not None}
    given = draft.values.get("routes")
    raw_names = {one.get("name") for one in given if isinstance(one, dict)} if isinstance(given, list) else set()
    things = {"flag": names, "segment": draft.names("segments")}
    for path, what, other in flag_references(draft.values.get("flags")):
        if what == "route":
            known(draft.report, path, what, other, [name for name in raw_names if isinstance(name, str)])
        else:
            known(draft.report, path, what, other, things[what])
    _injected(draft, names)
    general = draft.general
    if general is None:
        return
    _order(draft, general.flags)
    for name, flag in general.flags.items():
        _flag(draft, name, flag, route_names, raw_names)
    if general.ofrep is not None:
        _port(draft, general.ofrep)
    elif general.flags and None not in draft.routes and not any(one and one.inject_flags for one in draft.routes):
        draft.report(("flags",), "nobody is told of flags: give `ofrep`, or `inject_flags` of a route", WARNING)


def _flag(draft: Draft, name: str, flag: Flag, routes: dict[str, Route], route_names: Collection[object]) -> None:
    path: KeyPath = ("flags", name)
    if flag.until is not None:
        check_end((*path, "until"), "flag", flag.until, draft.report, draft.now, "off")
    for index, rule in enumerate(flag.rules):
        if rule.until is not None:
            check_end((*path, "rules", index, "until"), "rule", rule.until, draft.report, draft.now)
    if flag.route is None and name in route_names:
        draft.report(
            path,
            f"`{name}` is a route, too: give `route: {name}`, so that both say the same of a unit, or another name",
        )
    route = routes.get(flag.route or "")
    if route is not None:
        _follows(draft, path, flag, route)
    for other, variants in flag.prerequisites.items():
        needed = None if draft.general is None else draft.general.flags.get(other)
        if needed is None:
            continue
        followed = routes.get(needed.route or "")
        has = needed.values() or (followed.versions if followed is not None else dict.fromkeys(variants))
        for variant in variants:
            if variant not in has:
                message = f"flag `{other}` has no variant `{variant}`" + suggestion(variant, has, "variants")
                draft.report((*path, "prerequisites", other), message)


def _order(draft: Draft, flags: dict[str, Flag]) -> None:
    done: set[str] = set()

    def visit(name: str, trail: list[str], path: KeyPath) -> None:
        if name in trail:
            ring = " -> ".join([*trail[trail.index(name) :], name])
            draft.report(path, f"flags need each other in a circle: {ring}")
            done.update(trail)
        elif name in flags and name not in done:
            if len(trail) >= MAX_DEPTH:
                draft.report(path, f"prerequisites are more than {MAX_DEPTH} deep: {trail[0]} -> ... -> {name}")
                done.update(trail)
                return
            for other in flags[name].prerequisites:
                visit(other, [*trail, name], ("flags", name, "prerequisites", other))
            if name not in done:
                done.add(name)
                draft.flag_order.append(name)

    for name in flags:
        visit(name, [], ("flags", name))


def _follows(draft: Draft, path: KeyPath, flag: Flag, route: Route) -> None:
    values = flag.values()
    absent = [version for version in route.versions if values and version not in values]
    if absent:
        draft.report((*path, "variants"), f"version `{absent[0]}` of route `{route.name}` has no value here")
    named = values or route.versions
    if flag.off is not None and flag.off not in named:
        draft.report((*path, "off"), f"there is no variant `{flag.off}`" + suggestion(flag.off, named, "variants"))


def _port(draft: Draft, ofrep: Ofrep) -> None:
    general = draft.general
    address = split_address(ofrep.listen)
    if address.kind == "fd":
        draft.report(("ofrep", "listen"), "a passed socket is for `listen`; this is an address or `unix:/path`")
    elif not ofrep.tokens and not address.loopback:
        draft.report(
            ("ofrep", "listen"),
            f"`{ofrep.listen}` can be reached from outside, and without `tokens` whoever reaches it reads every flag",
            WARNING,
        )
    by_field = any(one.header is not None for one in ofrep.known.values())
    if by_field and general is not None and not general.trusted_proxies:
        draft.report(("ofrep", "known"), "nobody is in `trusted_proxies`, so that none of these is ever there", WARNING)
    if not draft.names("flags"):
        draft.report(("ofrep",), "there are no `flags`, so it has nothing to serve", WARNING)


def _injected(draft: Draft, names: frozenset[str]) -> None:
    for index, route in enumerate(draft.routes):
        if route is None:
            continue
        folded: dict[str, str] = {}
        for place, name in enumerate(route.inject_flags):
            path: KeyPath = ("routes", index, "inject_flags", place)
            known(draft.report, path, "flag", name, names)
            if folded.setdefault(name.lower(), name) != name or route.inject_flags.index(name) != place:
                draft.report(path, f"`{name}` has the field of another flag here")
        if route.inject_flags and route.cache is not None:
            draft.report(
                ("routes", index, "inject_flags"),
                "does not go with `cache`: an answer made for one unit's flags would be given to another",
            )
