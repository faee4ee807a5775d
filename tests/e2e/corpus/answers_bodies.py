"""Answers' bodies: chunks, ends, bodies where none may be, and bytes that nobody asked for."""

from .rows import CLOSE, Answer, cut

_OK = b"HTTP/1.1 200 OK\r\n"
_CHUNKED = _OK + b"Transfer-Encoding: chunked\r\n\r\n"
_EVIL = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"


def _bad_chunk(name: str, body: bytes, received: bytes = b"hello") -> Answer:
    return cut(
        f"answer-chunk-{name}", _CHUNKED + b"5\r\nhello\r\n" + body, received, "keep", flag="UPE", framing="chunked"
    )


ANSWERS: tuple[Answer, ...] = (
    # Chunks.
    _bad_chunk("size-empty", b"\r\nx\r\n0\r\n\r\n"),
    _bad_chunk("size-not-hex", b"zz\r\nx\r\n0\r\n\r\n"),
    _bad_chunk("size-0x", b"0x1\r\nx\r\n0\r\n\r\n"),
    _bad_chunk("size-negative", b"-1\r\nx\r\n0\r\n\r\n"),
    _bad_chunk("size-space", b"1 \r\nx\r\n0\r\n\r\n"),
    _bad_chunk("size-overflow", b"fffffffffffffffff\r\nx\r\n0\r\n\r\n"),
    _bad_chunk("bare-lf-after-size", b"1\nx\r\n0\r\n\r\n"),
    _bad_chunk("extension-bare-lf", b"1;a\nx\r\n0\r\n\r\n"),
    _bad_chunk("trailer-bad", b"0\r\nX A: b\r\n\r\n"),
    _bad_chunk("trailer-bare-lf", b"0\r\nX-A: b\n\r\n\r\n"),
    cut("answer-close-mid-chunk", _CHUNKED + b"a\r\nhello", b"hello", framing="chunked"),
    cut("answer-close-between-chunks", _CHUNKED + b"5\r\nhello\r\n", b"hello", framing="chunked"),
    cut("answer-close-before-last-line", _CHUNKED + b"5\r\nhello\r\n0\r\n", b"hello", framing="chunked"),
    Answer(
        "answer-chunked",
        _CHUNKED + b"5\r\nhello\r\n3;x=y\r\n...\r\n0\r\n\r\n",
        body=b"hello...",
        framing="chunked",
        reused=True,
    ),
    Answer("answer-chunked-empty", _CHUNKED + b"0\r\n\r\n", framing="chunked", reused=True),
    Answer(
        "answer-chunked-trailers",
        _CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nContent-Length: 9\r\nSet-Cookie: evil=1\r\n\r\n",
        body=b"hello",
        trailers=(b"X-Sum: 1",),
        reused=True,
    ),
    Answer(
        "answer-chunked-to-http-1.0",
        _CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
        body=b"hello",
        client=b"HTTP/1.0",
        framing="close",
        reused=True,
    ),
    # Lengths.
    Answer("answer-length", _OK + b"Content-Length: 5\r\n\r\nhello", body=b"hello", framing="length", reused=True),
    Answer("answer-length-zero", _OK + b"Content-Length: 0\r\n\r\n", framing="length", reused=True),
    Answer(
        "answer-length-to-http-1.0",
        _OK + b"Content-Length: 5\r\n\r\nhello",
        body=b"hello",
        client=b"HTTP/1.0",
        framing="length",
        reused=True,
    ),
    # Until the end of the connection.
    Answer("answer-until-close", _OK + b"\r\nhello", body=b"hello", then=CLOSE, framing="chunked"),
    Answer("answer-until-close-empty", _OK + b"\r\n", then=CLOSE, framing="chunked"),
    Answer(
        "answer-until-close-http-1.0", b"HTTP/1.0 200 OK\r\n\r\nhello", body=b"hello", then=CLOSE, framing="chunked"
    ),
    Answer(
        "answer-until-close-keep-alive-claimed",
        _OK + b"Connection: keep-alive\r\n\r\nhello",
        body=b"hello",
        then=CLOSE,
        framing="chunked",
    ),
    Answer(
        "answer-until-close-to-http-1.0",
        _OK + b"\r\nhello",
        body=b"hello",
        then=CLOSE,
        client=b"HTTP/1.0",
        framing="close",
    ),
    # HTTP/1.0 upstreams.
    Answer("answer-http-1.0-length", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", body=b"hello"),
    Answer(
        "answer-http-1.0-keep-alive",
        b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello",
        body=b"hello",
        reused=True,
    ),
    # No body.
    Answer("answer-head", _OK + b"Content-Length: 5\r\n\r\n", method=b"HEAD", framing="none", reused=True),
    Answer("answer-head-chunked", _CHUNKED, method=b"HEAD", framing="none", reused=True),
    Answer("answer-head-without-length", _OK + b"\r\n", method=b"HEAD", framing="none", reused=True),
    Answer("answer-head-with-body", _OK + b"Content-Length: 5\r\n\r\nhello", method=b"HEAD", framing="none"),
    Answer("answer-204", b"HTTP/1.1 204 No Content\r\n\r\n", 204, framing="none", reused=True),
    Answer("answer-204-with-body", b"HTTP/1.1 204 No Content\r\n\r\nhello", 204, framing="none"),
    Answer(
        "answer-304",
        b"HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 5\r\n\r\n",
        304,
        framing="none",
        reused=True,
    ),
    Answer("answer-304-with-body", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\nhello", 304, framing="none"),
    # More than was asked for: never part of the next answer.
    Answer("answer-extra-bytes", _OK + b"Content-Length: 2\r\n\r\nokxx", body=b"ok"),
    Answer("answer-second-answer", _OK + b"Content-Length: 2\r\n\r\nok" + _EVIL, body=b"ok"),
    Answer("answer-second-answer-after-chunks", _CHUNKED + b"2\r\nok\r\n0\r\n\r\n" + _EVIL, body=b"ok"),
    Answer(
        "answer-second-answer-after-head", _OK + b"Content-Length: 0\r\n\r\n" + _EVIL, method=b"HEAD", framing="none"
    ),
    Answer("answer-second-answer-after-204", b"HTTP/1.1 204 No Content\r\n\r\n" + _EVIL, 204, framing="none"),
    Answer("answer-second-answer-after-304", b"HTTP/1.1 304 Not Modified\r\n\r\n" + _EVIL, 304, framing="none"),
    Answer("answer-extra-line-end", _OK + b"Content-Length: 2\r\n\r\nok\r\n", body=b"ok"),
    Answer("answer-extra-bytes-then-close", _OK + b"Content-Length: 2\r\n\r\nokxx", body=b"ok", then=CLOSE),
)
