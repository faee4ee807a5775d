"""The life of a client connection: keep-alive, HTTP/1.0, pipelining, expectations, upgrades, hop-by-hop fields."""

from .rows import GET, Request, Upstream, passed, refused

_ONE = b"GET / HTTP/1.1\r\nHost: plain.test\r\n\r\n"
_BASE = b"GET / HTTP/1.1\r\nHost: plain.test\r\n"


def _get(path: bytes) -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nHost: plain.test\r\n\r\n"


def _got(path: bytes) -> Upstream:
    return Upstream(b"GET " + path + b" HTTP/1.1")


def _removed(name: str, lines: bytes, *kept: bytes) -> Request:
    return passed(f"hop-{name}", _BASE + lines + b"\r\n\r\n", Upstream(GET.line, kept))


REQUESTS: tuple[Request, ...] = (
    # Keep-alive.
    passed("connection-stays-open", _ONE, GET),
    passed("connection-close", _BASE + b"Connection: close\r\n\r\n", GET, closed=True),
    passed("connection-close-in-a-list", _BASE + b"Connection: foo, Close\r\n\r\n", GET, closed=True),
    passed("connection-close-wins", _BASE + b"Connection: keep-alive\r\nConnection: close\r\n\r\n", GET, closed=True),
    passed("connection-keep-alive", _BASE + b"Connection: keep-alive\r\nKeep-Alive: timeout=5\r\n\r\n", GET),
    passed("http-1.0-closes", b"GET / HTTP/1.0\r\nHost: plain.test\r\n\r\n", GET, closed=True),
    passed("http-1.0-keep-alive", b"GET / HTTP/1.0\r\nHost: plain.test\r\nConnection: keep-alive\r\n\r\n", GET),
    passed("http-1.0-keep-alive-and-close", b"GET / HTTP/1.0\r\nHost: plain.test\r\nConnection: keep-alive, close\r\n\r\n", GET, closed=True),
    passed("http-1.0-body", b"POST / HTTP/1.0\r\nHost: plain.test\r\nContent-Length: 2\r\n\r\nhi",
           Upstream(b"POST / HTTP/1.1", body=b"hi", framing="length"), closed=True),
    Request("http-1.0-without-host", b"GET / HTTP/1.0\r\n\r\n", (404,), closed=True),
    # Pipelining.
    passed("pipelined-two", _get(b"/1") + _get(b"/2"), _got(b"/1"), _got(b"/2")),
    passed("pipelined-three-with-bodies",
           b"POST /1 HTTP/1.1\r\nHost: plain.test\r\nContent-Length: 3\r\n\r\none"
           b"POST /2 HTTP/1.1\r\nHost: plain.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n" + _get(b"/3"),
           Upstream(b"POST /1 HTTP/1.1", body=b"one", framing="length"),
           Upstream(b"POST /2 HTTP/1.1", body=b"two", framing="chunked"), _got(b"/3")),
    passed("pipelined-empty-line-between", _get(b"/1") + b"\r\n" + _get(b"/2"), _got(b"/1"), _got(b"/2")),
    Request("pipelined-second-bad", _get(b"/1") + b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n" + _get(b"/3"), (200, 400), True, (_got(b"/1"),)),
    Request("pipelined-second-without-route", _get(b"/1") + b"GET / HTTP/1.1\r\nHost: unknown.test\r\n\r\n" + _get(b"/3"),
            (200, 404, 200), False, (_got(b"/1"), _got(b"/3"))),
    Request("pipelined-after-close", b"GET /1 HTTP/1.1\r\nHost: plain.test\r\nConnection: close\r\n\r\n" + _get(b"/2"), (200,), True, (_got(b"/1"),)),
    Request("pipelined-after-body-error", b"POST /1 HTTP/1.1\r\nHost: plain.test\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + _get(b"/2"),
            (400,), True, aborted=True),
    Request("pipelined-head", b"HEAD /1 HTTP/1.1\r\nHost: plain.test\r\n\r\n" + _get(b"/2"), (200, 200), False,
            (Upstream(b"HEAD /1 HTTP/1.1"), _got(b"/2")), methods=(b"HEAD", b"GET")),
    Request("body-longer-than-length", b"POST /1 HTTP/1.1\r\nHost: plain.test\r\nContent-Length: 3\r\n\r\nonetwo\r\n\r\n", (200, 400), True,
            (Upstream(b"POST /1 HTTP/1.1", body=b"one", framing="length"),)),
    # Expectations.
    passed("expect-continue", b"POST / HTTP/1.1\r\nHost: plain.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
           Upstream(b"POST / HTTP/1.1", (b"Expect: 100-continue",), b"hi", "length")),
    refused("expect-unknown", b"POST / HTTP/1.1\r\nHost: plain.test\r\nExpect: miracles\r\nContent-Length: 2\r\n\r\nhi", 417),
    passed("expect-http-1.0-ignored", b"POST / HTTP/1.0\r\nHost: plain.test\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
           Upstream(b"POST / HTTP/1.1", (), b"hi", "length"), closed=True),
    # Hop-by-hop fields.
    _removed("named-by-connection", b"Connection: x-secret\r\nX-Secret: 1\r\nX-Other: 2", b"X-Other: 2"),
    _removed("several-named", b"Connection: X-A , keep-alive,x-b\r\nx-a: 1\r\nX-B: 2\r\nX-C: 3", b"X-C: 3"),
    _removed("connection-twice", b"Connection: x-a\r\nConnection: x-b\r\nX-A: 1\r\nX-B: 2"),
    _removed("standard", b"Keep-Alive: timeout=5\r\nProxy-Connection: keep-alive\r\nProxy-Authorization: Basic eA==\r\nTrailer: X-T"),
    _removed("te-gzip-removed", b"TE: gzip"),
    _removed("te-trailers-kept", b"Connection: TE\r\nTE: trailers", b"te: trailers"),
    _removed("te-trailers-kept-alone", b"Connection: te\r\nTE: gzip;q=0.5, trailers", b"te: trailers"),
    _removed("host-not-named-away", b"Connection: host"),
    _removed("authorization-not-named-away", b"Connection: authorization\r\nAuthorization: Basic eA==", b"Authorization: Basic eA=="),
    _removed("cookie-not-named-away", b"Connection: cookie\r\nCookie: a=1", b"Cookie: a=1"),
    passed("hop-content-length-not-named-away",
           b"POST / HTTP/1.1\r\nHost: plain.test\r\nConnection: content-length\r\nContent-Length: 2\r\n\r\nhi",
           Upstream(b"POST / HTTP/1.1", (), b"hi", "length")),
    passed("hop-transfer-encoding-not-named-away",
           b"POST / HTTP/1.1\r\nHost: plain.test\r\nConnection: transfer-encoding\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
           Upstream(b"POST / HTTP/1.1", (), b"hi", "chunked")),
    # Upgrades that are not passed on.
    _removed("upgrade-h2c", b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__"),
    _removed("upgrade-without-connection", b"Upgrade: websocket"),
    _removed("upgrade-tls", b"Connection: upgrade\r\nUpgrade: TLS/1.0"),
    _removed("upgrade-http", b"Connection: upgrade\r\nUpgrade: HTTP/2.0"),
    passed("hop-upgrade-http-1.0", b"GET / HTTP/1.0\r\nHost: plain.test\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n", GET, closed=True),
)  # fmt: skip
