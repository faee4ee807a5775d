"""The chunked coding, in any pieces, and what is refused."""

import pytest

from proxy.core.framing import (
    LAST_CHUNK,
    MAX_TRAILER_BYTES,
    MAX_TRAILER_FIELDS,
    ChunkedDecoder,
    encode_chunk,
    last_chunk,
)
from proxy.errors import ProtocolError


def decode(stream: bytes, step: int = 0) -> tuple[bytes, ChunkedDecoder]:
    decoder = ChunkedDecoder()
    body = b""
    for at in range(0, len(stream), step or len(stream)):
        body += b"".join(decoder.feed(stream[at : at + (step or len(stream))]))
    return body, decoder


GOOD = (
    b'5;a=b;c="d;\\"e"\r\nhello\r\n00A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nHost: evil\r\nx-tidegate-version: v\r\n\r\nGET'
)


@pytest.mark.parametrize("step", [0, 1, 2, 3, 5, 7, 11])
def test_body_trailers_and_rest_come_out_whatever_the_split(step: int) -> None:
    body, decoder = decode(GOOD, step)
    assert body == b"hello0123456789"
    assert (decoder.done, decoder.rest, decoder.trailers) == (True, b"GET", [b"X-Sum: 1"])


def test_nothing_is_done_before_the_last_byte() -> None:
    _, decoder = decode(b"1\r\na\r\n0\r\n\r")
    assert (decoder.done, decoder.rest) == (False, b"")
    assert decoder.feed(b"\n") == []
    assert (decoder.done, decoder.rest) == (True, b"")


def test_empty_feed_changes_nothing() -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"") == []
    assert decoder.feed(b"3\r\nab") == [b"ab"]
    assert decoder.feed(b"") == []
    assert decoder.feed(b"c\r\n0\r\n\r\n") == [b"c"]
    assert decoder.done


def test_whole_pieces_of_a_large_chunk_are_not_copied() -> None:
    decoder = ChunkedDecoder()
    decoder.feed(b"200000\r\n")
    piece = b"x" * 0x100000
    assert decoder.feed(piece)[0] is piece
    assert decoder.feed(piece)[0] is piece


def test_many_small_chunks_in_one_feed() -> None:
    body, decoder = decode(b"1\r\na\r\n" * 50_000 + LAST_CHUNK)
    assert body == b"a" * 50_000
    assert decoder.done


@pytest.mark.parametrize(
    "stream",
    [
        b"\r\n",
        b"g\r\n",
        b"-1\r\n",
        b"+1\r\n",
        b"0x1\r\n",
        b" 1\r\n",
        b"1 \r\n",
        b"1\t\r\n",
        b"1_0\r\n",
        b"\xb2\r\n",
        b"1\n",
        b"1\r\r\n",
        b"1000000000000000\r\n",
        b"0" * 16 + b"\r\n",
        b"5\r\nhelloX",
        b"5\r\nhello\n",
        b"5\r\nhello\rX",
        b"5\r\nhello\r\r\n",
        b"5\r\nhello6\r\n",
        b"1;\r\n",
        b"1 ;a\r\n",
        b"1;a\x00\r\n",
        b"1;a\nb\r\n",
        b"1;a\rb\r\n",
        b"1;a=\r\n",
        b'1;a="\r\n',
        b"1;a b\r\n",
        b"1;a \r\n",
        b"1,a\r\n",
        b'1;a="b"c\r\n',
        b"1;" + b"a" * 1100,
        b"0\r\nX : y\r\n",
        b"0\r\n X: y\r\n",
        b"0\r\nX\r\n",
        b"0\r\nX: y\r\n z\r\n",
        b"0\r\nX: \x00\r\n",
        b"0\r\nX: y\nZ: a\r\n",
        b"0\r\nX: y\rZ: a\r\n",
        b"0\r\n: y\r\n",
        b"0\r\n\n",
        b"0\n\r\n",
        b"0\r\n\rX",
        b"1\x00",
    ],
)
def test_stream_is_refused_whole_and_byte_by_byte(stream: bytes) -> None:
    for step in (0, 1):
        with pytest.raises(ProtocolError) as caught:
            decode(stream, step)
        assert caught.value.status == 400


@pytest.mark.parametrize("ext", [b";a", b";a=b", b'; a = "b c" ; d', b";a;b;c", b";a\t=\tb", b';a="\\""'])
def test_extensions_are_dropped(ext: bytes) -> None:
    body, decoder = decode(b"1" + ext + b"\r\nx\r\n0" + ext + b"\r\n\r\n")
    assert (body, decoder.done, decoder.trailers) == (b"x", True, [])


@pytest.mark.parametrize("step", [0, 1, 1000])
def test_trailers_are_bounded_in_bytes(step: int) -> None:
    line = b"X: " + b"y" * 995 + b"\r\n"
    fitting = MAX_TRAILER_BYTES // len(line)
    assert len(decode(b"0\r\n" + line * fitting + b"\r\n", step)[1].trailers) == fitting
    for stream in (b"0\r\n" + line * (fitting + 1), b"0\r\nX: " + b"y" * MAX_TRAILER_BYTES):
        with pytest.raises(ProtocolError) as caught:
            decode(stream, step)
        assert caught.value.status == 431


def test_trailers_are_bounded_in_number() -> None:
    assert len(decode(b"0\r\n" + b"X: y\r\n" * MAX_TRAILER_FIELDS + b"\r\n")[1].trailers) == MAX_TRAILER_FIELDS
    with pytest.raises(ProtocolError) as caught:
        decode(b"0\r\n" + b"X: y\r\n" * (MAX_TRAILER_FIELDS + 1))
    assert caught.value.status == 431


@pytest.mark.parametrize(
    "name",
    [
        b"Content-Length",
        b"transfer-encoding",
        b"Trailer",
        b"HOST",
        b"Authorization",
        b"Cookie",
        b"Set-Cookie",
        b"Connection",
        b"X-Forwarded-For",
        b"X-TideGate-Route",
        b"X_Tidegate_Flag_New_Cart",
        b"X_Forwarded_For",
        b"Content_Length",
        b"Content-Type",
        b"Content-Encoding",
        b"Forwarded",
        b"Via",
        b"Upgrade",
        b"TE",
        b"Expect",
        b"Range",
        b"If-Match",
        b"Cache-Control",
        b"Location",
        b"X-Request-Id",
        b"Traceparent",
        b"Keep-Alive",
    ],
)
def test_trailer_that_belongs_into_the_head_is_dropped(name: bytes) -> None:
    _, decoder = decode(b"0\r\n" + name + b": 1\r\n" + name + b": 2\r\nGrpc-Status: 0\r\n\r\n")
    assert decoder.trailers == [b"Grpc-Status: 0"]


def test_bytes_after_the_end_gather_in_rest() -> None:
    _, decoder = decode(LAST_CHUNK + b"GET")
    assert decoder.feed(b" /") == []
    assert decoder.rest == b"GET /"


def test_what_is_encoded_is_decoded() -> None:
    trailers = [b"X-Sum: 1", b"Grpc-Status: 0"]
    body, decoder = decode(encode_chunk(b"a" * 300) + encode_chunk(b"") + encode_chunk(b"b") + last_chunk(trailers))
    assert body == b"a" * 300 + b"b"
    assert (decoder.done, decoder.trailers) == (True, trailers)


def test_no_data_makes_no_chunk() -> None:
    assert encode_chunk(b"") == b""
    assert last_chunk([]) == LAST_CHUNK
