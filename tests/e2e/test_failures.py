"""What a failure says to the client, and the failures of connections to upstreams."""

import json
import socket
import threading
from pathlib import Path

import pytest

from .conftest import Edge
from .harness.message import Message
from .harness.origin import Connection, Origin, answer
from .harness.proxy import Proxy, configuration, free_port, single, upstream
from .harness.wait import wait_for


@pytest.mark.xdist_group("edge")
def test_failure_speaks_the_language_that_was_asked_for(edge: Edge) -> None:
    for accept, kind in (
        ("application/json", b"application/json"),
        ("text/html", b"text/plain"),
        ("*/*", b"text/plain"),
    ):
        got = edge.proxy.get("/", "unknown.test", f"Accept: {accept}", "X-Request-Id: find-me")
        assert got.status == 404
        assert (got.get(b"content-type") or b"").startswith(kind)
        assert b"find-me" in got.body
        if kind == b"application/json":
            assert json.loads(got.body)["status"] == 404


@pytest.mark.xdist_group("edge")
def test_failure_of_an_unreadable_request_carries_an_id_of_its_own(edge: Edge) -> None:
    with edge.proxy.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nBad Name: x\r\n\r\n")
        got = wire.response()
        identity = got.get(b"x-request-id")
        assert identity
        assert identity in got.body


@pytest.mark.xdist_group("edge")
def test_failure_answer_to_head_has_no_body(edge: Edge) -> None:
    with edge.proxy.connect() as wire:
        got = wire.get("/", "unknown.test", method="HEAD")
        assert (got.status, got.body) == (404, b"")
        assert wire.get().status == 200


def test_failure_gives_nothing_internal_away(tmp_path: Path) -> None:
    port = free_port()
    with Proxy(single(f"http://127.0.0.1:{port}", route={"debug": {"from": ["10.0.0.0/8"]}}), tmp_path) as proxy:
        got = proxy.get("/", "a", "Accept: application/json")
        assert got.status == 503
        said = (got.body + b"".join(name + value for name, value in got.fields)).lower()
        for secret in (str(port).encode(), b"127.0.0.1", b"origin", b"traceback", b"errno", b"python"):
            assert secret not in said


def test_refused_connection(tmp_path: Path) -> None:
    with Proxy(single(f"http://127.0.0.1:{free_port()}"), tmp_path) as proxy:
        proxy.fails(503, "UF")
        proxy.wait_metric(0, "tidegate_endpoint_up", upstream="origin")


def test_endpoint_that_comes_back_is_used_again(tmp_path: Path) -> None:
    port = free_port()
    with Proxy(single(f"http://127.0.0.1:{port}"), tmp_path) as proxy:
        assert proxy.get().status == 503
        with Origin(port=port):
            wait_for(lambda: proxy.get().status == 200, "the endpoint to be tried again")
            proxy.wait_metric(1, "tidegate_endpoint_up", upstream="origin")


def test_connect_timeout(tmp_path: Path) -> None:
    """A listener whose backlog is full: the kernel drops SYNs, and connecting neither succeeds nor fails."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        address = full.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(address)
            config = single(f"http://127.0.0.1:{address[1]}", policy={"timeouts": {"connect": "200ms"}})
            with Proxy(config, tmp_path) as proxy:
                proxy.fails(503, "UF")
        finally:
            for filler in fillers:
                filler.close()


def test_second_endpoint_takes_over_where_the_first_refuses(tmp_path: Path) -> None:
    with Origin() as origin:
        config = single(origin)
        config["upstreams"]["origin"]["endpoints"].insert(0, f"http://127.0.0.1:{free_port()}")
        with Proxy(config, tmp_path) as proxy, proxy.connect() as wire:
            assert [wire.get().status for _ in range(20)] == [200] * 20
            assert wire.get(method="POST", body=b"x").status == 200


def test_fallback_version_serves_while_a_version_cannot_be_reached(tmp_path: Path) -> None:
    with Origin(answer(b"stable")) as origin:
        config = configuration(
            {"v1": upstream(origin), "v2": upstream(f"http://127.0.0.1:{free_port()}")},
            [
                {
                    "name": "main",
                    "debug": {"from": ["127.0.0.0/8"]},
                    "versions": {
                        "stable": {"upstream": "v1", "weight": 0},
                        "canary": {"upstream": "v2", "weight": 100, "fallback": "stable"},
                    },
                    "unit": [{"header": "x-user-id"}],
                }
            ],
        )
        with Proxy(config, tmp_path) as proxy:
            for method, body in (("GET", b""), ("POST", b"hello"), ("GET", b"")):
                got = proxy.get("/", "a", "X-User-Id: u", method=method, body=body)
                assert (got.status, got.body) == (200, b"stable")
                assert got.get(b"x-tidegate-version") == b"canary"
                assert got.get(b"x-tidegate-flags") in (b"UF,FB", b"UH,FB")
            assert origin.requests[1].body == b"hello"
            assert next(one.get(b"x-tidegate-version") for one in origin.requests) in {b"canary", b"stable"}
            found = proxy.metrics()
            assert found.value("tidegate_requests_total", version="canary", served="stable", code="200") == 3


def test_all_unreachable_is_no_healthy_endpoint(tmp_path: Path) -> None:
    with Proxy(single(f"http://127.0.0.1:{free_port()}"), tmp_path) as proxy:
        flags = {proxy.get().get(b"x-tidegate-flags") for _ in range(20)}
        assert flags <= {b"UF", b"UH"}


def test_stale_pooled_connection_is_replaced_once_for_safe_requests(tmp_path: Path) -> None:
    """The upstream closes just when a request arrives: the race that every keep-alive proxy has."""

    def play(connection: Connection) -> None:
        request = connection.request()
        answer(b"first")(connection, request)
        connection.request()
        connection.close()

    with Origin(play=play) as origin, Proxy(single(origin), tmp_path) as proxy, proxy.connect() as wire:
        assert wire.get().body == b"first"
        assert wire.get().body == b"first"  # on a second connection, unnoticed
        assert len(origin.connections) == 2
        proxy.wait_metric(1, "tidegate_retries_total")
        assert proxy.metrics().value("tidegate_errors_total") == 0


def test_stale_pooled_connection_is_not_repeated_for_unsafe_requests(tmp_path: Path) -> None:
    def play(connection: Connection) -> None:
        request = connection.request()
        answer(b"first")(connection, request)
        connection.request()
        connection.close()

    with Origin(play=play) as origin, Proxy(single(origin), tmp_path) as proxy:
        assert proxy.get().body == b"first"
        proxy.fails(502, "UC", method="POST", body=b"x")
        assert len(origin.connections) == 1


def test_fresh_connection_that_closes_is_not_tried_again(tmp_path: Path) -> None:
    def play(connection: Connection) -> None:
        connection.request()
        connection.close()

    with Origin(play=play) as origin, Proxy(single(origin), tmp_path) as proxy:
        proxy.fails(502, "UC")
        assert len(origin.connections) == 1


def test_reset_before_an_answer(tmp_path: Path) -> None:
    def play(connection: Connection) -> None:
        connection.request()
        connection.reset()

    with Origin(play=play) as origin, Proxy(single(origin), tmp_path) as proxy:
        proxy.fails(502, "UR")


def test_unasked_bytes_on_an_idle_connection_answer_nobody(tmp_path: Path) -> None:
    said = threading.Event()
    served: list[Connection] = []

    def respond(connection: Connection, request: Message) -> None:
        first = not served
        served.append(connection)
        answer(b"mine")(connection, request)
        if first:
            assert said.wait(10)
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil")

    with Origin(respond) as origin, Proxy(single(origin), tmp_path) as proxy, proxy.connect() as wire:
        assert wire.get().body == b"mine"
        said.set()
        wait_for(served[0].ended.is_set, "the connection to be given up")
        assert wire.get().body == b"mine"
        assert len(origin.connections) == 2


def test_idle_pooled_connections_are_closed_in_time(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin, policy={"timeouts": {"keepalive": "100ms"}}), tmp_path) as proxy:
        assert proxy.get().status == 200
        wait_for(origin.connections[0].ended.is_set, "the idle connection to close")


def test_limit_of_requests_overflows_at_once(tmp_path: Path) -> None:
    def respond(connection: Connection, request: Message) -> None:
        connection.hold()
        answer()(connection, request)

    with Origin(respond) as origin:
        with Proxy(single(origin, policy={"limits": {"requests": 1}}), tmp_path) as proxy, proxy.connect() as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            origin.wait_requests(1)
            proxy.fails(503, "UO")
            origin.released.set()
            assert wire.response().status == 200
            assert proxy.get().status == 200


def test_requests_wait_for_a_connection_in_order(tmp_path: Path) -> None:
    with Origin() as origin:
        config = single(origin, policy={"limits": {"connections": 1, "pending": 100}})
        with Proxy(config, tmp_path) as proxy:
            wires = [proxy.connect() for _ in range(20)]
            try:
                for wire in wires:
                    wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert [wire.response().status for wire in wires] == [200] * 20
            finally:
                for wire in wires:
                    wire.socket.close()
            assert len(origin.connections) == 1
