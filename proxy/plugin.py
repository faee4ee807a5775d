"""What a plugin is written with: `from proxy.plugin import Plugin, PluginRequest, Answer`.

A plugin is a class of yours that the workers ask about the requests of the routes that name it (docs/plugins.md). This module
is never compiled, so that a class of yours can stand on `Plugin`; it imports next to nothing, for it is imported by whoever
checks a configuration, too. Text is str here: bytes that are not UTF-8 come as surrogate escapes and go out as they came.
"""

from collections.abc import Awaitable, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any, Final

from proxy.core.fields import closed_to_requests, closed_to_responses
from proxy.core.request import Request, Response

__all__ = ["Answer", "FieldError", "Headers", "Plugin", "PluginRequest", "PluginResponse", "Proposed"]

_TOKEN: Final = frozenset(b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz")
_CONTROLS: Final = bytes((*range(9), *range(10, 32), 127))
_LONGEST: Final = 16 << 10
"""Bytes of a field's value."""
_NO_BODY: Final = frozenset((204, 205, 304))


class FieldError(ValueError):
    """A field that cannot be set, or not by a plugin."""


class Headers(MutableMapping[str, str]):
    """The field lines of a head, by name in any case. Repeated fields are joined with ", " (cookies with "; ").

    Setting or deleting a field raises FieldError where it is the proxy's own business (framing, hop-by-hop fields, forwarding,
    tracing, host), where name or value cannot stand in a head, or where this hook may change nothing.
    """

    def __init__(self, lines: list[bytes], fields: dict[bytes, bytes], *, of_response: bool = False) -> None:
        self._lines: Final = lines
        self._fields: Final = fields
        self._closed: Final = closed_to_responses if of_response else closed_to_requests
        self._changes: dict[bytes, list[bytes]] = {}
        self._refusal = "only on_request may change the fields of a request"
        if of_response:
            self._refusal = ""

    def __getitem__(self, name: str) -> str:
        key = name.lower().encode("utf-8", "surrogateescape")
        changed = self._changes.get(key)
        if changed is not None:
            if not changed:
                raise KeyError(name)
            return _text(b", ".join(changed))
        try:
            return _text(self._fields[key])
        except KeyError:
            raise KeyError(name) from None

    def __setitem__(self, name: str, value: str) -> None:
        self._change(name, [value])

    def __delitem__(self, name: str) -> None:
        if name not in self:
            raise KeyError(name)
        self._change(name, [])

    def __iter__(self) -> Iterator[str]:
        """The names, in lower case."""
        for key in self._fields:
            if self._changes.get(key) != []:
                yield _text(key)
        for key, values in self._changes.items():
            if values and key not in self._fields:
                yield _text(key)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        key = name.lower().encode("utf-8", "surrogateescape")
        changed = self._changes.get(key)
        return key in self._fields if changed is None else bool(changed)

    def get_all(self, name: str) -> list[str]:
        """The values of a field that may be there more than once (Set-Cookie), in order."""
        key = name.lower().encode("utf-8", "surrogateescape")
        changed = self._changes.get(key)
        if changed is None:
            pairs = [line.partition(b":") for line in self._lines]
            changed = [value.strip(b" \t") for found, _, value in pairs if found.lower() == key]
        return [_text(value) for value in changed]

    def add(self, name: str, value: str) -> None:
        """One more line of this name, beside those that are there."""
        self._change(name, [*self.get_all(name), value])

    def remove(self, name: str) -> None:
        """Have no field of this name; it need not be there."""
        self._change(name, [])

    def _change(self, name: str, values: list[str]) -> None:
        if self._refusal:
            raise FieldError(self._refusal)
        key = _name(name)
        if self._closed(key):
            raise FieldError(f"the field {name} is the proxy's own business")
        self._changes[key] = [_value(name, value) for value in values]

    # What the worker does with it.

    def open_for_changes(self) -> None:
        """From now on it may be changed."""
        self._refusal = ""

    def close(self, why: str) -> None:
        """No more changes, for this reason."""
        self._refusal = why

    @property
    def changes(self) -> dict[bytes, list[bytes]]:
        """The values by lower-case name of what was changed; none where the field was removed. A copy."""
        return dict(self._changes)

    def change_back(self, changes: dict[bytes, list[bytes]]) -> None:
        """Have these changes and no others."""
        self._changes = dict(changes)


class PluginRequest:
    """A request as a plugin sees it.

    `unit` is known after `unit` was asked, `version` (the assigned one) in `on_request` and `on_response`; `state` is for what
    a plugin wants to find again in its later hooks of the same request, and is shared by the plugins of a route.
    """

    __slots__ = ("_arguments", "_cookies", "_request", "headers", "route", "secure", "state", "version")

    def __init__(self, request: Request, route: str, *, secure: bool = False) -> None:
        self._request: Final = request
        self.route: Final = route
        """The route's name."""
        self.secure: Final = secure
        """Whether the client came over TLS."""
        self.headers: Final = Headers(request.lines, request.fields)
        self.version: str = ""
        self.state: dict[str, Any] = {}
        self._cookies: dict[str, str] | None = None
        self._arguments: dict[str, str] | None = None

    @property
    def method(self) -> str:
        """GET, POST, ..."""
        return _text(self._request.method)

    @property
    def host(self) -> str:
        """The host, in lower case and without a port."""
        return _text(self._request.host)

    @property
    def path(self) -> str:
        """The path, as it is matched: unreserved escapes decoded."""
        return _text(self._request.path)

    @property
    def query(self) -> str:
        """What stands after the question mark, as it came."""
        return _text(self._request.query)

    @property
    def client(self) -> str:
        """The address of the client; behind trusted proxies the one they tell."""
        return self._request.client

    @property
    def unit(self) -> str | None:
        """The unit; None where there is none, or before it was looked for."""
        unit = self._request.unit
        return None if unit is None else _text(unit)

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies by name."""
        if self._cookies is None:
            self._cookies = {_text(name): _text(value) for name, value in self._request.cookies().items()}
        return self._cookies

    @property
    def arguments(self) -> dict[str, str]:
        """The arguments of the query by name, decoded; the first of a name."""
        if self._arguments is None:
            self._arguments = {_text(name): _text(value) for name, value in self._request.arguments().items()}
        return self._arguments

    def claim(self, name: str) -> list[str]:
        """The values of a claim of the verified token, where the plugin's `claims` names it; none where there is none."""
        return [_text(value) for value in self._request.claim_values(name.encode())]

    def renewed(self, changes: dict[bytes, list[bytes]]) -> "PluginRequest":
        """The same request, for the next plugin, after one was cut off that may still hold this one."""
        fresh = PluginRequest(self._request, self.route, secure=self.secure)
        fresh.version = self.version
        fresh.state = dict(self.state)
        fresh.headers.change_back(changes)
        self.headers.close("this hook was cut off, and the request has gone on")
        return fresh


class PluginResponse:
    """The head of an answer on its way to the client. Its fields may be changed; its status and its body are the upstream's."""

    __slots__ = ("_response", "headers")

    def __init__(self, response: Response) -> None:
        self._response: Final = response
        self.headers: Final = Headers(response.lines, response.fields, of_response=True)

    @property
    def status(self) -> int:
        """The status code."""
        return self._response.status


@dataclass(frozen=True, slots=True)
class Proposed:
    """What is decided unless a plugin says otherwise. `choices` are the versions that may be chosen: neither denied to
    the unit nor killed."""

    version: str
    reason: str
    rule: str
    choices: tuple[str, ...]


class Answer:
    """An answer in the upstream's stead."""

    __slots__ = ("body", "headers", "status")

    def __init__(self, status: int, body: str | bytes = b"", headers: Mapping[str, str] | None = None) -> None:
        """`status` from 200 to 599. Without a field `content-type`, a body that is str is told to be plain text.

        Raises ValueError or FieldError for what cannot be answered.
        """
        if isinstance(status, bool) or not isinstance(status, int) or not 200 <= status <= 599:
            raise ValueError(f"an answer's status is a number from 200 to 599, not {status!r}")
        if not isinstance(body, str | bytes):
            raise TypeError(f"an answer's body is str or bytes, not {type(body).__name__}")
        self.status: Final = status
        self.headers: Final = Headers([], {}, of_response=True)
        self.headers.update(headers or {})
        if isinstance(body, str):
            body = body.encode()
            if body:
                self.headers.setdefault("content-type", "text/plain; charset=utf-8")
        self.body: Final[bytes] = body
        if body and status in _NO_BODY:
            raise ValueError(f"an answer of {status} has no body")


class Plugin:
    """What a plugin is: a class that stands on this one and has some of its hooks. Each may be `def` or `async def`.

    A hook that fails, or takes too long, has said nothing: the request goes on as if the plugin were not there.
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        """`config` is the mapping of the configuration. Also made when a configuration is checked: what it raises is an
        error there, and what touches the outside belongs into `start`."""
        self.config: Final = config

    async def start(self) -> None:
        """Before the first request, in each worker. A plan whose plugin cannot start is refused."""

    async def stop(self) -> None:
        """After the last."""

    def unit(self, request: PluginRequest) -> str | bytes | Awaitable[str | bytes | None] | None:
        """The unit of a request; None: as the route's `unit` says."""
        return None

    def decide(self, request: PluginRequest, proposed: Proposed) -> str | Awaitable[str | None] | None:
        """The name of the version to get instead of the proposed one; None: as proposed."""
        return None

    def on_request(self, request: PluginRequest) -> Answer | Awaitable[Answer | None] | None:
        """An answer in the upstream's stead, or None. May change `request.headers`, for the upstream."""
        return None

    def on_response(self, request: PluginRequest, response: PluginResponse) -> Awaitable[None] | None:
        """May change `response.headers`, for the client."""
        return None


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")


def _name(name: object) -> bytes:
    key = name.lower().encode("utf-8", "surrogateescape") if isinstance(name, str) else b""
    if not key or not _TOKEN.issuperset(key):
        raise FieldError(f"{name!r} cannot be the name of a field")
    return key


def _value(name: str, value: object) -> bytes:
    if not isinstance(value, str):
        raise FieldError(f"the value of {name} must be str, not {type(value).__name__}")
    try:
        text = value.encode("utf-8", "surrogateescape").strip(b" \t")
    except UnicodeEncodeError:
        raise FieldError(f"the value of {name} cannot be written") from None
    if len(text) > _LONGEST:
        raise FieldError(f"the value of {name} is longer than {_LONGEST} bytes")
    if text.translate(None, _CONTROLS) != text:
        raise FieldError(f"the value of {name} has control characters in it")
    return text
