"""Where a request carries its token, and what is asked of it. Verifying it is no pure matter, and done elsewhere."""

from typing import Any, Final

from proxy.core.request import Request

Spec = dict[str, Any]

MAX_TOKEN: Final = 8192
"""Bytes. Heads of 64 KiB are taken, and nobody's token is that large."""

TOKEN_OUTCOMES: Final[tuple[str, ...]] = (
    "verified",
    "expired",
    "not_yet",
    "issuer",
    "audience",
    "signature",
    "key",
    "algorithm",
    "malformed",
    "too_large",
    "unchecked",
)
"""What became of a token. Only the first makes an identity."""
(
    VERIFIED, EXPIRED, NOT_YET, ISSUER, AUDIENCE, SIGNATURE, KEY, ALGORITHM, MALFORMED, TOO_LARGE, UNCHECKED,
) = range(11)  # fmt: skip


class TokenPolicy:
    """The plan's `jwt`. `spec` is what a verifier is made of; `source` tells its keys from others'."""

    def __init__(self, spec: Spec) -> None:
        self.spec: Final = spec
        self.source: Final[str] = spec["source"]
        self.header: Final[bytes] = spec["header"].lower().encode()
        self.cookie: Final[bytes] = spec["cookie"].encode()  # b"": it comes in the field

    def token(self, request: Request) -> bytes:
        """The token as it came; b"" where there is none. `Authorization` may also carry other things (RFC 6750)."""
        if self.cookie:
            return request.cookies().get(self.cookie, b"")
        value = request.fields.get(self.header)
        if value is None:
            return b""
        if value[:7].lower() == b"bearer ":
            return value[7:].strip()
        return b"" if self.header == b"authorization" else value.strip()
