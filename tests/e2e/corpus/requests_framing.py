"""Where a body ends: Content-Length and Transfer-Encoding, alone, together, twice and in disguise (RFC 9112 section 6).

Two servers that read one of these differently see two different requests: that is request smuggling. None is repaired.
"""

from .rows import Request, Upstream, passed, refused

_POST = b"POST /a HTTP/1.1\r\nHost: plain.test\r\n"
_LINE = b"POST /a HTTP/1.1"
_SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: plain.test\r\n\r\n"
_CHUNKED = b"0\r\n\r\n"


def _coded(name: str, field: bytes) -> Request:
    """A message whose body is chunked for whoever understands `field`, and absent for whoever does not."""
    return refused(name, _POST + field + b"\r\n\r\n" + _CHUNKED + _SMUGGLED)


def _long(name: str, field: bytes) -> Request:
    """A message whose body is as long as `field` says to whoever believes it."""
    return refused(name, _POST + field + b"\r\n\r\nhello")


REQUESTS: tuple[Request, ...] = (
    # One field too many.
    refused("cl-te", _POST + b"Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"),
    refused("te-cl", _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n5c\r\nGPOST / HTTP/1.1\r\n0\r\n\r\n"),
    refused("cl-zero-te", _POST + b"Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKED),
    refused("te-te-second-unknown", _POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: cow\r\n\r\n" + _CHUNKED),
    refused("te-te-first-unknown", _POST + b"Transfer-Encoding: cow\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKED),
    refused("te-te-equal", _POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKED),
    refused("te-te-different-case", _POST + b"Transfer-Encoding: chunked\r\ntransfer-encoding: CHUNKED\r\n\r\n" + _CHUNKED),
    refused("cl-named-by-connection-with-te", _POST + b"Connection: content-length\r\nContent-Length: 6\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\nG"),
    # Codings that are not a single, final chunked.
    _coded("te-xchunked", b"Transfer-Encoding: xchunked"),
    _coded("te-chunkedx", b"Transfer-Encoding: chunkedx"),
    _coded("te-chunked-twice", b"Transfer-Encoding: chunked, chunked"),
    _coded("te-identity", b"Transfer-Encoding: identity"),
    _coded("te-chunked-identity", b"Transfer-Encoding: chunked, identity"),
    _coded("te-identity-chunked", b"Transfer-Encoding: identity, chunked"),
    _coded("te-gzip", b"Transfer-Encoding: gzip"),
    _coded("te-gzip-chunked", b"Transfer-Encoding: gzip, chunked"),
    _coded("te-chunked-gzip", b"Transfer-Encoding: chunked, gzip"),
    _coded("te-quoted", b'Transfer-Encoding: "chunked"'),
    _coded("te-single-quoted", b"Transfer-Encoding: 'chunked'"),
    _coded("te-parameter", b"Transfer-Encoding: chunked;q=1"),
    _coded("te-semicolon", b"Transfer-Encoding: chunked;"),
    _coded("te-trailing-comma", b"Transfer-Encoding: chunked,"),
    _coded("te-leading-comma", b"Transfer-Encoding: ,chunked"),
    _coded("te-empty", b"Transfer-Encoding:"),
    _coded("te-spaces-only", b"Transfer-Encoding:   "),
    _coded("te-split-word", b"Transfer-Encoding: chun ked"),
    # Tricks with what surrounds the value.
    _coded("te-vertical-tab-before", b"Transfer-Encoding: \x0bchunked"),
    _coded("te-form-feed-before", b"Transfer-Encoding: \x0cchunked"),
    _coded("te-nul-after", b"Transfer-Encoding: chunked\x00"),
    _coded("te-bare-cr-before", b"Transfer-Encoding: \rchunked"),
    _coded("te-bare-cr-after", b"Transfer-Encoding: chunked\r"),
    _coded("te-bare-lf-before", b"Transfer-Encoding:\n chunked"),
    _coded("te-folded", b"Transfer-Encoding:\r\n chunked"),
    _coded("te-folded-tab", b"Transfer-Encoding:\r\n\tchunked"),
    _coded("te-nbsp-after", b"Transfer-Encoding: chunked\xa0"),
    _coded("te-delete-after", b"Transfer-Encoding: chunked\x7f"),
    # Tricks with the name.
    _coded("te-space-before-colon", b"Transfer-Encoding : chunked"),
    _coded("te-tab-before-colon", b"Transfer-Encoding\t: chunked"),
    _coded("te-space-before-name", b"X: y\r\n Transfer-Encoding: chunked"),
    _coded("te-bare-lf-hides-it", b"X: y\nTransfer-Encoding: chunked"),
    _coded("te-bare-cr-hides-it", b"X: y\rTransfer-Encoding: chunked"),
    _coded("te-nul-in-name", b"Transfer\x00-Encoding: chunked"),
    _coded("te-high-byte-in-name", b"Transfer-Encoding\xff: chunked"),
    _coded("te-no-colon", b"Transfer-Encoding chunked"),
    refused("te-http-1.0", b"POST /a HTTP/1.0\r\nHost: plain.test\r\nTransfer-Encoding: chunked\r\n\r\n" + _CHUNKED),
    refused("te-http-1.0-keep-alive", b"POST /a HTTP/1.0\r\nHost: plain.test\r\nConnection: keep-alive\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n" + _CHUNKED),
    # Lengths.
    refused("cl-cl-different", _POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
    refused("cl-cl-equal", _POST + b"Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello"),
    refused("cl-cl-different-case", _POST + b"Content-Length: 5\r\ncontent-length: 0\r\n\r\nhello"),
    _long("cl-list-different", b"Content-Length: 5, 6"),
    _long("cl-list-equal", b"Content-Length: 5, 5"),
    _long("cl-trailing-comma", b"Content-Length: 5,"),
    _long("cl-negative", b"Content-Length: -5"),
    _long("cl-negative-zero", b"Content-Length: -0"),
    _long("cl-plus", b"Content-Length: +5"),
    _long("cl-hex", b"Content-Length: 0x5"),
    _long("cl-hex-digit", b"Content-Length: a"),
    _long("cl-decimal-point", b"Content-Length: 5.0"),
    _long("cl-exponent", b"Content-Length: 5e0"),
    _long("cl-underscore", b"Content-Length: 1_0"),
    _long("cl-empty", b"Content-Length:"),
    _long("cl-spaces-only", b"Content-Length:  "),
    _long("cl-inner-space", b"Content-Length: 5 0"),
    _long("cl-unit", b"Content-Length: 5 bytes"),
    _long("cl-overflows-64-bits", b"Content-Length: 18446744073709551621"),
    _long("cl-overflows-63-bits", b"Content-Length: 9223372036854775808"),
    _long("cl-arabic-digits", b"Content-Length: \xd9\xa5"),
    _long("cl-superscript", b"Content-Length: \xb2"),
    _long("cl-space-before-colon", b"Content-Length : 5"),
    _long("cl-folded", b"Content-Length:\r\n 5"),
    _long("cl-vertical-tab", b"Content-Length: \x0b5"),
    # What is right.
    passed("cl", _POST + b"Content-Length: 5\r\n\r\nhello", Upstream(_LINE, body=b"hello", framing="length")),
    passed("cl-zero", _POST + b"Content-Length: 0\r\n\r\n", Upstream(_LINE, framing="length")),
    passed("cl-tabs-around", _POST + b"Content-Length:\t5\t \r\n\r\nhello", Upstream(_LINE, body=b"hello", framing="length")),
    passed("cl-leading-zeros", _POST + b"Content-Length: 005\r\n\r\nhello", Upstream(_LINE, body=b"hello", framing="length")),
    passed("cl-on-get", b"GET /a HTTP/1.1\r\nHost: plain.test\r\nContent-Length: 5\r\n\r\nhello",
           Upstream(b"GET /a HTTP/1.1", body=b"hello", framing="length")),
    passed("te", _POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
           Upstream(_LINE, body=b"hello", framing="chunked")),
    passed("te-upper-case", _POST + b"TRANSFER-ENCODING: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
           Upstream(_LINE, body=b"hello", framing="chunked")),
    passed("te-tab-before-value", _POST + b"Transfer-Encoding:\tchunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
           Upstream(_LINE, body=b"hello", framing="chunked")),
    passed("no-body", _POST + b"\r\n", Upstream(_LINE)),
)  # fmt: skip
