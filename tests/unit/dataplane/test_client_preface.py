"""The PROXY protocol's preface, where a listener wants it."""

from collections.abc import Callable

import pytest

from tests.unit.dataplane.stage import GET, OK, Stage, get, shop

StageOf = Callable[..., Stage]


# The PROXY protocol.


def test_preface_says_who_the_client_is(stage_of: StageOf) -> None:
    stage = stage_of(proxy_protocol=True)
    client = stage.client("10.9.9.9")
    client.send(b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 80\r\n" + GET)
    assert b"x-forwarded-for: 203.0.113.7\r\n" in stage.accept().take()


def test_preface_in_pieces_is_taken(stage_of: StageOf) -> None:
    stage = stage_of(proxy_protocol=True)
    client = stage.client("10.9.9.9")
    for byte in b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 80\r\n" + GET:
        client.send(bytes((byte,)))
    assert b"x-forwarded-for: 203.0.113.7\r\n" in stage.accept().take()


def test_listener_that_wants_a_preface_takes_nobody_without(stage_of: StageOf) -> None:
    stage = stage_of(proxy_protocol=True)
    client = stage.client()
    client.send(GET)
    assert client.ended == "abort"
    assert client.take() == b""
    assert stage.codes() == {("none", "none", 400): 1}


def test_preface_that_never_comes_ends_the_connection(stage_of: StageOf) -> None:
    stage = stage_of(proxy_protocol=True)
    client = stage.client()
    client.send(b"PRO")
    stage.pass_time(10.2)
    assert client.ended == "abort"
    assert client.take() == b""


def test_nobody_writes_its_own_preface_where_none_is_expected(stage: Stage) -> None:
    client = stage.client()
    client.send(b"PROXY TCP4 203.0.113.7 10.0.0.1 5000 80\r\n" + GET)
    assert client.take().startswith(b"HTTP/1.1 400 ")


def test_upstream_and_cookie_know_that_the_client_came_over_tls(stage_of: StageOf) -> None:
    unit = [{"kind": "mint_cookie", "name": "tid"}]
    stage = stage_of(shop(route={"unit": unit}, secrets={"cookie": ["k"], "unit_hash": "k"}), secure=True)
    client = stage.client(tls=True)
    client.send(GET)
    upstream = stage.accept()
    asked = upstream.take()
    assert b"x-forwarded-proto: https\r\n" in asked
    assert b";proto=https;" in asked
    upstream.send(OK)
    assert b"; Secure\r\n" in client.take()


@pytest.mark.parametrize(
    ("peer", "proto", "secure"),
    [
        ("10.0.0.1", "https", True),
        ("10.0.0.1", "HTTPS, http", True),
        ("10.0.0.1", "http", False),
        ("192.0.2.1", "https", False),
    ],
)
def test_cookies_know_that_the_client_came_over_tls_to_a_trusted_proxy(
    stage_of: StageOf, peer: str, proto: str, secure: bool
) -> None:
    route = {
        "unit": [{"kind": "mint_cookie", "name": "tid"}],
        "stickiness": {"mode": "pinned", "cookie": "kept", "max_age": 600.0, "drain": 600.0, "until": "", "step": 0},
        "choice": {"versions": ["stable"], "segment": None, "path": "/c", "cookie": "mine", "rate": 1.0, "burst": 3},
    }
    secrets = {"cookie": ["k"], "unit_hash": "k"}
    stage = stage_of(shop(route=route, secrets=secrets, trusted_proxies=["10.0.0.0/8"], timed=True))
    client = stage.client(peer)
    client.send(get("/", f"X-Forwarded-Proto: {proto}"))
    stage.accept().send(OK)
    head = client.take()
    client.send(get("/c?version=stable", f"X-Forwarded-Proto: {proto}", "Sec-Fetch-Site: same-origin", method="POST"))
    head += client.take()
    assert [head.count(b"set-cookie: " + name) for name in (b"tid=", b"kept=", b"mine=")] == [2, 2, 1]
    assert head.count(b"; Secure\r\n") == (5 if secure else 0)
