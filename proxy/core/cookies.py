"""First-party cookies: one carries a minted unit, `<id>.<signature>`; others a record of what a unit got,
`<version>.<epoch>.<Unix seconds>.<signature>`. Ids and signatures are base64url.

Signed, so that nobody chooses a version by choosing an id or writing a record. A record is signed for one unit and one scope (its
route, and what it is a record of), neither of which it says: given to another unit or another route it is nobody's.

HMAC-SHA256 cut to 128 bits (RFC 2104 section 5). Any key of
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
_PURPOSE: Final = b"tidegate unit\0"  # a signature for one purpose is none for another
_KEEPING: Final = b"tidegate record\0"
_ID: Final = re.compile(rb"[A-Za-z0-9_-]{1,64}")
_RECORD: Final = re.compile(rb"([A-Za-z0-9][A-Za-z0-9._-]{0,62})\.([0-9]{1,10})\.([0-9]{1,12})")
_REMEMBERED: Final = 4096
_LONGEST: Final = 256
"""Bytes of a unit beyond which its records are verified each time: clients may choose their units, and so what is remembered."""


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
    return _digest(key, _PURPOSE + value)


def _digest(key: bytes, signed: bytes) -> bytes:
    return urlsafe_b64encode(hmac.digest(key, signed, "sha256")[:_SIGNATURE_BYTES]).rstrip(b"=")


class Kept:
    """A record that verified: the name of the version, the epoch and the time (Unix seconds) in which it was given."""

    def __init__(self, version: bytes, epoch: int, at: int) -> None:
        self.version: Final = version
        self.epoch: Final = epoch
        self.at: Final = at


def sign_record(key: bytes, scope: bytes, unit: bytes, kept: Kept) -> bytes:
    """The cookie's value. Raises ValueError for a version that is no name, and for numbers that are too large."""
    text = b"%b.%d.%d" % (kept.version, kept.epoch, kept.at)
    if _RECORD.fullmatch(text) is None:
        raise ValueError("a record is of a version's name, an epoch and a time")
    return text + b"." + _record_signature(key, scope, unit, text)


def verify_record(keys: list[bytes], scope: bytes, unit: bytes, cookie: bytes) -> Kept | None:
    """The record in a cookie's value, or None when no key signed it for this scope and unit."""
    text, dot, signature = cookie.rpartition(b".")
    found = _RECORD.fullmatch(text)
    if not dot or len(signature) != _SIGNATURE_LENGTH or found is None:
        return None
    for key in keys:
        if hmac.compare_digest(_record_signature(key, scope, unit, text), signature):
            return Kept(found[1], int(found[2]), int(found[3]))
    return None


def _record_signature(key: bytes, scope: bytes, unit: bytes, text: bytes) -> bytes:
    # With its length a scope cannot run on into what follows, and the text has no NUL; a unit may have any byte.
    return _digest(key, b"%b%d\0%b%b\0%b" % (_KEEPING, len(scope), scope, text, unit))


def set_cookie_line(name: bytes, value: bytes, secure: bool, max_age: int = MAX_AGE) -> bytes:
    """The whole field line, CRLF included. `secure` where the client came over TLS; with `max_age` 0 (seconds) the cookie ends
    with the browser's session, and below 0 at once.
    """
    return b"set-cookie: %b=%b; Path=/; HttpOnly; SameSite=Lax%b%b\r\n" % (
        name,
        value,
        b"; Max-Age=%d" % max(max_age, 0) if max_age else b"",
        b"; Secure" if secure else b"",
    )


class UnitCookies:
    """Signs and verifies with a list of keys; without keys nothing is minted and nothing verifies."""

    def __init__(self, keys: list[bytes]) -> None:
        self._keys: Final = keys
        self.enabled: Final = bool(keys)
        # Only cookies that verified are kept, so forged ones cannot push them out. An HMAC costs 40 times the lookup.
        self._known: dict[bytes, bytes] = {}
        self._kept: dict[tuple[bytes, bytes, bytes], Kept] = {}

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

    def record(self, scope: bytes, unit: bytes, cookie: bytes) -> Kept | None:
        """The record in a cookie's value, or None when no key signed it for this scope and unit."""
        place = (cookie, unit, scope)
        kept = self._kept.get(place)
        if kept is None:
            kept = verify_record(self._keys, scope, unit, cookie)
            if kept is not None and len(unit) <= _LONGEST:
                if len(self._kept) >= _REMEMBERED:
                    self._kept.clear()
                self._kept[place] = kept
        return kept

    def keep(self, scope: bytes, unit: bytes, kept: Kept) -> bytes:
        """The cookie's value for a record. Raises ValueError without keys, or for what is no record."""
        if not self._keys:
            raise ValueError("signing wants a key")
        return sign_record(self._keys[0], scope, unit, kept)
