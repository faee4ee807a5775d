"""Opting in at one's own pace: who may choose which versions of a route, and the page where they do.

A choice is a record in a signed cookie (core/cookies.py), as good as a rule that names the unit, but for a rule itself, which goes
before it. It is believed only for as long as whoever brings it is among those who may choose.
"""

import json
from collections.abc import Mapping
from html import escape
from typing import Any, Final

from proxy.core.cookies import Kept
from proxy.core.gcra import RateLimit
from proxy.core.match import Matcher
from proxy.core.request import Request

Spec = dict[str, Any]

LABEL: Final = "choice"
"""What stands for it in the place of a rule's label."""

_SECURITY: Final = (
    b"cache-control: no-store\r\nvary: accept, cookie\r\nx-content-type-options: nosniff\r\nx-frame-options: DENY\r\n"
    b"content-security-policy: default-src 'none'; form-action 'self'; frame-ancestors 'none'\r\n"
)


class Choice:
    """The versions that may be chosen, by whom (`segment`; None: everybody), at which path, and how often a
    client may ask there (`limit`)."""

    def __init__(self, spec: Spec, route: str, indexes: Mapping[str, int], segments: Mapping[str, Matcher]) -> None:
        """Raises KeyError for a version or a segment that is not there."""
        self.names: Final[list[str]] = spec["versions"]
        self.indexes: Final[dict[bytes, int]] = {name.encode(): indexes[name] for name in self.names}
        self.path: Final[bytes] = spec["path"].encode()
        self.segment: Final[str] = spec["segment"] or ""
        self.matcher: Final[Matcher | None] = segments[self.segment] if self.segment else None
        self.cookie: Final[bytes] = spec["cookie"].encode()
        self.scope: Final = f"{route}\0choice".encode()
        by: Spec = {"label": LABEL, "by": [{"kind": "client_ip"}], "versions": []}
        self.limit: Final = RateLimit({**by, "rate": spec["rate"], "burst": spec["burst"]}, f"{route}\0choice", {})

    def allows(self, request: Request) -> bool:
        """Whether whoever sends this may choose."""
        matcher = self.matcher
        return matcher is None or matcher(request)

    def index_of(self, kept: Kept) -> int:
        """The version chosen; -1 where it may not be chosen any more."""
        return self.indexes.get(kept.version, -1)


def same_origin(request: Request) -> bool:
    """Whether a form of this very site sent the request, and not one elsewhere (Fetch Metadata; RFC 6454 section 7).

    A browser says so in one of two fields that no script can write. Without either it is not believed.
    """
    site = request.fields.get(b"sec-fetch-site")
    if site is not None:
        return site == b"same-origin"
    _, slashes, host = request.fields.get(b"origin", b"").partition(b"://")
    return bool(slashes) and host.lower() == request.authority.lower()


def choice_page(route: str, names: list[str], chosen: str, version: str, html: bool) -> tuple[bytes, bytes]:
    """Head lines and body of what one may choose. `chosen` is "" without a choice, `version` what the unit gets."""
    if not html:
        told = {"route": route, "versions": names, "chosen": chosen or None, "version": version}
        return _lines(b"application/json"), json.dumps(told).encode() + b"\n"
    buttons = "".join(
        f'<form method="post" action="?version={escape(name)}"><button>{escape(name)}</button></form>\n'
        for name in names
    )
    leave = '<form method="post" action="?version="><button>No choice of mine</button></form>\n' if chosen else ""
    body = (
        f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>{escape(route)}</title>\n'
        f"<p>You have <b>{escape(version)}</b>{', which you chose' if chosen == version else ''}.</p>\n{buttons}{leave}</html>\n"
    )
    return _lines(b"text/html; charset=utf-8"), body.encode()


def choice_error(said: str) -> tuple[bytes, bytes]:
    """Head lines and body of a refusal."""
    return _lines(b"application/json"), json.dumps({"error": said}).encode() + b"\n"


def _lines(kind: bytes) -> bytes:
    return b"content-type: " + kind + b"\r\n" + _SECURITY
