"""The PROXY protocol, versions 1 and 2: a preface in which a load balancer in front says who the client is.

It decides who is trusted, so it is read as strictly as a head. A listener either expects it from everybody or from
nobody: guessing would let a client write its own. (The PROXY protocol, Willy Tarreau, HAProxy, sections 2.1 and 2.2.)
"""

import ipaddress
from typing import Final

from proxy.core.field_lines import TEXT
from proxy.errors import ProtocolError

MAX_V1: Final = 107
"""Bytes of the longest version 1 line, with CRLF."""
MAX_V2: Final = 536
"""Bytes of a version 2 preface that is still taken: what every TCP segment may carry, so that it arrives in one."""

_V1: Final = b"PROXY "
_V2: Final = b"\r\n\r\n\x00\r\nQUIT\n"
_V2_HEAD: Final = 16


class Preface:
    """What a preface said. `consumed` bytes belong to it; `address` is None where it gives none (LOCAL, UNKNOWN,
    unix)."""

    def __init__(self, consumed: int, address: str | None, port: int) -> None:
        self.consumed: Final = consumed
        self.address: Final = address
        self.port: Final = port


def parse(buffer: bytes) -> Preface | None:
    """Read the preface at the start of `buffer`; None while more is needed, which it never is beyond MAX_V2 bytes.

    Raises ProtocolError 400 as soon as what is there cannot become a valid one.
    """
    if buffer.startswith(_V1):
        return _parse_v1(buffer)
    if buffer.startswith(_V2):
        return _parse_v2(buffer)
    if _V1.startswith(buffer) or _V2.startswith(buffer):
        return None
    raise ProtocolError(400, "no PROXY protocol preface")


def _parse_v1(buffer: bytes) -> Preface | None:
    end = buffer.find(b"\r\n", 0, MAX_V1)
    if end < 0:
        if len(buffer) >= MAX_V1 or b"\n" in buffer:
            raise ProtocolError(400, "PROXY line too long or not ended by CRLF")
        return None
    line = buffer[:end]
    if line.translate(None, TEXT):
        raise ProtocolError(400, "control byte in the PROXY line")
    words = line.split(b" ")
    family = words[1]
    if family == b"UNKNOWN":
        return Preface(end + 2, None, 0)  # whatever follows on the line is to be ignored
    if family not in (b"TCP4", b"TCP6") or len(words) != 6:
        raise ProtocolError(400, "malformed PROXY line")
    version = 4 if family == b"TCP4" else 6
    source = _textual(words[2], version)
    _textual(words[3], version)
    port = _port(words[4])
    _port(words[5])
    return Preface(end + 2, source, port)


def _textual(text: bytes, version: int) -> str:
    if not text or text.translate(None, b"0123456789abcdefABCDEF:."):
        raise ProtocolError(400, "invalid address in the PROXY line")
    try:
        address = ipaddress.ip_address(text.decode("ascii"))
    except ValueError:
        raise ProtocolError(400, "invalid address in the PROXY line") from None
    if address.version != version:
        raise ProtocolError(400, "address of another family in the PROXY line")
    return _canonical(address)


def _canonical(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """The address as `getpeername` would tell it, an IPv4 address mapped into IPv6 as the IPv4 address that it is."""
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(address)


def _port(digits: bytes) -> int:
    if not digits.isdigit() or len(digits) > 5 or (digits[:1] == b"0" and len(digits) > 1) or int(digits) > 65535:
        raise ProtocolError(400, "invalid port in the PROXY line")
    return int(digits)


def _parse_v2(buffer: bytes) -> Preface | None:
    if len(buffer) < _V2_HEAD:
        return None
    length = int.from_bytes(buffer[14:16], "big")
    end = _V2_HEAD + length
    if end > MAX_V2:
        raise ProtocolError(400, "PROXY preface too long")
    command = buffer[12]
    if command not in (0x20, 0x21):
        raise ProtocolError(400, "unknown version or command in the PROXY preface")
    family = buffer[13]
    if len(buffer) < end:
        return None
    # LOCAL is the balancer speaking for itself (a health check); AF_UNSPEC and unix sockets give no address of use.
    # What follows the addresses are TLVs, which nothing here asks for.
    if command == 0x20 or family in (0x00, 0x31):
        return Preface(end, None, 0)
    if family == 0x11:
        size = 4
    elif family == 0x21:
        size = 16
    else:
        raise ProtocolError(400, "unsupported address family or transport in the PROXY preface")
    if length < 2 * size + 4:
        raise ProtocolError(400, "PROXY preface too short for its addresses")
    address = ipaddress.ip_address(buffer[_V2_HEAD : _V2_HEAD + size])
    ports = _V2_HEAD + 2 * size
    return Preface(end, _canonical(address), int.from_bytes(buffer[ports : ports + 2], "big"))
