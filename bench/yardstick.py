"""Work that never changes: `python bench/yardstick.py ROUNDS`. A request's instructions are told as a multiple of one round's.

What a request costs depends on how Python itself was built; so does this, which is made of the same things: bytes cut, joined and
compared, dictionaries, small objects, calls, numbers in a memory view. Whoever changes it changes every bound in instructions.json.
Imports nothing of Tidegate.
"""

import os
import sys
from typing import Final

_HEAD: Final = (
    b"GET /small?x=1 HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nuser-agent: yardstick\r\naccept: */*\r\nx-user-id: user-1\r\n"
    b"accept-encoding: gzip\r\ncontent-length: 12\r\ncookie: sid=0123456789abcdef; theme=dark\r\n\r\n"
)
_ALLOWED: Final = bytes(range(32, 127))


class _Message:
    __slots__ = ("fields", "length", "method", "target")

    def __init__(self, method: bytes, target: bytes, fields: dict[bytes, bytes]) -> None:
        self.method = method
        self.target = target
        self.fields = fields
        self.length = int(fields.get(b"content-length", b"0"))

    def field(self, name: bytes) -> bytes:
        return self.fields.get(name, b"")


def _read(data: bytes) -> _Message:
    end = data.find(b"\r\n\r\n")
    lines = data[:end].split(b"\r\n")
    method, target, _ = lines[0].split(b" ", 2)
    fields = {}
    for line in lines[1:]:
        name, _, value = line.partition(b":")
        if value.translate(None, _ALLOWED):
            raise ValueError(line)
        fields[name.lower()] = value.strip()
    return _Message(method, target, fields)


def _written(message: _Message) -> bytes:
    lines = [b"%b %b HTTP/1.1" % (message.method, message.target)]
    for name, value in message.fields.items():
        if name != b"accept-encoding":
            lines.append(b"%b: %b" % (name, value))
    return b"\r\n".join(lines) + b"\r\n\r\n"


def work(rounds: int) -> int:
    """One round: read a head, look at it, write it again, add up."""
    counters = memoryview(bytearray(8 * 64)).cast("q")
    for number in range(rounds):
        message = _read(_HEAD)
        slot = (number * 7919 + len(message.field(b"x-user-id"))) % 64
        counters[slot] += message.length
        if message.field(b"cookie").startswith(b"sid="):
            counters[slot] += len(_written(message))
    return sum(counters)


if __name__ == "__main__":
    work(100)  # until Python has seen what it is
    os.getppid()  # played.MARK
    work(int(sys.argv[1]))
    os.getppid()
