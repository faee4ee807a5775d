"""Paths: what has one reading is spelled one way, what has several is refused (CONFIG.md, Paths).

The route of raw.test says `paths: raw`: there the path goes up as it came.
"""

from .rows import Request, Upstream, passed


def _bad(name: str, path: bytes, *, closed: bool = False) -> Request:
    """Where the head is sound and only the path is not, the connection can go on."""
    return Request(f"path-{name}", b"GET " + path + b" HTTP/1.1\r\nHost: plain.test\r\n\r\n", (400,), closed)


def _good(name: str, path: bytes, received: bytes) -> Request:
    sent = b"GET " + path + b" HTTP/1.1\r\nHost: plain.test\r\n\r\n"
    return passed(f"path-{name}", sent, Upstream(b"GET " + received + b" HTTP/1.1"))


def _raw(name: str, path: bytes) -> Request:
    sent = b"GET " + path + b" HTTP/1.1\r\nHost: raw.test\r\n\r\n"
    return passed(f"path-raw-{name}", sent, Upstream(b"GET " + path + b" HTTP/1.1", host=b"raw.test"))


REQUESTS: tuple[Request, ...] = (
    _bad("dot-dot", b"/a/../b"),
    _bad("dot-dot-first", b"/../b"),
    _bad("dot-dot-last", b"/a/.."),
    _bad("dot", b"/a/./b"),
    _bad("dot-last", b"/a/."),
    _bad("dot-dot-encoded", b"/a/%2e%2e/b"),
    _bad("dot-dot-half-encoded", b"/a/.%2E/b"),
    _bad("dot-encoded", b"/a/%2e/b"),
    _bad("dot-dot-parameter", b"/a/..;x/b"),
    _bad("slash-encoded", b"/a%2fb"),
    _bad("slash-encoded-upper", b"/a%2Fb"),
    _bad("backslash-encoded", b"/a%5cb"),
    _bad("backslash", b"/a\\b"),
    _bad("dot-dot-backslash", b"/a/..%5c..%5cb"),
    _bad("nul-encoded", b"/a%00b"),
    _bad("escape-cut-short", b"/a%2", closed=True),
    _bad("escape-not-hex", b"/a%zz", closed=True),
    _bad("escape-bare", b"/100%", closed=True),
    _bad("escape-overlong-style", b"/a%u002e", closed=True),
    _good("unreserved-decoded", b"/%61%2D%7e%5F%39", b"/a-~_9"),
    _good("dots-within-a-name", b"/a..b/.c/d...", b"/a..b/.c/d..."),
    _good("dot-file-encoded", b"/%2ehidden", b"/.hidden"),
    _good("other-escapes-upper-case", b"/a%3a%c3%a9", b"/a%3A%C3%A9"),
    _good("space-encoded", b"/a%20b", b"/a%20b"),
    _good("twice-encoded", b"/a%252e%252e/b", b"/a%252e%252e/b"),
    _good("question-mark-encoded", b"/a%3fb?c", b"/a%3Fb?c"),
    _good("dots-in-the-query", b"/a?b=/../%2e%2e%2f%00", b"/a?b=/../%2e%2e%2f%00"),
    _good("reserved-kept", b"/a;b=c,d@e:f!g$h&i'j(k)l*m+n=o", b"/a;b=c,d@e:f!g$h&i'j(k)l*m+n=o"),
    _raw("dot-dot", b"/a/../b"),
    _raw("slash-encoded", b"/a%2fb%2Fc"),
    _raw("unreserved-kept", b"/%61%2e"),
    _raw("nul-encoded", b"/a%00b"),
)
