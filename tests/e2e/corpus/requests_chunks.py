"""Chunked bodies from clients: sizes, extensions, line ends, trailers (RFC 9112 section 7.1)."""

from .rows import Request, Upstream, broken_off, passed

_HEAD = b"POST /c HTTP/1.1\r\nHost: plain.test\r\nTransfer-Encoding: chunked\r\n\r\n"
_LINE = b"POST /c HTTP/1.1"


def _bad(name: str, body: bytes, status: int = 400) -> Request:
    return broken_off(f"chunk-{name}", _HEAD + body, status)


def _good(name: str, body: bytes, decoded: bytes, *trailers: bytes) -> Request:
    return passed(f"chunk-{name}", _HEAD + body, Upstream(_LINE, body=decoded, framing="chunked", trailers=trailers))


REQUESTS: tuple[Request, ...] = (
    # Sizes.
    _bad("size-empty", b"\r\nhello\r\n0\r\n\r\n"),
    _bad("size-0x", b"0x5\r\nhello\r\n0\r\n\r\n"),
    _bad("size-not-hex", b"5g\r\nhello\r\n0\r\n\r\n"),
    _bad("size-negative", b"-5\r\nhello\r\n0\r\n\r\n"),
    _bad("size-plus", b"+5\r\nhello\r\n0\r\n\r\n"),
    _bad("size-leading-space", b" 5\r\nhello\r\n0\r\n\r\n"),
    _bad("size-trailing-space", b"5 \r\nhello\r\n0\r\n\r\n"),
    _bad("size-trailing-tab", b"5\t\r\nhello\r\n0\r\n\r\n"),
    _bad("size-inner-space", b"1 0\r\nhello\r\n0\r\n\r\n"),
    _bad("size-underscore", b"1_0\r\nhello\r\n0\r\n\r\n"),
    _bad("size-comma", b"5,5\r\nhello\r\n0\r\n\r\n"),
    _bad("size-overflows-64-bits", b"10000000000000005\r\nhello\r\n0\r\n\r\n"),
    _bad("size-huge", b"f" * 200 + b"\r\nhello\r\n0\r\n\r\n"),
    _bad("size-endless-zeros", b"0" * 5000 + b"5\r\nhello\r\n0\r\n\r\n"),
    _bad("size-nul", b"5\x00\r\nhello\r\n0\r\n\r\n"),
    _bad("size-quoted", b'"5"\r\nhello\r\n0\r\n\r\n'),
    # Line ends.
    _bad("bare-lf-after-size", b"5\nhello\r\n0\r\n\r\n"),
    _bad("bare-cr-after-size", b"5\rhello\r\n0\r\n\r\n"),
    _bad("bare-lf-after-data", b"5\r\nhello\n0\r\n\r\n"),
    _bad("no-line-end-after-data", b"5\r\nhello0\r\n\r\n"),
    _bad("longer-than-size", b"3\r\nhello\r\n0\r\n\r\n"),
    _bad("two-crs-after-data", b"5\r\nhello\r\r\n0\r\n\r\n"),
    _bad("bare-lf-ends-the-body", b"5\r\nhello\r\n0\n\n"),
    _bad("bare-lf-in-the-last-line", b"5\r\nhello\r\n0\r\n\n"),
    # Extensions: read and dropped, but only what the grammar knows.
    _bad("extension-bare-lf", b"5;a=b\nhello\r\n0\r\n\r\n"),
    _bad("extension-bare-cr", b"5;a\rb\r\nhello\r\n0\r\n\r\n"),
    _bad("extension-nul", b"5;a\x00\r\nhello\r\n0\r\n\r\n"),
    _bad("extension-without-name", b"5;=b\r\nhello\r\n0\r\n\r\n"),
    _bad("extension-empty", b"5;\r\nhello\r\n0\r\n\r\n"),
    _bad("extension-quote-open", b'5;a="b\r\nhello\r\n0\r\n\r\n'),
    _bad("extension-endless", b"5;" + b"a" * 100_000),
    _bad("extension-smuggles-a-line", b"2;\nxx\r\n4c\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: plain.test\r\n\r\n"),
    # Trailers.
    _bad("trailer-without-colon", b"0\r\nnonsense\r\n\r\n"),
    _bad("trailer-space-before-colon", b"0\r\nX-A : b\r\n\r\n"),
    _bad("trailer-folded", b"0\r\nX-A: b\r\n c\r\n\r\n"),
    _bad("trailer-nul", b"0\r\nX-A: b\x00\r\n\r\n"),
    _bad("trailer-bare-lf", b"0\r\nX-A: b\nX-B: c\r\n\r\n"),
    _bad("trailers-too-large", b"0\r\nX-A: " + b"a" * 70_000 + b"\r\n\r\n", 431),
    _bad("trailers-too-many", b"0\r\n" + b"".join(b"X-%d: a\r\n" % n for n in range(200)) + b"\r\n", 431),
    # What is right.
    _good("empty-body", b"0\r\n\r\n", b""),
    _good("several", b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
    _good("upper-and-lower-hex", b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
    _good("leading-zeros", b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
    _good("extensions-dropped", b'5;a=b;c="d;e"\r\nhello\r\n0;last\r\n\r\n', b"hello"),
    _good("data-that-looks-like-an-end", b"7\r\n0\r\n\r\n\r\n\r\n0\r\n\r\n", b"0\r\n\r\n\r\n"),
    _good("trailers-kept", b"5\r\nhello\r\n0\r\nX-Checksum: abc\r\nx-other:  1 \r\n\r\n", b"hello", b"X-Checksum: abc", b"x-other: 1"),
    _good("trailer-content-length-dropped", b"0\r\nContent-Length: 5\r\nX-A: b\r\n\r\n", b"", b"X-A: b"),
    _good("trailer-transfer-encoding-dropped", b"0\r\nTransfer-Encoding: chunked\r\n\r\n", b""),
    _good("trailer-host-dropped", b"0\r\nHost: evil.test\r\n\r\n", b""),
    _good("trailer-authorization-dropped", b"0\r\nAuthorization: Basic eA==\r\n\r\n", b""),
    _good("trailer-cookie-dropped", b"0\r\nCookie: sid=evil\r\n\r\n", b""),
    _good("trailer-connection-dropped", b"0\r\nConnection: close\r\n\r\n", b""),
    _good("trailer-forwarding-dropped", b"0\r\nX-Forwarded-For: 1.2.3.4\r\nForwarded: for=1.2.3.4\r\nVia: 1.1 x\r\n\r\n", b""),
    _good("trailer-own-field-dropped", b"0\r\nX-Tidegate-Version: canary\r\n\r\n", b""),
)  # fmt: skip
