"""Host, and the authority of an absolute target (RFC 9110 section 7.2, RFC 9112 section 3.2)."""

from .rows import GET, Request, Upstream, passed, refused


def _bad(name: str, *lines: bytes) -> Request:
    return refused(f"host-{name}", b"\r\n".join((b"GET / HTTP/1.1", *lines, b"", b"")))


def _absolute(name: str, line: bytes, host: bytes, received: bytes, authority: bytes = b"plain.test") -> Request:
    return passed(f"absolute-{name}", line + b"\r\nHost: " + host + b"\r\n\r\n", Upstream(received, host=authority))


def _bad_absolute(name: str, target: bytes) -> Request:
    return refused(f"absolute-{name}", b"GET " + target + b" HTTP/1.1\r\nHost: plain.test\r\n\r\n")


REQUESTS: tuple[Request, ...] = (
    _bad("missing"),
    _bad("twice-equal", b"Host: plain.test", b"Host: plain.test"),
    _bad("twice-different", b"Host: plain.test", b"Host: evil.test"),
    _bad("twice-different-case", b"Host: plain.test", b"hOsT: evil.test"),
    _bad("empty", b"Host:"),
    _bad("spaces-only", b"Host:   "),
    _bad("list", b"Host: plain.test, evil.test"),
    _bad("inner-space", b"Host: plain.test evil.test"),
    _bad("userinfo", b"Host: evil@plain.test"),
    _bad("path", b"Host: plain.test/evil"),
    _bad("query", b"Host: plain.test?evil"),
    _bad("fragment", b"Host: plain.test#evil"),
    _bad("backslash", b"Host: plain.test\\evil"),
    _bad("scheme", b"Host: http://plain.test"),
    _bad("percent", b"Host: plain%2etest"),
    _bad("high-byte", b"Host: pl\xe1in.test"),
    _bad("quote", b'Host: "plain.test"'),
    _bad("port-not-a-number", b"Host: plain.test:http"),
    _bad("port-negative", b"Host: plain.test:-1"),
    _bad("port-too-large", b"Host: plain.test:65536"),
    _bad("two-ports", b"Host: plain.test:80:80"),
    _bad("port-alone", b"Host: :80"),
    _bad("bracket-open", b"Host: [::1"),
    _bad("bracket-not-an-address", b"Host: [plain.test]"),
    _bad("address-without-brackets", b"Host: ::1"),
    _bad("space-before-colon", b"Host : plain.test"),
    _bad("folded", b"Host:\r\n plain.test"),
    _bad("endless", b"Host: " + b"a" * 300 + b".test"),
    passed(
        "host-case-and-port-ignored",
        b"GET / HTTP/1.1\r\nHost: PLAIN.test:8080\r\n\r\n",
        Upstream(GET.line, host=b"PLAIN.test:8080"),
    ),
    passed("host-empty-port", b"GET / HTTP/1.1\r\nHost: plain.test:\r\n\r\n", Upstream(GET.line, host=b"plain.test:")),
    Request("host-ipv6-no-route", b"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n", (404,), closed=False),
    Request("host-no-route", b"GET / HTTP/1.1\r\nHost: unknown.test\r\n\r\n", (404,), closed=False),
    _absolute("form", b"GET http://plain.test/a?b HTTP/1.1", b"plain.test", b"GET /a?b HTTP/1.1"),
    _absolute("overrules-host", b"GET http://plain.test/a HTTP/1.1", b"evil.test", b"GET /a HTTP/1.1"),
    _absolute("with-port", b"GET http://plain.test:81/a HTTP/1.1", b"plain.test", b"GET /a HTTP/1.1", b"plain.test:81"),
    _absolute("empty-path", b"GET http://plain.test HTTP/1.1", b"plain.test", b"GET / HTTP/1.1"),
    _absolute("empty-path-query", b"GET http://plain.test?a HTTP/1.1", b"plain.test", b"GET /?a HTTP/1.1"),
    _absolute("scheme-upper-case", b"GET HTTP://plain.test/ HTTP/1.1", b"plain.test", b"GET / HTTP/1.1"),
    _absolute("options-asterisk", b"OPTIONS http://plain.test HTTP/1.1", b"plain.test", b"OPTIONS * HTTP/1.1"),
    passed("absolute-http-1.0-without-host", b"GET http://plain.test/ HTTP/1.0\r\n\r\n", GET, closed=True),
    refused("absolute-without-host", b"GET http://plain.test/ HTTP/1.1\r\n\r\n"),
    refused("absolute-host-twice", b"GET http://plain.test/ HTTP/1.1\r\nHost: plain.test\r\nHost: plain.test\r\n\r\n"),
    _bad_absolute("userinfo", b"http://evil@plain.test/"),
    _bad_absolute("password", b"http://evil:secret@plain.test/"),
    _bad_absolute("no-host", b"http:///a"),
    _bad_absolute("other-scheme", b"ftp://plain.test/"),
    _bad_absolute("no-scheme", b"plain.test/a"),
    _bad_absolute("scheme-relative-port", b"http://plain.test:port/"),
    _bad_absolute("backslash-authority", b"http://plain.test\\@evil.test/"),
    _bad_absolute("fragment", b"http://plain.test/#a"),
)
