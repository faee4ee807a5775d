"""Answers before the answer: 1xx (RFC 9110 section 15.2)."""

from .rows import CLOSE, Answer, invalid

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

ANSWERS: tuple[Answer, ...] = (
    Answer("interim-103", b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + _OK, body=b"ok", interim=(103,), reused=True),
    Answer("interim-102-103", b"HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\n\r\n" + _OK, body=b"ok", interim=(102, 103), reused=True),
    Answer("interim-unknown", b"HTTP/1.1 199 Odd\r\n\r\n" + _OK, body=b"ok", interim=(199,), reused=True),
    Answer("interim-to-http-1.0", b"HTTP/1.1 103 Early Hints\r\n\r\n" + _OK, body=b"ok", client=b"HTTP/1.0", interim=(), reused=True),
    Answer("interim-before-head", b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", method=b"HEAD",
           interim=(103,), framing="none", reused=True),
    Answer("interim-before-204", b"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", 204, interim=(103,), reused=True),
    invalid("interim-101-unasked", b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
    invalid("interim-101-unasked-then-200", b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + _OK),
    invalid("interim-with-length", b"HTTP/1.1 103 Early Hints\r\nContent-Length: 5\r\n\r\nhello" + _OK),
    invalid("interim-chunked", b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + _OK),
    invalid("interim-then-garbage", b"HTTP/1.1 103 Early Hints\r\n\r\ngarbage\r\n\r\n"),
    invalid("interim-then-close", b"HTTP/1.1 103 Early Hints\r\n\r\n", CLOSE, flag="UC"),
)  # fmt: skip
