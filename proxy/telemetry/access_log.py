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


class LineFormatter:
    """Formats lines; keeps the date and the time of the last second, for neighbours share it."""

    def __init__(self) -> None:
        self._second = -1
        self._stamp = b""

    def format_line(  # noqa: PLR0917 - keywords cost, and there is one caller
        self,
        time: float,
        route: bytes,
        assigned: bytes,
        served: bytes,
        reason: bytes,
        unit_hash: bytes,
        client: bytes,
        method: bytes,
        path: bytes,
        status: int,
        flag: bytes,
        duration: float,
        upstream: float,
        request_bytes: int,
        response_bytes: int,
        request_id: bytes,
        trace_id: bytes,
    ) -> bytes:
        """One line, ended by LF.

        `time` is when the request began, in Unix seconds; `path` has no query; `duration` and `upstream` (to the
        head of the upstream's answer) are seconds, and `upstream` is negative where none answered, which gives null.
        Empty `unit_hash`, `flag` and `trace_id` stay empty strings, so that every line has every key.
        """
        thousandths = int(time * 1000)
        second, fraction = divmod(thousandths, 1000)
        if second != self._second:
            year, month, day, hour, minute, seconds = gmtime(second)[:6]
            self._stamp = b'{"time":"%04d-%02d-%02dT%02d:%02d:%02d.' % (year, month, day, hour, minute, seconds)
            self._second = second
        return (
            b'%s%03dZ","route":%s,"assigned":%s,"served":%s,"reason":%s,"unit_hash":%s,"client":%s,"method":%s,"path":%s,'
            b'"status":%d,"flag":%s,"duration_ms":%.3f,"upstream_ms":%s,"request_bytes":%d,"response_bytes":%d,'
            b'"request_id":%s,"trace_id":%s}\n'
        ) % (
            self._stamp,
            fraction,
            json_string(route),
            json_string(assigned),
            json_string(served),
            json_string(reason),
            json_string(unit_hash),
            json_string(client),
            json_string(method),
            json_string(path.partition(b"?")[0]),
            status,
            json_string(flag),
            duration * 1000,
            b"null" if upstream < 0 else b"%.3f" % (upstream * 1000),
            request_bytes,
            response_bytes,
            json_string(request_id),
            json_string(trace_id),
        )
