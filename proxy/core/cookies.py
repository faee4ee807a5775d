"""The first-party cookie that carries a minted unit: `<id>.<signature>`, both base64url.

Signed, so that nobody chooses a version by choosing an id. HMAC-SHA256 cut to 128 bits (RFC 2104 section 5). Any key of
the list verifies and the first signs: a key is changed by putting the new one in front and dropping the old one later.
"""

import hmac
import re
from base64 import urlsafe_b64encode
from typing import Final

ID_BYTES: Final = 16
"""Random bytes of an id, which the caller brings: nothing here is random."""

MAX_AGE: Final = 400 * 24 * 3600
"""Seconds. Browsers keep no cookie longer than 400 days (RFC 6265bis section 5.5)."""

_SIGNATURE_BYTES: Final = 16
_SIGNATURE_LENGTH: Final = 22
_PURPOSE: Final = b"tidegate unit\0"  # the key may sign other things one day; a signature for one is none for another
_ID: Final = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_REMEMBERED: Final = 4096


def new_id(entropy: bytes) -> bytes:
    """The id made of random bytes. Raises ValueError for fewer than ID_BYTES."""
    if len(entropy) < ID_BYTES:
        raise ValueError(f"an id wants {ID_BYTES} random bytes")
    return urlsafe_b64encode(entropy[:ID_BYTES]).rstrip(b"=")


def sign(key: bytes, value: bytes) -> bytes:
    """The cookie's value for an id. Raises ValueError for what is no id (1 to 64 characters of base64url)."""
    if _ID.fullmatch(value) is None:
        raise ValueError("a minted id is 1 to 64 characters of base64url")
    return value + b"." + _signature(key, value)


def verify(keys: list[bytes], cookie: bytes) -> bytes | None:
    """The id in a cookie's value, or None when no key signed it. Takes the same time wherever a signature differs."""
    value, dot, signature = cookie.rpartition(b".")
    if not dot or len(signature) != _SIGNATURE_LENGTH or _ID.fullmatch(value) is None:
        return None
    for key in keys:
        if hmac.compare_digest(_signature(key, value), signature):
            return value
    return None


def _signature(key: bytes, value: bytes) -> bytes:
    return urlsafe_b64encode(hmac.digest(key, _PURPOSE + value, "sha256")[:_SIGNATURE_BYTES]).rstrip(b"=")


def set_cookie_line(name: bytes, value: bytes, secure: bool) -> bytes:
    """The whole field line, CRLF included. `secure` where the client came over TLS."""
    return b"set-cookie: %b=%b; Path=/; HttpOnly; SameSite=Lax; Max-Age=%d%b\r\n" % (
        name,
        value,
        MAX_AGE,
        b"; Secure" if secure else b"",
    )


class UnitCookies:
    """Signs and verifies with a list of keys; without keys nothing is minted and nothing verifies."""

    def __init__(self, keys: list[bytes]) -> None:
        self._keys: Final = keys
        self.enabled: Final = bool(keys)
        # Only cookies that verified are kept, so forged ones cannot push them out. An HMAC costs 40 times the lookup.
        self._known: dict[bytes, bytes] = {}

    def verify(self, cookie: bytes) -> bytes | None:
        """The id in a cookie's value, or None when no key signed it."""
        known = self._known.get(cookie)
        if known is None:
            known = verify(self._keys, cookie)
            if known is not None:
                if len(self._known) >= _REMEMBERED:
                    self._known.clear()
                self._known[cookie] = known
        return known

    def mint(self, entropy: bytes) -> tuple[bytes, bytes]:
        """A new id and the cookie's value for it. Raises ValueError without keys or with too little entropy."""
        if not self._keys:
            raise ValueError("minting wants a key")
        value = new_id(entropy)
        return value, sign(self._keys[0], value)
