"""Framing on the socket pair between control and a worker: length (4 bytes, big endian, of the payload), kind (1 byte), payload.

The payload is JSON unless the kind says otherwise. A frame is small on purpose: a plan travels as one frame a part, so
that a worker never has to parse more than one part at a stretch.
"""

import json
from typing import Any, Final

MAX_PAYLOAD: Final = 64 << 20
"""Bytes. Both ends are ours, so a longer one means that the stream is out of step."""


class ChannelError(Exception):
    """The stream cannot be what the other end would have sent."""


def encode(kind: int, payload: bytes) -> bytes:
    """One frame around `payload`."""
    return len(payload).to_bytes(4, "big") + bytes((kind,)) + payload


def encode_json(kind: int, value: Any) -> bytes:
    """One frame around `value` as JSON."""
    return encode(kind, json.dumps(value, separators=(",", ":")).encode())


class FrameReader:
    """Cuts a stream of bytes into frames. Feed it what arrives; it keeps what is not yet whole."""

    def __init__(self) -> None:
        self._buffer: Final = bytearray()

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames completed by `data`, as (kind, payload).

        Raises ChannelError for a length that no sender of ours produces.
        """
        buffer = self._buffer
        buffer += data
        frames: list[tuple[int, bytes]] = []
        start = 0
        while len(buffer) - start >= 5:
            length = int.from_bytes(buffer[start : start + 4], "big")
            if length > MAX_PAYLOAD:
                raise ChannelError(f"a frame of {length} bytes; the stream is out of step")
            end = start + 5 + length
            if len(buffer) < end:
                break
            frames.append((buffer[start + 4], bytes(buffer[start + 5 : end])))
            start = end
        if start:
            del buffer[:start]
        return frames
