"""Bodies that are too large, and requests that never end. The route of limited.test has `max_body: 100B`."""

from .rows import Request, Upstream, broken_off, passed, refused

_HOST = b"Host: limited.test\r\n"
_POST = b"POST /b HTTP/1.1\r\n" + _HOST
_CHUNKED = _POST + b"Transfer-Encoding: chunked\r\n\r\n"


def _received(body: bytes, framing: str) -> Upstream:
    return Upstream(b"POST /b HTTP/1.1", body=body, framing=framing, host=b"limited.test")


REQUESTS: tuple[Request, ...] = (
    refused("max-body-announced", _POST + b"Content-Length: 101\r\n\r\n", 413),
    refused("max-body-announced-and-sent", _POST + b"Content-Length: 101\r\n\r\n" + b"a" * 101, 413),
    refused("max-body-announced-huge", _POST + b"Content-Length: 999999999999999\r\n\r\n", 413),
    refused("max-body-expect", _POST + b"Content-Length: 101\r\nExpect: 100-continue\r\n\r\n", 413),
    broken_off("max-body-one-chunk", _CHUNKED + b"65\r\n" + b"a" * 101 + b"\r\n0\r\n\r\n", 413),
    broken_off("max-body-chunk-still-coming", _CHUNKED + b"ffffff\r\n" + b"a" * 101, 413),
    broken_off("max-body-many-chunks", _CHUNKED + b"a\r\n0123456789\r\n" * 11, 413),
    passed("max-body-exactly", _POST + b"Content-Length: 100\r\n\r\n" + b"a" * 100, _received(b"a" * 100, "length")),
    passed(
        "max-body-exactly-chunked",
        _CHUNKED + b"64\r\n" + b"a" * 100 + b"\r\n0\r\n\r\n",
        _received(b"a" * 100, "chunked"),
    ),
    passed(
        "max-body-counts-the-body-alone",
        _CHUNKED + b"1;extension\r\na\r\n" * 100 + b"0\r\nX-T: " + b"t" * 100 + b"\r\n\r\n",
        Upstream(b"POST /b HTTP/1.1", (), b"a" * 100, "chunked", b"limited.test", (b"X-T: " + b"t" * 100,)),
    ),
)
