"""Tokens and the keys that vouch for them: JSON Web Tokens (RFC 7519, RFC 8725), signed (RFC 7515), keys as in RFC 7517.

For control, which gets keys, and for workers, which verify. PyJWT and cryptography do the cryptography; they come with the
extra `jwt` and are imported when `jwt` is configured and not before, for they take a worker some 10 MB.

Only algorithms with a public key are known here. An HMAC's key would have to be kept secret from whoever reads the
configuration, and the old attack that signs with a public key as if it were such a secret has nothing to work on.
"""

import json
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from math import inf, isfinite
from typing import Any, Final

from proxy.core.bearer import (
    ALGORITHM,
    AUDIENCE,
    EXPIRED,
    ISSUER,
    KEY,
    MALFORMED,
    MAX_TOKEN,
    NOT_YET,
    SIGNATURE,
    TOO_LARGE,
    VERIFIED,
)

Spec = dict[str, Any]

ALGORITHMS: Final = (
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA",
)  # fmt: skip
"""Those that can be allowed (RFC 7518 section 3.1, RFC 8037)."""
MAX_DOCUMENT: Final = 256 << 10
"""Bytes of a key set."""
MAX_KEYS: Final = 64
"""Keys of a set that are used; real ones have two to ten."""
_MAX_TRIES: Final = 4
"""Keys that are tried on a token that does not name its own."""
_MIN_RSA: Final = 2048
"""Bits (RFC 7518 section 3.3)."""

_COMPACT: Final = re.compile(rb"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
"""RFC 7515 section 7.1. Who decodes leniently takes several texts for one token."""
_PUBLIC: Final = {
    "RSA": ("n", "e"),
    "EC": ("crv", "x", "y"),
    "OKP": ("crv", "x"),
}
"""The members of a key that are not secret, by its kind."""
_FITTING: Final = {
    ("RSA", ""): ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    ("EC", "P-256"): ("ES256",),
    ("EC", "P-384"): ("ES384",),
    ("EC", "P-521"): ("ES512",),
    ("OKP", "Ed25519"): ("EdDSA",),
}
"""The algorithms of a key, by its kind and curve."""


class Verdict:
    """What a token comes to: an index of OUTCOMES, its claims if it is verified, and until when that holds (Unix seconds).

    Claims have one value, or several where they are lists; what is no text, number or truth value is left out.
    """

    def __init__(self, outcome: int, claims: dict[bytes, list[bytes]] | None, until: float) -> None:
        self.outcome: Final = outcome
        self.claims: Final = claims
        self.until: Final = until


def available() -> bool:
    """Whether what verifies is installed. Imports it."""
    try:
        import cryptography  # noqa: F401, PLC0415
        import jwt  # noqa: F401, PLC0415
    except ImportError:
        return False
    return True


def parse_keys(data: bytes) -> list[Spec]:
    """The usable keys of a key set, their public members alone. Raises ValueError with the reason."""
    if len(data) > MAX_DOCUMENT:
        raise ValueError(f"is larger than {MAX_DOCUMENT >> 10} KiB")
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        raise ValueError("is not JSON") from None
    keys = value.get("keys") if isinstance(value, dict) else None
    if not isinstance(keys, list):
        raise ValueError('is no key set: {"keys": [...]} (RFC 7517)')  # noqa: TRY004 - the text is wrong, not the caller
    return usable_keys(keys)


def usable_keys(keys: list[Any]) -> list[Spec]:
    """Those that can verify signatures, their public members alone; others are passed over, as RFC 7517 section 5 says.

    Raises ValueError where there is none, or more than there is room for.
    """
    used = [public for one in keys if (public := _public(one)) is not None]
    if not used:
        raise ValueError("has no key that verifies signatures (RSA of 2048 bits, EC P-256/384/521 or Ed25519)")
    if len(used) > MAX_KEYS:
        raise ValueError(f"has {len(used)} keys; at most {MAX_KEYS} are used")
    return used


def _public(key: Any) -> Spec | None:
    if not isinstance(key, dict) or key.get("use", "sig") != "sig":
        return None
    operations = key.get("key_ops")
    if isinstance(operations, list) and "verify" not in operations:
        return None
    members = _PUBLIC.get(str(key.get("kty")))
    if members is None:
        return None
    public = {name: key[name] for name in ("kty", "kid", "alg", *members) if isinstance(key.get(name), str)}
    return public if _load(public) is not None else None


def _fitting(key: Spec) -> tuple[str, ...]:
    """The algorithms that the key is for."""
    fitting = _FITTING.get((key["kty"], key.get("crv", "")), ())
    return tuple(name for name in fitting if key.get("alg", name) == name)


def _load(key: Spec) -> Any:
    """The key as PyJWT wants it; None where it cannot be used."""
    from jwt import PyJWK  # noqa: PLC0415
    from jwt.exceptions import PyJWTError  # noqa: PLC0415

    fitting = _fitting(key)
    if not fitting:
        return None
    try:
        loaded = PyJWK({name: value for name, value in key.items() if name != "alg"}, fitting[0]).key
    except (PyJWTError, ValueError, TypeError, KeyError):
        return None
    return None if key["kty"] == "RSA" and loaded.key_size < _MIN_RSA else loaded


class Verifier:
    """What is believed of tokens. Making one loads the keys, which takes milliseconds."""

    def __init__(self, spec: Spec, keys: list[Spec]) -> None:
        """`spec` has algorithms, issuers, audiences (empty: not looked at), leeway in seconds, and the claims that count.
        A key that cannot be used is passed over."""
        from jwt.algorithms import get_default_algorithms  # noqa: PLC0415

        known = get_default_algorithms()
        self._algorithms: Final = {name: known[name] for name in spec["algorithms"]}
        self._allowed: Final = frozenset(spec["algorithms"])
        self._issuers: Final = frozenset(spec["issuers"])
        self._audiences: Final = frozenset(spec["audiences"])
        self._leeway: Final[float] = spec["leeway"]
        self._claims: Final[list[str]] = spec["claims"]
        self._keys: Final[dict[tuple[str | None, str], list[Any]]] = {}
        for key in keys:
            loaded = _load(key)
            if loaded is None:
                continue
            for algorithm in _fitting(key):
                if algorithm in self._allowed:
                    for kid in {None, key.get("kid")}:
                        self._keys.setdefault((kid, algorithm), []).append(loaded)

    def check(self, token: bytes, now: float) -> Verdict:
        """What `token` comes to at `now`, in Unix seconds. Takes some 50 to 200 microseconds; never raises.

        The token is taken apart here and not by PyJWT, which reads it twice and looks at every letter of it in Python.
        """
        if len(token) > MAX_TOKEN:
            return _never(TOO_LARGE)
        if _COMPACT.fullmatch(token) is None:
            return _never(MALFORMED)
        signed, _, last = token.rpartition(b".")
        first, _, payload = signed.partition(b".")
        signature = _signature(last)
        header = _json_object(first)
        if header is None or signature is None or "crit" in header or "b64" in header:
            return _never(MALFORMED)
        algorithm, kid = header.get("alg"), header.get("kid")
        if not isinstance(algorithm, str) or not isinstance(kid, str | None):
            return _never(MALFORMED)
        if algorithm not in self._allowed:
            return _never(ALGORITHM)
        keys = self._keys.get((kid, algorithm))
        if not keys:
            return _never(KEY)
        for key in keys[:_MAX_TRIES]:
            if self._algorithms[algorithm].verify(signed, key, signature):
                return self._look(_json_object(payload), now)
        return _never(SIGNATURE)

    def _look(self, payload: Spec | None, now: float) -> Verdict:
        if payload is None:
            return _never(MALFORMED)
        until = _moment(payload.get("exp")) + self._leeway
        start = _moment(payload["nbf"]) - self._leeway if "nbf" in payload else -inf
        if not now < until:  # one without an end has one at no time: nobody could ever take it back
            return _never(EXPIRED)
        if start != start:  # noqa: PLR0124 - not a number
            return _never(MALFORMED)
        if self._issuers and not _among(payload.get("iss"), self._issuers):
            return _never(ISSUER)
        audience = payload.get("aud")
        named = audience if isinstance(audience, list) else [audience]
        if self._audiences and not any(_among(one, self._audiences) for one in named):
            return _never(AUDIENCE)
        if now < start:
            return Verdict(NOT_YET, None, start)
        found = {name.encode(): values for name in self._claims if (values := claim_values(payload, name))}
        return Verdict(VERIFIED, found, until)


def claim_values(payload: Spec, name: str) -> list[bytes]:
    """The values of a claim; none where it is not there. A name with dots that is no claim's is a path to one within."""
    value: Any = payload
    if name in payload:
        value = payload[name]
    else:
        for step in name.split("."):
            value = value.get(step) if isinstance(value, dict) else None
    found = (_text(one) for one in (value if isinstance(value, list) else [value]))
    return [one for one in found if one is not None]


def _text(value: Any) -> bytes | None:
    if isinstance(value, str):
        return value.encode("utf-8", "replace")
    if isinstance(value, bool):
        return b"true" if value else b"false"
    return str(value).encode() if isinstance(value, int | float) else None


def _among(value: Any, some: frozenset[str]) -> bool:
    return isinstance(value, str) and value in some


def _moment(value: Any) -> float:
    """Unix seconds (NumericDate, RFC 7519 section 2); not a number for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return float("nan")
    try:
        seconds = float(value)
    except OverflowError:
        return float("nan")
    return seconds if isfinite(seconds) else float("nan")


def _signature(part: bytes) -> bytes | None:
    """The signature, where it is written in the only way that counts: bits beyond the last byte are none (RFC 4648 section 3.5)."""
    try:
        signature = _decoded(part)
    except ValueError:
        return None
    return signature if urlsafe_b64encode(signature).rstrip(b"=") == part else None


def _decoded(part: bytes) -> bytes:
    return urlsafe_b64decode(part + b"=" * (-len(part) % 4))


def _json_object(part: bytes) -> Spec | None:
    try:
        value = json.loads(_decoded(part))
    except (ValueError, RecursionError):  # binascii.Error is a ValueError
        return None
    return value if isinstance(value, dict) else None


def _never(outcome: int) -> Verdict:
    return Verdict(outcome, None, inf)
