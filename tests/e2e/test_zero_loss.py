"""Operating on a proxy under load: a flip, more and fewer workers, another program. Not one request fails."""

import os
import shutil
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from .harness.load import Callers, Wrk
from .harness.origin import Origin, answer
from .harness.processes import alive
from .harness.proxy import Config, Proxy, configuration, single, upstream
from .harness.wait import wait_for
from .test_workers import went_back

FLIPS = 200
CALLERS = 6


def blue_green(blue: Origin, green: Origin) -> Config:
    route = {
        "name": "main",
        "unit": [{"header": "x-user-id"}, "client_ip"],
        "versions": {"blue": {"upstream": "blue"}, "green": {"upstream": "green"}},
        "active": "blue",
    }
    return configuration({"blue": upstream(blue), "green": upstream(green)}, [route])


class Once(Callers):
    """Callers of which every request has a connection of its own."""

    def __init__(self, address: tuple[str, int], count: int = 4) -> None:
        super().__init__(address, count, "Connection: close")


def test_blue_green_flips_under_load_lose_no_request(tmp_path: Path) -> None:
    with (
        Origin(answer(b"blue"), record=False) as blue,
        Origin(answer(b"green"), record=False) as green,
        Proxy(blue_green(blue, green), tmp_path) as proxy,
        Wrk(f"http://127.0.0.1:{proxy.port}/", connections=16, seconds=60) as load,
        Once(proxy.address) as callers,
    ):
        callers.wait_more(20)
        for flip in range(FLIPS):
            active = ("green", "blue")[flip % 2]
            proxy.edit(lambda config, active=active: config["routes"][0].update(active=active))
            assert load.running
        load.stop()
        done, wrong = load.finish()
        callers.stop()
        assert wrong == ""
        assert (callers.broken, callers.refused, set(callers.statuses)) == (0, 0, {200})
        assert done > FLIPS
        counted = proxy.metrics()
        served = {one: counted.value("tidegate_requests_total", version=one) for one in ("blue", "green")}
        assert min(served.values()) > done / 10, served
        assert counted.value("tidegate_errors_total") == 0


def test_more_and_fewer_workers_under_load_lose_no_request(tmp_path: Path) -> None:
    with (
        Origin(record=False) as origin,
        Proxy(single(origin), tmp_path) as proxy,
        Wrk(f"http://127.0.0.1:{proxy.port}/", connections=16, seconds=60) as load,
        Callers(proxy.address, CALLERS) as callers,
        Once(proxy.address) as others,
    ):
        [first] = proxy.workers()
        before = proxy.metrics().counters()
        for count in (3, 1, 2, 1):
            others.wait_more(50)
            proxy.edit(lambda config, count=count: config.update(workers=count))
            wait_for(lambda count=count: len(proxy.workers()) == count, f"{count} workers", 20)
            wait_for(lambda count=count: proxy.metrics().value("tidegate_worker_up") == count, "all of them to serve")
            assert first in proxy.workers()
            after = proxy.metrics().counters()
            assert went_back(before, after) == {}
            before = after
            others.wait_more(50)
        load.stop()
        _, wrong = load.finish()
        callers.stop()
        others.stop()
        assert wrong == ""
        for one in (callers, others):
            assert (one.broken, one.refused, set(one.statuses)) == (0, 0, {200})
        assert proxy.metrics().value("tidegate_worker_restarts_total") == 0
        proxy.wait_metric(0, "tidegate_in_flight")


def test_a_limit_is_a_total_over_workers_that_came_and_went(tmp_path: Path) -> None:
    with Origin(lambda _connection, _request: origin.released.wait()) as origin:
        with Proxy(single(origin, policy={"limits": {"requests": 4}}), tmp_path) as proxy:
            for count in (3, 1, 2):
                proxy.edit(lambda config, count=count: config.update(workers=count))
                wait_for(lambda count=count: proxy.metrics().value("tidegate_worker_up") == count, "the workers", 20)
                wait_for(lambda count=count: len(proxy.workers()) == count, f"{count} workers", 20)
            wires = [proxy.connect() for _ in range(4)]
            try:
                for number, wire in enumerate(wires):
                    wire.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                    origin.wait_connection(number)
                for _ in range(6):  # whichever worker takes them
                    got = proxy.get()
                    assert (got.status, got.get(b"x-tidegate-flags")) == (503, b"UO")
            finally:
                for wire in wires:
                    wire.socket.close()
