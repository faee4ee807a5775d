"""Open-loop load: percentiles of its histogram, and that a stall is charged to everybody who would have come meanwhile."""

import asyncio
import contextlib
import os
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from bench.load import LoadError
from bench.paced import Histogram, arrive, highest_of, parse, start_paced

needs_luajit = pytest.mark.skipif(shutil.which("luajit") is None, reason="luajit is not installed")
CORES = os.sched_getaffinity(0)


def test_short_times_are_exact_and_long_ones_within_a_hundredth() -> None:
    assert [highest_of(bucket) for bucket in (0, 1, 255)] == [0, 1, 255]
    assert highest_of(256) == 257  # two microseconds wide from here to 511
    edges = [highest_of(bucket) for bucket in range(128 * 20)]
    assert edges == sorted(set(edges))
    assert all(high - low <= max(1, low / 127) for low, high in pairwise(edges))


def test_percentiles_are_those_of_the_sorted_times() -> None:
    histogram = Histogram(((10, 50), (20, 49), (300, 1)))
    assert histogram.total == 100
    assert [histogram.percentile(percent) for percent in (0, 50, 50.1, 99, 99.1, 100)] == [10, 10, 20, 20, 345, 345]
    assert histogram.beyond(20) == 1
    with pytest.raises(ValueError, match="nothing"):
        Histogram(()).percentile(50)


def test_what_the_generator_prints_is_read() -> None:
    line = 'RESULT {"requests":2,"failed":1,"microseconds":2000000,"waited":[[5,2],[300,1]],"late":[[0,3]]}'
    found = parse(f"words\n{line}\n", 1.5)
    assert (found.asked, found.requests, found.failed, found.seconds) == (1.5, 2, 1, 2.0)
    assert (found.waited.percentile(50), found.late.total) == (5, 3)


def test_a_generator_that_printed_no_result_is_an_error() -> None:
    with pytest.raises(LoadError, match="no connection to port 9"):
        parse("luajit: no connection to port 9", 1.0)


class Answering(asyncio.Protocol):
    """Answers every request, in pieces that cut the head; `refuse` with 500."""

    refuse = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        for _ in range(data.count(b"\r\n\r\n")):
            status = b"500 No" if self.refuse else b"200 OK"
            self._transport.write(b"HTTP/1.1 " + status + b"\r\nContent-Le")
            self._transport.write(b"ngth: 5\r\n\r\nhello")


@contextlib.contextmanager
def served(protocol: type[Answering] = Answering) -> Iterator[int]:
    """A port that answers, from a loop in a thread of its own."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(loop.create_server(protocol, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        port: int = server.sockets[0].getsockname()[1]
        yield port
    finally:
        server.close()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@needs_luajit
@pytest.mark.slow
def test_a_stall_is_in_the_times_of_all_who_would_have_come(tmp_path: Path) -> None:
    stalled = 0.5

    class Stalling(Answering):
        came = 0

        def data_received(self, data: bytes) -> None:
            before = Stalling.came
            Stalling.came += data.count(b"\r\n\r\n")
            if before < 500 <= Stalling.came:  # the load is under way, however long its generator took to start
                time.sleep(stalled)
            super().data_received(data)

    with served(Stalling) as port:
        found = arrive(port, 1000, 1.6, CORES, tmp_path, connections=8)
    assert (found.requests, found.failed, found.waited.total) == (1600, 0, 1600)
    # A closed loop of 8 connections would have seen 8 slow requests. Here some 500 were due in half a second,
    assert found.waited.beyond(20_000) > 400
    # and half of those waited for more than half of it.
    assert found.waited.beyond(1e6 * stalled / 2) > 200
    assert found.waited.percentile(90) > 1e6 * stalled / 4


@needs_luajit
def test_answers_other_than_2xx_fail(tmp_path: Path) -> None:
    class Refusing(Answering):
        refuse = True

    with served(Refusing) as port:
        found = arrive(port, 200, 0.1, CORES, tmp_path, connections=2)
    assert (found.requests, found.failed, found.waited.total) == (0, 20, 20)


@needs_luajit
def test_connections_that_end_fail_and_are_made_again(tmp_path: Path) -> None:
    class Ending(Answering):
        def data_received(self, data: bytes) -> None:
            self._transport.abort()

    with served(Ending) as port:
        found = arrive(port, 200, 0.1, CORES, tmp_path, connections=2)
    assert (found.requests, found.failed) == (0, 20)


@needs_luajit
def test_a_load_that_is_interrupted_tells_what_was_due_until_then(tmp_path: Path) -> None:
    enough = threading.Event()

    class Counting(Answering):
        answered = 0

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            Counting.answered += 1
            if Counting.answered == 50:
                enough.set()

    with served(Counting) as port, start_paced(port, 500, 600, CORES, tmp_path, connections=4) as load:
        assert enough.wait(10)
        load.interrupt()
        assert load.wait(10) == 0
        found = parse(load.log.read_text(), 500)
    assert 50 <= found.requests < 100_000
    assert (found.failed, found.waited.total) == (0, found.requests)


@needs_luajit
def test_nobody_at_the_port_is_an_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with pytest.raises(LoadError, match="no connection to port"):
        arrive(port, 10, 0.1, CORES, tmp_path)
