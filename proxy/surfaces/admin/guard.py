"""Who may ask the admin port what, and how refusals look.

Without tokens the port is for this machine, and a browser on this machine must not be made to ask on a stranger's
behalf: a page can have its own name resolve to 127.0.0.1 (DNS rebinding), but its requests then carry that name. So
the Host must be an address, localhost, or a name that was configured. With tokens that is needless: a stranger's
page has none. Without tokens, whoever can reach the port may also change something, so a page that asks from another origin
is refused; and what changes something is sent as JSON, which a page cannot do without asking first.
"""

import asyncio
import hmac
import ipaddress
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

from aiohttp import web

READ: Final = "read"
WRITE: Final = "write"
METRICS: Final = "metrics"
SCOPES: Final = frozenset((READ, WRITE, METRICS))

OPEN_PATHS: Final = frozenset(("/healthz", "/readyz"))
"""Never behind a token: who restarts containers has none."""

BODY_LIMIT: Final = 10.0
"""Seconds for the body of a request, once its head is there."""

_READING: Final = frozenset(("GET", "HEAD", "OPTIONS"))
_WITH_BODY: Final = frozenset(("POST", "PUT", "PATCH"))

_log: Final = logging.getLogger("tidegate.admin")

_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'none'",
    "Cache-Control": "no-store",
}

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Token:
    """A bearer token and what it opens. `write` and `read` imply nothing of one another; `read` includes /metrics."""

    token: str = field(repr=False)
    scopes: frozenset[str] = SCOPES

    def __post_init__(self) -> None:
        """Raises ValueError for an empty token or a scope that there is not."""
        if not self.token:
            raise ValueError("an admin token must not be empty")
        unknown = self.scopes - SCOPES
        if unknown or not self.scopes:
            raise ValueError(f"an admin token's scopes are of {', '.join(sorted(SCOPES))}; got {sorted(self.scopes)}")


def guard(
    tokens: Sequence[Token] | None, hosts: Collection[str], *, check_host: bool
) -> Callable[..., Awaitable[web.StreamResponse]]:
    """The middleware: refusals and failures become JSON, and every answer carries the security fields."""
    digests = [(sha256(one.token.encode()).digest(), one.scopes) for one in tokens or ()]
    names = {name.lower() for name in hosts}

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            if digests:
                _authorize(request, digests)
            elif check_host:
                _check_host(request, names)
                _check_origin(request)
            _check_type(request)
            if request.method in _WITH_BODY:
                await _take_body(request)
            response = await handler(request)
        except web.HTTPException as refusal:
            response = _refused(refusal)
        except Exception:  # noqa: BLE001 - the admin port must go on, and say so
            _log.exception("the admin port failed on %s", request.path)
            response = error_response(500, "internal error")
        response.headers.update(_HEADERS)
        return response

    return check


def error_response(status: int, message: str) -> web.Response:
    """The one shape of an error."""
    return web.json_response({"error": {"status": status, "message": message}}, status=status)


def host_is_local(host: str, names: Collection[str]) -> bool:
    """Whether a Host field names an IP address, localhost, or one of `names` (lower case)."""
    try:
        name = urlsplit(f"//{host}").hostname
    except ValueError:
        return False
    if not name or "@" in host:
        return False
    name = name.rstrip(".")
    if name in names or name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def needed_scopes(request: web.Request) -> frozenset[str]:
    """The scopes of which a token must have one."""
    if request.path == "/metrics":
        return frozenset((METRICS, READ))
    return frozenset((READ,)) if request.method in _READING else frozenset((WRITE,))


def _check_host(request: web.Request, names: Collection[str]) -> None:
    if not host_is_local(request.headers.get("Host", ""), names):
        raise web.HTTPForbidden(text="this Host is not one of the admin port's: use localhost or an address")


def _check_origin(request: web.Request) -> None:
    """Refuse what a page of another origin would have a browser on this machine change."""
    if request.method in _READING:
        return
    origin = request.headers.get("Origin")
    if origin is not None and origin.partition("://")[2].lower() != request.headers.get("Host", "").lower():
        raise web.HTTPForbidden(text="a page of another origin may not change anything here")
    if request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}:
        raise web.HTTPForbidden(text="a page of another origin may not change anything here")


def _check_type(request: web.Request) -> None:
    if request.method in _WITH_BODY and request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="what is sent here is JSON: Content-Type: application/json")


async def _take_body(request: web.Request) -> None:
    """Read it, so that handlers have it at once: it is small, and has its time."""
    try:
        if request.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise web.HTTPBadRequest(text="the body must be JSON in UTF-8, and not compressed")
        async with asyncio.timeout(BODY_LIMIT):
            await request.text()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text="the body did not come in time") from None
    except (LookupError, UnicodeDecodeError, web.RequestPayloadError):
        raise web.HTTPBadRequest(text="the body must be JSON in UTF-8, and not compressed") from None


def _authorize(request: web.Request, digests: list[tuple[bytes, frozenset[str]]]) -> None:
    if request.path in OPEN_PATHS:
        return
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    digest = sha256(given.strip().encode("utf-8", "surrogateescape")).digest()
    found: frozenset[str] | None = None
    for known, scopes in digests:  # all of them, and each in constant time
        if hmac.compare_digest(known, digest):
            found = scopes
    if found is None or scheme.lower() != "bearer":
        raise web.HTTPUnauthorized(
            text="a token is needed: Authorization: Bearer TOKEN",
            headers={"WWW-Authenticate": 'Bearer realm="tidegate"'},
        )
    needed = needed_scopes(request)
    if not found & needed:
        raise web.HTTPForbidden(text=f"this token's scopes do not include {' or '.join(sorted(needed))}")


def _refused(refusal: web.HTTPException) -> web.Response:
    message = refusal.text or refusal.reason
    if isinstance(refusal, web.HTTPNotFound):
        message = "there is no such path; / lists what there is"
    elif isinstance(refusal, web.HTTPMethodNotAllowed):
        message = f"{refusal.method} is not allowed here; allowed: {', '.join(sorted(refusal.allowed_methods))}"
    response = error_response(refusal.status, message)
    for name in ("Allow", "WWW-Authenticate"):
        if name in refusal.headers:
            response.headers[name] = refusal.headers[name]
    return response
