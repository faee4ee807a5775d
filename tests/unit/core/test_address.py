import pytest

from proxy.core.address import MAX_HOPS, Networks, normalise, resolve_client

LOCAL = Networks(["127.0.0.0/8", "::1", "10.0.0.0/8"])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("::FFFF:C000:0201", "192.0.2.1"),
        ("2001:DB8:0:0::1", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("01.2.3.4", ""),
        ("1.2.3", ""),
        ("shop.example.com", ""),
        ("", ""),
    ],
)
def test_addresses_have_one_plain_text(text: str, expected: str) -> None:
    assert normalise(text) == expected


@pytest.mark.parametrize(
    ("cidrs", "address", "inside"),
    [
        (["10.0.0.0/8"], "10.255.0.1", True),
        (["10.0.0.0/8"], "11.0.0.0", False),
        (["10.1.2.3/8"], "10.0.0.0", True),
        (["10.1.2.3"], "10.1.2.3", True),
        (["10.1.2.3"], "10.1.2.4", False),
        (["10.0.0.0/8"], "::ffff:10.1.2.3", True),
        (["::ffff:10.0.0.0/104"], "10.9.9.9", True),
        (["::ffff:10.0.0.0/104"], "11.9.9.9", False),
        (["2001:db8::/32"], "2001:db8:1::1", True),
        (["2001:db8::/32"], "2001:db9::1", False),
        (["0.0.0.0/0"], "255.255.255.255", True),
        (["0.0.0.0/0"], "::1", False),
        (["::/0"], "::1", True),
        (["::/0"], "192.0.2.1", True),
        (["::/0", "0.0.0.0/0"], "", False),
        (["0.0.0.0/0"], "garbage", False),
        ([], "127.0.0.1", False),
    ],
)
def test_networks_contain(cidrs: list[str], address: str, inside: bool) -> None:
    networks = Networks(cidrs)
    assert networks.contains(address) is inside
    assert networks.contains(address) is inside  # the remembered answer is the same
    assert networks.empty is (not cidrs)


@pytest.mark.parametrize("cidr", ["10.0.0.0/33", "example.com", "", "10.0.0.0/8/8"])
def test_what_is_no_network_is_refused(cidr: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        Networks([cidr])


def test_networks_remember_a_bounded_number_of_addresses() -> None:
    networks = Networks(["10.0.0.0/8"])
    for number in range(10_000):
        networks.contains(f"10.0.{number // 256}.{number % 256}")
    assert len(networks._known) <= 4096


@pytest.mark.parametrize(
    ("peer", "forwarded_for", "client"),
    [
        ("192.0.2.9", b"203.0.113.1", "192.0.2.9"),  # not trusted, not believed
        ("127.0.0.1", b"", "127.0.0.1"),
        ("127.0.0.1", b"203.0.113.1", "203.0.113.1"),
        ("::ffff:127.0.0.1", b"203.0.113.1", "203.0.113.1"),
        ("127.0.0.1", b"6.6.6.6, 203.0.113.1, 10.0.0.1", "203.0.113.1"),  # what the client wrote itself is not reached
        ("127.0.0.1", b"10.0.0.2,10.0.0.1", "10.0.0.2"),  # all trusted: the left-most
        ("127.0.0.1", b"203.0.113.1, unknown, 10.0.0.1", "10.0.0.1"),  # nobody vouches for what is left of garbage
        ("127.0.0.1", b"unknown", "127.0.0.1"),
        ("127.0.0.1", b"203.0.113.1,", "127.0.0.1"),
        ("127.0.0.1", b"203.0.113.1:5678", "203.0.113.1"),
        ("127.0.0.1", b"[2001:DB8::1]:443", "2001:db8::1"),
        ("127.0.0.1", b"[2001:db8::1]", "2001:db8::1"),
        ("127.0.0.1", b"2001:db8::1", "2001:db8::1"),
        ("127.0.0.1", b"::ffff:203.0.113.1", "203.0.113.1"),
        ("127.0.0.1", b"\t 203.0.113.1 \t", "203.0.113.1"),
        ("127.0.0.1", b"203.0.113.1:http", "127.0.0.1"),
        ("127.0.0.1", b"203.0.113.1:", "127.0.0.1"),
        ("127.0.0.1", b"203.0.113.1:123456", "127.0.0.1"),
        ("127.0.0.1", b"[203.0.113.1]", "127.0.0.1"),
        ("127.0.0.1", b"[2001:db8::1", "127.0.0.1"),
        ("127.0.0.1", b"[2001:db8::1]443", "127.0.0.1"),
        ("127.0.0.1", b"[2001:db8::1]:", "127.0.0.1"),
        ("127.0.0.1", b"203.0.113.\xe9", "127.0.0.1"),
        ("127.0.0.1", "203.0.113.1:٣".encode(), "127.0.0.1"),
        ("", b"203.0.113.1", ""),  # a unix socket's peer has no address
    ],
)
def test_client_is_the_right_most_untrusted_address(peer: str, forwarded_for: bytes, client: str) -> None:
    assert resolve_client(peer, forwarded_for, LOCAL) == client


def test_walk_ends_after_so_many_hops() -> None:
    chain = b",".join([b"203.0.113.1", *[b"10.0.0.1"] * MAX_HOPS])
    assert resolve_client("127.0.0.1", chain, LOCAL) == "10.0.0.1"
    assert resolve_client("127.0.0.1", chain.replace(b",10.0.0.1", b"", 1), LOCAL) == "203.0.113.1"
