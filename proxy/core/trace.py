"""Ids by which a request is found again: W3C trace context and x-request-id. The random numbers are passed in."""

from typing import Final

_HEX: Final = b"0123456789abcdef"
_ID: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-._~:/+=@"
_ID_LIMIT: Final = 128
_NO_TRACE: Final = b"0" * 32
_NO_SPAN: Final = b"0" * 16


def valid_traceparent(value: bytes) -> bool:
    """Whether a received traceparent may be passed on as it is (W3C Trace Context, sections 3.2 and 4).

    Version 00 has exactly four parts; of later versions, these four are looked at and more may follow. Version ff,
    and ids of nothing but zeros, are invalid.
    """
    if len(value) < 55 or value[2:3] != b"-" or value[35:36] != b"-" or value[52:53] != b"-":
        return False
    version = value[:2]
    trace = value[3:35]
    span = value[36:52]
    if (version + trace + span + value[53:55]).translate(None, _HEX):
        return False
    if version == b"ff" or trace == _NO_TRACE or span == _NO_SPAN:
        return False
    return len(value) == 55 or (version != b"00" and value[55:56] == b"-")


def trace_id_of(traceparent: bytes) -> bytes:
    """The trace id in a valid traceparent: 32 hex digits."""
    return traceparent[3:35]


def lines_of(digits: bytes, with_request_id: bool) -> bytes:
    """The field lines that start a trace: 32 hex digits for the trace id, 16 for the span's, neither all zeros.

    The sampled flag is off, for this proxy records no spans (section 3.2.2.5.1). `with_request_id` adds an x-request-id, which
    is the trace id.
    """
    trace = digits[:32]
    if with_request_id:
        return b"".join((b"traceparent: 00-", trace, b"-", digits[32:], b"-00\r\nx-request-id: ", trace, b"\r\n"))
    return b"".join((b"traceparent: 00-", trace, b"-", digits[32:], b"-00\r\n"))


def valid_request_id(value: bytes) -> bool:
    """Whether a received x-request-id is kept: 1 to 128 bytes that need no quoting in a log line, a URL's path or
    JSON."""
    return 0 < len(value) <= _ID_LIMIT and not value.translate(None, _ID)
