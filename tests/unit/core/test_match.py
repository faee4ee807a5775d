from typing import Any

import pytest

from proxy.core.match import Spec, compile_matcher, list_key, trace_matcher
from proxy.core.request import Request
from proxy.core.unit_table import UnitList
from tests.specs import request_head
from tests.unit.core.unit_tables import table_of


def header(test: str, value: Any, name: str = "x-a") -> Spec:
    return {"source": "header", "name": name, "test": test, "value": value}


def holds(spec: Spec, request: Request, segments: dict[str, Spec] | None = None) -> bool:
    """The compiled matcher's answer, which the trace must share."""
    specs = segments or {}
    matched = compile_matcher(spec, {name: compile_matcher(one, {}) for name, one in specs.items()})(request)
    assert trace_matcher(spec, request, specs)["matched"] is matched
    return matched


def with_a(value: bytes) -> Request:
    return request_head(fields={b"x-a": value})


@pytest.mark.parametrize(
    ("test", "value", "seen", "matched"),
    [
        ("is", "abc", b"abc", True),
        ("is", "abc", b"ABC", False),
        ("is", "Müllheim", "Müllheim".encode(), True),
        ("in", ["a", "b"], b"b", True),
        ("in", ["a", "b"], b"c", False),
        ("in", [], b"c", False),
        ("not_in", ["a", "b"], b"c", True),
        ("not_in", ["a", "b"], b"a", False),
        ("prefix", "ab", b"abc", True),
        ("prefix", "bc", b"abc", False),
        ("suffix", "@example.com", b"al@example.com", True),
        ("suffix", "@example.com", b"al@example.com.evil", False),
        ("contains", "b", b"abc", True),
        ("contains", "x", b"abc", False),
        ("regex", "b+", b"abbbc", True),
        ("regex", "^b+$", b"abbbc", False),
        ("semver", ">=1.2.0 <2.0.0", b"1.5.0", True),
        ("semver", ">=1.2.0 <2.0.0", b"2.5.0", False),
        ("semver", "*", b"not a version", False),
        ("cidr", ["10.0.0.0/8"], b"10.1.1.1", True),
        ("cidr", ["10.0.0.0/8"], b"11.1.1.1", False),
        ("cidr", ["10.0.0.0/8"], b"nonsense", False),
        ("between", [1, 5], b"1", True),
        ("between", [1, 5], b"5.0", True),
        ("between", [1, 5], b"5.01", False),
        ("between", [-1.5, 5], b"-1.5", True),
        ("between", [1, 50], b"1e1", True),
        ("between", [0, 5], b"nan", False),
        ("between", [0, 5], b"1_0", False),
        ("between", [0, 5], b"", False),
        ("between", [0, 5], b"three", False),
        ("exists", True, b"", True),
        ("exists", False, b"", False),
    ],
)
def test_tests_on_a_field_that_is_there(test: str, value: Any, seen: bytes, matched: bool) -> None:
    assert holds(header(test, value), with_a(seen)) is matched


@pytest.mark.parametrize(
    ("test", "value", "matched"),
    [
        ("is", "", False),
        ("in", [""], False),
        ("not_in", ["a"], True),
        ("not_in", [""], True),
        ("prefix", "", False),
        ("suffix", "", False),
        ("contains", "", False),
        ("regex", "", False),
        ("semver", "*", False),
        ("cidr", ["0.0.0.0/0", "::/0"], False),
        ("between", [0, 1], False),
        ("exists", True, False),
        ("exists", False, True),
    ],
)
def test_missing_field_matches_only_exists_false_and_not_in(test: str, value: Any, matched: bool) -> None:
    assert holds(header(test, value), request_head()) is matched


def test_sources_read_their_part_of_the_request() -> None:
    request = request_head(
        b"/cart/1",
        method=b"POST",
        host=b"Shop.Example.com",
        query=b"city=New+York&u=1",
        client="192.0.2.7",
        fields={b"x-user": b"al", b"cookie": b"sid=s1; other=2"},
    )
    for source, name, value in [
        ("header", "X-User", "al"),
        ("cookie", "sid", "s1"),
        ("query", "city", "New York"),
        ("client_ip", None, "192.0.2.7"),
        ("client_ip", None, "::ffff:192.0.2.7"),
        ("path", None, "/cart/1"),
        ("method", None, "POST"),
        ("host", None, "SHOP.example.com"),
    ]:
        spec: Spec = {"source": source, "test": "is", "value": value} | ({"name": name} if name else {})
        assert holds(spec, request), source
        assert not holds({"not": spec}, request), source


def test_client_without_address_is_a_missing_field() -> None:
    spec = {"source": "client_ip", "test": "exists", "value": False}
    assert holds(spec, request_head(client=""))
    assert not holds({"source": "client_ip", "test": "cidr", "value": ["0.0.0.0/0"]}, request_head(client=""))


def test_all_any_and_not() -> None:
    yes, no = header("is", "v"), header("is", "w")
    request = with_a(b"v")
    assert holds({"all": [yes, yes]}, request)
    assert not holds({"all": [yes, no]}, request)
    assert holds({"any": [no, yes]}, request)
    assert not holds({"any": [no, no]}, request)
    assert holds({"not": no}, request)
    assert holds({"all": [yes]}, request)
    assert not holds({"any": [no]}, request)
    assert holds({"all": []}, request)
    assert not holds({"any": []}, request)


def test_segment_is_its_matcher() -> None:
    segments = {"staff": header("suffix", "@example.com")}
    assert holds({"segment": "staff"}, with_a(b"al@example.com"), segments)
    assert not holds({"not": {"segment": "staff"}}, with_a(b"al@example.com"), segments)


def test_trace_says_for_every_node_what_it_saw() -> None:
    spec = {"any": [{"segment": "staff"}, {"not": header("exists", True, "x-b")}]}
    trace = trace_matcher(spec, with_a(b"al@example.org"), {"staff": header("suffix", "@example.com")})
    assert trace == {
        "matched": True,
        "any": [
            {
                "matched": False,
                "segment": "staff",
                "where": {
                    "matched": False,
                    "source": "header",
                    "name": "x-a",
                    "test": "suffix",
                    "value": "@example.com",
                    "saw": "al@example.org",
                },
            },
            {
                "matched": True,
                "not": {
                    "matched": False,
                    "source": "header",
                    "name": "x-b",
                    "test": "exists",
                    "value": True,
                    "saw": None,
                },
            },
        ],
    }


def test_trace_shows_bytes_that_are_no_text() -> None:
    assert trace_matcher(header("is", "x"), with_a(b"a\xff"), {})["saw"] == "a\\xff"


@pytest.mark.parametrize(
    "spec",
    [
        header("regex", "(("),
        header("semver", "soon"),
        header("cidr", ["10.0.0.0/99"]),
        header("sounds_like", "x"),
        {"source": "moon", "test": "is", "value": "x"},
        {"header": "x"},
        {},
    ],
)
def test_unusable_matcher_is_refused_when_compiled(spec: Spec) -> None:
    with pytest.raises(ValueError, match=r".+"):
        compile_matcher(spec, {})


def test_unknown_segment_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        compile_matcher({"segment": "nobody"}, {})


def test_unit_claim_and_attribute_are_looked_at_where_they_are() -> None:
    request = request_head()
    among = {"source": "unit", "test": "in", "value": ["alice", "Müller"]}
    claim = {"source": "claim", "name": "plan", "test": "in", "value": ["pro"]}
    attribute = {"source": "attribute", "name": "country", "test": "is", "value": "NO"}
    for spec in (among, claim, attribute):
        assert not holds(spec, request)
    assert holds({"source": "claim", "name": "plan", "test": "exists", "value": False}, request)
    request.unit = "Müller".encode()
    request.claims = {b"plan": b"pro"}
    request.attributes = {b"country": b"NO"}
    for spec in (among, claim, attribute):
        assert holds(spec, request)
    assert trace_matcher(among, request, {})["saw"] == "Müller"
    request.unit = b"bob"
    assert not holds(among, request)


def test_trusted_field_is_not_there_where_the_peer_is_not_trusted() -> None:
    spec = {**header("is", "Oslo"), "trusted": True}
    request = with_a(b"Oslo")
    assert not holds(spec, request)
    assert holds({**header("exists", False), "trusted": True}, request)
    trace = trace_matcher(spec, request, {})
    assert (trace["trusted"], trace["saw"]) == (True, None)
    request.trusted = True
    assert holds(spec, request)
    assert trace_matcher(spec, request, {})["saw"] == "Oslo"


def test_list_is_found_under_its_name_and_nowhere_else() -> None:
    spec = {"not": {"source": "unit", "test": "listed", "value": "beta.txt"}}
    units = UnitList(table_of(b"alice"))
    matcher = compile_matcher(spec, {list_key("beta.txt"): units.has_unit})
    request = request_head()
    for unit, listed in ((None, False), (b"bob", False), (b"alice", True)):
        request.unit = unit
        assert matcher(request) is not listed
        trace = trace_matcher(spec, request, {list_key("beta.txt"): {"has_unit": units.has_unit}})
        assert trace == {
            "matched": not listed,
            "not": {
                "matched": listed,
                "source": "unit",
                "test": "listed",
                "value": "beta.txt",
                "saw": None if unit is None else unit.decode(),
            },
        }
    with pytest.raises(KeyError):
        compile_matcher(spec, {"beta.txt": units.has_unit})
