"""The chunked coding against h11 and llhttp, and against itself in other pieces."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from proxy.core.framing import ChunkedDecoder, encode_chunk, last_chunk
from proxy.errors import ProtocolError

from .oracles import ask_h11, ask_llhttp, read_request, refused_by_both

pytestmark = pytest.mark.slow

HEAD = b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"

EXTENSIONS = [b"", b"", b"", b";a", b";a=b", b'; a="b;c"', b";a;b=c", b" ;a", b";", b' ;a = "\\""', b";a=\xe9", b"\t"]
TRAILERS = [
    b"X-Sum: 1",
    b"Grpc-Status: 0",
    b"Host: evil",
    b"Content-Length: 7",
    b"X : y",
    b" folded",
    b"no colon",
    b"X:\x00",
]
SNIPPETS = [
    b"\r\n",
    b"\r",
    b"\n",
    b" ",
    b"\t",
    b";",
    b"0",
    b"00",
    b"1",
    b"f",
    b"F",
    b"g",
    b"x",
    b"0x",
    b"+",
    b"-",
    b"_",
    b"\x00",
    b"\x0b",
    b"\x80",
    b'"',
    b"0\r\n\r\n",
    b"0\n\n",
    b"1\r\na\r\n",
    b"5\r\n",
    b"f" * 15,
    b"f" * 16,
    b"0" * 16,
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
]


@st.composite
def streams(draw: st.DrawFn, mutations: int) -> bytes:
    """A chunked body whose sizes are written in every way, damaged in up to `mutations` places."""
    out = []
    for data in draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4)):
        size = draw(st.sampled_from((b"%x", b"%X", b"0%x", b"000%X"))) % len(data)
        out.append(size + draw(st.sampled_from(EXTENSIONS)) + b"\r\n" + data + b"\r\n")
    out.append(draw(st.sampled_from((b"0", b"000"))) + draw(st.sampled_from(EXTENSIONS)) + b"\r\n")
    out.extend(line + b"\r\n" for line in draw(st.lists(st.sampled_from(TRAILERS), max_size=2)))
    stream = b"".join(out) + b"\r\n"
    for _ in range(draw(st.integers(0, mutations))):
        at = draw(st.integers(0, len(stream)))
        snippet = draw(st.one_of(st.sampled_from(SNIPPETS), st.binary(min_size=1, max_size=1)))
        kind = draw(st.sampled_from(("insert", "delete", "replace")))
        after = at if kind == "insert" else at + (len(snippet) if kind == "replace" else draw(st.integers(1, 3)))
        stream = stream[:at] + (b"" if kind == "delete" else snippet) + stream[after:]
    return stream


@settings(max_examples=600, deadline=None)
@given(streams(2))
@example(b"5 ;a\r\nhello\r\n0\r\n\r\n")
@example(b"5\r\nhello\n0\r\n\r\n")
@example(b"2\r\nab\r\n0\r\n\r\n0\r\n\r\n")
@example(b"0\r\nContent-Length:; 7\r\n\r\n")
def test_body_that_we_accept_is_framed_alike_by_all_who_accept_it(stream: bytes) -> None:
    try:
        ours = read_request(HEAD + stream)
    except ProtocolError:
        return
    assert ours is not None
    theirs = [ask_h11(HEAD + stream), ask_llhttp(HEAD + stream)]
    assert any(one is not None for one in theirs) or refused_by_both(HEAD + stream, b"POST")
    for one in theirs:
        if one is not None:
            assert (one.body, one.complete) == (ours.body, ours.complete)
            if one.rest is not None and one.complete:
                assert one.rest == ours.rest


@settings(max_examples=400, deadline=None)
@given(streams(2), st.lists(st.integers(1, 12), max_size=60))
def test_body_is_the_same_however_it_arrives(stream: bytes, cuts: list[int]) -> None:
    assert _decode(stream, cuts) == _decode(stream, []) == _decode(stream, [1] * len(stream))


def _decode(stream: bytes, cuts: list[int]) -> object:
    decoder = ChunkedDecoder()
    body = b""
    try:
        for cut in cuts:
            body += b"".join(decoder.feed(stream[:cut]))
            stream = stream[cut:]
        body += b"".join(decoder.feed(stream))
    except ProtocolError as error:
        return error.status  # the same whatever the pieces; the pieces of the body before it are not
    return body, decoder.done, decoder.rest, decoder.trailers


@settings(max_examples=200, deadline=None)
@given(st.lists(st.binary(max_size=300)), st.binary(max_size=40), st.lists(st.integers(1, 50), max_size=20))
def test_what_we_encode_all_decode(pieces: list[bytes], after: bytes, cuts: list[int]) -> None:
    trailers = [b"X-Sum: 1"]
    stream = b"".join(encode_chunk(piece) for piece in pieces) + last_chunk(trailers)
    body = b"".join(pieces)
    assert _decode(stream + after, cuts) == (body, True, after, trailers)
    for one in (ask_h11(HEAD + stream), ask_llhttp(HEAD + stream)):
        assert one is not None
        assert (one.body, one.complete) == (body, True)
