"""Answers' heads: the status line, the fields, where the body ends (RFC 9112 sections 4, 5, 6.3)."""

from .rows import CLOSE, RESET, Answer, cut, invalid

_OK = b"HTTP/1.1 200 OK\r\n"


def _line(name: str, line: bytes) -> Answer:
    return invalid(f"answer-{name}", line + b"\r\nContent-Length: 2\r\n\r\nok")


def _field(name: str, lines: bytes, body: bytes = b"ok") -> Answer:
    return invalid(f"answer-{name}", _OK + lines + b"\r\n\r\n" + body)


REQUEST_IN_BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nsmuggled"

ANSWERS: tuple[Answer, ...] = (
    # Status lines.
    _line("garbage", b"\x00\x01\x02garbage"),
    _line("not-http", b"SSH-2.0-OpenSSH_9.2"),
    _line("http-0.9", b"<html>hello</html>"),
    _line("version-2.0", b"HTTP/2.0 200 OK"),
    _line("version-2", b"HTTP/2 200 OK"),
    _line("version-1.2", b"HTTP/1.2 200 OK"),
    _line("version-lower-case", b"http/1.1 200 OK"),
    _line("status-letters", b"HTTP/1.1 abc OK"),
    _line("status-two-digits", b"HTTP/1.1 20 OK"),
    _line("status-four-digits", b"HTTP/1.1 2000 OK"),
    _line("status-below-100", b"HTTP/1.1 099 OK"),
    _line("status-000", b"HTTP/1.1 000 OK"),
    _line("status-600", b"HTTP/1.1 600 OK"),
    _line("status-999", b"HTTP/1.1 999 OK"),
    _line("status-negative", b"HTTP/1.1 -20 OK"),
    _line("status-missing", b"HTTP/1.1 "),
    _line("two-spaces-before-status", b"HTTP/1.1  200 OK"),
    _line("space-before-version", b" HTTP/1.1 200 OK"),
    _line("nul-in-reason", b"HTTP/1.1 200 O\x00K"),
    _line("bare-cr-in-reason", b"HTTP/1.1 200 O\rK"),
    invalid("answer-bare-lf", b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"),
    invalid("answer-empty-line-first", b"\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    Answer("answer-reason-empty", b"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", body=b"ok", reused=True),
    Answer("answer-reason-missing", b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", body=b"ok", reused=True),
    Answer("answer-reason-obs-text", b"HTTP/1.1 200 caf\xe9\r\nContent-Length: 2\r\n\r\nok", body=b"ok", reused=True),
    Answer("answer-status-unknown", b"HTTP/1.1 299 Fine\r\nContent-Length: 2\r\n\r\nok", 299, b"ok", reused=True),
    Answer("answer-status-599", b"HTTP/1.1 599 Odd\r\nContent-Length: 2\r\n\r\nok", 599, b"ok", reused=True),
    # Fields.
    _field("nul-in-value", b"X-A: b\x00\r\nContent-Length: 2"),
    _field("bare-cr-in-value", b"X-A: b\rSet-Cookie: evil=1\r\nContent-Length: 2"),
    _field("bare-lf-in-value", b"X-A: b\nSet-Cookie: evil=1\r\nContent-Length: 2"),
    _field("folded", b"X-A: b\r\n c\r\nContent-Length: 2"),
    _field("space-before-colon", b"Content-Length : 2"),
    _field("no-colon", b"nonsense\r\nContent-Length: 2"),
    _field("empty-name", b": x\r\nContent-Length: 2"),
    _field("control-in-name", b"X-\x01: b\r\nContent-Length: 2"),
    _field("too-large", b"X-A: " + b"a" * 200_000 + b"\r\nContent-Length: 2"),
    _field("too-many", b"".join(b"X-%d: a\r\n" % n for n in range(3000)) + b"Content-Length: 2"),
    invalid("answer-head-endless", _OK + b"X-A: " + b"a" * 2_000_000, CLOSE),
    # Framing.
    _field("cl-te", b"Content-Length: 2\r\nTransfer-Encoding: chunked", b"2\r\nok\r\n0\r\n\r\n"),
    _field("te-cl", b"Transfer-Encoding: chunked\r\nContent-Length: 200", b"2\r\nok\r\n0\r\n\r\n" + REQUEST_IN_BODY),
    _field("cl-twice-different", b"Content-Length: 2\r\nContent-Length: 3"),
    _field("cl-twice-equal", b"Content-Length: 2\r\nContent-Length: 2"),
    _field("cl-list", b"Content-Length: 2, 2"),
    _field("cl-negative", b"Content-Length: -2"),
    _field("cl-plus", b"Content-Length: +2"),
    _field("cl-hex", b"Content-Length: 0x2"),
    _field("cl-empty", b"Content-Length:"),
    _field("cl-overflow", b"Content-Length: 18446744073709551618"),
    _field("te-gzip-chunked", b"Transfer-Encoding: gzip, chunked", b"2\r\nok\r\n0\r\n\r\n"),
    _field("te-gzip", b"Transfer-Encoding: gzip"),
    _field("te-identity", b"Transfer-Encoding: identity"),
    _field("te-xchunked", b"Transfer-Encoding: xchunked", b"2\r\nok\r\n0\r\n\r\n"),
    _field("te-twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked", b"2\r\nok\r\n0\r\n\r\n"),
    _field("te-vertical-tab", b"Transfer-Encoding: \x0bchunked", b"2\r\nok\r\n0\r\n\r\n"),
    invalid("answer-te-http-1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    invalid("answer-204-with-length", b"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok"),
    invalid("answer-204-chunked", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
    # The connection ends too early.
    invalid("answer-close-without-a-byte", b"", CLOSE, flag="UC"),
    invalid("answer-close-mid-status-line", b"HTTP/1.1 20", CLOSE, flag="UC"),
    invalid("answer-close-mid-field", _OK + b"Content-Le", CLOSE, flag="UC"),
    invalid("answer-close-before-empty-line", _OK + b"Content-Length: 2\r\n", CLOSE, flag="UC"),
    invalid("answer-reset-without-a-byte", b"", RESET, flag="UR"),
    cut("answer-close-mid-body", _OK + b"Content-Length: 10\r\n\r\nhello", b"hello", framing="length"),
    # Fields on their way to the client.
    Answer(
        "answer-fields-kept",
        _OK
        + b"Server: origin\r\nX-A: 1\r\nx-a: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 2\r\n\r\nok",
        body=b"ok",
        fields=(b"Server: origin", b"X-A: 1", b"x-a: 2", b"Set-Cookie: a=1", b"Set-Cookie: b=2"),
        reused=True,
    ),
    Answer(
        "answer-hop-by-hop-removed",
        _OK + b"Connection: keep-alive, X-Secret\r\nKeep-Alive: timeout=9\r\nX-Secret: 1\r\nProxy-Connection: x\r\n"
        b"Proxy-Authenticate: Basic\r\nUpgrade: h2c\r\nX-B: 2\r\nContent-Length: 2\r\n\r\nok",
        body=b"ok",
        fields=(b"X-B: 2",),
        reused=True,
    ),
    Answer(
        "answer-content-length-not-named-away",
        _OK + b"Connection: content-length\r\nContent-Length: 2\r\n\r\nok",
        body=b"ok",
        framing="length",
        reused=True,
    ),
    Answer("answer-connection-close", _OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nok", body=b"ok"),
    Answer(
        "answer-forged-own-fields",
        _OK + b"X-Tidegate-Flags: UH\r\nContent-Length: 2\r\n\r\nok",
        body=b"ok",
        fields=(),
        reused=True,
    ),
)
