"""Everything that can fail beside the wire itself: connections, deadlines, names, certificates, logs."""

import json
import socket
import threading
from pathlib import Path

import pytest

from .conftest import Edge
from .harness.certificates import Authority, server_context
from .harness.client import Wire, connect_tls
from .harness.message import Ended, Message
from .harness.origin import Connection, Origin, answer
from .harness.proxy import Proxy, configuration, free_port, single, upstream
from .harness.wait import wait_for


def failed(proxy: Proxy, status: int, flag: str, *, method: str = "GET", body: bytes = b"") -> Message:
    """One request that fails this way, as client and counter see it."""
    before = proxy.metrics().value("tidegate_errors_total", flag=flag)
    got = proxy.get(method=method, body=body)
    assert (got.status, got.get(b"x-tidegate-flags")) == (status, flag.encode())
    proxy.wait_metric(before + 1, "tidegate_errors_total", flag=flag)
    return got


# What a failure says.


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


# Connections.


def test_refused_connection(tmp_path: Path) -> None:
    with Proxy(single(f"http://127.0.0.1:{free_port()}"), tmp_path) as proxy:
        failed(proxy, 503, "UF")
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
                failed(proxy, 503, "UF")
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
                assert got.get(b"x-tidegate-flags") == b"FB"
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
        failed(proxy, 502, "UC", method="POST", body=b"x")
        assert len(origin.connections) == 1


def test_fresh_connection_that_closes_is_not_tried_again(tmp_path: Path) -> None:
    def play(connection: Connection) -> None:
        connection.request()
        connection.close()

    with Origin(play=play) as origin, Proxy(single(origin), tmp_path) as proxy:
        failed(proxy, 502, "UC")
        assert len(origin.connections) == 1


def test_reset_before_an_answer(tmp_path: Path) -> None:
    def play(connection: Connection) -> None:
        connection.request()
        connection.reset()

    with Origin(play=play) as origin, Proxy(single(origin), tmp_path) as proxy:
        failed(proxy, 502, "UR")


def test_unasked_bytes_on_an_idle_connection_answer_nobody(tmp_path: Path) -> None:
    said = threading.Event()
    served: list[Connection] = []

    def respond(connection: Connection, request: Message) -> None:
        answer(b"mine")(connection, request)
        if not served:
            served.append(connection)
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
            failed(proxy, 503, "UO")
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


# Deadlines.


def test_answer_that_never_begins(tmp_path: Path) -> None:
    def play(connection: Connection) -> None:
        connection.request()
        connection.hold()

    with (
        Origin(play=play) as origin,
        Proxy(single(origin, policy={"timeouts": {"response": "200ms"}}), tmp_path) as proxy,
    ):
        failed(proxy, 504, "UT")
        origin.released.set()


def test_answer_that_comes_byte_by_byte_has_one_deadline_for_its_head(tmp_path: Path) -> None:
    """The upstream's slow-loris: a byte now and then must not keep a head going for ever."""
    stop = threading.Event()

    def play(connection: Connection) -> None:
        connection.request()
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"a" * 10_000:
            if stop.wait(0.02):
                return
            connection.send(bytes((byte,)))

    with (
        Origin(play=play) as origin,
        Proxy(single(origin, policy={"timeouts": {"response": "300ms"}}), tmp_path) as proxy,
    ):
        try:
            failed(proxy, 504, "UT")
        finally:
            stop.set()


def test_answer_that_falls_silent_is_cut_off(tmp_path: Path) -> None:
    def play(connection: Connection) -> None:
        connection.request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        connection.hold()

    with Origin(play=play) as origin:
        with Proxy(single(origin, policy={"timeouts": {"idle": "200ms"}}), tmp_path) as proxy, proxy.connect() as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            with pytest.raises(Ended):
                wire.response()
            proxy.wait_metric(1, "tidegate_errors_total", flag="UT")
            origin.released.set()


IMPATIENT = {"timeouts": {"head": "300ms", "body": "300ms", "keepalive": "300ms"}}


def test_client_that_never_finishes_its_head(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin, client=IMPATIENT), tmp_path) as proxy, proxy.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nX-A")
        assert wire.response().status == 408
        assert wire.ends() == b""
        assert origin.requests == []


def test_client_that_drips_its_head(tmp_path: Path) -> None:
    """Slow-loris: a byte now and then does not move the deadline."""
    with Origin() as origin, Proxy(single(origin, client=IMPATIENT), tmp_path) as proxy, proxy.connect() as wire:
        stop = threading.Event()

        def drip() -> None:
            for byte in b"GET / HTTP/1.1\r\nHost: a\r\nX-A: " + b"a" * 1000:
                if stop.wait(0.02):
                    return
                wire.send(bytes((byte,)))

        thread = threading.Thread(target=drip)
        thread.start()
        try:
            assert wire.response().status == 408
        finally:
            stop.set()
            thread.join()
        assert origin.requests == []


def test_client_that_never_finishes_its_body(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin, client=IMPATIENT), tmp_path) as proxy, proxy.connect() as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhello")
        assert wire.response().status == 408
        assert wire.ends() == b""
        wait_for(origin.connections[0].ended.is_set, "the upstream to be told")
        assert not origin.requests[0].complete
        assert proxy.metrics().value("tidegate_errors_total") == 0


def test_client_that_says_nothing_is_closed(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin, client=IMPATIENT), tmp_path) as proxy:
        with proxy.connect() as fresh, proxy.connect() as used:
            assert used.get().status == 200
            assert fresh.ends() == b""
            assert used.ends() == b""


@pytest.mark.slow
def test_client_that_never_reads_is_cut_off(tmp_path: Path) -> None:
    def play(connection: Connection) -> None:
        connection.head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (1 << 30))
        connection.stream(1 << 30)

    policy = {"timeouts": {"idle": "300ms"}}
    with (
        Origin(play=play, record=False) as origin,
        Proxy(single(origin, policy=policy, client=IMPATIENT), tmp_path) as proxy,
        proxy.connect(receive_buffer=4096) as wire,
    ):
        wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        wait_for(lambda: origin.connections and origin.connections[0].ended.is_set(), "the upstream to be let go")
        proxy.wait_metric(0, "tidegate_in_flight")
        proxy.wait_metric(0, "tidegate_client_connections")


def test_connections_beyond_the_limit_are_closed(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin, client={"limits": {"connections": 2}}), tmp_path) as proxy:
        with proxy.connect() as first, proxy.connect() as second:
            assert (first.get().status, second.get().status) == (200, 200)
            with proxy.connect() as third:
                assert third.ends() == b""
            assert first.get().status == 200
            proxy.wait_metric(1, "tidegate_client_connections_refused_total")
        wait_for(lambda: proxy.metrics().value("tidegate_client_connections") == 0, "the places to be free")
        assert proxy.get().status == 200


# Addresses.


def test_upstream_by_name(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(f"http://localhost:{origin.port}"), tmp_path) as proxy:
        assert proxy.get().status == 200


def test_upstream_and_listener_on_unix_sockets(tmp_path: Path) -> None:
    listening = tmp_path / "in.sock"
    with Origin(unix=tmp_path / "up.sock") as origin:
        proxy = Proxy(single(origin), tmp_path)
        proxy.config["listen"] = [f"127.0.0.1:{proxy.port}", f"unix:{listening}"]
        with proxy:
            assert proxy.get().status == 200
            client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            client.connect(str(listening))
            with Wire(client) as wire:
                assert wire.get().status == 200


def test_listener_passed_in(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as passed, Origin() as origin:
        config = single(origin, listen=f"fd:{passed.fileno()}")
        proxy = Proxy(config, tmp_path, pass_fds=(passed.fileno(),))
        proxy.port = passed.getsockname()[1]
        with proxy:
            passed.close()
            assert proxy.get().status == 200


def test_proxy_protocol_tells_the_client_address(tmp_path: Path) -> None:
    with Origin() as origin:
        proxy = Proxy(single(origin), tmp_path)
        proxy.config["listen"] = [{"address": f"127.0.0.1:{proxy.port}", "proxy_protocol": True}]
        with proxy:
            with proxy.connect() as wire:
                wire.send(b"PROXY TCP4 192.0.2.7 192.0.2.1 5000 80\r\n")
                assert wire.get().status == 200
                assert origin.requests[0].get(b"x-forwarded-for") == b"192.0.2.7"
            with proxy.connect() as wire:
                wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                assert not wire.ends().startswith(b"HTTP/1.1 200")
            assert len(origin.requests) == 1


# TLS.


def test_upstream_over_tls_is_verified_and_shown_our_certificate(tmp_path: Path) -> None:
    ours = Authority(tmp_path, "ours")
    server = ours.issue("server", "127.0.0.1", "origin.test")
    client = ours.issue("client", "tidegate", client=True)
    with Origin(tls=server_context(*server, clients=ours.file)) as origin:
        tls = {"ca": str(ours.file), "certificate": str(client[0]), "key": str(client[1])}
        with Proxy(single(origin, policy={"tls": tls}), tmp_path) as proxy:
            assert proxy.get().status == 200
            proxy.edit(lambda config: config["upstreams"]["origin"]["tls"].update(server_name="origin.test"))
            assert proxy.get().status == 200
            proxy.edit(lambda config: config["upstreams"]["origin"]["tls"].update(server_name="evil.test"))
            failed(proxy, 503, "UF")
        assert len(origin.requests) == 2


def test_upstream_with_a_certificate_of_a_stranger_is_refused(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path, "ours"), Authority(tmp_path, "theirs")
    server = theirs.issue("server", "127.0.0.1")
    with Origin(tls=server_context(*server)) as origin:
        for policy in ({"tls": {"ca": str(ours.file)}}, {}):
            directory = tmp_path / f"proxy-{len(policy)}"
            directory.mkdir()
            with Proxy(single(origin, policy=policy), directory) as proxy:
                failed(proxy, 503, "UF")
        assert origin.requests == []


def test_listener_picks_certificates_by_name_and_reads_them_again(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shop = authority.issue("shop", "shop.test")
    wild = authority.issue("wild", "*.example.test")
    with Origin() as origin:
        proxy = Proxy(single(origin), tmp_path)
        certificates = [
            {"hosts": ["shop.test"], "certificate": str(shop[0]), "key": str(shop[1])},
            {"hosts": ["*.example.test"], "certificate": str(wild[0]), "key": str(wild[1])},
        ]
        proxy.config["listen"] = [{"address": f"127.0.0.1:{proxy.port}", "tls": {"certificates": certificates}}]

        def serial(name: str) -> str:
            with connect_tls(proxy.address, name, authority.file) as wire:
                assert wire.get("/", name).status == 200
                return str(wire.socket.getpeercert()["serialNumber"])  # type: ignore[attr-defined]

        with proxy:
            before = serial("shop.test")
            other = serial("a.example.test")
            assert other != before
            assert origin.requests[0].get(b"x-forwarded-proto") == b"https"
            with connect_tls(proxy.address, "shop.test", authority.file) as open_before:
                authority.issue("shop", "shop.test")
                wait_for(lambda: serial("shop.test") != before, "the new certificate")
                assert serial("a.example.test") == other
                assert open_before.get().status == 200


def test_listener_speaks_no_plain_http_on_a_tls_port(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("shop", "shop.test")
    with Origin() as origin:
        proxy = Proxy(single(origin), tmp_path)
        tls = {"certificates": [{"certificate": str(certificate), "key": str(key)}]}
        proxy.config["listen"] = [{"address": f"127.0.0.1:{proxy.port}", "tls": tls}]
        with proxy, proxy.connect() as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert not wire.ends().startswith(b"HTTP/1.1 200")
            assert origin.requests == []


# Logs.


def test_access_log_has_a_line_for_every_request(tmp_path: Path) -> None:
    file = tmp_path / "access.log"
    with Origin(answer(b"hello")) as origin, Proxy(single(origin, access_log=str(file)), tmp_path) as proxy:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        fields = ("X-Request-Id: find-me", f"traceparent: {trace}")
        proxy.get('/a"b?secret=1', "a", *fields, method="POST", body=b"xyz")
        with proxy.connect() as wire:
            wire.send(b"nonsense\r\n\r\n")
            assert wire.response().status == 400
        wait_for(lambda: file.exists() and file.read_text().count("\n") == 2, "two lines")
        first, second = [json.loads(line) for line in file.read_text().splitlines()]
        expected = {
            "route": "main", "assigned": "only", "served": "only", "method": "POST", "path": '/a"b', "status": 200,
            "flag": "", "client": "127.0.0.1", "request_bytes": 3, "response_bytes": 5, "request_id": "find-me",
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
        }  # fmt: skip
        assert {key: first[key] for key in expected} == expected
        assert first["duration_ms"] >= first["upstream_ms"] >= 0
        assert (second["status"], second["flag"], second["route"]) == (400, "DPE", "none")
        assert "secret" not in file.read_text()


def test_access_log_to_standard_output(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin, access_log="stdout"), tmp_path) as proxy:
        proxy.get("/to-stdout")
        wait_for(lambda: '"/to-stdout"' in proxy.output(), "the line")


def test_access_log_on_a_full_disk_costs_lines_and_no_request(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin, access_log="/dev/full"), tmp_path) as proxy, proxy.connect() as wire:
        assert [wire.get().status for _ in range(50)] == [200] * 50
        wait_for(
            lambda: proxy.metrics().value("tidegate_access_log_lines_dropped_total") == 50, "the count of lost lines"
        )
        assert wire.get().status == 200
        assert proxy.ready()
