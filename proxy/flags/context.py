"""The context that a flag is asked with: what the body says of a unit, as matchers see it, and what the proxy knows better."""

import json
from collections.abc import Mapping
from typing import Any, Final, NoReturn

from proxy.core.address import Networks, resolve_client
from proxy.core.request import Request
from proxy.core.start_lines import recall_request_line
from proxy.settings.models.flags import TARGETING_KEY, Known

MAX_ATTRIBUTES: Final = 1000
"""Of one context, those within others counted."""
MAX_DEPTH: Final = 8
MAX_UNIT: Final = 1024
"""Bytes of a targeting key."""

PARSE_ERROR: Final = "PARSE_ERROR"
INVALID_CONTEXT: Final = "INVALID_CONTEXT"


_ASKS: Final = recall_request_line(b"POST / HTTP/1.1")


class ContextError(Exception):
    """A body that cannot be used. `code` is an error code of OpenFeature."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code: Final = code


def read_context(body: bytes) -> dict[str, Any]:
    """The context in a body; empty for an empty one. Raises ContextError."""
    if not body.strip():
        return {}
    try:
        values = json.loads(body, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise ContextError(PARSE_ERROR, "the body is not JSON") from error
    if not isinstance(values, dict):
        raise ContextError(PARSE_ERROR, 'the body must be a map such as {"context": {"targetingKey": ".."}}')
    context = values.get("context")
    if context is None:
        return {}
    if not isinstance(context, dict):
        raise ContextError(INVALID_CONTEXT, "the context must be a map")
    return context


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number of JSON")


def attributes_of(context: Mapping[str, Any]) -> dict[bytes, bytes]:
    """The attributes as texts by name: numbers and truth values as JSON writes them, maps by names with dots
    (`address.city`), lists as their JSON. Raises ContextError."""
    found: dict[bytes, bytes] = {}
    try:
        _gather(context, "", 0, found)
    except UnicodeEncodeError as error:
        raise ContextError(INVALID_CONTEXT, "the context has text that is not Unicode") from error
    return found


def _gather(values: Mapping[str, Any], prefix: str, depth: int, found: dict[bytes, bytes]) -> None:
    if depth > MAX_DEPTH:
        raise ContextError(INVALID_CONTEXT, f"the context is more than {MAX_DEPTH} maps deep")
    for name, value in values.items():
        if isinstance(value, dict):
            _gather(value, f"{prefix}{name}.", depth + 1, found)
        elif value is not None:
            if len(found) >= MAX_ATTRIBUTES:
                raise ContextError(INVALID_CONTEXT, f"the context has more than {MAX_ATTRIBUTES} attributes")
            text = value if isinstance(value, str) else json.dumps(value)
            found[f"{prefix}{name}".encode()] = text.encode()


def request_of(
    context: Mapping[str, Any],
    fields: dict[bytes, bytes],
    peer: str,
    trusted: Networks,
    at: float,
) -> Request:
    """What rules look at: the context's attributes, and the fields and the address of the request that asks.

    Claims and `know_better` come after it. Raises ContextError.
    """
    attributes = attributes_of(context)
    unit = context.get(TARGETING_KEY)
    if unit is not None and not isinstance(unit, str):
        raise ContextError(INVALID_CONTEXT, f"`{TARGETING_KEY}` must be text")
    host = fields.get(b"host", b"")
    request = Request(_ASKS, [], [], 0, fields, host, host.lower(), -1, False, True, False, b"")
    request.client = resolve_client(peer, fields.get(b"x-forwarded-for", b""), trusted)
    request.trusted = trusted.contains(peer)
    request.at = at
    request.attributes = attributes
    _take_unit(request, attributes)
    return request


def know_better(request: Request, known: Mapping[str, Known]) -> None:
    """Put what the proxy knows in the place of what the body says: `known` are the attributes that only a field of a trusted
    peer says, or a claim of a verified token. Where that says nothing, nothing is known. Raises ContextError."""
    attributes = request.attributes
    if attributes is None or not known:
        return
    for name, source in known.items():
        attributes.pop(name.encode(), None)
        if source.claim is not None:
            value = _claimed(request.claim_values(source.claim.encode()))
        else:
            value = request.fields.get((source.header or "").encode()) if request.trusted else None
        if value:
            attributes[name.encode()] = value
    _take_unit(request, attributes)


def _claimed(values: list[bytes]) -> bytes | None:
    """A claim as an attribute: several values as a list of JSON, as a list of the body would be."""
    if len(values) < 2:
        return values[0] if values else None
    return json.dumps([value.decode("utf-8", "replace") for value in values]).encode()


def _take_unit(request: Request, attributes: Mapping[bytes, bytes]) -> None:
    key = attributes.get(TARGETING_KEY.encode()) or None
    if key is not None and len(key) > MAX_UNIT:
        raise ContextError(INVALID_CONTEXT, f"`{TARGETING_KEY}` is longer than {MAX_UNIT} bytes")
    request.unit = key
