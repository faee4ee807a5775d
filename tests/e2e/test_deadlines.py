"""Nobody may take as long as he likes: upstreams that stall, clients that drip."""

import threading
from contextlib import suppress
from pathlib import Path

import pytest

from .harness.message import Ended
from .harness.origin import Connection, Origin
from .harness.proxy import Proxy, single
from .harness.wait import wait_for


def test_answer_that_never_begins(tmp_path: Path) -> None:
    def play(connection: Connection) -> None:
        connection.request()
        connection.hold()

    with (
        Origin(play=play) as origin,
        Proxy(single(origin, policy={"timeouts": {"response": "200ms"}}), tmp_path) as proxy,
    ):
        proxy.fails(504, "UT")
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
            proxy.fails(504, "UT")
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
            with suppress(ConnectionResetError), proxy.connect() as third:  # reset before connect() returned, or after
                assert third.ends() == b""
            assert first.get().status == 200
            proxy.wait_metric(1, "tidegate_client_connections_refused_total")
        wait_for(lambda: proxy.metrics().value("tidegate_client_connections") == 0, "the places to be free")
        assert proxy.get().status == 200
