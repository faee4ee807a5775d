"""The access log's line: pure formatting, run in the worker for every exchange when the log is on.

Hand-built JSON, because most of it is known to need no escaping, and the rest mostly turns out not to. The time
comes in, nothing is asked of a clock. What happens to the lines then is control's business (telemetry/log_file.py).
"""

from json.encoder import encode_basestring_ascii
from time import gmtime
from typing import Final

# Bytes that stand in a JSON string as they are: printable ASCII but the quote and the backslash.
_PLAIN: Final = bytes(byte for byte in range(0x20, 0x7F) if byte not in b'"\\')


def json_string(value: bytes) -> bytes:
    """`value` as a JSON string with its quotes. Bytes that are not UTF-8 become \\xNN in the text."""
    if not value.translate(None, _PLAIN):
        return b'"' + value + b'"'
    return encode_basestring_ascii(value.decode("utf-8", "backslashreplace")).encode("ascii")


class _Stamp:
    """The date and time of the last second written: neighbours share it."""

    def __init__(self) -> None:
        self.second = -1
        self.text = b""


_stamp: Final = _Stamp()


def format_line(
    *,
    wall: float,
    route: str,
    assigned: str,
    served: str,
    reason: str,
    unit_hash: str,
    client: str,
    method: bytes,
    host: bytes,
    path: bytes,
    status: int,
    flags: str,
    duration: float,
    upstream_duration: float,
    request_bytes: int,
    response_bytes: int,
    request_id: bytes,
    trace_id: bytes,
    marked: str = "",
    cache: str = "",
) -> bytes:
    """One line, ended by LF.

    `wall` is when the exchange ended, in Unix seconds; what follows a question mark in `path` is left out. `flags` are
    codes with commas between. `duration` and `upstream_duration` (to the head of the upstream's answer) are seconds; the
    latter is negative where no upstream was asked, which gives null. What is not known is an empty string, so that every
    line has every key.
    """
    second, fraction = divmod(int(wall * 1000), 1000)
    if second != _stamp.second:
        year, month, day, hour, minute, seconds = gmtime(second)[:6]
        _stamp.text = b'{"time":"%04d-%02d-%02dT%02d:%02d:%02d.' % (year, month, day, hour, minute, seconds)
        _stamp.second = second
    return (
        b'%s%03dZ","route":%s,"assigned":%s,"served":%s,"reason":"%s","unit_hash":%s,"client":%s,'
        b'"method":%s,"host":%s,"path":%s,"status":%d,"flag":"%s","duration_ms":%.3f,"upstream_ms":%s,'
        b'"request_bytes":%d,"response_bytes":%d,"request_id":%s,"trace_id":%s,"marked":"%s","cache":"%s"}\n'
    ) % (
        _stamp.text,
        fraction,
        json_string(route.encode()),
        json_string(assigned.encode()),
        json_string(served.encode()),
        reason.encode(),  # of ours, as the flags are: plain letters
        json_string(unit_hash.encode()),
        json_string(client.encode()),
        json_string(method),
        json_string(host),
        json_string(path.partition(b"?")[0]),
        status,
        flags.encode(),
        duration * 1000,
        b"null" if upstream_duration < 0 else b"%.3f" % (upstream_duration * 1000),
        request_bytes,
        response_bytes,
        json_string(request_id),
        json_string(trace_id),
        marked.encode(),
        cache.encode(),
    )
