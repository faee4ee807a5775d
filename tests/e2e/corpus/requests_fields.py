"""Field lines: bytes that do not belong, and how many and how long they may be (RFC 9110 section 5, RFC 9112 section 5)."""

from .rows import GET, Request, Upstream, passed, refused

_GET = b"GET / HTTP/1.1\r\nHost: plain.test\r\n"


def _bad(name: str, lines: bytes, status: int = 400) -> Request:
    return refused(f"field-{name}", _GET + lines + b"\r\n\r\n", status)


def _good(name: str, lines: bytes, *fields: bytes) -> Request:
    return passed(f"field-{name}", _GET + lines + b"\r\n\r\n", Upstream(GET.line, fields))


REQUESTS: tuple[Request, ...] = (
    _bad("no-colon", b"nonsense"),
    _bad("empty-name", b": value"),
    _bad("space-before-colon", b"X-A : b"),
    _bad("tab-before-colon", b"X-A\t: b"),
    _bad("space-in-name", b"X A: b"),
    _bad("folded", b"X-A: b\r\n c"),
    _bad("folded-with-tab", b"X-A: b\r\n\tc"),
    _bad("folded-empty", b"X-A: b\r\n "),
    refused("field-first-folded", b"GET / HTTP/1.1\r\n Host: plain.test\r\nHost: plain.test\r\n\r\n"),
    refused("field-first-line-blank", b"GET / HTTP/1.1\r\n \r\nHost: plain.test\r\n\r\n"),
    _bad("nul-in-value", b"X-A: b\x00c"),
    _bad("nul-in-name", b"X\x00A: b"),
    _bad("bare-cr-in-value", b"X-A: b\rc"),
    _bad("bare-cr-before-line-end", b"X-A: b\r"),
    _bad("bare-lf-in-value", b"X-A: b\nX-B: c"),
    _bad("bare-lf-ends-head", b"X-A: b\n"),
    refused("field-bare-lf-everywhere", b"GET / HTTP/1.1\nHost: plain.test\n\n"),
    _bad("escape-in-value", b"X-A: \x1b[31m"),
    _bad("delete-in-value", b"X-A: b\x7f"),
    _bad("backspace-in-value", b"X-A: b\x08"),
    _bad("control-in-name", b"X-\x01: b"),
    _bad("high-byte-in-name", b"X-\xe9: b"),
    _bad("parenthesis-in-name", b"X(A): b"),
    _bad("slash-in-name", b"X/A: b"),
    _bad("quote-in-name", b'X"A: b'),
    _bad("too-many", b"\r\n".join(b"X-%d: a" % n for n in range(100)), 431),
    _bad("too-large", b"X-A: " + b"a" * 66_000, 431),
    _bad("too-large-in-many", b"\r\n".join(b"X-%d: " % n + b"a" * 8_000 for n in range(9)), 431),
    refused("field-endless", _GET + b"X-A: " + b"a" * 200_000, 431),
    refused("field-endless-name", _GET + b"a" * 200_000, 431),
    _good("just-enough", b"\r\n".join(b"X-%d: a" % n for n in range(99)), *(b"X-%d: a" % n for n in range(99))),
    _good("large", b"X-A: " + b"a" * 60_000, b"X-A: " + b"a" * 60_000),
    _good("empty-value", b"X-A:", b"X-A: "),
    _good("tab-in-value", b"X-A: b\tc", b"X-A: b\tc"),
    _good("obs-text-in-value", b"X-A: caf\xe9 \xff", b"X-A: caf\xe9 \xff"),
    _good("no-space-after-colon", b"X-A:b", b"X-A: b"),
    _good("every-token-byte", b"!#$%&'*+-.^_`|~09AZaz: b", b"!#$%&'*+-.^_`|~09AZaz: b"),
    _good("repeated-in-order", b"X-A: 1\r\nx-b: x\r\nX-A: 2", b"X-A: 1", b"x-b: x", b"X-A: 2"),
    _good("colon-in-value", b"X-A: b: c", b"X-A: b: c"),
    _good("cookies-kept-apart", b"Cookie: a=1\r\nCookie: b=2", b"Cookie: a=1", b"Cookie: b=2"),
    _good("underscore-kept", b"X_A: b", b"X_A: b"),
)
