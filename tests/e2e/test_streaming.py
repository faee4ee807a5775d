"""Bodies on their way: constant memory, back-pressure both ways, early answers, interim answers, order, tunnels."""

import select
import threading
from pathlib import Path

import pytest

from .conftest import Edge
from .harness.client import Wire
from .harness.message import Ended, Message
from .harness.origin import BLOCK, Connection, Origin, answer
from .harness.processes import memory
from .harness.proxy import Proxy, single
from .harness.wait import wait_for

MIB = 1 << 20
LARGE = 256 * MIB
GROWTH = 12 * MIB
"""What a worker may grow by while a body of any size passes: buffers of a few connections, and the allocator's slack."""
IN_KERNELS = 40 * MIB
"""What sockets' buffers may hold between a sender and a reader that reads nothing; far below LARGE."""


def send_until_stuck(wire: Wire, size: int) -> int:
    """Send filler until nobody takes more of it, and for how long it stayed so says that it is not just slow."""
    sent = 0
    wire.socket.setblocking(False)
    try:
        while sent < size:
            if not select.select([], [wire.socket], [], 0.5)[1]:
                break
            try:
                sent += wire.socket.send(BLOCK[: min(len(BLOCK), size - sent)])
            except BlockingIOError:
                continue
    finally:
        wire.socket.settimeout(10)
    return sent


def test_pipelined_answers_come_in_order(edge: Edge) -> None:
    def respond(connection: Connection, request: Message) -> None:
        answer(request.target)(connection, request)

    edge.plain.respond = respond
    try:
        with edge.proxy.connect() as wire:
            wire.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: plain.test\r\n\r\n" % n for n in range(200)))
            assert [wire.response().body for _ in range(200)] == [b"/%d" % n for n in range(200)]
    finally:
        edge.plain.respond = answer()


def test_pipelined_beyond_what_is_held_still_all_answered(edge: Edge) -> None:
    request = b"GET / HTTP/1.1\r\nHost: plain.test\r\nX-Filler: " + b"x" * 30_000 + b"\r\n\r\n"
    with edge.proxy.connect() as wire:
        sender = threading.Thread(target=wire.send, args=(request * 40,))
        sender.start()
        try:
            assert [wire.response().status for _ in range(40)] == [200] * 40
        finally:
            sender.join()


def test_request_in_single_bytes(edge: Edge) -> None:
    with edge.proxy.connect() as wire:
        for (
            byte
        ) in b"POST /a HTTP/1.1\r\nHost: plain.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n":
            wire.send(bytes((byte,)))
        assert wire.response().body == b"ok"
    assert edge.plain.requests[-1].body == b"hello"


def test_answer_in_single_bytes(edge: Edge) -> None:
    def respond(connection: Connection, request: Message) -> None:
        for byte in b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n":
            connection.send(bytes((byte,)))

    edge.answers.respond = respond
    assert edge.proxy.get("/", "answers.test").body == b"hello"


def test_each_piece_of_an_answer_arrives_before_the_next_is_sent(edge: Edge) -> None:
    steps = [threading.Event() for _ in range(3)]

    def respond(connection: Connection, request: Message) -> None:
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for step in steps:
            assert step.wait(10)
            connection.send(b"2\r\nhi\r\n")
        connection.send(b"0\r\n\r\n")

    edge.answers.respond = respond
    with edge.proxy.connect() as wire:
        wire.send(b"GET / HTTP/1.1\r\nHost: answers.test\r\n\r\n")
        assert wire.reader.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
        for step in steps:
            step.set()
            assert wire.reader.until(b"\r\n") == b"2"
            assert wire.reader.until(b"\r\n") == b"hi"
        assert wire.reader.until(b"\r\n\r\n") == b"0"


def test_continue_comes_from_the_upstream_and_before_the_body(edge: Edge) -> None:
    with edge.proxy.connect() as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: plain.test\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        assert wire.reader.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100")
        wire.send(b"hello")
        assert wire.response().status == 200
    assert edge.plain.requests[-1].body == b"hello"


def test_refused_expectation_needs_no_body(tmp_path: Path) -> None:
    def play(connection: Connection) -> None:
        connection.head()
        connection.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")
        connection.gone()

    with Origin(play=play) as origin, Proxy(single(origin), tmp_path) as proxy, proxy.connect() as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n")
        got = wire.response()
        assert got.status == 417
        assert got.get(b"connection") == b"close"
        assert wire.ends() == b""


def test_early_answer_reaches_a_client_that_is_still_sending(tmp_path: Path) -> None:
    def play(connection: Connection) -> None:
        connection.head()
        connection.send(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 4\r\n\r\nno!!")
        connection.gone()

    with Origin(play=play) as origin, Proxy(single(origin), tmp_path) as proxy, proxy.connect() as wire:
        wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % LARGE)
        wire.send(BLOCK)
        got = wire.response()
        assert (got.status, got.body) == (403, b"no!!")
        assert got.get(b"connection") == b"close"
        assert wire.ends() == b""
        assert proxy.get().status == 403


def test_large_bodies_pass_in_constant_memory(tmp_path: Path) -> None:
    def play(connection: Connection) -> None:
        while True:
            request = connection.head()
            if request.method == b"GET":
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
                connection.stream(LARGE)
            else:
                connection.body(request, lambda _: None)
                connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with Origin(play=play, record=False) as origin, Proxy(single(origin), tmp_path) as proxy:
        (worker,) = proxy.workers()
        with proxy.connect(record=False) as wire:
            for method in (b"GET", b"POST"):  # buffers get their size
                wire.send(method + b" / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                break
            before = memory(worker)
        with proxy.connect(record=False) as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert wire.response(sink=lambda _: None).size == LARGE
            down = memory(worker)
            wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % LARGE)
            for _ in range(LARGE // len(BLOCK)):
                wire.send(BLOCK)
            assert wire.response().status == 200
            up = memory(worker)
            wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
            for _ in range(LARGE // len(BLOCK) // 4):
                wire.send(b"%x\r\n%b\r\n" % (len(BLOCK), BLOCK))
            wire.send(b"0\r\n\r\n")
            assert wire.response().status == 200
        assert origin.requests[-2].size == LARGE
        assert origin.requests[-1].size == LARGE // 4
        assert down - before < GROWTH, (before, down)
        assert up - before < GROWTH, (before, up)
        proxy.wait_metric(LARGE + LARGE // 4, "tidegate_request_bytes_total", route="main")


def test_slow_reader_holds_the_upstream_back(tmp_path: Path) -> None:
    stuck_at: list[int] = []

    def play(connection: Connection) -> None:
        connection.head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LARGE)
        sent = send_until_stuck(Wire(connection.socket), LARGE)
        stuck_at.append(sent)
        connection.stream(LARGE - sent)

    with Origin(play=play, record=False) as origin, Proxy(single(origin), tmp_path) as proxy:
        (worker,) = proxy.workers()
        before = memory(worker)
        with proxy.connect(record=False) as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            wait_for(lambda: stuck_at, "the origin to be held back", 20)
            assert stuck_at[0] < IN_KERNELS
            assert memory(worker) - before < GROWTH
            assert wire.response(sink=lambda _: None).size == LARGE


def test_slow_origin_holds_the_client_back(tmp_path: Path) -> None:
    def play(connection: Connection) -> None:
        request = connection.head()
        connection.hold()
        connection.body(request, lambda _: None)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    with Origin(play=play, record=False) as origin, Proxy(single(origin), tmp_path) as proxy:
        (worker,) = proxy.workers()
        before = memory(worker)
        with proxy.connect(record=False) as wire:
            wire.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % LARGE)
            sent = send_until_stuck(wire, LARGE)
            assert sent < IN_KERNELS
            assert memory(worker) - before < GROWTH
            origin.released.set()
            for at in range(sent, LARGE, len(BLOCK)):
                wire.send(BLOCK[: min(len(BLOCK), LARGE - at)])
            assert wire.response().status == 200
        assert origin.requests[0].size == LARGE


def test_client_that_goes_away_ends_the_exchange_upstream(tmp_path: Path) -> None:
    def play(connection: Connection) -> None:
        connection.head()
        connection.gone()

    with Origin(play=play) as origin, Proxy(single(origin), tmp_path) as proxy:
        with proxy.connect() as wire:
            wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            connection = origin.wait_connection()
            wait_for(lambda: connection.requests, "the request")
        wait_for(connection.ended.is_set, "the upstream's connection to end")
        proxy.wait_metric(1, "tidegate_requests_total", code="499")
        proxy.wait_metric(0, "tidegate_in_flight")
        assert proxy.metrics().value("tidegate_errors_total") == 0


def upgraded(connection: Connection) -> None:
    """An origin that switches to a protocol in which everything comes back, and greets at once."""
    connection.head()
    connection.send(
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\nwelcome"
    )
    connection.echo()


UPGRADE = (
    b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def open_tunnel(wire: Wire) -> Message:
    wire.send(UPGRADE)
    got = wire.response()
    wire.reader.exactly(7, lambda _: None)
    return got


def echoes(wire: Wire, text: bytes) -> bool:
    got = bytearray()
    wire.send(text)
    wire.reader.exactly(len(text), got.extend)
    return got == text


def test_tunnel_carries_bytes_and_outlives_reloads(tmp_path: Path) -> None:
    with Origin(play=upgraded) as origin, Origin() as other, Proxy(single(origin), tmp_path) as proxy:
        with proxy.connect() as wire:
            got = open_tunnel(wire)
            assert got.status == 101
            assert (got.get(b"upgrade"), got.get(b"sec-websocket-accept")) == (b"websocket", b"x")
            assert (got.get(b"connection") or b"").lower() == b"upgrade"
            request = origin.requests[0]
            assert (request.get(b"upgrade"), (request.get(b"connection") or b"").lower()) == (b"websocket", b"upgrade")
            assert request.get(b"sec-websocket-key") == b"dGhlIHNhbXBsZSBub25jZQ=="
            assert echoes(wire, b"\x00\xff\r\n\r\nGET / HTTP/1.1\r\n\r\n")
            # Even where the route and its upstream are gone.
            proxy.edit(lambda config: config["upstreams"]["origin"].update(endpoints=[other.url]))
            assert proxy.get().body == b"ok"
            assert echoes(wire, b"still here" * 20_000)
            assert proxy.metrics().value("tidegate_tunnels") == 1
        wait_for(origin.connections[0].ended.is_set, "the upstream's end to close")
        proxy.wait_metric(0, "tidegate_tunnels")


def test_bytes_sent_before_the_switch_reach_the_tunnel(tmp_path: Path) -> None:
    with Origin(play=upgraded) as origin, Proxy(single(origin), tmp_path) as proxy, proxy.connect() as wire:
        wire.send(UPGRADE + b"early")
        assert wire.response().status == 101
        got = bytearray()
        wire.reader.exactly(12, got.extend)
        assert got == b"welcomeearly"


def test_tunnel_ends_when_the_upstream_ends_it(tmp_path: Path) -> None:
    def play(connection: Connection) -> None:
        connection.head()
        connection.send(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nbye")
        connection.close()

    with Origin(play=play) as origin, Proxy(single(origin), tmp_path) as proxy, proxy.connect() as wire:
        wire.send(UPGRADE)
        assert wire.response().status == 101
        assert wire.ends() == b"bye"


def test_refused_upgrade_is_an_ordinary_answer(tmp_path: Path) -> None:
    with Origin() as origin, Proxy(single(origin), tmp_path) as proxy, proxy.connect() as wire:
        wire.send(UPGRADE)
        assert wire.response().body == b"ok"
        assert wire.get("/next").body == b"ok"


def test_answer_cut_off_by_a_reset_is_never_taken_for_whole(tmp_path: Path) -> None:
    started = threading.Event()

    def play(connection: Connection) -> None:
        request = connection.head()
        if request.target == b"/chunked":
            connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        elif request.target == b"/length":
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        else:
            connection.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        assert started.wait(10)
        started.clear()
        connection.reset()

    with Origin(play=play) as origin, Proxy(single(origin), tmp_path) as proxy:
        for target in (b"/chunked", b"/length", b"/until-close"):
            with proxy.connect() as wire:
                wire.send(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n")
                wait_for(lambda wire=wire: b"hello" in wire.reader.seen or wire.reader.fill(), "the body's beginning")
                started.set()
                with pytest.raises(Ended):
                    wire.response()
        proxy.wait_metric(3, "tidegate_errors_total", flag="UR")
