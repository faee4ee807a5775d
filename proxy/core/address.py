"""Addresses: which networks an address is in, and which address a request came from.

An IPv4 address written as IPv6 (`::ffff:1.2.3.4`, what a dual-stack listener reports) is the IPv4 address everywhere.
"""

from functools import lru_cache
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

_REMEMBERED: Final = 4096
MAX_HOPS: Final = 32
"""Entries of X-Forwarded-For looked at, from the right. Real chains have a handful; longer ones are attacks."""


@lru_cache(maxsize=_REMEMBERED)
def _parse(text: str) -> tuple[int, int, str]:
    """Family (4, 6; 0 when it is no address), number and plain text of an address. A zone (`%eth0`) is dropped."""
    try:
        address = ip_address(text)
    except ValueError:
        return 0, 0, ""
    if isinstance(address, IPv6Address):
        mapped = address.ipv4_mapped
        if mapped is None:
            number = int(address)
            return 6, number, str(IPv6Address(number))
        address = mapped
    return 4, int(address), str(address)


def normalise(text: str) -> str:
    """The plain text of an IP address: IPv4 dotted, IPv6 compressed in lower case (RFC 5952); "" when it is none."""
    return _parse(text)[2]


def client_network(text: str) -> bytes:
    """What a client can be told from others by: an IPv4 address, or the /64 network of an IPv6 address, of which one
    customer has all (RFC 6177); b"" for what is no address."""
    family, number, plain = _parse(text)
    return plain.encode() if family == 4 else b"%x/64" % (number >> 64) if family == 6 else b""


class Networks:
    """A set of networks in CIDR notation; a bare address is a network of one. Raises ValueError for what is neither."""

    def __init__(self, cidrs: list[str]) -> None:
        four: list[tuple[int, int]] = []
        six: list[tuple[int, int]] = []
        for cidr in cidrs:
            network: IPv4Network | IPv6Network = ip_network(cidr, strict=False)
            mask, base = int(network.netmask), int(network.network_address)
            if isinstance(network, IPv4Network):
                four.append((mask, base))
                continue
            mapped = network.network_address.ipv4_mapped
            if mapped is not None and network.prefixlen >= 96:
                four.append((mask & 0xFFFFFFFF, int(mapped)))
                continue
            six.append((mask, base))
            if network.prefixlen == 0:
                # `::/0` says "everybody", and a mapped address is IPv4 here.
                four.append((0, 0))
        self._four: Final = four
        self._six: Final = six
        self.empty: Final = not cidrs
        self._known: dict[str, bool] = {}

    def contains(self, address: str) -> bool:
        """Whether an address is in one of the networks; False for what is no address (a unix socket's peer has none).

        Answers are remembered, a few thousand of them: the same few peers come again and again.
        """
        known = self._known.get(address)
        if known is None:
            if len(self._known) >= _REMEMBERED:
                self._known.clear()
            known = self._look(address)
            self._known[address] = known
        return known

    def _look(self, address: str) -> bool:
        family, number, _ = _parse(address)
        if family == 0:
            return False
        return any(number & mask == base for mask, base in (self._four if family == 4 else self._six))


def resolve_client(peer: str, forwarded_for: bytes, trusted: Networks) -> str:
    """The client's address: the right-most one that is not a trusted proxy's, as normalised text.

    `forwarded_for` is the joined value of X-Forwarded-For, believed only as far as trusted hops wrote it: the walk goes
    from the right, and ends at the first entry that is not trusted. An entry that is no address ends it too, one hop
    before: nobody trusted vouches for what stands left of it. Ports and brackets are tolerated, as proxies write them.
    Where the whole chain is trusted the left-most entry is the client. A peer without address stays what it is.
    """
    client = normalise(peer) or peer
    if not forwarded_for or not trusted.contains(client):
        return client
    entries = forwarded_for.decode("latin-1").rsplit(",", MAX_HOPS)
    if len(entries) > MAX_HOPS:
        del entries[0]  # not an entry, but all the rest
    for entry in reversed(entries):
        address = _entry_address(entry.strip(" \t"))
        if not address:
            break
        client = address
        if not trusted.contains(client):
            break
    return client


def _entry_address(entry: str) -> str:
    """The address in `1.2.3.4`, `1.2.3.4:56`, `::1`, `[::1]` or `[::1]:56`; "" for anything else."""
    port = ""
    if entry.startswith("["):
        text, bracket, rest = entry[1:].partition("]")
        if not bracket or ":" not in text or (rest and not rest.startswith(":")):
            return ""
        if rest:
            port = rest[1:]
            if not port:
                return ""
    elif entry.count(":") == 1:
        text, _, port = entry.partition(":")
        if not port:
            return ""
    else:
        text = entry
    if port and not (port.isascii() and port.isdecimal() and len(port) <= 5):
        return ""
    return normalise(text)
