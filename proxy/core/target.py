"""What a request asks for: the forms of the request target, the host, and the path as it is matched.

A proxy that decides by path must read a path as the server behind it will, or a rule can be walked around. So there
is one spelling: unreserved characters are decoded, the hex digits of what stays encoded are upper case, and that
spelling is both matched and sent on. What has no single reading (dot segments, an encoded slash or backslash, NUL) is
marked, and only a route that asked for raw paths takes it.
"""

import ipaddress
from typing import Final

from proxy.errors import ProtocolError

_ALPHANUMERIC: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_UNRESERVED: Final = _ALPHANUMERIC + b"-._~"  # RFC 3986 section 2.3

# Visible ASCII without "#": a fragment is never sent, and a server that cuts it off reads another target than one
# that does not.
_TARGET: Final = bytes(byte for byte in range(0x21, 0x7F) if byte != 0x23)
# Targets of these bytes alone, without "/.", are what nearly all requests have: nothing to decode, nothing to refuse.
_PLAIN: Final = bytes(byte for byte in _TARGET if byte not in b"%\\")
# One letter for each of them and another byte for all others: asked so, it takes half the time of deleting them.
_IS_PLAIN: Final = bytes(0x61 if byte in _PLAIN else 0 for byte in range(256))

# RFC 3986 reg-name without two things it allows: percent-encoding, which one server decodes and another compares as
# it is, and the comma, which makes one host look like a list of two.
_HOST: Final = _UNRESERVED + b"!$&'()*+;="
_ADDRESS: Final = b"0123456789abcdefABCDEF:."

# What an escape becomes: the character itself if unreserved, else the same escape in upper case.
_DIGITS: Final = "0123456789abcdefABCDEF"
_ESCAPES: Final[dict[bytes, bytes]] = {
    (high + low).encode(): bytes((byte,)) if (byte := int(high + low, 16)) in _UNRESERVED else b"%%%02X" % byte
    for high in _DIGITS
    for low in _DIGITS
}

_HOSTS_REMEMBERED: Final = 1024
_hosts: Final[dict[bytes, bytes]] = {}


def parse_target(method: bytes, target: bytes) -> tuple[bytes, bytes, bytes, bytes, bool, bool]:
    """Take a request target apart (RFC 9112 section 3.2): `(authority, path, raw_path, query, has_query, clean)`.

    `authority` is empty unless the target is in absolute form, where it overrules Host; `path` is decoded as far as
    it may be and `raw_path` as received, both b"*" for `OPTIONS *`; `clean` is False where only a route with raw
    paths may take it. Raises ProtocolError 400 for any other form, bytes that do not belong, an escape in the path
    that is none.
    """
    if target[:1] == b"/":
        raw_path, mark, query = target.partition(b"?")
        # `partition`, because `find` costs three times as much where there is nothing to be found
        if target.translate(_IS_PLAIN).isalpha() and not raw_path.partition(b"/.")[1]:
            return b"", raw_path, raw_path, query, mark != b"", True
        authority = b""
    elif target == b"*":
        if method != b"OPTIONS":
            raise ProtocolError(400, "the target * is for OPTIONS only")
        return b"", b"*", b"*", b"", False, True
    else:
        authority, raw_path, query, mark = _split_absolute(method, target)
        if raw_path == b"*":
            return authority, b"*", b"*", b"", False, True
    if target.translate(None, _TARGET):
        raise ProtocolError(400, "byte not allowed in the request target")
    path, clean = normalise_path(raw_path)
    return authority, path, raw_path, query, mark != b"", clean


def _split_absolute(method: bytes, target: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """The absolute form: `(authority, raw path, query, question mark or nothing)`.

    An empty path is /, or * for OPTIONS (RFC 9112 section 3.2.4).
    """
    scheme, colon, rest = target.partition(b"://")
    if not colon or scheme.lower() not in {b"http", b"https"}:
        raise ProtocolError(400, "request target in no known form")
    before, mark, query = rest.partition(b"?")
    authority, slash, path = before.partition(b"/")
    if not authority:
        raise ProtocolError(400, "request target without a host")
    if not slash and not mark and method == b"OPTIONS":
        return authority, b"*", b"", b""
    return authority, b"/" + path, query, mark


def normalise_path(raw: bytes) -> tuple[bytes, bool]:
    """The path that is matched and sent on, and whether it has a single reading (RFC 3986 section 6.2.2).

    Unreserved escapes are decoded, other escapes stay, in upper case: two spellings of one path must not meet two
    rules. Not clean are: a segment `.` or `..`, also encoded and also followed by `;parameters` (some servers cut
    those off before they look), an encoded slash, an encoded or bare backslash, an encoded NUL. Raises ProtocolError
    400 for `%` without two hex digits.
    """
    path = raw
    clean = b"\\" not in raw
    if b"%" in raw:
        pieces = raw.split(b"%")
        out = [pieces[0]]
        for piece in pieces[1:]:
            decoded = _ESCAPES.get(piece[:2])
            if decoded is None:
                raise ProtocolError(400, "invalid escape in the path")
            if decoded in (b"%2F", b"%5C", b"%00"):
                clean = False
            out.append(decoded)
            out.append(piece[2:])
        path = b"".join(out)
    if clean and b"/." in path:
        for segment in path.split(b"/"):
            if segment[:1] == b"." and segment.partition(b";")[0] in (b".", b".."):
                clean = False
                break
    return path, clean


def parse_authority(authority: bytes) -> bytes:
    """The host of an authority: lower case, without port, IPv6 literals in their brackets (RFC 9110 section 7.2).

    Raises ProtocolError 400 for anything else: empty, user information, escapes, lists, ports that are none.
    """
    host = _hosts.get(authority)
    if host is None:
        host = _check_authority(authority)
        if len(_hosts) >= _HOSTS_REMEMBERED:
            _hosts.clear()  # whoever sends ever new hosts pays for it with his own parsing
        _hosts[authority] = host
    return host


def _check_authority(authority: bytes) -> bytes:
    if len(authority) > 262:  # a name of 255 bytes, a colon and a port (RFC 1035 section 2.3.4)
        raise ProtocolError(400, "host too long")
    if authority[:1] == b"[":
        address, bracket, port = authority[1:].partition(b"]")
        if not bracket or address.translate(None, _ADDRESS) or (port and port[:1] != b":"):
            raise ProtocolError(400, "invalid host")
        try:
            ipaddress.IPv6Address(address.decode("ascii"))
        except ValueError:
            raise ProtocolError(400, "invalid host") from None
        host = b"[" + address + b"]"
        port = port[1:]
    else:
        host, _, port = authority.partition(b":")
        if not host or host.translate(None, _HOST):
            raise ProtocolError(400, "invalid host")
    if port and not (port.isdigit() and len(port) <= 5 and int(port) <= 65535):
        raise ProtocolError(400, "invalid port in host")
    return host.lower()
