"""What the proxy says itself: short, in the form the client asked for, and nothing that is nobody's business.

The status line's reason is the standard phrase; the body names the failure by its flag and the request by its id, so that
a user's screenshot is enough to find the log line.
"""

import json
from email.utils import formatdate
from http import HTTPStatus
from typing import Final

from proxy.errors import Flag

_PHRASES: Final[dict[int, str]] = {status.value: status.phrase for status in HTTPStatus} | {414: "URI Too Long"}


def failure_answer(
    status: int, flag: Flag, detail: str, request_id: bytes, accept: bytes, head_only: bool, added: bytes, wall: float
) -> bytes:
    """A whole answer: head and body. `added` are whole field lines; `detail` says what the client itself did wrong.

    JSON where `accept` names it, text otherwise.
    """
    phrase = _PHRASES.get(status, "Error")
    said = detail or flag.meaning
    identity = request_id.decode("latin-1")
    if b"json" in accept.lower():
        kind = b"application/json"
        body = json.dumps({"error": said, "status": status, "flag": flag.code, "request_id": identity}).encode() + b"\n"
    else:
        kind = b"text/plain; charset=utf-8"
        body = f"{status} {phrase}: {said} ({flag.code})\nrequest id: {identity}\n".encode()
    head = b"".join(
        (
            f"HTTP/1.1 {status} {phrase}\r\ndate: {formatdate(wall, usegmt=True)}\r\n".encode(),
            b"content-type: " + kind + b"\r\ncontent-length: %d\r\n" % len(body),
            b"cache-control: no-store\r\nx-request-id: " + request_id + b"\r\n",
            added,
            b"\r\n",
        )
    )
    return head if head_only else head + body
