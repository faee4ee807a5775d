"""The PROXY protocol's prefaces, whole, cut short, and wrong."""

import pytest

from proxy.core.proxy_protocol import MAX_V1, MAX_V2, Preface, parse
from proxy.errors import ProtocolError

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
V4 = bytes((192, 0, 2, 1, 198, 51, 100, 2)) + b"\x30\x39\x01\xbb"
V6 = bytes.fromhex("20010db8000000000000000000000001") * 2 + b"\x30\x39\x01\xbb"
MAPPED = bytes(10) + b"\xff\xff" + bytes((192, 0, 2, 1)) + bytes(16) + b"\x00\x01\x00\x02"


def v2(command: int, family: int, payload: bytes) -> bytes:
    return SIGNATURE + bytes((command, family)) + len(payload).to_bytes(2, "big") + payload


def read(buffer: bytes) -> tuple[int, str | None, int]:
    found = parse(buffer)
    assert isinstance(found, Preface)
    return found.consumed, found.address, found.port


GOOD = [
    (b"PROXY TCP4 192.0.2.1 198.51.100.2 12345 443\r\n", "192.0.2.1", 12345),
    (b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255", 65535),
    (b"PROXY TCP6 2001:DB8::1 ::1 12345 0\r\n", "2001:db8::1", 12345),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "192.0.2.1", 1),
    (b"PROXY UNKNOWN\r\n", None, 0),
    (b"PROXY UNKNOWN ffff:f... whatever 1\r\n", None, 0),
    (v2(0x21, 0x11, V4), "192.0.2.1", 12345),
    (v2(0x21, 0x11, V4 + b"\x04\x00\x01x"), "192.0.2.1", 12345),
    (v2(0x21, 0x21, V6), "2001:db8::1", 12345),
    (v2(0x21, 0x21, MAPPED), "192.0.2.1", 1),
    (v2(0x21, 0x31, bytes(216)), None, 0),
    (v2(0x21, 0x00, b""), None, 0),
    (v2(0x20, 0x00, b""), None, 0),
    (v2(0x20, 0x11, V4), None, 0),
    (v2(0x20, 0x00, bytes(MAX_V2 - 16)), None, 0),
]


@pytest.mark.parametrize(("preface", "address", "port"), GOOD)
def test_preface_is_read_once_it_is_whole(preface: bytes, address: str | None, port: int) -> None:
    assert read(preface) == (len(preface), address, port)
    assert read(preface + b"GET / HTTP/1.1\r\n") == (len(preface), address, port)
    for cut in range(len(preface)):
        assert parse(preface[:cut]) is None


@pytest.mark.parametrize(
    "buffer",
    [
        b"GET / HTTP/1.1\r\n",
        b"proxy TCP4",
        b"PROXYTCP4",
        b"\r\n\r\nGET",
        b"\n",
        b"PROXY\r\n",
        b"PROXY \r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP5 192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 3\r\n",
        b"PROXY TCP4  192.0.2.1 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2 \r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 01 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 65536 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 -2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 \r\n",
        b"PROXY TCP4 192.0.2.256 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.01 198.51.100.2 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 ::1 1 2\r\n",
        b"PROXY TCP4 ::1 ::1 1 2\r\n",
        b"PROXY TCP6 192.0.2.1 192.0.2.1 1 2\r\n",
        b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
        b"PROXY TCP6  ::1 1 2\r\n",
        b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\n",
        b"PROXY UNKNOWN \x00\r\n",
        b"PROXY UNKNOWN a\rb\r\n",
        b"PROXY UNKNOWN" + b"x" * MAX_V1,
        v2(0x11, 0x11, V4),
        v2(0x22, 0x11, V4),
        v2(0x21, 0x12, V4),
        v2(0x21, 0x22, V6),
        v2(0x21, 0x41, V4),
        v2(0x21, 0x11, V4[:-1]),
        v2(0x21, 0x21, V4),
        v2(0x20, 0x00, bytes(MAX_V2 - 15)),
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_preface_is_refused(buffer: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse(buffer)
    assert caught.value.status == 400
