"""Request lines: methods, targets, versions, white space, lengths (RFC 9112 sections 2.2, 3)."""

from .rows import GET, Request, Upstream, passed, refused

_HOST = b"Host: plain.test\r\n\r\n"


def _bad(name: str, line: bytes, status: int = 400) -> Request:
    return refused(f"line-{name}", line + b"\r\n" + _HOST, status)


REQUESTS: tuple[Request, ...] = (
    # Versions.
    refused("line-http-0.9", b"GET /\r\n\r\n"),
    _bad("http-0.9-with-version", b"GET / HTTP/0.9", 505),
    _bad("http-1.2", b"GET / HTTP/1.2", 505),
    _bad("http-1.9", b"GET / HTTP/1.9", 505),
    _bad("http-2.0", b"GET / HTTP/2.0", 505),
    _bad("http-3.0", b"GET / HTTP/3.0", 505),
    _bad("http-2", b"GET / HTTP/2"),
    _bad("http-3", b"GET / HTTP/3"),
    refused("line-http-2-preface", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    _bad("http-lower-case", b"GET / http/1.1"),
    _bad("http-1.10", b"GET / HTTP/1.10"),
    _bad("http-1.01", b"GET / HTTP/1.01"),
    _bad("http-no-minor", b"GET / HTTP/1"),
    _bad("http-no-slash", b"GET / HTTP1.1"),
    _bad("http-comma", b"GET / HTTP/1,1"),
    _bad("https", b"GET / HTTPS/1.1"),
    _bad("version-trailing-text", b"GET / HTTP/1.1x"),
    _bad("version-missing-after-space", b"GET / "),
    # White space.
    _bad("two-spaces-before-target", b"GET  / HTTP/1.1"),
    _bad("two-spaces-after-target", b"GET /  HTTP/1.1"),
    _bad("trailing-space", b"GET / HTTP/1.1 "),
    _bad("leading-space", b" GET / HTTP/1.1"),
    _bad("tab-between", b"GET\t/ HTTP/1.1"),
    _bad("space-in-target", b"GET /a b HTTP/1.1"),
    _bad("form-feed-between", b"GET\x0c/ HTTP/1.1"),
    _bad("bare-cr-in-line", b"GET /\r HTTP/1.1"),
    refused("line-bare-lf", b"GET / HTTP/1.1\n" + _HOST),
    refused("line-two-crs", b"GET / HTTP/1.1\r\r\n" + _HOST),
    # Methods.
    _bad("method-missing", b"/ HTTP/1.1"),
    _bad("method-empty", b" / HTTP/1.1"),
    _bad("method-bracket", b"GET[ / HTTP/1.1"),
    _bad("method-colon", b"GET: / HTTP/1.1"),
    _bad("method-nul", b"G\x00ET / HTTP/1.1"),
    _bad("method-high-byte", b"G\xc9T / HTTP/1.1"),
    _bad("method-endless", b"A" * 5000 + b" / HTTP/1.1"),
    refused("line-connect", b"CONNECT plain.test:443 HTTP/1.1\r\nHost: plain.test:443\r\n\r\n", 501),
    _bad("connect-path", b"CONNECT / HTTP/1.1", 501),
    refused("line-tls-hello", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 20 + b"\r\n\r\n"),
    # Targets.
    _bad("target-empty", b"GET  HTTP/1.1"),
    _bad("target-relative", b"GET a HTTP/1.1"),
    _bad("target-asterisk-with-get", b"GET * HTTP/1.1"),
    _bad("target-authority-with-get", b"GET plain.test:80 HTTP/1.1"),
    _bad("target-nul", b"GET /a\x00b HTTP/1.1"),
    _bad("target-control", b"GET /a\x01b HTTP/1.1"),
    _bad("target-delete", b"GET /a\x7fb HTTP/1.1"),
    _bad("target-high-byte", b"GET /caf\xe9 HTTP/1.1"),
    _bad("target-fragment", b"GET /a#b HTTP/1.1"),
    _bad("target-too-long", b"GET /" + b"a" * 8192 + b" HTTP/1.1", 414),
    refused("line-target-endless", b"GET /" + b"a" * 200_000, 414),
    passed("line-target-just-fits", b"GET /" + b"a" * 8191 + b" HTTP/1.1\r\n" + _HOST, Upstream(b"GET /" + b"a" * 8191 + b" HTTP/1.1")),
    passed("line-options-asterisk", b"OPTIONS * HTTP/1.1\r\n" + _HOST, Upstream(b"OPTIONS * HTTP/1.1")),
    passed("line-query-kept", b"GET /a?b=c%2Fd&e=%41?/ HTTP/1.1\r\n" + _HOST, Upstream(b"GET /a?b=c%2Fd&e=%41?/ HTTP/1.1")),
    passed("line-empty-query-kept", b"GET /a? HTTP/1.1\r\n" + _HOST, Upstream(b"GET /a? HTTP/1.1")),
    passed("line-double-slash-kept", b"GET //a//b HTTP/1.1\r\n" + _HOST, Upstream(b"GET //a//b HTTP/1.1")),
    passed("line-unknown-method", b"PURGE /a HTTP/1.1\r\n" + _HOST, Upstream(b"PURGE /a HTTP/1.1")),
    passed("line-method-is-case-sensitive", b"get / HTTP/1.1\r\n" + _HOST, Upstream(b"get / HTTP/1.1")),
    passed("line-one-empty-line-before", b"\r\nGET / HTTP/1.1\r\n" + _HOST, GET),
)  # fmt: skip
