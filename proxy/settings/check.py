"""What no single value shows: names that mean something elsewhere, things that exclude each other, files to be there.

Works on what is valid by itself and says nothing about the rest, which has its errors already.
"""

from pathlib import Path
from typing import Final

from proxy.settings.check_audience import check_audience
from proxy.settings.check_flags import check_flags
from proxy.settings.check_hash import check_hash
from proxy.settings.check_plugins import check_plugins
from proxy.settings.check_policies import Surroundings, check_policies
from proxy.settings.check_rollout import check_rollout
from proxy.settings.check_route import check_route, signs_records, unit_chain, uses_minted_cookie
from proxy.settings.check_segments import check_segments, known
from proxy.settings.check_tokens import check_tokens
from proxy.settings.check_upstream import check_upstream_policies
from proxy.settings.draft import Draft
from proxy.settings.models.top import General
from proxy.settings.models.upstream import Upstream
from proxy.settings.problems import WARNING, KeyPath, suggestion
from proxy.settings.references import route_references
from proxy.settings.scalars import Address, format_duration, split_address
from proxy.settings.shadowing import Shadowing

_KILL_AFTER: Final = 10.0


def check(draft: Draft) -> None:
    """Report what is wrong between the parts of the draft."""
    if draft.general is not None:
        _addresses(draft, draft.general)
        _admin(draft, draft.general)
        _listener_certificates(draft, draft.general)
        _drain(draft, draft.general)
        _zone(draft, draft.general)
    for name, upstream in draft.upstreams.items():
        _upstream(draft, name, upstream)
        has_zone = draft.general is None or draft.general.zone is not None
        check_upstream_policies(upstream, ("upstreams", name), draft.report, has_zone=has_zone)
    check_segments(draft)
    check_tokens(draft)
    check_plugins(draft)
    _routes(draft)
    check_audience(draft.general, draft.routes, draft.report, draft.now)
    _state(draft)
    _exposure(draft)
    check_flags(draft)


def _addresses(draft: Draft, general: General) -> None:
    taken: list[tuple[Address, str]] = []
    places: list[tuple[KeyPath, str, str]] = [
        (("listen", index, "address"), one.address, "another listener") for index, one in enumerate(general.listen)
    ]
    places.append((("admin", "address"), general.admin.address, "the admin port"))
    if general.metrics is not None:
        places.append((("metrics",), general.metrics, "the metrics port"))
    if general.ofrep is not None:
        places.append((("ofrep", "listen"), general.ofrep.listen, "the port of flags"))
    for path, text, owner in places:
        address = split_address(text)
        if address.kind == "tcp" and address.port == 0:
            continue
        for other, who in taken:
            if _collide(address, other):
                draft.report(path, f"`{text}` is the address of {who} already")
                break
        taken.append((address, owner))


def _collide(one: Address, other: Address) -> bool:
    if one == other:
        return True
    if one.kind != "tcp" or other.kind != "tcp" or one.port != other.port:
        return False
    # All addresses of a family include each of them.
    families = {":" in one.host, ":" in other.host}
    return len(families) == 1 and bool({one.host, other.host} & {"0.0.0.0", "::"})


def _admin(draft: Draft, general: General) -> None:
    admin = general.admin
    if not admin.tokens and not split_address(admin.address).loopback:
        draft.report(
            ("admin", "address"),
            f"`{admin.address}` can be reached from outside: give `tokens`, or listen on 127.0.0.1"
            " (`metrics` is the port for who only reads)",
        )
    if admin.tls is not None:
        _pair(draft, ("admin", "tls"), admin.tls.certificate, admin.tls.key)


def _pair(draft: Draft, path: KeyPath, certificate: str, key: str) -> None:
    unreadable = False
    for name, value in (("certificate", certificate), ("key", key)):
        problem = draft.certificates.problem(value)
        if problem is not None:
            draft.report((*path, name), problem)
            unreadable = True
    if not unreadable:
        problem = draft.certificates.pair_problem(certificate, key)
        if problem is not None:
            draft.report((*path, "certificate"), problem)


def _listener_certificates(draft: Draft, general: General) -> None:
    for index, listener in enumerate(general.listen):
        if listener.tls is None:
            continue
        named: set[str] = set()
        for place, one in enumerate(listener.tls.certificates):
            path = ("listen", index, "tls", "certificates", place)
            _pair(draft, path, one.certificate, one.key)
            for number, host in enumerate(one.hosts):
                if host in named:
                    draft.report((*path, "hosts", number), f"`{host}` has a certificate already")
                named.add(host)


def _drain(draft: Draft, general: General) -> None:
    total = general.drain.delay + general.drain.limit
    if total > _KILL_AFTER:
        draft.report(
            ("drain",),
            f"leaving may take {format_duration(total)} (delay and limit), and container runtimes kill after 10s"
            " unless told: `docker stop -t`, `stop_grace_period`, `terminationGracePeriodSeconds`",
            WARNING,
        )


def _zone(draft: Draft, general: General) -> None:
    if general.zone is None or len(draft.upstreams) < len(draft.names("upstreams")):
        return
    zones = {one.zone for upstream in draft.upstreams.values() for one in upstream.endpoints if one.zone is not None}
    if not zones:
        if any(route is None or (route.rollout is not None and route.rollout.zones) for route in draft.routes):
            return  # rollouts begin by it
        draft.report(("zone",), "no endpoint has a `zone`, so this does nothing", WARNING)
    elif general.zone not in zones:
        message = f"no endpoint stands in `{general.zone}`"
        draft.report(("zone",), message + suggestion(general.zone, zones, "zones of endpoints"), WARNING)


def _upstream(draft: Draft, name: str, upstream: Upstream) -> None:
    path: KeyPath = ("upstreams", name)
    seen: set[str] = set()
    for index, endpoint in enumerate(upstream.endpoints):
        if endpoint.url in seen:
            draft.report(
                (*path, "endpoints", index, "url"),
                f"`{endpoint.url}` is listed twice; `weight` gives it a larger share",
            )
        seen.add(endpoint.url)
    tls = upstream.tls
    if tls is None:
        return
    if not any(url.startswith("https:") for url in seen):
        draft.report((*path, "tls"), "no endpoint is `https://`, so this does nothing", WARNING)
    if tls.ca is not None:
        problem = draft.certificates.problem(tls.ca) or draft.certificates.authorities_problem(tls.ca)
        if problem is not None:
            draft.report((*path, "tls", "ca"), problem)
    if tls.certificate is not None and tls.key is not None:
        _pair(draft, (*path, "tls"), tls.certificate, tls.key)
    elif tls.certificate is not None or tls.key is not None:
        given, absent = ("certificate", "key") if tls.certificate is not None else ("key", "certificate")
        draft.report((*path, "tls", given), f"`{given}` wants `{absent}` beside it")


def _routes(draft: Draft) -> None:
    first: dict[str, int] = {}
    used: set[str] = set()
    upstreams = draft.names("upstreams")
    segments = draft.names("segments")
    given = draft.values.get("routes")
    for index, raw in enumerate(given if isinstance(given, list) else ()):
        versions = raw.get("versions") if isinstance(raw, dict) else None
        names = {
            "upstream": upstreams,
            "segment": segments,
            "version": versions if isinstance(versions, dict) else {},
            "holdout": draft.names("holdouts"),
            "layer": draft.names("layers"),
            "plugin": draft.listed("plugins"),
        }
        for path, what, other in route_references(raw):
            known(draft.report, ("routes", index, *path), what, other, names[what])
            if what == "upstream":
                used.add(other)
        name = raw.get("name") if isinstance(raw, dict) else None
        if isinstance(name, str) and first.setdefault(name, index) != index:
            taken = draft.where(("routes", first[name], "name"))
            draft.report(("routes", index, "name"), f"`{name}` is the name of another route, at {taken}")
    shadowing = Shadowing()
    around = Surroundings(draft.upstreams, draft.general, draft.now)
    for index, route in enumerate(draft.routes):
        if route is not None:
            check_route(route, ("routes", index), draft.report)
            check_hash(route, ("routes", index), draft.report)
            check_policies(route, ("routes", index), draft.report, around)
            check_rollout(route, ("routes", index), draft.report, draft.general, draft.now)
            before = shadowing.add(route)
            if before is not None:
                message = f"never reached: route `{before}` above takes every request that this one would"
                draft.report(("routes", index), message, WARNING)
    for name in draft.upstreams:
        if name not in used:
            draft.report(("upstreams", name), "no route uses this upstream", WARNING)


def _state(draft: Draft) -> None:
    general = draft.general
    if general is not None and general.state is not None:
        _place_of_state(draft, Path(general.state.partition(":")[2]))
    if general is None or general.state is not None or general.secrets.cookie:
        return
    keeping = [route.name for route in draft.routes if route is not None and signs_records(route)]
    minting = [route.name for route in draft.routes if route is not None and uses_minted_cookie(route)]
    if minting:
        draft.report(
            (),
            f"without `state` or `secrets.cookie` the key of minted cookies is forgotten at a restart,"
            f" and the units of route `{minting[0]}`{' and others' if len(minting) > 1 else ''} are dealt anew",
            WARNING,
        )
    elif keeping:
        draft.report(
            (),
            "without `state` or `secrets.cookie` the key of signed cookies is forgotten at a restart,"
            f" and with it what the units of route `{keeping[0]}` have kept or chosen",
            WARNING,
        )


def _place_of_state(draft: Draft, path: Path) -> None:
    """A warning only: the file may be checked on one machine and run on another."""
    if path.is_dir():
        draft.report(
            ("state",),
            f"`{path}` is a directory on this machine: name a file, such as `sqlite:{path / 'tidegate.db'}`",
            WARNING,
        )
    elif not path.parent.is_dir():
        draft.report(
            ("state",),
            f"there is no directory `{path.parent}` on this machine: make it before the proxy starts",
            WARNING,
        )


def _exposure(draft: Draft) -> None:
    general = draft.general
    recording = [index for index, route in enumerate(draft.routes) if route is not None and route.exposure]
    for index in recording:
        route = draft.routes[index]
        if general is not None and general.state is None:
            draft.report(
                ("routes", index, "exposure"),
                "records of exposures want a place to be kept: give `state: sqlite:PATH` (they get a file beside it)",
            )
        if route is not None and not unit_chain(route):
            draft.report(
                ("routes", index, "exposure"),
                "the route has no unit, so there is nobody to record: give `unit`",
                WARNING,
            )
    if not recording and "exposure" in draft.values and None not in draft.routes:
        draft.report(("exposure",), "no route has `exposure: true`, so this does nothing", WARNING)
