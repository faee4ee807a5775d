"""What would become of a request: put together from its parts, matched, and decided by the code that does it for real.

Behind `tidegate explain` and `/api/v1/explain`. The one has a file, the other the plan in force.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic_core import PydanticCustomError

from proxy.core.address import Networks, resolve_client
from proxy.core.cookies import UnitCookies
from proxy.core.decide import find_chosen, find_kept, find_unit
from proxy.core.explanation import explain
from proxy.core.http1 import parse_request
from proxy.core.match import list_key
from proxy.core.plan import Plan, Route
from proxy.core.request import Request
from proxy.core.unit_table import UnitList
from proxy.errors import ProtocolError
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


def moment(text: str) -> float:
    """Unix seconds of a point in time with its zone. Raises WishError."""
    try:
        return parse_moment(text)
    except PydanticCustomError as error:
        raise WishError(error.message(), "at") from None


def answer(wish: Wish, plan: Plan, spec: Spec, lists: Mapping[str, UnitList] | None = None) -> Spec:
    """The explanation (see core/explanation) with the split's shares, and notes.

    `spec` is the one the plan was built from, `lists` the lists of units. Raises WishError.
    """
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
    segments = {one["name"]: one["where"] for one in spec["segments"]}
    segments |= {list_key(name): {"has_unit": units.has_unit} for name, units in (lists or {}).items()}
    explained = _explained(plan, route, request, wish.unit, segments)
    if named is not None and (host is not None or path is not None) and found is not named:
        explained["notes"].append(
            f"this request goes to route {found.name}, not to {named.name}"
            if found
            else "no route takes this request: 404"
        )
    return explained


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
    for one in given:
        name, equals, value = one.partition("=")
        if not equals or not name:
            raise WishError(f"{one!r} is not NAME=VALUE", "claim")
        claims.setdefault(name.encode(), []).append(value.encode())
    return claims


def _explained(plan: Plan, route: Route, request: Request, unit: str | None, segments: Mapping[str, Spec]) -> Spec:
    notes: list[str] = []
    minted = b""
    if unit is not None:
        value: bytes | None = unit.encode()
        kind = ASKED
    else:
        # Where control makes a key because the file has none, a cookie is minted as well.
        value, kind, minted = find_unit(route, request, UnitCookies(plan.cookie_keys or [b"explain only"]))
    request.unit = value
    request.kept = find_kept(route, request, value, plan.cookies)
    request.chosen = find_chosen(route, request, value, plan.cookies)
    explained = explain(route, request, value, kind, segments)
    known = explained["reason"] in _KNOWN_WITHOUT_A_UNIT or explained["rule"] in _KILLS
    explained["drawn"] = bool(minted) and not known
    if minted and not known:
        explained["version"], explained["reason"], explained["next"] = None, "split", None
        notes.append(
            f"no unit came with the request: one is minted into the cookie {minted.decode()}, and its version is"
            " the luck of the draw; give the unit to ask for a certain one"
        )
    if route.claimed and not request.claims and plan.tokens is not None and plan.tokens.token(request):
        notes.append("the token is not looked at here: give its claims")
    if route.plugins:
        asked = ", ".join(route.plugins)
        notes.append(f"plugins are asked by workers alone, and may name another unit or version: {asked}")
    weights = {version.name: version.weight for version in route.versions}
    total = sum(weights.values())
    explained["split"] = {name: (weight / total if total else 0.0) for name, weight in weights.items()}
    explained["notes"] = notes
    return explained
