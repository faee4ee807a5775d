"""Signs what hooks are sent, so that a receiver can tell our requests from anybody's, and an old one from a new one.

`X-Tidegate-Signature: t=SECONDS,v1=HEX`, where HEX is HMAC-SHA256 (RFC 2104) by the hook's secret over `SECONDS.BODY`: the time
is signed with the body, so that neither can be exchanged. A receiver that verifies stands in docs/rollouts.md.
"""

import hmac
from typing import Final

HEADER: Final = "x-tidegate-signature"


def sign(secret: str, body: bytes, at: int) -> str:
    """The header's value. `at` is in Unix seconds."""
    digest = hmac.new(secret.encode(), str(at).encode() + b"." + body, "sha256").hexdigest()
    return f"t={at},v1={digest}"
