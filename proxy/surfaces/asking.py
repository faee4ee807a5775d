"""What would become of a request: put together from its parts, matched, and decided by the code that does it for real.

Behind `tidegate explain` and `/api/v1/explain`. The one has a file, the other the plan in force.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic_core import PydanticCustomError

from proxy.core.address import Networks, resolve_client
from proxy.core.build import build_flags
from proxy.core.caps import CapRecord
from proxy.core.cookies import UnitCookies
from proxy.core.decide import find_unit, take_records
from proxy.core.explanation import explain
from proxy.core.flag_explanation import explain_flag
from proxy.core.flags import FlagSet
from proxy.core.http1 import parse_request
from proxy.core.match import expression_key, list_key
from proxy.core.plan import Plan, Route
from proxy.core.request import Request
from proxy.core.unit_table import UnitList
from proxy.errors import ProtocolError
from proxy.expressions import compiled, expressions_in, matchers_of
from proxy.settings.models.flags import TARGETING_KEY
from proxy.settings.rates import parse_moment

Spec = dict[str, Any]

ASKED: Final = "asked"
"""The kind of a unit that did not come with the request."""

_KNOWN_WITHOUT_A_UNIT: Final = frozenset(("preview", "ring", "segment"))
_KILLS: Final = frozenset(("kill", "route.kill"))


class WishError(Exception):
    """Something asked for cannot be; the message is for whoever asked. `part` is the word of the wish it is about."""

    def __init__(self, message: str, part: str = "") -> None:
        super().__init__(message)
        self.part: Final = part


class NothingThereError(WishError):
    """The wish can be read, and there is no such route, or none that takes the request."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked about. Everything may be left out but a route or something of a request.

    `url` says host and path at once; `unit` stands in the place of the one that the request would bring; `headers` are
    lines `NAME: VALUE`; `client` is the address the request comes from; `at` is the time, in Unix seconds; `claims` are
    those of its token, NAME=VALUE, more of one name for a list. Tokens in the headers are not looked at.
    `flag` asks for a flag instead: as an application does, with `attributes` (NAME=VALUE), or, where a route or something of
    a request is given, as that route tells its upstreams.
    """

    route: str | None = None
    url: str | None = None
    host: str | None = None
    path: str | None = None
    method: str = "GET"
    unit: str | None = None
    headers: Sequence[str] = ()
    client: str = "127.0.0.1"
    at: float = 0.0
    claims: Sequence[str] = ()
    flag: str | None = None
    attributes: Sequence[str] = ()

    @property
    def routed(self) -> bool:
        """Whether it is about a request to a route."""
        return any(one is not None for one in (self.route, self.url, self.host, self.path))


def moment(text: str) -> float:
    """Unix seconds of a point in time with its zone. Raises WishError."""
    try:
        return parse_moment(text)
    except PydanticCustomError as error:
        raise WishError(error.message(), "at") from None


def answer(wish: Wish, plan: Plan, spec: Spec, lists: Mapping[str, UnitList] | None = None) -> Spec:
    """The explanation of a decision (core/explanation) with the split's shares, flags that go up, and notes; or of a flag
    (core/flag_explanation) with notes.

    `spec` is the one the plan was built from, `lists` the lists of units. Raises WishError.
    """
    segments = {one["name"]: one["where"] for one in spec["segments"]}
    segments |= {list_key(name): {"has_unit": units.has_unit} for name, units in (lists or {}).items()}
    expressions = compiled(expressions_in([spec["segments"], spec["routes"], spec["flags"]]))
    segments |= {expression_key(text): {"evaluate": one.evaluate} for text, one in expressions.items()}
    flags = plan.flags if isinstance(plan.flags, FlagSet) else build_flags(spec, lists, matchers_of(spec))
    _with_records(flags, plan)
    if wish.flag is not None and wish.flag not in flags.flags:
        names = ", ".join(flags.flags) or "none"
        raise NothingThereError(f"there is no flag {wish.flag}; flags: {names}", "flag")
    if wish.attributes and (wish.flag is None or wish.routed):
        raise WishError("attributes are those of the context that an application asks for a flag with", "attribute")
    if wish.flag is not None and not wish.routed:
        return _asked_for(wish.flag, flags, plan, wish, segments)
    host, path = wish.host, wish.path
    if wish.url is not None:
        if host is not None or path is not None:
            raise WishError("the URL says host and path already: leave them out", "url")
        host, path = _split(wish.url)
    named = None
    if wish.route is not None:
        named = next((one for one in plan.routes if one.name == wish.route), None)
        if named is None:
            names = ", ".join(one.name for one in plan.routes)
            raise NothingThereError(f"there is no route {wish.route}; routes: {names}", "route")
    request = _request(plan, (wish.method, path or _a_path(named)), host or _a_host(named), wish)
    found = plan.find(request)
    route = named or found
    if route is None:
        whither = f" for {host}" if host else ""
        raise NothingThereError(f"no route takes {wish.method} {path or '/'}{whither}: the answer is 404")
    explained = _explained(plan, route, request, wish.unit, segments, flags, wish.flag)
    if named is not None and (host is not None or path is not None) and found is not named:
        explained["notes"].append(
            f"this request goes to route {found.name}, not to {named.name}"
            if found
            else "no route takes this request: 404"
        )
    return explained


def _with_records(flags: FlagSet, plan: Plan) -> None:
    """Flags that follow a route know what the plan knows of its caps."""
    routes = {route.name: route for route in plan.routes}
    for flag in flags.flags.values():
        if flag.route is not None and flag.route.capped and flag.route.name in routes:
            known = routes[flag.route.name].by_name
            for version in flag.route.capped:
                other = known[version.name].cap
                if version.cap is not None and other is not None:
                    version.cap.record = other.record


def _split(url: str) -> tuple[str, str]:
    try:
        parts = urlsplit(url if "://" in url else f"http://{url}")
    except ValueError:
        raise WishError("is not a URL", "url") from None
    if not parts.netloc:
        raise WishError("has no host", "url")
    return parts.netloc, (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _a_host(route: Route | None) -> str:
    """A host the route takes, for a request that names the route and no host."""
    if route is None or not route.hosts:
        return "localhost"
    return route.hosts[0].replace("*.", "any.")


def _a_path(route: Route | None) -> str:
    """A path the route takes, for a request that names the route and no path."""
    return "/" if route is None else route.path or route.path_prefix or "/"


def _request(plan: Plan, line: tuple[str, str], host: str, wish: Wish) -> Request:
    """The request as the data plane would have read it. Raises WishError where that would have refused it."""
    lines = [f"{line[0]} {line[1]} HTTP/1.1", f"Host: {host}"]
    for header in wish.headers:
        name, colon, value = header.partition(":")
        if not colon:
            raise WishError(f"{header!r} is not NAME: VALUE", "header")
        if name.strip().lower() == "host":
            lines[1] = f"Host: {value.strip()}"
        else:
            lines.append(f"{name.strip()}: {value.strip()}")
    try:
        request = parse_request("\r\n".join(lines).encode(), plan.client.max_fields, plan.client.max_target)
    except ProtocolError as error:
        raise WishError(f"the proxy would refuse this request with {error.status}: {error.detail}") from None
    try:
        Networks([wish.client])
    except ValueError:
        raise WishError(f"{wish.client!r} is not an address", "client") from None
    request.trusted = plan.trusted.contains(wish.client)
    request.client = resolve_client(wish.client, request.fields.get(b"x-forwarded-for", b""), plan.trusted)
    request.at = wish.at
    request.claims = _claims(wish.claims)
    return request


def _claims(given: Sequence[str]) -> dict[bytes, list[bytes]]:
    claims: dict[bytes, list[bytes]] = {}
    for name, value in _pairs(given, "claim"):
        claims.setdefault(name, []).append(value)
    return claims


def _pairs(given: Sequence[str], part: str) -> list[tuple[bytes, bytes]]:
    pairs = []
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise WishError(f"{one!r} is not NAME=VALUE", part)
        pairs.append((name.encode(), value.encode()))
    return pairs


def _asked_for(name: str, flags: FlagSet, plan: Plan, wish: Wish, segments: Mapping[str, Spec]) -> Spec:
    """A flag as an application asks for it: the unit is what it says, and attributes are there."""
    request = _request(plan, ("POST", "/"), "localhost", wish)
    request.attributes = dict(_pairs(wish.attributes, "attribute"))
    unit = wish.unit.encode() if wish.unit else None
    if unit is not None:
        request.attributes[TARGETING_KEY.encode()] = unit
    request.unit = unit
    return explain_flag(flags, name, request, unit, "" if unit is None else ASKED, segments) | {"notes": []}


def _explained(
    plan: Plan,
    route: Route,
    request: Request,
    unit: str | None,
    segments: Mapping[str, Spec],
    flags: FlagSet,
    flag: str | None,
) -> Spec:
    notes: list[str] = []
    minted = b""
    if unit:  # an empty one is none, as in a request
        value: bytes | None = unit.encode()
        kind = ASKED
    else:
        # Where control makes a key because the file has none, a cookie is minted as well.
        value, kind, minted = find_unit(route, request, UnitCookies(plan.cookie_keys or [b"explain only"]))
    request.unit = value
    take_records(route, request, value, plan.cookies)
    if flag is not None:
        if flag not in route.inject_flags:
            notes.append(f"route {route.name} does not tell its upstreams of this flag: it is not in `inject_flags`")
        if minted:
            notes.append(_minted(minted, "variant"))
        return explain_flag(flags, flag, request, value, kind, segments) | {"notes": notes}
    explained = explain(route, request, value, kind, segments)
    explained["flags"] = [_told(flags, name, request, value, bool(minted)) for name in route.inject_flags]
    known = explained["reason"] in _KNOWN_WITHOUT_A_UNIT or explained["rule"] in _KILLS
    explained["drawn"] = bool(minted) and not known
    if minted and not known:
        explained["version"], explained["reason"], explained["next"] = None, "split", None
        notes.append(_minted(minted, "version"))
    if route.claimed and not request.claims and plan.tokens is not None and plan.tokens.token(request):
        notes.append("the token is not looked at here: give its claims")
    if any(version.cap is not None and type(version.cap.record) is CapRecord for version in route.capped):
        notes.append(
            "how many units have had a version that has a cap is not known here: the admin port's explain knows"
        )
    if route.plugins:
        asked = ", ".join(route.plugins)
        notes.append(f"plugins are asked by workers alone, and may name another unit or version: {asked}")
    weights = {version.name: version.weight for version in route.versions}
    total = sum(weights.values())
    explained["split"] = {name: (weight / total if total else 0.0) for name, weight in weights.items()}
    explained["notes"] = notes
    return explained


def _told(flags: FlagSet, name: str, request: Request, unit: bytes | None, minted: bool) -> Spec:
    """What the route's upstream is told of a flag; the variant is None where nothing is, or is drawn for a unit that has yet
    to be minted."""
    found = flags.evaluate(name, request, unit)
    return {
        "flag": name,
        "variant": None if minted and found.unit_missing else found.variant or None,
        "reason": found.reason,
        "detail": found.detail,
        "rule": found.rule,
    }


def _minted(cookie: bytes, what: str) -> str:
    return (
        f"no unit came with the request: one is minted into the cookie {cookie.decode()}, and its {what} is"
        " the luck of the draw; give the unit to ask for a certain one"
    )
