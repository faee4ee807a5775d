"""Laws of matchers, ranges of versions, networks and the walk along forwarded addresses."""

from ipaddress import ip_address, ip_network
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from proxy.core.address import Networks, normalise, resolve_client
from proxy.core.match import Spec, compile_matcher, trace_matcher
from proxy.core.semver import SemverRange, precedence
from tests.specs import request_head

texts = st.text(alphabet="ab.1@", max_size=4)
tests_and_values: st.SearchStrategy[tuple[str, Any]] = st.one_of(
    st.tuples(st.sampled_from(["is", "prefix", "suffix", "contains"]), texts),
    st.tuples(st.sampled_from(["in", "not_in"]), st.lists(texts, max_size=3)),
    st.tuples(st.just("exists"), st.booleans()),
    st.tuples(st.just("between"), st.lists(st.integers(-2, 20), min_size=2, max_size=2)),
    st.tuples(st.just("semver"), st.sampled_from(["*", "^1.1", ">=1 <2"])),
)
leaves = st.builds(
    lambda name, pair: {"source": "header", "name": name, "test": pair[0], "value": pair[1]},
    st.sampled_from(["x-a", "x-b"]),
    tests_and_values,
)
matchers: st.SearchStrategy[Spec] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(lambda parts: {"all": parts}),
        st.lists(inner, max_size=3).map(lambda parts: {"any": parts}),
        inner.map(lambda part: {"not": part}),
    ),
    max_leaves=6,
)
fields = st.dictionaries(st.sampled_from([b"x-a", b"x-b"]), texts.map(str.encode))

addresses = st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)).map(str)
networks = st.builds(
    lambda address, cut: f"{address}/{min(cut, ip_address(address).max_prefixlen)}", addresses, st.integers(0, 128)
)
TRUSTED = Networks(["10.0.0.0/8", "fd00::/8"])
trusted_addresses = st.one_of(st.ip_addresses(v=4, network="10.0.0.0/8"), st.ip_addresses(v=6, network="fd00::/8")).map(
    str
)
foreign_addresses = addresses.filter(lambda address: not TRUSTED.contains(address))
anything = st.text(alphabet="1a.:[], %", max_size=40).map(str.encode)


@given(matchers, fields)
def test_trace_says_what_the_closure_says(spec: Spec, some: dict[bytes, bytes]) -> None:
    request = request_head(fields=some)
    matched = compile_matcher(spec, {})(request)
    assert trace_matcher(spec, request, {})["matched"] is matched
    assert compile_matcher({"not": spec}, {})(request) is not matched


@given(st.lists(matchers, max_size=4), fields)
def test_not_any_is_all_not(specs: list[Spec], some: dict[bytes, bytes]) -> None:
    request = request_head(fields=some)
    none = compile_matcher({"not": {"any": specs}}, {})
    assert none(request) is compile_matcher({"all": [{"not": one} for one in specs]}, {})(request)


@given(addresses, st.lists(networks, max_size=4))
def test_networks_contain_what_the_standard_library_says(address: str, cidrs: list[str]) -> None:
    plain = ip_address(normalise(address))
    expected = any(
        plain in network for cidr in cidrs if (network := ip_network(cidr, strict=False)).version == plain.version
    )
    if not expected and plain.version == 4:
        # `::/0` is everybody, and mapped networks hold IPv4.
        mapped = ip_address(f"::ffff:{plain}")
        whole = [ip_network(cidr, strict=False) for cidr in cidrs]
        expected = any(
            mapped in one
            for one in whole
            if one.version == 6
            and (one.prefixlen == 0 or (one.prefixlen >= 96 and one.network_address in ip_network("::ffff:0:0/96")))
        )
    assert Networks(cidrs).contains(address) is expected


@given(foreign_addresses, anything)
def test_untrusted_peer_is_the_client_whatever_it_says(peer: str, said: bytes) -> None:
    assert resolve_client(peer, said, TRUSTED) == normalise(peer)


@given(trusted_addresses, anything, foreign_addresses, st.lists(trusted_addresses, max_size=5))
def test_what_a_client_writes_itself_never_matters(peer: str, forged: bytes, client: str, hops: list[str]) -> None:
    chain = ", ".join([client, *hops]).encode()
    assert resolve_client(peer, forged + b"," + chain, TRUSTED) == normalise(client)


@given(trusted_addresses, anything)
def test_walk_ends_at_an_address_whatever_is_written(peer: str, said: bytes) -> None:
    client = resolve_client(peer, said, TRUSTED)
    assert client == normalise(client) != ""


@given(st.tuples(*[st.integers(0, 30)] * 3), st.tuples(*[st.integers(0, 30)] * 3))
def test_ranges_agree_with_precedence(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    left, right = ("{}.{}.{}".format(*version) for version in (one, other))
    assert SemverRange(f">={right}").contains(left) is (one >= other)
    assert SemverRange(f"<{right}").contains(left) is (one < other)
    assert SemverRange(f"~{right}").contains(left) is (one >= other and one[:2] == other[:2])
    assert (precedence(left) == precedence(right)) is (one == other)


@given(st.text(max_size=30))
def test_any_text_is_a_range_or_refused_and_never_a_crash(text: str) -> None:
    precedence(text)
    try:
        SemverRange(text).contains("1.2.3")
    except ValueError:
        return
